"""Facts of single users that no model has made: how diverse their tastes are, and what is held out.

A record of ``amp_cf/users`` belongs to a data set and protocol. Its values say how diverse each
user's history is (all interactions but the test item, as everywhere in Table 3), how long it is,
and what the tastes of the test item make up of it. With them the results of Table 2 can be asked
whether several personas serve minority tastes better (``pages/tastes.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from replication.compare import Cell
from replication.errors import ReplicationError
from replication.metrics import lists as list_metrics
from replication.metrics import taste_distance as tdd
from replication.papers.amp_cf import experiments, lists, tastes
from replication.papers.common import Stopwatch, measure_missing, refuse_unknown
from replication.protocols import ABSENT
from replication.records import Record, Store, provenance, record_address

TABLE = f"{experiments.PAPER}/users"
ROW = "Users"
# What every data set has; where there are genres, a record holds as much of them.
METRICS = (
    "history length",
    "taste distance",
    "held-out/popularity",
    "cluster/held-out",
    "cluster/minority",
    "cluster/largest",
)
SPACE_SEED = 0  # of PCA and K-means, as in Table 3


def address(dataset: str, protocol: str) -> Record:
    """What the record of a data set's users says of itself before anything was measured."""
    data = experiments.data_for(dataset, protocol)
    return record_address(
        TABLE,
        ROW,
        data,
        protocol,
        {"space_seed": SPACE_SEED, "minority": tastes.MINORITY},
    )


def measure(dataset: str, protocol: str) -> tuple[Record, dict[str, np.ndarray]]:
    """The record of a data set's users under a protocol, and the values of single users.

    Values [U], NaN where a user has none:

    - ``history length``: items;
    - ``genre entropy``: of the history's genres, an item's weight divided among its genres (Steck,
      RecSys 2018), in nats;
    - ``taste distance``: mean cosine distance between two items of the history in the taste space;
    - ``held-out/popularity``: users who have the test item in their history;
    - ``genre/held-out``, ``cluster/held-out``: what the test item's taste makes up of the history;
    - ``genre/minority``, ``cluster/minority``: what all minority tastes make up of the history.

    Metrics are their means, and ``genre/largest``, ``cluster/largest``: what the largest taste of
    all makes up of all histories together.
    """
    watch = Stopwatch()
    data = experiments.data_for(dataset, protocol)
    split = experiments.split_for(dataset, protocol).refit()
    space = lists.space_for(dataset, protocol, SPACE_SEED)
    history = tdd.history(split)  # [U, I]
    held = np.flatnonzero(split.test != ABSENT)
    item = split.test[held]

    def of_held(found: np.ndarray) -> np.ndarray:
        everyone = np.full(split.n_users, np.nan)
        everyone[held] = found
        return everyone

    whole: dict[str, float] = {}
    values = {"history length": np.asarray(history.sum(1)).ravel()}
    if "genres" in data.item_features:
        genres = list_metrics.genre_shares(data.item_features["genres"])  # [I, G]
        values["genre entropy"] = tastes.entropy(history, genres)
    values["taste distance"] = tastes.mean_distance(history, space.vectors)
    values["held-out/popularity"] = of_held(np.asarray(history.sum(0)).ravel()[item])
    for kind, label in tastes.labels(data, space).items():
        shares = tastes.shares(history, label)  # [U, T]
        share = np.where(label[item] == ABSENT, np.nan, shares[held, label[item]])
        values[f"{kind}/held-out"] = of_held(share)
        own = tastes.parts(shares, shares, tastes.MINORITY[kind])
        values[f"{kind}/minority"] = own["minority"]
        known = label[split.train_items]
        known = known[known != ABSENT]
        whole[f"{kind}/largest"] = float(np.bincount(known).max() / len(known))
    # As they are stored: a metric is then the mean of the stored values to the last digit.
    values = {name: value.astype(np.float16) for name, value in values.items()}
    metrics = {name: float(np.nanmean(v.astype(np.float64))) for name, v in values.items()}
    extra = {"metrics": metrics | whole} | watch.told()
    return address(dataset, protocol) | extra | provenance(), values


def grid() -> list[Cell]:
    """The cells: one for each data set and protocol of Table 2."""
    places = dict.fromkeys((c.dataset, c.protocol, c.unavailable) for c in experiments.grid())
    return [
        replace(Cell(TABLE, ROW, dataset, protocol, "none", "", 1), unavailable=unavailable)
        for dataset, protocol, unavailable in places
    ]


def measure_and_store(places: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Record, bool]]:
    """Measure the users of data sets under protocols that are not stored yet.

    Yields:
        What it was, the record, and whether it was measured now (True) or was there (False).
    """
    found = measure_missing(
        places, lambda place: address(*place), Store(TABLE), lambda place: measure(*place)
    )
    for (dataset, protocol), record, new in found:
        yield f"{ROW} of {dataset}, {protocol}", record, new


def run(
    datasets: Sequence[str] | None, models: Sequence[str] | None, seeds: int | None, device: str
) -> Iterator[tuple[str, Record, bool]]:
    """What the command line runs: a part of the table, or all of it; the device does not matter.

    Raises:
        ReplicationError: an unknown data set, a model or a number of seeds.
    """
    if models or seeds:
        raise ReplicationError(f"{TABLE} describes users: it takes no --model and no --seeds")
    refuse_unknown(TABLE, datasets, experiments.DATASETS)
    chosen = datasets or experiments.RUN_HERE
    yield from measure_and_store([(d, p) for d in chosen for p in experiments.PROTOCOLS[d]])


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Measure the users of a stored record again."""
    return measure(record["dataset"], record["protocol"])[0], None
