"""Attentive Neural Collaborative Filtering (Hutter, Sukthanker, Vasilakopoulos, Wiedemann; ETH)."""
