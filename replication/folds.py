"""Folds for rating prediction: every rating is in exactly one test fold.

``kfold-N``       each user's ratings are shuffled and dealt to N folds in turn, from a random
                  start: every fold has a like share of each user, and a user with fewer than N
                  ratings is in as many folds as he has ratings.
``kfold-N-plain`` the ratings are shuffled and cut into N parts, whoever gave them: exactly the
                  folds of the package scikit-surprise with ``split_seed`` as its ``random_state``,
                  whose benchmarks can so be reached.

``split_seed`` alone decides what is drawn here; a run's own seed never does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from replication.data import Interactions
from replication.errors import ReplicationError
from replication.item_features import FeatureTable

INNER_FOLDS = 10  # the inner validation is one of ten folds of the training ratings
_PROTOCOL = re.compile(r"kfold-([1-9]\d*)(-plain)?")


@dataclass(frozen=True)
class Ratings:
    """Some ratings: users, items [n] int64, values [n] float32."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def take(self, chosen: np.ndarray) -> Ratings:
        """Those at some rows (indices, or [n] bool)."""
        return Ratings(self.users[chosen], self.items[chosen], self.values[chosen])


@dataclass(frozen=True)
class RatingSplit:
    """One fold: what is trained on, what chooses the epoch, what is tested on.

    Attributes:
        protocol, fold: which fold of which protocol.
        n_users, n_items: sizes of the catalogue.
        levels: [L] float32, the different rating values of the data set, ascending.
        train, validation, test: disjoint; ``validation`` is empty unless it was asked for.
        features: of the items, for the models that use any.
    """

    protocol: str
    fold: int
    n_users: int
    n_items: int
    levels: np.ndarray
    train: Ratings
    validation: Ratings
    test: Ratings
    features: FeatureTable | None = None

    def assert_disjoint(self, n_ratings: int) -> None:
        """No pair in two parts, and the parts together are all ratings.

        Raises:
            ReplicationError: naming what leaks or lacks, and how often.
        """
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        pairs = {name: part.users * self.n_items + part.items for name, part in parts.items()}
        for one, other in (
            ("training", "validation"),
            ("training", "test"),
            ("validation", "test"),
        ):
            shared = len(np.intersect1d(pairs[one], pairs[other]))
            if shared:
                raise ReplicationError(f"{shared} ratings are in both {one} and {other}")
        found = sum(len(part) for part in parts.values())
        if found != n_ratings:
            raise ReplicationError(f"the split holds {found} ratings, but there are {n_ratings}")


def parse(protocol: str) -> tuple[int, bool]:
    """Number of folds, and whether they are dealt within each user.

    Raises:
        ReplicationError: not the name of such a protocol.
    """
    match = _PROTOCOL.fullmatch(protocol)
    if match is None or int(match[1]) < 2:
        raise ReplicationError(
            f"unknown protocol {protocol!r}; use kfold-N or kfold-N-plain with N of at least 2"
        )
    return int(match[1]), match[2] is None


def deal(users: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """[n] int64, the fold of each rating: each user's are shuffled and dealt in turn.

    The first card of a user goes to a random fold: users with few ratings would else fill the
    first folds.
    """
    n_users = int(users.max()) + 1 if len(users) else 0
    start = rng.integers(n_folds, size=n_users)
    shuffled = rng.permutation(len(users))
    order = shuffled[np.argsort(users[shuffled], kind="stable")]  # by user, then by chance
    counts = np.bincount(users, minlength=n_users)
    first = np.cumsum(counts) - counts
    by_user = users[order]
    folds = np.empty(len(users), dtype=np.int64)
    folds[order] = (np.arange(len(users)) - first[by_user] + start[by_user]) % n_folds
    return folds


def make_folds(data: Interactions, protocol: str, split_seed: int = 0) -> np.ndarray:
    """[n] int64, the test fold of every rating of a data set.

    Raises:
        ReplicationError: unknown protocol, fewer ratings than folds, a pair that is rated twice
            (one of the two could be in training and the other in the test).
    """
    n_folds, within_users = parse(protocol)
    if len(data) < n_folds:
        raise ReplicationError(f"{protocol} needs {n_folds} ratings, but {data.name} has fewer")
    twice = len(data) - len(np.unique(data.users * data.n_items + data.items))
    if twice:
        raise ReplicationError(f"{twice} ratings of {data.name} are of a pair that is there twice")
    rng = np.random.default_rng([split_seed, n_folds])
    if within_users:
        folds = deal(data.users, n_folds, rng)
    else:
        order = np.arange(len(data))
        np.random.RandomState(split_seed).shuffle(order)  # the generator of the package
        folds = np.empty(len(data), dtype=np.int64)
        for fold, part in enumerate(np.array_split(order, n_folds)):
            folds[part] = fold
    found = np.bincount(folds, minlength=n_folds)
    if len(found) != n_folds or found.min() == 0:
        raise ReplicationError(f"{protocol} left a fold of {data.name} without ratings")
    return folds


def make_rating_split(
    data: Interactions,
    protocol: str,
    fold: int,
    inner: bool = False,
    split_seed: int = 0,
    folds: np.ndarray | None = None,
) -> RatingSplit:
    """One fold of a data set.

    Args:
        data: the ratings.
        protocol: see the module's text.
        fold: which fold is tested on.
        inner: also take a tenth of each user's training ratings as validation.
        split_seed: decides what is dealt.
        folds: [n] as from ``make_folds``, where it is at hand.

    Raises:
        ReplicationError: unknown protocol or fold, a leak.
    """
    n_folds, _ = parse(protocol)
    if not 0 <= fold < n_folds:
        raise ReplicationError(f"{protocol} has folds 0 to {n_folds - 1}, not {fold}")
    folds = make_folds(data, protocol, split_seed) if folds is None else folds
    everything = Ratings(data.users, data.items, data.ratings)
    train, test = everything.take(folds != fold), everything.take(folds == fold)
    validation = train.take(np.zeros(len(train), dtype=bool))
    if inner:
        train, validation = hold_out(train, np.random.default_rng([split_seed, n_folds, 1 + fold]))
    levels = np.unique(data.ratings)
    split = RatingSplit(protocol, fold, data.n_users, data.n_items, levels, train, validation, test)
    split.assert_disjoint(len(data))
    return split


def hold_out(ratings: Ratings, rng: np.random.Generator) -> tuple[Ratings, Ratings]:
    """Nine tenths of each user's ratings, and the tenth that is held out."""
    inner = deal(ratings.users, INNER_FOLDS, rng)
    return ratings.take(inner != 0), ratings.take(inner == 0)


def bagged(split: RatingSplit, bag: int, split_seed: int = 0) -> RatingSplit:
    """A fold whose training ratings lack one of ten inner folds, which is its validation.

    The test ratings stay the same for all bags, and nobody trains on them.
    """
    rng = np.random.default_rng([split_seed, INNER_FOLDS, split.fold, 1_000])
    inner = deal(split.train.users, INNER_FOLDS, rng)
    n_ratings = len(split.train) + len(split.test)
    made = replace(
        split, train=split.train.take(inner != bag), validation=split.train.take(inner == bag)
    )
    made.assert_disjoint(n_ratings)
    return made
