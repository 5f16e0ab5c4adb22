"""Rating models of two kept packages, imported where they are used: Surprise and myfm.

Surprise (Hug 2020, Journal of Open Source Software) with its default parameters is what the
paper's Table I reports; myfm (Ohtsuki) is a Gibbs sampler of factorisation machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from replication.errors import ReplicationError
from replication.folds import RatingSplit

# Table I's names -> classes of the package; a second version of one is told by its options.
ALGORITHMS = {
    "BaselineOnly": "BaselineOnly",
    "SlopeOne": "SlopeOne",
    "KNNBaseline": "KNNBaseline",
    "CoClustering": "CoClustering",
    "SVDpp": "SVDpp",
    "KNNWithMeans": "KNNWithMeans",
    "KNNWithZScore": "KNNWithZScore",
    "SVD": "SVD",
    "KNNBasic": "KNNBasic",
    "NMF": "NMF",
    "NormalPredictor": "NormalPredictor",
}
SEEDED = ("CoClustering", "SVDpp", "SVD", "NMF")  # take a random_state


@dataclass(frozen=True)
class SurpriseConfig:
    """One algorithm with the package's default parameters; the version can change a number."""

    algorithm: str = "BaselineOnly"
    package_version: str = ""


def surprise_version() -> str:
    """The installed version of scikit-surprise, or "" where there is none."""
    return _version("scikit-surprise")


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return ""


class Surprise:
    """An algorithm of the package on our fold; predicts one pair at a time, as the package does.

    Where the package cannot predict, for instance for an unknown user, its own default stands:
    the mean of the training ratings, or what the algorithm makes of the known half.
    """

    def __init__(self, split: RatingSplit, config: SurpriseConfig, seed: int) -> None:
        try:
            import pandas as pd
            import surprise
        except ImportError:
            raise ReplicationError(
                "Table I needs the package scikit-surprise; pip install -e '.[baselines]'"
            ) from None
        train = split.train
        frame = pd.DataFrame({"user": train.users, "item": train.items, "rating": train.values})
        scale = (float(split.levels[0]), float(split.levels[-1]))
        reader = surprise.Reader(rating_scale=scale)
        trainset = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
        options: dict[str, Any] = {}
        if config.algorithm in SEEDED:
            options["random_state"] = seed
        if config.algorithm.startswith("KNN") or config.algorithm == "BaselineOnly":
            options["verbose"] = False
        np.random.seed(seed)  # noqa: NPY002 - NormalPredictor draws from numpy's global state
        self.algorithm = getattr(surprise, ALGORITHMS[config.algorithm])(**options)
        self.algorithm.fit(trainset)

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        pairs = zip(users.tolist(), items.tolist(), strict=True)
        found = [self.algorithm.predict(user, item).est for user, item in pairs]
        return torch.tensor(found, device=users.device)


@dataclass(frozen=True)
class MyFMConfig:
    """Bayesian factorisation by Gibbs sampling (Salakhutdinov and Mnih 2008)."""

    rank: int = 32
    iterations: int = 150
    burn_in: int = 20
    package_version: str = ""


def myfm_version() -> str:
    """The installed version of myfm, or "" where there is none."""
    return _version("myfm")


class MyFM:
    """The mean prediction over the samples after burn-in."""

    def __init__(self, split: RatingSplit, config: MyFMConfig, seed: int) -> None:
        try:
            import myfm
        except ImportError:
            raise ReplicationError(
                "Bayesian factorisation needs the package myfm; pip install -e '.[baselines]'"
            ) from None
        self.sizes = (split.n_users, split.n_items)
        self.model = myfm.MyFMRegressor(rank=config.rank, random_seed=seed)
        train = split.train
        self.model.fit(
            self._features(train.users, train.items),
            train.values.astype(np.float64),
            n_iter=config.iterations,
            n_kept_samples=config.iterations - config.burn_in,
            group_shapes=list(self.sizes),
        )

    def _features(self, users: np.ndarray, items: np.ndarray) -> Any:
        """[n, U + I] one user and one item a row."""
        from scipy.sparse import csr_matrix

        n = len(users)
        columns = np.stack([users, items + self.sizes[0]], axis=1).ravel()
        bounds = np.arange(0, 2 * n + 1, 2)
        return csr_matrix((np.ones(2 * n), columns, bounds), shape=(n, sum(self.sizes)))

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        found = self.model.predict(self._features(users.cpu().numpy(), items.cpu().numpy()))
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(users.device)
