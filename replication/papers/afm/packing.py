"""Which runs of AFM are packed for another machine, and how one is done.

Those of the models that are trained over epochs are; the others need packages that such a machine
does not have, or take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from replication.errors import ReplicationError
from replication.papers.afm import experiments
from replication.papers.afm.experiments import Run
from replication.papers.afm.rows import BEST, ROWS, row
from replication.papers.common import TRIALS, Job
from replication.records import Record, Store

TABLES = (experiments.TABLE2, experiments.ALTERNATIVES)
KINDS = (TRIALS, "run")  # all search trials of a model, one record
READ = (experiments.TUNING, *TABLES)
PAPER = experiments.PAPER


def pending(
    tables: Sequence[str], datasets: Sequence[str] | None, models: Sequence[str] | None
) -> list[Job]:
    """The runs that are not stored, trials first, the main cells before the variants."""
    jobs = []
    for table in tables:
        chosen = [
            model
            for model, known in ROWS.items()
            if known.trained
            and f"{PAPER}/{known.table}" == table
            and (models is None or model in models)
        ]
        places = [d for d in experiments.RUN_HERE if datasets is None or d in datasets]
        if not chosen or not places:
            continue
        offered = {
            (cell.row, cell.dataset) for cell in experiments.grid(table) if not cell.unavailable
        }
        if not any((row(m).name, d) in offered for m in chosen for d in places):
            continue
        runs = experiments.plan(table, places, chosen)
        if table == experiments.TABLE2:
            for variant, spec in experiments.VARIANTS.items():
                some = [model for model in chosen if model in spec.models]
                if some and spec.dataset in places:
                    runs += experiments.plan(table, [spec.dataset], some, variant)
        stored = {
            tuple(record[name] for name in ("row", "dataset", "variant", "seed"))
            for record in Store(table).load()
        }
        waiting = {d for d in places if BEST in chosen and not _reading_is_known(d)}
        jobs += [
            Job(
                "run",
                r.dataset,
                experiments.PROTOCOL,
                r.model,
                r.number,
                variant=r.variant,
                paper=PAPER,
            )
            for r in runs
            if not (r.model == BEST and r.dataset in waiting)
            and (experiments.row_name(r.model), r.dataset, r.variant, r.number) not in stored
        ]
    wanted = dict.fromkeys((job.model, job.dataset) for job in jobs)
    first = [
        Job(TRIALS, dataset, experiments.PROTOCOL, model, paper=PAPER)
        for model, dataset in wanted
        if experiments.search(experiments.searched(model, dataset), dataset).lacking()
    ]
    return [*first, *jobs]


def _reading_is_known(dataset: str) -> bool:
    """Whether all readings of AFM have been searched, so that one of them is ``BEST``."""
    try:
        experiments.reading(dataset)
    except ReplicationError:
        return False
    return True


def run_of(job: Job) -> Run:
    """The run that is packed."""
    return Run(job.dataset, job.model, job.seed, job.variant)


def label(job: Job) -> str:
    """Short text for messages."""
    return run_of(job).label


def split(dataset: str, protocol: str) -> None:
    """Folds are dealt from the ratings alone: nothing else can be missing."""


def needs(job: Job) -> set[str]:
    """The models whose trials must be complete before the job."""
    return {job.model} if job.model == BEST or row(job.model).draw is not None else set()


def do(job: Job, device: str) -> tuple[Record, bool]:
    """Its record, and whether something was run for it now."""
    ((_, record, new),) = experiments.run_and_store([run_of(job)], device)
    return record, new
