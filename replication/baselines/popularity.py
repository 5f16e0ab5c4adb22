"""MostPop: every user gets the most consumed items. The oracle of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from replication.protocols import Split


@dataclass(frozen=True)
class MostPopConfig:
    """Nothing to choose."""


class MostPop:
    """Scores an item by the number of its interactions in the training set."""

    def __init__(self, split: Split, device: torch.device) -> None:
        counts = np.bincount(split.train_items, minlength=split.n_items)
        self.counts = torch.from_numpy(counts).to(device, torch.float32)  # [I]

    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C]."""
        return self.counts[items]

    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue."""
        return self.counts.expand(len(users), -1).clone()
