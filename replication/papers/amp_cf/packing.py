"""Which runs of AMP-CF are packed for another machine, in which order, and how one is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from replication.compare import cells
from replication.papers.amp_cf import experiments, lists
from replication.papers.amp_cf.experiments import Run
from replication.papers.amp_cf.rows import row
from replication.papers.common import TRIALS, Job
from replication.records import Record, Store

TABLES = (experiments.TABLE2, lists.TABLE3)
# In the order in which one needs the other: all search trials of a model, a record of Table 2, one
# of Table 3.
KINDS = (TRIALS, "run", "lists")
READ = (experiments.TUNING, *TABLES)  # tables whose records a job may read
# Data sets and protocols in the order in which the study runs them; what is not named comes last.
PLACES = (
    ("ml-latest-small", "loo-random"),
    ("ml-100k", "loo-random"),
    ("amazon-video-games", "loo-random"),
    ("ml-1m", "loo-random"),
    ("pinterest", "loo-random"),
)


def pending(
    tables: Sequence[str], datasets: Sequence[str] | None, models: Sequence[str] | None
) -> list[Job]:
    """The jobs that fill the cells of tables, variants of Table 2 included, in order.

    Only the rows of the tables count; None means all. By place as in ``PLACES``; there trials
    before runs before lists, and models that need three seeds only, which cost most, last.
    """
    by_name = {name: model for model, name in experiments.MODELS.items()}
    variants = ["", *(v for v, spec in experiments.VARIANTS.items() if not spec.rides_along)]
    grids = {
        experiments.TABLE2: [c for v in variants for c in experiments.grid(variant=v)],
        lists.TABLE3: lists.grid(),
    }
    jobs, tuned = [], {}
    for table in tables:
        kind = "run" if table == experiments.TABLE2 else "lists"
        for cell, runs in cells(grids[table], Store(table).load()):
            model = by_name.get(cell.row, cell.row.lower())  # "AMP-5" of a variant
            wanted = cell.dataset in (datasets or [cell.dataset]) and model in (models or [model])
            if cell.unavailable or not wanted:
                continue
            tuned[cell.row, cell.dataset] = model
            select = "validation" if cell.select == "none" else cell.select
            jobs += [
                Job(kind, cell.dataset, cell.protocol, model, seed, select, cell.variant)
                for seed in sorted(set(range(cell.seeds_required)) - set(runs))
            ]
    trials = Counter((r["row"], r["dataset"]) for r in Store(experiments.TUNING).load())
    jobs += [
        Job(TRIALS, dataset, experiments.TUNING_PROTOCOL, model)
        for (name, dataset), model in tuned.items()
        if row(model).draw is not None and trials[name, dataset] < experiments.N_TRIALS
    ]
    return sorted(jobs, key=_order)


def _order(job: Job) -> tuple[int, ...]:
    place, models = (job.dataset, job.protocol), list(experiments.MODELS)
    return (
        PLACES.index(place) if place in PLACES else len(PLACES),
        KINDS.index(job.kind),
        job.variant != "",
        row(job.model).seeds < 5,
        list(experiments.DATASETS).index(job.dataset),
        models.index(job.model) if job.model in models else len(models),
        job.seed,
    )


def run_of(job: Job) -> Run:
    """The run that is packed, or whose lists are to be measured."""
    return Run(job.dataset, job.protocol, job.model, job.seed, job.select, job.variant)


def label(job: Job) -> str:
    """Short text for messages."""
    return f"{'lists of ' if job.kind == 'lists' else ''}{run_of(job).label}"


def split(dataset: str, protocol: str) -> None:
    """Raise DataUnavailable where the split of the NCF authors is needed and not here."""
    experiments.split_for(dataset, protocol)


def needs(job: Job) -> set[str]:
    """The models whose trials must be complete before the job."""
    return {job.model, row(job.model).base or job.model}


def do(job: Job, device: str) -> tuple[Record, bool]:
    """Its record, and whether something was run for it now."""
    execute = lists.measure_and_store if job.kind == "lists" else experiments.run_and_store
    ((_, record, new),) = execute([run_of(job)], device)
    return record, new
