"""Matrix factorisation with biases, trained by gradient steps (Koren et al. 2009, Equation 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.folds import RatingSplit
from replication.rating_training import RatingConfig


@dataclass(frozen=True)
class RatingMFConfig(RatingConfig):
    """The training choices are inherited."""

    dimension: int = 32
    scale: float = 0.05  # sd of the factors at the start


class RatingMF(nn.Module):
    """mu + b_u + b_i + p_u . q_i with squared error; mu is the mean of the training ratings.

    A user or movie without training ratings has bias 0 and the vector that it began with, which
    weight decay shrinks.
    """

    def __init__(self, split: RatingSplit, config: RatingMFConfig) -> None:
        super().__init__()
        self.mean = float(split.train.values.mean(dtype="float64"))
        self.users = nn.Parameter(torch.randn(split.n_users, config.dimension) * config.scale)
        self.items = nn.Parameter(torch.randn(split.n_items, config.dimension) * config.scale)
        self.user_bias = nn.Parameter(torch.zeros(split.n_users, 1))
        self.item_bias = nn.Parameter(torch.zeros(split.n_items, 1))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Ratings [B]."""
        product = (F.embedding(users, self.users) * F.embedding(items, self.items)).sum(1)
        biases = F.embedding(users, self.user_bias) + F.embedding(items, self.item_bias)  # [B, 1]
        return self.mean + biases[:, 0] + product

    def loss(
        self, users: Tensor, items: Tensor, ratings: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error of ratings [B]."""
        return F.mse_loss(self(users, items), ratings)

    @torch.no_grad()
    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        return self(users, items)
