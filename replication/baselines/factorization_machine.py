"""A factorisation machine trained by SGD (Rendle, ICDM 2010; LibFM: Rendle, ACM TIST 2012).

y(x) = w_0 + sum_j w_j x_j + sum_{j < j'} (v_j . v_j') x_j x_j'        (Rendle 2012, Eq. 1)

with x the one-hot user, the one-hot item and the item's feature values. The double sum is
1/2 sum_f [(sum_j v_jf x_j)^2 - sum_j (v_jf x_j)^2]                     (Rendle 2010, Lemma 3.1)

``w_0`` is the mean of the training ratings and is not trained; LibFM trains it from zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from replication.baselines.item_rows import Backward, FeatureConfig, FeatureFactors


@dataclass(frozen=True)
class FactorizationMachineConfig(FeatureConfig):
    """The choices are inherited."""


def bi_interaction(user: Tensor, item: Tensor, squares: Tensor) -> Tensor:
    """[B, k] sum over all pairs of rows of the product of their factors.

    Args:
        user: [B, k] factors of the user, who is one row of weight 1.
        item: [B, k] weighted sum of the factors of the item's rows.
        squares: [B, k] sum of the squares of the item's weighted factors.
    """
    # With s = user + item and q = user^2 + squares: (s^2 - q) / 2, where the user's square is gone.
    return user * item + (item.square() - squares) / 2  # Rendle 2010, Lemma 3.1


class FactorizationMachine(FeatureFactors):
    """Second order; users, items and values share the factors' dimensions."""

    squares = True

    def interaction(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """[B] the double sum."""
        assert squares is not None
        return bi_interaction(user, item, squares).sum(1)

    def interaction_and_backward(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Backward]:
        """The same, and the derivative of the lemma."""

        def backward(changes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            column = changes[:, None]
            return item * column, (user + item) * column, column / -2

        return self.interaction(user, item, squares, generator), backward
