"""Neural factorisation machine (He and Chua, SIGIR 2017).

y(x) = w_0 + sum_j w_j x_j + h^T sigma(W f + b)                         (Eqs. 2, 5, 7)
f = 1/2 [(sum_j x_j v_j)^2 - sum_j (x_j v_j)^2]                         (Eq. 4, bi-interaction)

One hidden layer with a sigmoid, as the AFM paper's Section 4.1.3 says. ``w_0`` is the mean of the
training ratings and is not trained. Without a hidden layer, y has h^T f, and with h = 1 it is a
factorisation machine (He and Chua, Section 3.2).

``h`` is scaled like the weights of ``item_rows.Layer``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from replication.baselines.factorization_machine import bi_interaction
from replication.baselines.item_rows import Backward, FeatureConfig, FeatureFactors, Layer
from replication.errors import ReplicationError
from replication.folds import RatingSplit

ACTIVATIONS = {"sigmoid": torch.sigmoid, "relu": torch.relu, "tanh": torch.tanh}
# Their derivatives, from what came out.
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda out: out * (1 - out),
    "relu": lambda out: (out > 0).to(out.dtype),
    "tanh": lambda out: 1 - out.square(),
}


@dataclass(frozen=True)
class NFMConfig(FeatureConfig):
    """Every choice of the model; the training choices are inherited."""

    scale: float = 0.3  # the network is flat at small factors, and SGD leaves them late; ours
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
        if config.hidden:
            self.layer = Layer(config.dimension, config.hidden)  # W, b
            self.output = nn.Parameter(torch.randn(config.hidden))  # h times the root of its length
        else:
            self.output = nn.Parameter(torch.ones(config.dimension))  # h

    def interaction(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """[B] h^T sigma(W f + b)."""
        assert squares is not None
        pooled = bi_interaction(user, item, squares)  # [B, k], Eq. 4
        pooled = pooled * self._kept(pooled, generator)
        if not self.config.hidden:
            return pooled @ self.output
        hidden = ACTIVATIONS[self.config.activation](self.layer(pooled))  # Eq. 5
        kept = self._kept(hidden, generator)
        return (hidden * kept) @ self.output / self.config.hidden**0.5  # Eq. 6

    def interaction_and_backward(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Backward]:
        """The same, and its step through the hidden layer and the pooling."""
        assert squares is not None
        c = self.config
        pooled = bi_interaction(user, item, squares)  # [B, k], Eq. 4
        kept = self._kept(pooled, generator)
        top = pooled = pooled * kept
        scale = 1.0
        if c.hidden:
            hidden = ACTIVATIONS[c.activation](self.layer(pooled))  # [B, h], Eq. 5
            kept_hidden = self._kept(hidden, generator)
            top, scale = hidden * kept_hidden, c.hidden**-0.5

        def backward(changes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            outer = torch.outer(changes, self.output * scale)  # [B, h]
            self.output.add_(changes @ top, alpha=scale)  # Eq. 6
            if c.hidden:  # Eq. 5
                outer = self.layer.change(
                    pooled, outer * kept_hidden * SLOPES[c.activation](hidden)
                )
            by_pooled = outer * kept  # [B, k]
            return by_pooled * item, by_pooled * (user + item), by_pooled / -2  # Eq. 4

        return top @ self.output * scale, backward

    def _kept(self, values: Tensor, generator: torch.Generator) -> Tensor | float:
        """What inverted dropout multiplies values with: 1, or 0 and 1 / (1 - share)."""
        share = self.config.dropout
        if not (self.training and share):
            return 1.0
        drawn = torch.rand(values.shape, generator=generator, device=values.device)
        return (drawn >= share) / (1 - share)
