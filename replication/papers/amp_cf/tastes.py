"""What an item and a history say of a user's tastes, and which tastes are a minority of a history.

An item stands for one taste of each kind: its genre, the rarest of those it has (counted under
each, it would belong to the majority and the minority at once), and its cluster in the taste space
of Section 4.2. A taste is a *minority* of a history if it makes up some of it, but less than
``MINORITY``; *new* if it makes up none; else of the *majority*. The two limits are about half of
what the largest taste of a median user makes up in the MovieLens sets: 0.19 to 0.24 for genres,
0.13 to 0.14 for clusters. So they are set from the histories in the data, not from any model's
lists.

Shapes: U users, I items, T tastes of a kind, P dimensions of an item space.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse, special

from replication.data import Interactions
from replication.metrics.explanation import main_genre
from replication.metrics.taste_distance import TasteSpace, directions
from replication.protocols import ABSENT

MINORITY = {"genre": 0.10, "cluster": 0.05}


def labels(data: Interactions, space: TasteSpace) -> dict[str, np.ndarray]:
    """[I] the taste that each item stands for, by kind; ``ABSENT`` for an item without genres."""
    found = {"cluster": np.asarray(space.labels)}
    if "genres" in data.item_features:
        found = {"genre": main_genre(data.item_features["genres"])} | found
    return found


def shares(items: sparse.csr_matrix, label: np.ndarray) -> np.ndarray:
    """[U, T] what each taste makes up of the users' items [U, I] that stand for one.

    NaN for a user without such items.
    """
    place = np.flatnonzero(label != ABSENT)
    tastes = int(label.max(initial=ABSENT)) + 1
    one_hot = sparse.csr_matrix(
        (np.ones(len(place)), (place, label[place])), shape=(len(label), tastes)
    )
    count = (items @ one_hot).toarray()
    total = count.sum(1, keepdims=True)
    return np.divide(count, total, out=np.full(count.shape, np.nan), where=total > 0)


def parts(history: np.ndarray, other: np.ndarray, limit: float) -> dict[str, np.ndarray]:
    """[U] what minority and new tastes of a history make up of other items (or of itself).

    Args:
        history, other: [U, T] from ``shares``; a user with NaN in either gets NaN.
        limit: the share below which a taste is a minority.
    """
    without = np.isnan(history).any(1)
    small = (history > 0) & (history < limit)
    found = {"minority": (other * small).sum(1), "new": (other * (history == 0)).sum(1)}
    return {name: np.where(without, np.nan, value) for name, value in found.items()}


def entropy(items: sparse.csr_matrix, distribution: np.ndarray) -> np.ndarray:
    """[U] entropy (nats) of the mean over a user's items of their distributions [I, T].

    Items whose row is zero do not count; NaN for a user without others.
    """
    total = items @ distribution  # [U, T]
    mass = total.sum(1, keepdims=True)
    p = np.divide(total, mass, out=np.full_like(total, np.nan), where=mass > 0)
    return special.entr(p).sum(1)


def mean_distance(items: sparse.csr_matrix, vectors: np.ndarray) -> np.ndarray:
    """[U] mean cosine distance between two of a user's items [U, I] in a space [I, P].

    What ``metrics.lists.intra_list_diversity`` is for lists, for histories of any length: through
    the sum of the directions, without a place for every item. NaN for fewer than two items.
    """
    unit = directions(vectors)  # [I, P]
    count = np.asarray(items.sum(1)).ravel()
    alone = items @ (unit**2).sum(1)  # the cosines of items with themselves
    similarity = ((items @ unit) ** 2).sum(1) - alone  # over ordered pairs
    pairs = count * (count - 1)
    return 1 - np.divide(similarity, pairs, out=np.full(len(count), np.nan), where=pairs > 0)
