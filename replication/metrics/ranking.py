"""Leave-one-out ranking metrics, for all users at once."""

from __future__ import annotations

import numpy as np
from torch import Tensor

NO_RANK = 65_535  # in stored ranks: this user has no held-out item


def rank_of_target(scores: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """0-based rank of each user's held-out item; ties count against the model.

    Args:
        scores: [B, C] scores of the candidates; NaN counts as better than the target.
        target: [B] column of the held-out item.
        valid: [B, C] bool, candidates that take part (all, if None).

    Returns:
        [B] int64, number of other candidates that score at least as high as the target.
    """
    own = scores.gather(1, target[:, None])  # [B, 1]
    ahead = ~(scores < own)  # [B, C]; written so that NaN on either side counts against the model
    if valid is not None:
        ahead &= valid
    ahead.scatter_(1, target[:, None], False)
    return ahead.sum(1)


def hit_rate(ranks: np.ndarray, k: int = 10) -> np.ndarray:
    """HR@k of each user: 1 if the held-out item is among the first k. ranks: [..., U], 0-based."""
    return (np.asarray(ranks) < k).astype(np.float64)


def ndcg(ranks: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k of each user with one relevant item: 1 / log2(rank + 2) within the first k, else 0.

    The ideal list has the item first (gain 1), so no further normalisation is needed
    (He et al. 2017, Section 4.1). ranks: [..., U], 0-based.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    return np.where(ranks < k, 1.0 / np.log2(ranks + 2.0), 0.0)


def summary(ranks: np.ndarray, k: int = 10, suffix: str = "") -> dict[str, float]:
    """Mean HR@k and NDCG@k over the users that have a held-out item. ranks: [U], 0-based."""
    ranks = np.asarray(ranks)
    ranks = ranks[ranks != NO_RANK]
    return {
        f"HR@{k}{suffix}": float(hit_rate(ranks, k).mean()),
        f"NDCG@{k}{suffix}": float(ndcg(ranks, k).mean()),
    }
