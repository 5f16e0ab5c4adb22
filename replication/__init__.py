"""Four papers on explainable recommendation, replicated: models, metrics, protocols, verdicts."""

__version__ = "0.1.0"
