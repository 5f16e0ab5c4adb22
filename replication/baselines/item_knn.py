"""ItemKNN: a user gets the items most similar to those consumed; and what it shares with EASE^R.

Cosine similarity with shrinkage as in Ferrari Dacrema et al. (RecSys 2019, "Are we really making
much progress?"), after Sarwar et al. (WWW 2001). Shapes: B users in a batch, C candidate items a
user, U users, I items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.protocols import Split

BLOCK = 512  # items in a block of the catalogue: a few arrays [512, I] at once


@dataclass(frozen=True)
class ItemKNNConfig:
    """The defaults are those of the released code of Ferrari Dacrema et al. (2019)."""

    neighbours: int = 50  # k
    shrink: float = 100.0  # h: lowers the similarity of items with few common users

    def __post_init__(self) -> None:
        if self.neighbours < 1 or not self.shrink >= 0:
            raise ReplicationError(
                "ItemKNN needs at least one neighbour and a shrinkage of 0 or more, not "
                f"neighbours={self.neighbours} and shrink={self.shrink}"
            )


class LinearItemModel:
    """Scores an item by the sum of its weights from the items that the user consumed.

    ``y_ui = sum over j in u's training items of W_ji``; a user without training items, and an item
    without weights, score 0.
    """

    def __init__(self, split: Split, weights: np.ndarray, device: torch.device) -> None:
        """weights: W [I, I] float32 in C order, from the consumed item to the scored one."""
        self.weights = torch.from_numpy(weights).to(device)  # [I, I]
        order = np.argsort(split.train_users, kind="stable")
        self.history = torch.from_numpy(split.train_items[order]).to(device)  # [n], by user
        counts = np.bincount(split.train_users, minlength=split.n_users)
        self.counts = torch.from_numpy(counts).to(device)  # [U]
        self.first = self.counts.cumsum(0) - self.counts  # [U] each user's place in ``history``

    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C]."""
        # Adding up whole rows of W, which lie side by side in memory, is faster than picking the
        # candidates' weights out of each row.
        return torch.cat(
            [
                self.score_all(part).gather(1, wanted)
                for part, wanted in zip(users.split(BLOCK), items.split(BLOCK), strict=True)
            ]
        )

    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue."""
        counts = self.counts[users]  # [B]
        offsets = counts.cumsum(0) - counts  # [B] where each user's part of the batch begins
        shift = torch.repeat_interleave(self.first[users] - offsets, counts)
        at = shift + torch.arange(len(shift), device=shift.device)
        return F.embedding_bag(self.history[at], self.weights, offsets, mode="sum")


def co_occurrences(split: Split) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of ``X'X``: how many users consumed both of two items in training.

    Yields:
        A block of items and its counts [<= BLOCK, I] float32 (exact up to 2**24); the diagonal of
        the whole holds each item's number of users.
    """
    ones = np.ones(len(split.train_users), dtype=np.float32)
    pairs = (split.train_users, split.train_items)
    by_user = sparse.csr_array((ones, pairs), shape=(split.n_users, split.n_items))  # X
    by_item = by_user.T.tocsr()
    for start in range(0, split.n_items, BLOCK):
        rows = slice(start, min(start + BLOCK, split.n_items))
        yield rows, (by_item[rows] @ by_user).toarray()


class ItemKNN(LinearItemModel):
    """Each item is scored from its k most similar items. Nothing in it depends on the seed."""

    def __init__(
        self, split: Split, config: ItemKNNConfig, device: torch.device, seed: int = 0
    ) -> None:
        self.config = config
        counts = np.bincount(split.train_items, minlength=split.n_items).astype(np.float64)
        weights = np.zeros((split.n_items, split.n_items), dtype=np.float32)
        for rows, together in co_occurrences(split):
            # s_ij = r_i . r_j / (|r_i| |r_j| + h); one root, so that equal similarities stay equal
            norms = np.sqrt(counts[rows, None] * counts)
            similarity = np.zeros_like(together)
            np.divide(together, norms + config.shrink, out=similarity, where=together > 0)
            similarity[np.arange(len(similarity)), np.arange(rows.start, rows.stop)] = 0.0
            # Row i holds the neighbours of i, from which i is scored: column i of W.
            weights[:, rows] = nearest(similarity, config.neighbours).T
        super().__init__(split, weights, device)


def nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """Rows [b, I] float32, 0 or more, with all but the k largest entries of each set to 0.

    Of equal entries the one with the smaller column is kept, so that no library decides.
    """
    n_items = similarity.shape[1]
    if k >= n_items:
        return similarity
    # Non-negative floats are ordered as their bits are: similarity and column in one integer.
    key = similarity.view(np.int32).astype(np.int64) << 32
    key -= np.arange(n_items)
    kth = np.partition(key, n_items - k, axis=1)[:, n_items - k]  # [b]
    return np.where(key >= kth[:, None], similarity, np.float32(0))
