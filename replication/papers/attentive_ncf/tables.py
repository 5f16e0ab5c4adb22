"""Attentive NCF's tables by their ids, and how the command line runs a part of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from replication.papers.attentive_ncf import experiments, explanations, newcomers
from replication.papers.attentive_ncf import packing as packing
from replication.papers.attentive_ncf.rows import row
from replication.papers.common import Part, Quick, Table, labelled, model_named, own_table
from replication.papers.fold_runs import fold_tables
from replication.rating_training import METRICS
from replication.records import Record

SELECTS = experiments.SELECTS
TUNED = {experiments.TABLE1: "RMSE", experiments.TABLE2: "RMSE"}
QUICK = Quick("ml-100k", ("simple-ip", "attentive-ip", "constant", "bias"), "kfold-10")
RUNNABLE = tuple(experiments.DATASETS)
REFERENCES: tuple[str, ...] = ()
ALSO_NEEDED: dict[str, tuple[str, Callable[[], Any]]] = {}
FRONT = "replication.papers.attentive_ncf.pages.table2"
VERDICTS = "replication.papers.attentive_ncf.pages.verdicts"

TABLES = fold_tables(experiments, (experiments.TABLE1, experiments.TABLE2)) | {
    experiments.ENSEMBLE: Table(
        lambda select, variant: experiments.ensemble_grid(),
        lambda variant: METRICS,
        experiments.rerun_ensemble,
    ),
    explanations.TABLE: own_table(explanations),
    newcomers.TABLE: own_table(newcomers),
}


model_of = partial(model_named, row)
execute = experiments.run_and_store


def plan(part: Part) -> list[experiments.Run]:
    """The runs behind a part of Table I or II."""
    return experiments.plan(
        part.table,
        part.datasets,
        part.models,
        part.protocols,
        part.select,
        part.variant,
        part.seeds,
    )


def run(part: Part, device: str) -> Iterator[tuple[str, Record, bool]]:
    """Run what is not stored yet; a label, the record and whether it is new, one by one."""
    if part.table == experiments.ENSEMBLE:
        part.only_datasets("averages what other tables stored")
        for dataset in part.datasets or experiments.RUN_HERE:
            yield from experiments.ensembles(dataset, device)
        return
    yield from labelled(execute(plan(part), device))
