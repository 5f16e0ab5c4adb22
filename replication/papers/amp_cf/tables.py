"""AMP-CF's tables by their ids: which cells each has, which metrics, and how a record is remade."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from replication.compare import METRICS
from replication.papers.amp_cf import (
    draws,
    experiments,
    explanations,
    figure2,
    lists,
    planted,
    users,
)
from replication.papers.amp_cf import packing as packing
from replication.papers.common import (
    Part,
    Quick,
    Table,
    describe_data,
    labelled,
    own_table,
    refuse,
    whole_number,
)
from replication.records import Record

SELECTS = (*experiments.SELECTS, experiments.VALIDATION_NO_REFIT)
TUNED = {experiments.TABLE2: "NDCG@10"}
QUICK = Quick("ml-100k", ("amp-2", "mf", "mostpop"), "loo-random")
RUNNABLE = experiments.RUN_HERE
REFERENCES = ("MostPop",)
ALSO_NEEDED: dict[str, tuple[str, Callable[[], Any]]] = {
    "ncf-ml-1m": (
        "the NCF authors' split of ml-1m",
        lambda: experiments.split_for("ml-1m", "loo-ncf"),
    )
}
FRONT = "replication.papers.amp_cf.pages.table2"
VERDICTS = "replication.papers.amp_cf.pages.verdicts"


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
    draws.TABLE: own_table(draws),
    experiments.TABLE2: Table(experiments.grid, _ranking_metrics, experiments.rerun),
    lists.TABLE3: Table(
        lambda select, variant: lists.grid(variant), lambda variant: lists.METRICS, lists.rerun
    ),
    explanations.TABLE: Table(
        lambda select, variant: explanations.grid(variant),
        lambda variant: explanations.METRICS,
        explanations.rerun,
        explanations.run,
    ),
    planted.TABLE: own_table(planted, lambda dataset, protocol: planted.planted(dataset)[0]),
    figure2.TABLE: own_table(figure2),
    users.TABLE: own_table(users),
}


def model_of(given: Mapping[str, Any]) -> str | None:
    """The model with the number of personas that a page is asked for; 1 is plain MF."""
    personas = whole_number("personas", given.get("personas"))
    return None if personas is None else "mf" if personas == 1 else f"amp-{personas}"


def plan(part: Part) -> list[experiments.Run]:
    """The runs behind a part of Table 2."""
    return experiments.plan(
        part.datasets, part.models, part.protocols, part.select, part.variant, part.seeds
    )


execute = experiments.run_and_store


def run(part: Part, device: str) -> Iterator[tuple[str, Record, bool]]:
    """Run what is not stored yet; a label, the record and whether it is new, one by one."""
    if part.table == experiments.TABLE1:
        return describe_data(part, experiments.RUN_HERE, experiments.statistics)
    if part.table == lists.TABLE3:
        refuse(part.table, "has lists of one way to select", select=part.select != SELECTS[0])
        listed = lists.plan(part.datasets, part.models, part.protocols, part.variant, part.seeds)
        return labelled(lists.measure_and_store(listed, device))
    return labelled(execute(plan(part), device))
