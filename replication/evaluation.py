"""Rank each user's held-out item with a model, in blocks of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from replication.metrics.ranking import NO_RANK, rank_of_target
from replication.protocols import ABSENT, Split

BLOCK = 128  # users who score the catalogue at once


class Ranker(Protocol):
    """What a model must offer to be ranked with."""

    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C] for users [B]."""

    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B]."""


@dataclass(frozen=True)
class HeldOut:
    """One held-out item a user with its candidates, on the device.

    Attributes:
        users: [E] users that have a held-out item.
        items: [E, 1 + 99] the held-out item, then the negatives (0 where absent).
        valid: [E, 1 + 99] bool, False where a negative is absent.
        consumed: [n] flat positions user_row * n_items + item of the users' other items, which
            full-catalogue ranking leaves out; sorted by user_row.
        bounds: [E + 1] where each user's part of ``consumed`` begins.
        n_users, n_items: sizes.
    """

    users: Tensor
    items: Tensor
    valid: Tensor
    consumed: Tensor
    bounds: np.ndarray
    n_users: int
    n_items: int


def held_out(split: Split, which: str, device: torch.device) -> HeldOut:
    """The ``"validation"`` or ``"test"`` items of a split as tensors.

    Validation items are ranked as if the test item were unknown: it stays in the catalogue.
    Test items are ranked with the validation item left out, as the user consumed it.
    """
    target = getattr(split, which)
    users = np.flatnonzero(target != ABSENT)
    negatives = getattr(split, f"{which}_negatives")[users]
    items = np.concatenate([target[users, None], negatives], axis=1)
    row = np.full(split.n_users, ABSENT)
    row[users] = np.arange(len(users))
    seen_users, seen_items = split.train_users, split.train_items
    if which == "test":
        extra = np.flatnonzero(split.validation != ABSENT)
        seen_users = np.concatenate([seen_users, extra])
        seen_items = np.concatenate([seen_items, split.validation[extra]])
    rows = row[seen_users]
    flat = np.sort((rows * split.n_items + seen_items)[rows != ABSENT])
    bounds = np.searchsorted(flat, np.arange(len(users) + 1) * split.n_items)
    return HeldOut(
        torch.from_numpy(users).to(device),
        torch.from_numpy(np.where(items == ABSENT, 0, items)).to(device),
        torch.from_numpy(items != ABSENT).to(device),
        torch.from_numpy(flat).to(device),
        bounds,
        split.n_users,
        split.n_items,
    )


@torch.no_grad()
def rank_candidates(model: Ranker, held: HeldOut, block: int = 512) -> np.ndarray:
    """[U] uint16, rank of each held-out item among its sampled candidates."""
    ranks = np.full(held.n_users, NO_RANK, dtype=np.uint16)
    first = torch.zeros(block, dtype=torch.long, device=held.users.device)
    for start in range(0, len(held.users), block):
        at = slice(start, start + block)
        users = held.users[at]
        scores = model.score_candidates(users, held.items[at])  # [B, 100]
        rank = rank_of_target(scores, first[: len(users)], held.valid[at])
        ranks[users.cpu().numpy()] = rank.cpu().numpy()
    return ranks


def rank_catalogue(model: Ranker, held: HeldOut, block: int = BLOCK) -> np.ndarray:
    """[U] uint16, rank of each held-out item among all items that the user did not consume."""
    return rank_and_list(model, held, 0, block)[0]


@torch.no_grad()
def rank_and_list(
    model: Ranker, held: HeldOut, length: int, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """What ``rank_catalogue`` gives, and lists of the best items, from the same scores.

    Returns:
        [U] uint16 and [U, L] int32, as ``best_items`` lists them; a user without a held-out item
        is not scored and has neither.
    """
    ranks = np.full(held.n_users, NO_RANK, dtype=np.uint16)
    lists = np.full((held.n_users, length), ABSENT, dtype=np.int32)
    for start in range(0, len(held.users), block):
        at = slice(start, start + block)
        users = held.users[at]
        scores = model.score_all(users)  # [B, I]
        consumed = held.consumed[held.bounds[start] : held.bounds[start + len(users)]]
        consumed = consumed - start * held.n_items
        if length:
            lists[users.cpu().numpy()] = best_items(scores, consumed, length).cpu().numpy()
        scores.view(-1)[consumed] = -torch.inf
        rank = rank_of_target(scores, held.items[at, 0])
        ranks[users.cpu().numpy()] = rank.cpu().numpy()
    return ranks, lists


def best_items(scores: Tensor, consumed: Tensor, length: int) -> Tensor:
    """[B, L] int64, the items with the highest scores that a user has not consumed.

    Of items with equal scores those with the smaller index come first. Where a user has fewer than
    L items left, the last places are ``ABSENT``. A score of NaN counts as the lowest.

    Args:
        scores: [B, I], left as they are.
        consumed: [n] flat positions in ``scores``.
        length: L.
    """
    scores = scores.nan_to_num(nan=-torch.inf)
    scores.view(-1)[consumed] = -torch.inf
    # A stable sort is what keeps equal scores in the order of the items; topk promises none.
    best, at = scores.sort(dim=1, descending=True, stable=True)
    kept = min(length, scores.shape[1])
    lists = torch.full((len(scores), length), ABSENT, device=scores.device)
    lists[:, :kept] = at[:, :kept].masked_fill(best[:, :kept] == -torch.inf, ABSENT)
    return lists
