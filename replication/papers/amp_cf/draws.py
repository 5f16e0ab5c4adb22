"""Table 1 over the draws that the paper leaves open: which users, which test items.

``amp_cf/draws`` has the statistics of Table 1 under each of ``READINGS``: other draws of
Pinterest's users and of the test items, one example in a thousand left out, and the test items
that the authors' released code draws. The page of Table 1 says with it which of the printed
numbers a draw explains.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from replication import paths
from replication.compare import Cell
from replication.data import Interactions, filter_rare, load, pinterest
from replication.papers.amp_cf import experiments
from replication.papers.common import measure_missing, refuse, refuse_unknown
from replication.protocols import make_split
from replication.records import Record, Store, provenance, record_address

TABLE = f"{experiments.PAPER}/draws"
PROTOCOL = "loo-random"
METRICS = experiments.STATISTICS
RELEASED_SEED = 123  # RND_SEED of the released notebook
KEPT = 0.999  # the share of examples that Table 1 counts, as found on its page


@dataclass(frozen=True)
class Reading:
    """One way to get the statistics of Table 1.

    Attributes:
        seeds: data set -> how many seeds; the seed of a record draws what is not fixed here.
        sample: which users of Pinterest: "fixed" (those of the study), "drawn" or "lowest ids".
        min_of_user: users with fewer ratings are dropped.
        released: draw the test items as the released code does, and count only the users and
            items of training, as it does.
        test_seed: of the test items; None: the record's seed.
        share: of the training examples that are kept, drawn at random; the catalogue stays.
    """

    seeds: Mapping[str, int] = field(default_factory=dict)
    sample: str = "fixed"
    min_of_user: int = 2
    released: bool = False
    test_seed: int | None = None
    share: float = 1.0

    @property
    def config(self) -> Record:
        """What a record says of it."""
        return {k: v for k, v in asdict(self).items() if k != "seeds"}


_SPLIT = ("ml-latest-small", "ml-1m", "amazon-video-games")
_AMAZON = "amazon-video-games"
TESTS, USERS, LOWEST = "other test items", "other users and test items", "the users of lowest id"
RELEASED = "the released code's test items"
THREE = f"{RELEASED}, users of three ratings or more"
THREE_KEPT = f"{THREE}, 99.9 % of the examples"
OTHER_SEEDS = f"{THREE}, other seeds"
# The draw itself first: it is what a printed number is held against.
READINGS = {
    TESTS: Reading(dict.fromkeys(_SPLIT, 5)),
    USERS: Reading({pinterest.NAME: 10}, sample="drawn"),
    LOWEST: Reading({pinterest.NAME: 1}, sample="lowest ids"),
    "99.9 % of the examples": Reading(dict.fromkeys(_SPLIT, 5) | {pinterest.NAME: 1}, share=KEPT),
    RELEASED: Reading(dict.fromkeys(_SPLIT, 1), released=True, test_seed=RELEASED_SEED),
    THREE: Reading({_AMAZON: 1}, min_of_user=3, released=True, test_seed=RELEASED_SEED),
    THREE_KEPT: Reading(
        {_AMAZON: 1}, min_of_user=3, released=True, test_seed=RELEASED_SEED, share=KEPT
    ),
    OTHER_SEEDS: Reading({_AMAZON: 10}, min_of_user=3, released=True),
}
DATASETS = tuple(dict.fromkeys(name for reading in READINGS.values() for name in reading.seeds))


def released_tests(data: Interactions, seed: int) -> np.ndarray:
    """[U] int64, row of the test item of each user, as the released code draws it.

    It numbers users and items in the order of their first appearance, and takes for one user
    after the other ``random.sample`` of the user's items, of which there is one row each.
    """
    users, items = pd.factorize(data.users)[0], pd.factorize(data.items)[0]  # [n]
    order = np.lexsort((items, users))  # [n] rows, user by user
    counts = np.bincount(users)  # [U]
    starts = np.cumsum(counts) - counts
    # One call a user, in this order: only Python's own generator gives its numbers.
    generator = random.Random(seed)
    places = [generator.sample(range(count), k=1)[0] for count in counts.tolist()]
    return np.asarray(order[starts + np.array(places)])


@lru_cache(maxsize=1)  # a reading's seeds follow each other
def _filtered(dataset: str, sample: str, min_of_user: int, seed: int) -> Interactions:
    if sample == "fixed":
        data = load(dataset)
    else:
        data = pinterest.load(paths.RAW, seed if sample == "drawn" else None)
    return filter_rare(data, min_of_user=min_of_user)


def examples(dataset: str, reading: Reading, seed: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """The training examples under a reading.

    Returns:
        users, items: [n] int64, indices below the next two.
        n_users, n_items: sizes of the catalogue.
    """
    drawn = seed if reading.sample == "drawn" else 0
    data = _filtered(dataset, reading.sample, reading.min_of_user, drawn)
    n_users, n_items = data.n_users, data.n_items
    if reading.released:
        keep = np.ones(len(data), dtype=bool)
        keep[released_tests(data, seed if reading.test_seed is None else reading.test_seed)] = False
        ids, users = np.unique(data.users[keep], return_inverse=True)
        item_ids, items = np.unique(data.items[keep], return_inverse=True)
        n_users, n_items = len(ids), len(item_ids)
    else:
        split = make_split(data, PROTOCOL, seed).refit()  # all but the test item of each user
        users, items = split.train_users, split.train_items
    if reading.share < 1:
        rng = np.random.default_rng([seed, 1])
        kept = rng.choice(len(users), int(reading.share * len(users)), replace=False)
        users, items = users[kept], items[kept]
    return users, items, n_users, n_items


def address(row: str, dataset: str, seed: int) -> Record:
    """What the record says of itself before anything was counted.

    Its data are those of the study, from whose files the reading draws.
    """
    data = experiments.data_for(dataset, PROTOCOL)
    return record_address(
        TABLE,
        row,
        data,
        PROTOCOL,
        READINGS[row].config,
        seed=seed,
    )


def measure(row: str, dataset: str, seed: int) -> Record:
    """The record of one reading of a data set with one seed."""
    found = experiments.example_statistics(*examples(dataset, READINGS[row], seed))
    return address(row, dataset, seed) | {"metrics": found} | provenance()


def grid() -> list[Cell]:
    """Each reading on each of its data sets."""
    return [
        Cell(TABLE, row, dataset, PROTOCOL, "none", "", seeds)
        for row, reading in READINGS.items()
        for dataset, seeds in reading.seeds.items()
    ]


def run(
    datasets: Sequence[str] | None, models: Sequence[str] | None, seeds: int | None, device: str
) -> Iterator[tuple[str, Record, bool]]:
    """Count what is not stored yet, or the part of it that is asked for.

    Yields:
        What it is, the record, and whether it was counted now (True) or was there (False).

    Raises:
        ReplicationError: a data set that the table has not, or a model.
    """
    refuse(TABLE, "has statistics of data sets", model=models)
    refuse_unknown(TABLE, datasets, DATASETS)
    cases = [
        (cell.row, cell.dataset, seed)
        for cell in grid()
        if cell.dataset in (datasets or DATASETS)
        for seed in range(min(seeds or cell.seeds_required, cell.seeds_required))
    ]
    found = measure_missing(
        cases, lambda case: address(*case), Store(TABLE), lambda case: (measure(*case), None)
    )
    for (row, dataset, seed), record, new in found:
        yield f"{row}, {dataset}, seed {seed}", record, new


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Count a stored record again."""
    return measure(record["row"], record["dataset"], record["seed"]), None
