"""Splits and candidate sets for leave-one-out ranking, asserted disjoint.

Three protocols hold out one test item a user:

``loo-last``    the user's last item (the paper's text). Where the last time is shared by several
                ratings, the last file row wins (``ties="last"``) or the first (``ties="first"``).
``loo-random``  an item at random (the authors' released code).
``loo-ncf``     the NCF authors' published split of MovieLens 1M, with its 99 negatives a user.

One more item a user is held out for validation in the same manner, from users with at least
three interactions. Each held-out item is ranked among 99 sampled items that the user never
consumed, and among the full catalogue.

``split_seed`` alone decides what is drawn here; a run's own seed never does, so that the seeds of
a model differ in initialisation and sampling only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replication import paths
from replication.data import UNKNOWN_TIME, Interactions
from replication.errors import DataUnavailable, ReplicationError

PROTOCOLS = ("loo-last", "loo-random", "loo-ncf")
N_CANDIDATE_NEGATIVES = 99  # He et al. (2017), Section 4.1; the AMP-CF paper does not print it
# Of the 597,960 published negatives, those that the user did rate: each is the user's test item.
NCF_CONSUMED_NEGATIVES = 156
ABSENT = -1  # no held-out item, or no candidate in this place


@dataclass(frozen=True, eq=False)
class Split:
    """Training pairs, one validation and one test item a user, and their candidates.

    Attributes:
        train_users, train_items: [n] int64, all interactions without validation and test.
        validation, test: [U] int64, item index, or ``ABSENT``.
        validation_negatives, test_negatives: [U, 99] int64, items, or ``ABSENT``.
        n_users, n_items: sizes of the catalogue.
    """

    protocol: str
    n_users: int
    n_items: int
    train_users: np.ndarray
    train_items: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_negatives: np.ndarray
    test_negatives: np.ndarray

    def refit(self) -> Split:
        """The same split with the validation items moved into training."""
        users = np.flatnonzero(self.validation != ABSENT)
        return Split(
            self.protocol,
            self.n_users,
            self.n_items,
            np.concatenate([self.train_users, users]),
            np.concatenate([self.train_items, self.validation[users]]),
            np.full(self.n_users, ABSENT),
            self.test,
            np.full_like(self.validation_negatives, ABSENT),
            self.test_negatives,
        )

    def assert_disjoint(self, consumed_negatives: int = 0) -> None:
        """No held-out item in training, no candidate that the user consumed.

        Raises:
            ReplicationError: naming what leaks and how often. ``consumed_negatives`` is the
                exact number of consumed test negatives that a published split is known to hold.
        """
        train = np.unique(_pairs(self.train_users, self.train_items, self.n_items))
        held = {"validation": self.validation, "test": self.test}
        for name, items in held.items():
            users = np.flatnonzero(items != ABSENT)
            leaked = int(np.isin(_pairs(users, items[users], self.n_items), train).sum())
            if leaked:
                raise ReplicationError(f"{leaked} {name} items are in the training set")
        both = (self.validation == self.test) & (self.test != ABSENT)
        if both.any():
            raise ReplicationError(f"{both.sum()} users have one item for validation and test")
        everything = [train]
        for items in held.values():
            users = np.flatnonzero(items != ABSENT)
            everything.append(_pairs(users, items[users], self.n_items))
        consumed = np.unique(np.concatenate(everything))
        for name, negatives, allowed in (
            ("validation", self.validation_negatives, 0),
            ("test", self.test_negatives, consumed_negatives),
        ):
            user, place = np.nonzero(negatives != ABSENT)
            pairs = _pairs(user, negatives[user, place], self.n_items)
            found = int(np.isin(pairs, consumed).sum())
            if found != allowed:
                raise ReplicationError(
                    f"{found} {name} negatives are items that the user consumed; "
                    f"{allowed} were expected"
                )


def make_split(
    data: Interactions, protocol: str, split_seed: int = 0, ties: str = "last", clean: bool = False
) -> Split:
    """Split a data set by one of ``PROTOCOLS``.

    Args:
        data: filtered interactions (unfiltered for ``loo-ncf``, whose indices cover everything).
        protocol: see the module's text.
        split_seed: decides held-out items and candidates.
        ties: for ``loo-last``, which of several ratings at the last time is held out.
        clean: for ``loo-ncf``, leave out the published negatives that the user did rate.

    Raises:
        ReplicationError: unknown protocol, a protocol that does not fit the data set, a leak.
    """
    if protocol not in PROTOCOLS:
        raise ReplicationError(f"unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
    rng = np.random.default_rng(split_seed)
    counts = np.bincount(data.users, minlength=data.n_users)
    if protocol == "loo-last" and (data.timestamps == UNKNOWN_TIME).any():
        raise ReplicationError(
            f"loo-last needs every timestamp, and {(data.timestamps == UNKNOWN_TIME).sum()} of "
            f"this copy of {data.name} are unknown; use loo-random or, on ml-1m, loo-ncf"
        )
    by_chance = rng.permutation(len(data))
    row = np.arange(len(data)) * (1 if ties == "last" else -1)
    # The key by which a user's interactions are ordered: the largest is held out first.
    if protocol == "loo-random":
        order = np.lexsort((by_chance, data.users))
    elif protocol == "loo-last":
        order = np.lexsort((row, data.timestamps, data.users))
    else:
        official = read_ncf_split(data)
        # Validation: the latest of the rest where its time is known; else one at random.
        partly = np.zeros(data.n_users, dtype=bool)
        rest = ~np.isin(
            _pairs(data.users, data.items, data.n_items),
            _pairs(np.arange(data.n_users), official.test, data.n_items),
        )
        np.logical_or.at(partly, data.users[rest], data.timestamps[rest] == UNKNOWN_TIME)
        time = np.where(partly[data.users], by_chance, data.timestamps)
        order = np.lexsort((row, time, ~rest, data.users))
    last = np.cumsum(counts) - 1  # [U] place in `order` of each user's last interaction
    test_rows = order[last[counts >= 2]]
    validation_rows = order[last[counts >= 3] - 1]

    test = np.full(data.n_users, ABSENT)
    test[data.users[test_rows]] = data.items[test_rows]
    validation = np.full(data.n_users, ABSENT)
    validation[data.users[validation_rows]] = data.items[validation_rows]
    train = np.ones(len(data), dtype=bool)
    train[test_rows] = train[validation_rows] = False

    consumed = np.zeros((data.n_users, data.n_items), dtype=bool)
    consumed[data.users, data.items] = True
    validation_negatives = sample_negatives(consumed, validation != ABSENT, rng)
    leaks = 0
    if protocol == "loo-ncf":
        if not np.array_equal(test, official.test):
            raise ReplicationError("the NCF split's test items are not those held out here")
        test_negatives = official.negatives
        rated = consumed[np.arange(data.n_users)[:, None], test_negatives]
        if rated.sum() != NCF_CONSUMED_NEGATIVES:
            raise ReplicationError(
                f"the NCF split should hold {NCF_CONSUMED_NEGATIVES} negatives that the user "
                f"rated, but {rated.sum()} were found"
            )
        leaks = NCF_CONSUMED_NEGATIVES
        if clean:
            test_negatives = np.where(rated, ABSENT, test_negatives)
            leaks = 0
    else:
        test_negatives = sample_negatives(consumed, test != ABSENT, rng)
    split = Split(
        protocol,
        data.n_users,
        data.n_items,
        data.users[train],
        data.items[train],
        validation,
        test,
        validation_negatives,
        test_negatives,
    )
    split.assert_disjoint(leaks)
    return split


def sample_negatives(
    consumed: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """99 distinct items a user, uniformly from those that the user never consumed.

    Args:
        consumed: [U, I] bool.
        wanted: [U] bool, users that need candidates.

    Returns:
        [U, 99] int64; ``ABSENT`` for users that need none and in the last places of a user who
        has not left 99 items unconsumed.
    """
    n_users, n_items = consumed.shape
    width = N_CANDIDATE_NEGATIVES
    negatives = np.full((n_users, width), ABSENT)
    for start in range(0, n_users, 512):  # blocks of users: never a dense float matrix
        block = slice(start, start + 512)
        keys = rng.random(consumed[block].shape, dtype=np.float32)
        keys[consumed[block]] = 2.0  # behind everything that may be drawn
        if n_items > width:
            drawn = np.argpartition(keys, width, axis=1)[:, :width]
        else:
            drawn = np.argsort(keys, axis=1)
        free = np.take_along_axis(keys, drawn, axis=1) < 2.0
        drawn = np.where(free & wanted[block, None], drawn, ABSENT)
        negatives[block, : drawn.shape[1]] = drawn
    return negatives


@dataclass(frozen=True)
class NCFSplit:
    """The NCF authors' test items [U] and negatives [U, 99], as item indices."""

    test: np.ndarray
    negatives: np.ndarray


def read_ncf_split(data: Interactions) -> NCFSplit:
    """Read the published split of MovieLens 1M (He et al. 2017).

    Raises:
        DataUnavailable: its files are not here.
        ReplicationError: the data set is not the unfiltered MovieLens 1M, or a file is broken.
    """
    if data.name != "ml-1m" or data.n_items != 3_706:
        raise ReplicationError("loo-ncf is a split of the unfiltered ml-1m; use another protocol")
    folder = paths.RAW / "ncf-ml-1m"
    try:
        rating_lines = (folder / "ml-1m.test.rating").read_text().splitlines()
        negative_lines = (folder / "ml-1m.test.negative").read_text().splitlines()
    except FileNotFoundError:
        raise DataUnavailable(
            f"the NCF split is not in {folder}; run `python -m replication data ncf-ml-1m` first"
        ) from None
    try:
        pairs = np.array([line.split("\t")[:2] for line in rating_lines], dtype=np.int64)
        negatives = np.array([line.split("\t")[1:] for line in negative_lines], dtype=np.int64)
    except ValueError:  # a line that is cut short, or no number
        pairs = negatives = np.empty((0, 2), dtype=np.int64)
    shapes = (pairs.shape, negatives.shape)
    if (
        shapes != ((data.n_users, 2), (data.n_users, N_CANDIDATE_NEGATIVES))
        or not np.array_equal(pairs[:, 0], np.arange(data.n_users))
        or min(pairs[:, 1].min(), negatives.min()) < 0
        or max(pairs[:, 1].max(), negatives.max()) >= data.n_items
    ):
        raise ReplicationError(
            f"the NCF split should hold one test item and {N_CANDIDATE_NEGATIVES} negatives below "
            f"{data.n_items} for each of {data.n_users} users, but its files in {folder} do not; "
            "delete them and run `python -m replication data ncf-ml-1m`"
        )
    return NCFSplit(pairs[:, 1], negatives)


def _pairs(users: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """One number a (user, item) pair."""
    return np.asarray(users) * n_items + items
