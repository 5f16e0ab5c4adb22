"""EASE^R: a linear autoencoder over items in closed form (Steck, WWW 2019).

Symbols as in the paper: ``X`` [U, I] the binary training matrix, ``G = X'X``, ``P`` the inverse of
``G + lambda I``, ``B`` [I, I] the item weights with zero diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import lapack

from replication.baselines.item_knn import BLOCK, LinearItemModel, co_occurrences
from replication.errors import ReplicationError
from replication.protocols import Split


@dataclass(frozen=True)
class EASEConfig:
    """The one choice of the model."""

    l2: float = 500.0  # lambda; Steck (2019, Section 5): MovieLens 20M

    def __post_init__(self) -> None:
        if not self.l2 > 0:
            raise ReplicationError(f"EASE^R needs a positive l2, not {self.l2}")


class EASE(LinearItemModel):
    """Scores ``X B`` with the B that reconstructs X best. Nothing in it depends on the seed."""

    def __init__(
        self, split: Split, config: EASEConfig, device: torch.device, seed: int = 0
    ) -> None:
        """Computed on the CPU whatever the device.

        Raises:
            ReplicationError: ``l2`` is so small that the matrix is singular in single precision.
        """
        self.config = config
        super().__init__(split, item_weights(split, config.l2), device)


def item_weights(split: Split, l2: float) -> np.ndarray:
    """B [I, I] float32 of Eq. 8, in the memory of one such matrix.

    Raises:
        ReplicationError: see ``EASE``.
    """
    gram = np.empty((split.n_items, split.n_items), dtype=np.float32)
    for rows, together in co_occurrences(split):
        gram[rows] = together
    gram[np.diag_indices_from(gram)] += np.float32(l2)
    # LAPACK wants columns first: the transpose of a symmetric matrix is itself, without a copy.
    # Its lower triangle, where factor and inverse overwrite G, is the upper one of ``gram``.
    factor, failed = lapack.spotrf(gram.T, lower=True, clean=False, overwrite_a=True)
    if not failed:
        inverse, failed = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed:
        raise ReplicationError(
            f"EASE^R cannot invert its matrix in single precision with l2={l2:g}; use a larger l2"
        )
    weights = inverse.T  # P, upper triangle; the same memory as ``gram``
    for start in range(0, split.n_items, BLOCK):
        rows = slice(start, start + BLOCK)
        weights[rows, :start] = weights[:start, rows].T
        square = weights[rows, rows]
        square[:] = np.triu(square) + np.triu(square, 1).T
    weights /= -np.diag(weights)  # Eq. 8: B_ij = -P_ij / P_jj for i != j
    np.fill_diagonal(weights, 0.0)  # Eq. 8: B_jj = 0
    return weights
