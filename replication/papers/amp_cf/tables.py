"""AMP-CF's tables by their ids: which cells each has, which metrics, and how a record is remade."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from replication.compare import METRICS, Cell
from replication.data import Interactions
from replication.papers.amp_cf import (
    experiments,
    explanations,
    figure2,
    lists,
    planted,
    users,
)
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
        run: for a table whose records are not runs of Table 2 or 3: runs a part of it (data sets,
            models, seeds, device; None: all) and yields what it was, the record, and whether it
            is new.
        data: the interactions of a data set under a protocol.
    """

    grid: Callable[[str, str], list[Cell]]
    metrics: Callable[[str], Sequence[str]]
    rerun: Callable[[Record, torch.device], tuple[Record, np.ndarray | None]]
    run: Run | None = None
    data: Callable[[str, str], Interactions] = lambda dataset, protocol: experiments.data_for(
        dataset, protocol
    )


def _ranking_metrics(variant: str) -> Sequence[str]:
    # Other rules for ties are tried on the sampled candidates alone.
    sampled_only = bool(variant) and experiments.VARIANTS[variant].ties != "against"
    return [name for name in METRICS if not (sampled_only and name.endswith("/full"))]


TABLES = {
    experiments.TABLE1: Table(
        lambda select, variant: experiments.statistics_grid(),
        lambda variant: experiments.STATISTICS,
        experiments.rerun,
    ),
    experiments.TABLE2: Table(experiments.grid, _ranking_metrics, experiments.rerun),
    lists.TABLE3: Table(
        lambda select, variant: lists.grid(), lambda variant: lists.METRICS, lists.rerun
    ),
    explanations.TABLE: Table(
        lambda select, variant: explanations.grid(variant),
        lambda variant: explanations.METRICS,
        explanations.rerun,
        explanations.run,
    ),
    planted.TABLE: Table(
        lambda select, variant: planted.grid(),
        lambda variant: planted.METRICS,
        planted.rerun,
        planted.run,
        lambda dataset, protocol: planted.planted(dataset)[0],
    ),
    figure2.TABLE: Table(
        lambda select, variant: figure2.grid(),
        lambda variant: figure2.METRICS,
        figure2.rerun,
        figure2.run,
    ),
    users.TABLE: Table(
        lambda select, variant: users.grid(),
        lambda variant: users.METRICS,
        users.rerun,
        users.run,
    ),
}
