"""One folder a paper: model.py, experiments.py, published.csv, claims.py."""
