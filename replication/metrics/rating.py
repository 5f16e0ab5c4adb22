"""Errors of predicted ratings."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def rmse(predicted: np.ndarray | Tensor, ratings: np.ndarray | Tensor) -> float:
    """Root of the mean squared error over [n] ratings, in stars; summed in double precision."""
    error = _error(predicted, ratings)
    return float(np.sqrt(np.mean(error**2)))


def mae(predicted: np.ndarray | Tensor, ratings: np.ndarray | Tensor) -> float:
    """Mean absolute error over [n] ratings, in stars."""
    return float(np.mean(np.abs(_error(predicted, ratings))))


def summary(predicted: np.ndarray | Tensor, ratings: np.ndarray | Tensor) -> dict[str, float]:
    """RMSE and MAE of [n] predictions."""
    return {"RMSE": rmse(predicted, ratings), "MAE": mae(predicted, ratings)}


def _error(predicted: np.ndarray | Tensor, ratings: np.ndarray | Tensor) -> np.ndarray:
    one, other = (
        (x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)).astype(np.float64)
        for x in (predicted, ratings)
    )
    if one.shape != other.shape:
        raise ValueError(f"{one.shape} predictions for {other.shape} ratings")
    return one - other
