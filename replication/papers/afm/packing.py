"""Which runs of AFM are packed for another machine, and how one is done.

Those of the models that are trained over epochs are; the others need packages that such a machine
does not have, or take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from replication.errors import ReplicationError
from replication.papers.afm import experiments
from replication.papers.afm.experiments import Run
from replication.papers.afm.rows import BEST, ROWS, row
from replication.papers.common import TRIALS, Job, not_stored
from replication.records import Record, Store

TABLES = (experiments.TABLE2, experiments.ALTERNATIVES)
KINDS = (TRIALS, "run")  # all search trials of a model, one record
READ = (experiments.TUNING, *TABLES)
PAPER = experiments.PAPER


def pending(
    tables: Sequence[str], datasets: Sequence[str] | None, models: Sequence[str] | None
) -> list[Job]:
    """The runs that are not stored, trials first, the main cells before the variants.

    Before a search is complete none of its runs is: it may choose other settings.
    """

    @cache
    def lacks_trials(model: str, dataset: str) -> int:
        return experiments.search(experiments.searched(model, dataset), dataset).lacking()

    found: list[Run] = []
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
        for variant, spec in experiments.VARIANTS.items():
            some = [model for model in chosen if model in spec.models]
            if some and spec.dataset in places:
                runs += experiments.plan(table, [spec.dataset], some, variant)
        waiting = {d for d in places if BEST in chosen and not _reading_is_known(d)}
        runs = [r for r in runs if not (r.model == BEST and r.dataset in waiting)]
        found += not_stored(
            runs, Store(table).keys(), lambda run: not lacks_trials(run.model, run.dataset)
        )
    searches = dict.fromkeys((_tuned_by(r.model, r.dataset), r.dataset) for r in found)
    protocol = experiments.PROTOCOL
    return [
        *(
            Job(TRIALS, dataset, protocol, model, paper=PAPER)
            for model, dataset in searches
            if lacks_trials(model, dataset)
        ),
        *(
            Job("run", r.dataset, protocol, r.model, r.number, variant=r.variant, paper=PAPER)
            for r in found
        ),
    ]


def _tuned_by(model: str, dataset: str) -> str:
    """The model whose trials are packed for a model: ``BEST`` is told by its own name."""
    return BEST if model == BEST else experiments.searched(model, dataset)


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
    tuned_by = _tuned_by(job.model, job.dataset)
    return {tuned_by} if tuned_by == BEST or row(tuned_by).draw is not None else set()


def do(job: Job, device: str) -> tuple[Record, bool]:
    """Its record, and whether something was run for it now."""
    ((_, record, new),) = experiments.run_and_store([run_of(job)], device)
    return record, new
