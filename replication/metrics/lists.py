"""Recommendation lists, and what is measured on them besides taste distance.

Shapes: U users, I items, L places in a list, P dimensions of an item space, G genres.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import sparse, special

from replication.evaluation import BLOCK, Ranker, best_items
from replication.metrics.taste_distance import directions
from replication.protocols import ABSENT, Split

SMOOTHING = 0.01  # alpha of Steck (RecSys 2018)
NO_GENRE = ["", "(no genres listed)", "unknown"]  # how MovieLens says that there is none


@torch.no_grad()
def top_lists(model: Ranker, split: Split, length: int, device: torch.device) -> np.ndarray:
    """The items with the highest scores that a user has not consumed in training.

    Returns:
        [U, L] int64, as ``evaluation.best_items`` lists them.
    """
    order = np.argsort(split.train_users, kind="stable")
    items = torch.from_numpy(split.train_items[order]).to(device)  # by user
    users = torch.from_numpy(split.train_users[order]).to(device)
    bounds = np.searchsorted(split.train_users[order], np.arange(0, split.n_users + BLOCK, BLOCK))
    lists = np.full((split.n_users, length), ABSENT)
    for start, first, last in zip(
        range(0, split.n_users, BLOCK), bounds[:-1], bounds[1:], strict=False
    ):
        block = torch.arange(start, min(start + BLOCK, split.n_users), device=device)
        consumed = (users[first:last] - start) * split.n_items + items[first:last]
        found = best_items(model.score_all(block), consumed, length)
        lists[start : start + len(block)] = found.cpu().numpy()
    return lists


def coverage(lists: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that is on any user's list [U, L]."""
    return len(np.unique(lists[lists != ABSENT])) / n_items


def intra_list_diversity(vectors: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """[U] mean cosine distance between two items of a list (as Ziegler et al., WWW 2005).

    Args:
        vectors: [I, P].
        lists: [U, L].

    A list of fewer than two items has no pair and gets NaN.
    """
    unit = np.vstack([directions(vectors), np.zeros((1, vectors.shape[1]))])  # ABSENT is the last
    count = (lists != ABSENT).sum(1)
    total = np.zeros((len(lists), vectors.shape[1]))  # [U, P] sum of a list's directions
    alone = np.zeros(len(lists))  # [U] the cosines of items with themselves: 1, or 0 for zero
    length = (unit**2).sum(1)  # [I + 1]
    for place in lists.T:
        total += unit[place]
        alone += length[place]
    pairs = count * (count - 1)
    similarity = (total**2).sum(1) - alone  # over ordered pairs of different places
    return 1 - np.divide(similarity, pairs, out=np.full(len(lists), np.nan), where=pairs > 0)


def genre_shares(genres: pd.Series) -> np.ndarray:
    """[I, G] share of each genre in each item, from names joined by ``|``; Steck's p(g|i).

    An item without genres has a row of zeros.
    """
    flags = genres.fillna("").str.get_dummies("|")
    flags = flags.drop(columns=NO_GENRE, errors="ignore").to_numpy(np.float64)
    return flags / np.maximum(flags.sum(1, keepdims=True), 1)


def miscalibration(
    genres: np.ndarray, consumed: sparse.csr_matrix, recommended: sparse.csr_matrix
) -> np.ndarray:
    """[U] KL divergence of a list's genres from the history's (Steck, RecSys 2018).

    Args:
        genres: [I, G] from ``genre_shares``.
        consumed, recommended: [U, I] ones, as from ``taste_distance``.

    A user whose history or list has no genres at all gets NaN.
    """

    def distribution(items: sparse.csr_matrix) -> np.ndarray:
        total = items @ genres  # [U, G]
        mass = total.sum(1, keepdims=True)
        return np.divide(total, mass, out=np.full_like(total, np.nan), where=mass > 0)

    p, q = distribution(consumed), distribution(recommended)
    smooth = (1 - SMOOTHING) * q + SMOOTHING * p  # no division by zero
    return special.rel_entr(p, smooth).sum(1)
