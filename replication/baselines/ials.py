"""iALS: matrix factorisation of implicit feedback by alternating least squares.

The model of Hu, Koren and Volinsky (ICDM 2008), solved by the library ``implicit``, with the
hyper-parameters and their scales as in Rendle et al. (RecSys 2022, "Revisiting the performance of
iALS on item recommendation benchmarks").

Symbols (Rendle et al. -> here): ``W, H`` -> ``users`` [U, d], ``items`` [I, d]; ``S`` the training
pairs; ``alpha_0`` -> ``unobserved_weight``; ``lambda*`` -> ``regularization``; ``sigma*`` ->
``init_std``. Shapes: B users in a batch, C candidate items a user, U users, I items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from replication.errors import ReplicationError
from replication.protocols import Split


@dataclass(frozen=True)
class IALSConfig:
    """Every choice of the model, for the loss of Rendle et al.

    ``sum over S of (y - 1)^2 + alpha_0 sum over all pairs of y^2 + lambda (|W|^2 + |H|^2)``

    The values of alpha_0, lambda* and sigma* are those of their released command for the NCF split
    of MovieLens 1M (github.com/google-research/google-research, ials).
    """

    factors: int = 64  # d of the AMP-CF paper (Section 4.3)
    unobserved_weight: float = 0.3
    # lambda* weighs a user's (item's) norm by the number of terms it has in the loss. The library
    # knows one lambda for all, so the mean over users and items is taken: the scaling to exponent
    # 0 by Rendle et al., which keeps a good lambda* in one range on data of any size.
    regularization: float = 0.007
    iterations: int = 16  # of both sides; Rendle et al.: a good first choice
    init_std: float = 0.1  # of the whole initial vector; each entry has this over sqrt(d)

    def __post_init__(self) -> None:
        if self.factors < 1 or self.iterations < 1:
            raise ReplicationError(
                "iALS needs at least one factor and one iteration, not "
                f"factors={self.factors} and iterations={self.iterations}"
            )
        if not (self.unobserved_weight > 0 and self.regularization > 0 and self.init_std > 0):
            raise ReplicationError(
                "iALS needs unobserved_weight, regularization and init_std above 0, not "
                f"{self.unobserved_weight}, {self.regularization} and {self.init_std}"
            )


class IALS:
    """Scores the dot product of a user's and an item's factors.

    A user without training items, and an item that nobody consumed, have zero factors.
    """

    def __init__(
        self, split: Split, config: IALSConfig, device: torch.device, seed: int = 0
    ) -> None:
        """Trained on the CPU whatever the device; a seed gives the same factors on any number of
        threads.

        Args:
            seed: decides the initial item factors.

        Raises:
            ReplicationError: the library ``implicit`` is not installed.
        """
        try:
            from implicit.cpu.als import AlternatingLeastSquares
            from threadpoolctl import threadpool_limits
        except ImportError:
            raise ReplicationError(
                "iALS needs the library implicit; install it with "
                "`pip install -c requirements.lock -e '.[baselines]'`"
            ) from None
        self.config = config
        confidence, regularization = library_scale(split, config)
        matrix = sparse.csr_matrix(
            (np.full(len(split.train_users), confidence), (split.train_users, split.train_items)),
            shape=(split.n_users, split.n_items),
            dtype=np.float32,
        )
        # A sum over rows that the BLAS shares out among threads depends on their number; each
        # row's own system, which the library shares out, does not.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=config.factors,
                regularization=regularization,
                use_cg=False,  # the exact solution of each row
                iterations=config.iterations,
                num_threads=torch.get_num_threads(),
            )
            # The factors carry the root of what ``library_scale`` multiplies the scores by.
            scale = config.init_std * np.sqrt((1 + config.unobserved_weight) / config.factors)
            rng = np.random.default_rng(seed)
            model.item_factors = rng.normal(0, scale, (split.n_items, config.factors)).astype("f4")
            model.user_factors = np.zeros((split.n_users, config.factors), dtype=np.float32)
            model.fit(matrix, show_progress=False)  # the users' factors first
        self.users = torch.from_numpy(model.user_factors).to(device)  # [U, d]
        self.items = torch.from_numpy(model.item_factors).to(device)  # [I, d]

    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C]."""
        return torch.einsum("bd,bcd->bc", self.users[users], self.items[items])

    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue."""
        return self.users[users] @ self.items.T


def library_scale(split: Split, config: IALSConfig) -> tuple[float, float]:
    """What ``implicit`` is given: the confidence of a training pair, and lambda.

    The library minimises ``sum over all pairs of c (y - p)^2 + lambda (|W|^2 + |H|^2)`` (Hu et al.,
    Eq. 3) with c = 1, p = 0 on an unobserved pair and p = 1 on a training pair. Completing the
    square of Rendle et al.'s two terms for a training pair and dividing by alpha_0 gives
    ``c = 1 + 1 / alpha_0``, ``p = 1 / (1 + alpha_0)`` and ``lambda / alpha_0``; with all scores
    multiplied by ``1 + alpha_0``, p is 1 and lambda is multiplied by it too. No ranking changes.
    """
    alpha = config.unobserved_weight
    # The mean of |I_u| + alpha_0 I over the users and |U_i| + alpha_0 U over the items.
    pairs = len(split.train_users) + alpha * split.n_users * split.n_items
    mean_terms = 2 * pairs / (split.n_users + split.n_items)
    confidence = 1 + 1 / alpha
    return confidence, config.regularization * mean_terms * confidence
