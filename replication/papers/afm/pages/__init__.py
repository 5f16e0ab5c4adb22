"""What the book's pages on AFM say, computed from the records: nothing typed by hand."""
