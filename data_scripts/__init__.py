"""Fetching and verifying the data sets of the study (`manifest.toml` says what and from where)."""
