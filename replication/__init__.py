"""Replications of four papers on explainable recommendation: models, metrics, protocols, verdicts."""

__version__ = "0.1.0"
