"""What the book's pages on Attentive NCF say, computed from the records: nothing typed by hand."""
