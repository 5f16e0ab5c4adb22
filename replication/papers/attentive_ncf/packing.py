"""Which runs of Attentive NCF are packed for another machine, and how one is done.

Table II is; the baselines of Table I need packages that such a machine does not have. Ensembles are
made where their members were trained, since the members' predictions stay there.
"""

from __future__ import annotations

from collections.abc import Sequence

from replication.errors import ReplicationError
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf.experiments import Run
from replication.papers.attentive_ncf.rows import row
from replication.papers.common import TRIALS, Job, not_stored
from replication.records import Record, Store

TABLES = (experiments.TABLE2,)
# All search trials of a model, a record of Table II, all ensembles whose members are there.
KINDS = (TRIALS, "run", "means")
READ = (experiments.TUNING, experiments.TABLE2, experiments.ENSEMBLE)
PAPER = experiments.PAPER


def pending(
    tables: Sequence[str], datasets: Sequence[str] | None, models: Sequence[str] | None
) -> list[Job]:
    """The runs of Table II and of its variants that are not stored, fold by fold, trials first.

    The models of the main cells come before the variants, and the ensembles last. Before a search
    is complete none of its runs is stored: it may choose other settings.
    """
    chosen = [m for m in experiments.COMBINATIONS if m in (models or experiments.COMBINATIONS)]
    places = [d for d in experiments.RUN_HERE if d in (datasets or experiments.RUN_HERE)]
    if not tables or not chosen or not places:
        return []
    table = experiments.TABLE2
    runs = [
        run
        for select in ("best-epoch", "validation-no-refit")
        for run in experiments.plan(table, places, chosen, None, select)
    ]
    runs.sort(key=lambda run: run.number)
    for variant, spec in experiments.VARIANTS.items():
        some = [model for model in chosen if model in spec.models]
        runs += experiments.plan(table, places, some, variant=variant) if some else []
    lacking = {(m, d): experiments.search(m, d).lacking() for d in places for m in chosen}
    jobs = [
        Job("run", r.dataset, r.protocol, r.model, r.number, r.select, r.variant, paper=PAPER)
        for r in not_stored(
            runs, Store(table).keys(), lambda run: not lacking[run.model, run.dataset]
        )
    ]
    if not jobs:
        return []
    first = [
        Job(TRIALS, dataset, experiments.TUNING_PROTOCOL, model, paper=PAPER)
        for (model, dataset), count in lacking.items()
        if count
    ]
    means = [Job("means", d, experiments.TUNING_PROTOCOL, chosen[0], paper=PAPER) for d in places]
    return [*first, *jobs, *means]


def run_of(job: Job) -> Run:
    """The run that is packed."""
    return Run(job.dataset, job.protocol, job.model, job.seed, job.select, job.variant)


def label(job: Job) -> str:
    """Short text for messages."""
    return f"ensembles on {job.dataset}" if job.kind == "means" else run_of(job).label


def split(dataset: str, protocol: str) -> None:
    """Folds are dealt from the ratings alone: nothing else can be missing."""


def needs(job: Job) -> set[str]:
    """The models whose trials must be complete before the job."""
    return {job.model} if row(job.model).draw is not None else set()


def do(job: Job, device: str) -> tuple[Record, bool]:
    """Its record (of the last ensemble), and whether something was run for it now.

    Raises:
        ReplicationError: no ensemble has all its members here.
    """
    if job.kind == "run":
        ((_, record, new),) = experiments.run_and_store([run_of(job)], device)
        return record, new
    found = [(record, new) for _, record, new in experiments.ensembles(job.dataset, device)]
    if not found:
        raise ReplicationError("no ensemble has all its members on this machine")
    return found[-1][0], any(new for _, new in found)
