"""Metrics, vectorised over users."""
