"""What the book's pages on AMP-CF say, computed from the records: no number is typed by hand."""
