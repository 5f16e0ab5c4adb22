"""AFM's tables by their ids, and how the command line runs a part of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from replication.papers.afm import attention, experiments
from replication.papers.afm import packing as packing
from replication.papers.afm.rows import row
from replication.papers.common import (
    Part,
    Quick,
    Table,
    describe_data,
    labelled,
    model_named,
    refuse_unknown,
)
from replication.papers.fold_runs import fold_tables
from replication.records import Record

SELECTS = experiments.SELECTS
TUNED = {experiments.TABLE2: "RMSE", experiments.ALTERNATIVES: "RMSE"}
QUICK = Quick("ml-latest-small", ("afm", "libfm", "bias"), experiments.PROTOCOL)
RUNNABLE = experiments.RUN_HERE
REFERENCES: tuple[str, ...] = ()
ALSO_NEEDED: dict[str, tuple[str, Callable[[], Any]]] = {}
FRONT = "replication.papers.afm.pages.table2"
VERDICTS = "replication.papers.afm.pages.verdicts"


def _statistics_again(record: Record, device: torch.device) -> tuple[Record, None]:
    return experiments.statistics(record["dataset"]), None


TABLES = fold_tables(experiments, (experiments.TABLE2, experiments.ALTERNATIVES)) | {
    experiments.TABLE1: Table(
        lambda select, variant: experiments.statistics_grid(),
        lambda variant: experiments.STATISTICS,
        _statistics_again,
    ),
    attention.TABLE: Table(
        lambda select, variant: attention.grid(variant),
        lambda variant: attention.METRICS,
        attention.rerun,
        attention.run,
        attention.data_for,
    ),
}


model_of = partial(model_named, row)


def plan(part: Part) -> list[experiments.Run]:
    """The runs behind a part of Table 2 or of the alternatives."""
    refuse_unknown(part.table, part.protocols, [experiments.PROTOCOL])
    return experiments.plan(part.table, part.datasets, part.models, part.variant, part.seeds)


execute = experiments.run_and_store


def run(part: Part, device: str) -> Iterator[tuple[str, Record, bool]]:
    """Run what is not stored yet; a label, the record and whether it is new, one by one."""
    if part.table == experiments.TABLE1:
        refuse_unknown(part.table, part.datasets, experiments.DATASETS)
        return describe_data(part, experiments.RUN_HERE, experiments.statistics)
    return labelled(execute(plan(part), device))
