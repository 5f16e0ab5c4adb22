"""Categorical item features as numbers: sets of values that models can look up.

Shapes: I items, F features, V values of the item that has the most of any feature, N distinct
values of all features together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FeatureTable:
    """What is known of each item: for every feature a set of values, which may be empty.

    Attributes:
        names: [F] the features, for instance ``("genre", "director")``.
        values: [I, F, V] int64, indices 0..N-1 of the values; 0 where ``present`` is False.
        present: [I, F, V] bool, whether there is a value in this place. The places that are
            filled come first.
        vocabulary: [N] the values as text, grouped by feature.
        feature_of: [N] int64, which feature a value belongs to.
    """

    names: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray
    vocabulary: tuple[str, ...]
    feature_of: np.ndarray

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.values)

    @property
    def n_values(self) -> int:
        """N."""
        return len(self.vocabulary)
