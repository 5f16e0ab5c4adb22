"""What the tables of all papers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from replication.compare import Cell
from replication.data import Interactions
from replication.errors import ReplicationError
from replication.records import Record

Run = Callable[
    [Sequence[str] | None, Sequence[str] | None, int | None, str],
    Iterator[tuple[str, Record, bool]],
]


@dataclass(frozen=True)
class Table:
    """What a page and the command line need to know of a table.

    Attributes:
        grid: its cells, for a way to select and a variant ("" for the main cells).
        metrics: what is reported, for a variant.
        rerun: runs a stored record again: the new record, and its ranks where it has any.
        run: for a table whose records are not runs of the paper's grid: runs a part of it (data
            sets, models, seeds, device; None: all) and yields what it was, the record, and
            whether it is new.
        data: the interactions of a data set under a protocol, where the paper's ``data_for`` does
            not give them.
        derive: the stored records and those that follow from them without a run.
    """

    grid: Callable[[str, str], list[Cell]]
    metrics: Callable[[str], Sequence[str]]
    rerun: Callable[[Record, torch.device], tuple[Record, np.ndarray | None]]
    run: Run | None = None
    data: Callable[[str, str], Interactions] | None = None
    derive: Callable[[Iterable[Record]], list[Record]] = list


@dataclass(frozen=True)
class Job:
    """One piece of work that is packed for another machine.

    Attributes:
        kind: one of the paper's ``packing.KINDS``: "trials" (all search trials of the model), "run"
            (a record), or what the paper makes of its runs.
        dataset, protocol, model, seed, select, variant: as in the paper's ``experiments.Run``.
        data_hash: content of the data where the job was packed; None where they were not at hand.
        paper: the folder of the paper.
    """

    kind: str
    dataset: str
    protocol: str
    model: str
    seed: int = 0
    select: str = "validation"
    variant: str = ""
    data_hash: str | None = None
    paper: str = "amp_cf"


@dataclass(frozen=True)
class Quick:
    """A real case of a paper that two cores retrain in about a minute."""

    dataset: str
    models: tuple[str, ...]
    protocol: str
    seeds: int = 1


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A value of a search trial between two ends, to three digits."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def whole_number(name: str, value: Any) -> int | None:
    """A parameter that counts something; None where it was not given.

    Raises:
        ReplicationError: no whole number of at least 1.
    """
    if value is not None and (type(value) is not int or value < 1):
        raise ReplicationError(f"{name} should be a whole number of at least 1, not {value!r}")
    return value
