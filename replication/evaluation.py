"""Rank each user's held-out item with a model, in blocks of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from replication.metrics.ranking import NO_RANK, rank_of_target
from replication.protocols import ABSENT, Split


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


@torch.no_grad()
def rank_catalogue(model: Ranker, held: HeldOut, block: int = 128) -> np.ndarray:
    """[U] uint16, rank of each held-out item among all items that the user did not consume."""
    ranks = np.full(held.n_users, NO_RANK, dtype=np.uint16)
    for start in range(0, len(held.users), block):
        at = slice(start, start + block)
        users = held.users[at]
        scores = model.score_all(users)  # [B, I]
        consumed = held.consumed[held.bounds[start] : held.bounds[start + len(users)]]
        scores.view(-1)[consumed - start * held.n_items] = -torch.inf
        rank = rank_of_target(scores, held.items[at, 0])
        ranks[users.cpu().numpy()] = rank.cpu().numpy()
    return ranks
