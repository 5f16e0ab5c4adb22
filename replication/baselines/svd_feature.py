"""SVDFeature (Chen et al., JMLR 2012, Equation 1), with an item's features on the item's side.

y = mu + sum_g gamma_g b_g + sum_m alpha_m b^u_m + sum_n beta_n b^i_n
       + (sum_m alpha_m p_m) . (sum_n beta_n q_n)

The user's group (alpha) holds the one-hot user, the item's group (beta) the one-hot item and its
feature values, the global group (gamma) nothing: mu + b_u + b_i + sum_f x_f b_f
+ p_u . (q_i + sum_f x_f y_f). Unlike in a factorisation machine, an item's own rows do not interact
with each other. ``mu`` is the toolkit's ``base_score``: given, not trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from replication.baselines.item_rows import Backward, FeatureConfig, FeatureFactors


@dataclass(frozen=True)
class SVDFeatureConfig(FeatureConfig):
    """The choices are inherited."""


class SVDFeature(FeatureFactors):
    """Feature-based matrix factorisation."""

    def interaction(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """[B] p_u . (q_i + sum_f x_f y_f)."""
        return (user * item).sum(1)

    def interaction_and_backward(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Backward]:
        """The same, and the derivative of a product."""

        def backward(changes: Tensor) -> tuple[Tensor, Tensor, None]:
            return item * changes[:, None], user * changes[:, None], None

        return self.interaction(user, item, squares, generator), backward
