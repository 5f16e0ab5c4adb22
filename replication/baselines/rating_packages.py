"""Rating models of two kept packages, imported where they are used: Surprise and myfm.

Surprise (Hug 2020, Journal of Open Source Software) with its default parameters is what the
paper's Table I reports; myfm (Ohtsuki) is a Gibbs sampler of factorisation machines.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from replication.baselines.item_rows import ItemRows
from replication.errors import ReplicationError
from replication.folds import RatingSplit
from replication.training import later

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
# The package's defaults of what papers tune, for the pages; a test holds them to the package.
DEFAULTS: dict[str, dict[str, float]] = {
    "BaselineOnly": {"n_epochs": 10, "reg_u": 15, "reg_i": 10},  # alternating least squares
    "SVD": {"n_factors": 100, "n_epochs": 20, "lr_all": 0.005, "reg_all": 0.02},
    "SVDpp": {"n_factors": 20, "n_epochs": 20, "lr_all": 0.007, "reg_all": 0.02},
}
SEEDED = ("CoClustering", "SVDpp", "SVD", "NMF")  # take a random_state


@dataclass(frozen=True)
class SurpriseConfig:
    """One algorithm, with the package's default parameters where nothing else is said.

    The version of the package can change a number.
    """

    algorithm: str = "BaselineOnly"
    package_version: str = ""
    random_state: int | None = later(None)  # None: the seed of the run
    # Of what is factorised; None: the package's own default.
    n_factors: int | None = later(None)
    n_epochs: int | None = later(None)
    biased: bool | None = later(None)
    lr_all: float | None = later(None)  # rate and penalty of all that is learned
    reg_all: float | None = later(None)


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

    Of a user or movie without training ratings the package's own default stands: what
    BaselineOnly, SVD, SVD++ and KNNBaseline make of the known half; of all others, and where both
    are unknown, the mean of the training ratings, but for NormalPredictor, which draws as ever.
    """

    def __init__(self, split: RatingSplit, config: SurpriseConfig, seed: int) -> None:
        """Numbers depend on the order of the training ratings; the package steps through them.

        Raises:
            ReplicationError: the package is missing.
        """
        try:
            import pandas as pd
            import surprise
        except ImportError:
            raise ReplicationError(
                "this model needs the package scikit-surprise; pip install -e '.[baselines]'"
            ) from None
        if config.random_state is not None:
            seed = config.random_state
        train = split.train
        frame = pd.DataFrame({"user": train.users, "item": train.items, "rating": train.values})
        scale = (float(split.levels[0]), float(split.levels[-1]))
        reader = surprise.Reader(rating_scale=scale)
        trainset = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
        options = {
            name: value
            for name in ("n_factors", "n_epochs", "biased", "lr_all", "reg_all")
            if (value := getattr(config, name)) is not None
        }
        if config.algorithm in SEEDED:
            options["random_state"] = seed
        if config.algorithm.startswith("KNN") or config.algorithm == "BaselineOnly":
            options["verbose"] = False
        if config.algorithm == "SVDpp":
            options["cache_ratings"] = True  # faster, the same steps: no part of the configuration
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


def _import_myfm() -> Any:
    """The package myfm.

    Version 0.4.0 imports two names from ``pkg_resources`` and never uses them; a setuptools of
    today has no such module. It gets one while it is imported.

    Raises:
        ReplicationError: the package is not installed.
    """
    stands_in = find_spec("pkg_resources") is None
    if stands_in:
        stand_in: Any = ModuleType("pkg_resources")
        stand_in.DistributionNotFound, stand_in.get_distribution = PackageNotFoundError, version
        sys.modules["pkg_resources"] = stand_in
    try:
        import myfm
    except ImportError:
        raise ReplicationError(
            "Bayesian factorisation needs the package myfm; pip install -e '.[baselines]'"
        ) from None
    finally:
        if stands_in:
            del sys.modules["pkg_resources"]
    return myfm


class MyFM:
    """The mean prediction over the samples after burn-in.

    The numbers of a user or movie without training ratings are drawn from the prior of its group,
    which the others' ratings have shaped: their mean is an average user's or movie's.
    """

    def __init__(self, split: RatingSplit, config: MyFMConfig, seed: int) -> None:
        myfm = _import_myfm()
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


@dataclass(frozen=True)
class MyFMFeaturesConfig(MyFMConfig):
    """The same with item features: the companion of the AFM paper's row LibFM."""

    rank: int = 64  # AFM paper, Section 4.1.3
    weighting: str = "mean"  # as in ``FeatureConfig``


class MyFMFeatures:
    """A factorisation machine of one-hot user, one-hot item and the item's feature values.

    Its posterior is sampled; users, items and each feature have priors of their own. The package
    gets an item's columns once, not with every rating.
    """

    def __init__(self, split: RatingSplit, config: MyFMFeaturesConfig, seed: int) -> None:
        """Raises ReplicationError where the package is missing."""
        from scipy.sparse import csr_matrix

        self.package = _import_myfm()
        rows = ItemRows(split.features, split.n_items, config.weighting)
        bounds = np.concatenate([[0], np.cumsum(rows.count.numpy())])
        weight = rows.weight.numpy().astype(np.float64)
        shape = (split.n_items, rows.n_rows)
        self.item_columns = csr_matrix((weight, rows.rows.numpy(), bounds), shape=shape)
        self.n_users = split.n_users
        groups = [split.n_users, split.n_items]
        if split.features is not None:
            groups[1:1] = np.bincount(split.features.feature_of).tolist()
        self.model = self.package.MyFMRegressor(rank=config.rank, random_seed=seed)
        train = split.train
        self.model.fit(
            self._users(train.users),
            train.values.astype(np.float64),
            X_rel=self._items(train.items),
            n_iter=config.iterations,
            n_kept_samples=config.iterations - config.burn_in,
            group_shapes=[size for size in groups if size],
        )

    def _users(self, users: np.ndarray) -> Any:
        """[n, U] one user a row."""
        from scipy.sparse import csr_matrix

        n = len(users)
        return csr_matrix((np.ones(n), users, np.arange(n + 1)), shape=(n, self.n_users))

    def _items(self, items: np.ndarray) -> list[Any]:
        """Which row of ``item_columns`` each rating has."""
        return [self.package.RelationBlock(items.tolist(), self.item_columns)]

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        found = self.model.predict(
            self._users(users.cpu().numpy()), self._items(items.cpu().numpy())
        )
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(users.device)
