"""Neural factorisation machine (He and Chua, SIGIR 2017).

y(x) = w_0 + sum_j w_j x_j + h^T sigma(W f + b)                         (Eqs. 2, 5, 7)
f = 1/2 [(sum_j x_j v_j)^2 - sum_j (x_j v_j)^2]                         (Eq. 4, bi-interaction)

One hidden layer with a sigmoid, as the AFM paper's Section 4.1.3 says. ``w_0`` is the mean of the
training ratings and is not trained. Without a hidden layer, y has h^T f, and with h = 1 it is a
factorisation machine (He and Chua, Section 3.2).

The layers' weights are of unit variance and divided by the root of their inputs' number where they
are used (Jacot et al. 2018): the same functions and the same start as with Glorot's weights, but
SGD stays stable at rates that the embeddings need, whose rows are in few batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from replication.baselines.factorization_machine import bi_interaction
from replication.baselines.item_rows import FeatureConfig, FeatureFactors
from replication.errors import ReplicationError
from replication.folds import RatingSplit

ACTIVATIONS = {"sigmoid": torch.sigmoid, "relu": torch.relu, "tanh": torch.tanh}


@dataclass(frozen=True)
class NFMConfig(FeatureConfig):
    """Every choice of the model; the training choices are inherited."""

    activation: str = "sigmoid"  # AFM paper, Section 4.1.3; He and Chua: ReLU
    hidden: int = 64  # units of the hidden layer, as many as factors; 0: no hidden layer
    dropout: float = 0.0  # of f and of the hidden layer while training; tuned

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise ReplicationError(
                f"unknown activation {self.activation!r}; use {', '.join(ACTIVATIONS)}"
            )
        if not 0 <= self.dropout < 1 or self.hidden < 0:
            raise ReplicationError(
                f"dropout must be in [0, 1) and hidden 0 or more, not {self.dropout:g} and "
                f"{self.hidden}"
            )


class NFM(FeatureFactors):
    """A network on top of the pooled pairwise interactions."""

    squares = True
    config: NFMConfig

    def __init__(self, split: RatingSplit, config: NFMConfig) -> None:
        super().__init__(split, config)
        k, hidden = config.dimension, config.hidden
        if hidden:
            self.weight = nn.Parameter(torch.randn(hidden, k))  # W times the root of k
            self.bias = nn.Parameter(torch.zeros(hidden))  # b
            self.output = nn.Parameter(torch.randn(hidden))  # h times the root of its length
        else:
            self.output = nn.Parameter(torch.ones(k))

    def interaction(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """[B] h^T sigma(W f + b)."""
        assert squares is not None
        pooled = self._drop(bi_interaction(user, item, squares), generator)  # [B, k], Eq. 4
        if not self.config.hidden:
            return pooled @ self.output
        weight = self.weight / self.config.dimension**0.5
        hidden = ACTIVATIONS[self.config.activation](pooled @ weight.T + self.bias)  # Eq. 5
        return self._drop(hidden, generator) @ self.output / self.config.hidden**0.5  # Eq. 6

    def _drop(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Inverted dropout."""
        share = self.config.dropout
        if not (self.training and share):
            return values
        drawn = torch.rand(values.shape, generator=generator, device=values.device)
        return values * (drawn >= share) / (1 - share)
