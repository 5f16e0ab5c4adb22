"""Which runs of AMP-CF are packed for another machine, in which order, and how one is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from replication.compare import Cell, cells
from replication.data import Interactions
from replication.papers.amp_cf import (
    ablations,
    draws,
    experiments,
    explanations,
    figure2,
    lists,
    planted,
    users,
)
from replication.papers.amp_cf.experiments import Run
from replication.papers.amp_cf.rows import row
from replication.papers.common import TRIALS, Job
from replication.records import Record, Store

# What a job of a table is called, in the order in which one needs the other: a run of Table 2, then
# what is measured on the model that it trained; last what needs no run.
KIND_OF = {
    experiments.TABLE2: "run",
    lists.TABLE3: "lists",
    explanations.TABLE: "explanations",
    figure2.TABLE: "figure",
    users.TABLE: "users",
    planted.TABLE: "planted",
    experiments.TABLE1: "statistics",
    draws.TABLE: "draws",
}
TABLES = tuple(KIND_OF)
KINDS = (TRIALS, *KIND_OF.values())  # all search trials of a model come first
# Their jobs name no model of ``rows.ROWS``.
MODEL_FREE = ("users", "planted", "statistics", "draws")
# Tables whose records a job may read.
READ = (experiments.TUNING, experiments.LONGER, *TABLES)
# Data sets and protocols in the order in which the study runs them; what is not named comes last.
PLACES = (
    ("ml-latest-small", "loo-random"),
    ("ml-100k", "loo-random"),
    ("amazon-video-games", "loo-random"),
    ("ml-1m", "loo-random"),
    ("pinterest", "loo-random"),
)
# Models of the ablation studies that Table 2 has no row of: amp-5, mf-128 and so on.
STUDIED = tuple(
    dict.fromkeys(
        line.model
        for study in ablations.STUDIES.values()
        for line in study.lines
        if line.model not in experiments.MODELS
    )
)
MODELS, DATASETS = (*STUDIED, *planted.MODELS), planted.DATASETS  # beside those of the grid
# The epoch chosen on the test items is asked of these models, on the small data sets.
ON_TEST = ("mf", "amp-2", "amp-3", "amp-4", "amp-8")


def study_cells() -> list[Cell]:
    """The cells of the ablation studies that are neither main cells of Table 2 nor variants."""
    places = [
        (line.model, dataset)
        for study in ablations.STUDIES.values()
        for line in study.lines
        if line.model in STUDIED and not line.level
        for dataset in line.datasets
    ]
    return [
        Cell(
            experiments.TABLE2,
            experiments.row_name(model),
            dataset,
            ablations.PROTOCOL,
            "validation",
            seeds_required=row(model).seeds,
        )
        for model, dataset in dict.fromkeys(places)
    ]


def grids() -> dict[str, list[Cell]]:
    """The cells of every table that the pages show, without those that come with a main run.

    Table 2's main cells, its variants, the models of the ablation studies and the cells whose epoch
    is chosen on test items. ``memory``, ``speed`` and ``parity`` are no tables of this kind: they
    describe one machine and are measured by the scripts in ``benchmarks/``.
    """
    variants = ["", *(v for v, spec in experiments.VARIANTS.items() if not spec.rides_along)]
    names = [experiments.row_name(model) for model in ON_TEST]
    return {
        experiments.TABLE2: [
            *(cell for variant in variants for cell in experiments.grid(variant=variant)),
            *study_cells(),
            *(
                cell
                for cell in experiments.grid("test")
                if cell.row in names
                and cell.dataset in ablations.SMALL
                and cell.protocol == ablations.PROTOCOL
            ),
        ],
        lists.TABLE3: [cell for variant in ("", *lists.VARIANTS) for cell in lists.grid(variant)],
        explanations.TABLE: [
            cell for variant in ("", *explanations.VARIANTS) for cell in explanations.grid(variant)
        ],
        figure2.TABLE: figure2.grid(),
        users.TABLE: users.grid(),
        planted.TABLE: planted.grid(),
        experiments.TABLE1: experiments.statistics_grid(),
        draws.TABLE: draws.grid(),
    }


def model_of(cell: Cell) -> str:
    """The model of a cell: ``AMP-5`` -> ``amp-5``; the row itself where it is no model of ours."""
    by_name = {name: model for model, name in experiments.MODELS.items()}
    if KIND_OF[cell.table] in MODEL_FREE:
        return cell.row
    return by_name.get(cell.row, cell.row.lower())


def pending(
    tables: Sequence[str],
    datasets: Sequence[str] | None,
    models: Sequence[str] | None,
    load: Callable[[str], Sequence[Record]] = lambda table: Store(table).load(),
) -> list[Job]:
    """The jobs that fill the cells of tables, as in ``grids``, in order.

    Only the rows of the tables count; None means all. By place as in ``PLACES``; there trials
    before runs before what is measured on them, and models that need three seeds only, which cost
    most, last. ``load`` gives the records of a table.
    """
    every = grids()
    jobs, tuned = [], {}
    for table in tables:
        kind = KIND_OF[table]
        for cell, runs in cells(every[table], load(table)):
            model = model_of(cell)
            wanted = cell.dataset in (datasets or [cell.dataset]) and model in (models or [model])
            if cell.unavailable or not wanted:
                continue
            if kind not in MODEL_FREE:
                tuned[cell.row, cell.dataset] = model
            select = "validation" if cell.select == "none" else cell.select
            jobs += [
                Job(kind, cell.dataset, cell.protocol, model, seed, select, cell.variant)
                for seed in sorted(set(range(cell.seeds_required)) - set(runs))
            ]
    trials = Counter((r["row"], r["dataset"]) for r in load(experiments.TUNING))
    jobs += [
        Job(TRIALS, dataset, experiments.TUNING_PROTOCOL, model)
        for (name, dataset), model in tuned.items()
        if row(model).draw is not None and trials[name, dataset] < experiments.N_TRIALS
    ]
    return sorted(jobs, key=_order)


def _order(job: Job) -> tuple[int, ...]:
    place, models = (job.dataset, job.protocol), [*experiments.MODELS, *MODELS]
    return (
        PLACES.index(place) if place in PLACES else len(PLACES),
        KINDS.index(job.kind),
        job.variant != "",
        job.kind not in MODEL_FREE and row(job.model).seeds < 5,
        [*experiments.DATASETS, *DATASETS].index(job.dataset),
        models.index(job.model) if job.model in models else len(models),
        job.seed,
    )


def run_of(job: Job) -> Run:
    """The run that is packed, or on whose model something is to be measured."""
    return Run(job.dataset, job.protocol, job.model, job.seed, job.select, job.variant)


def label(job: Job) -> str:
    """Short text for messages."""
    if job.kind in MODEL_FREE:
        return f"{job.model} of {job.dataset}, {job.protocol}, seed {job.seed}"
    return f"{'' if job.kind == 'run' else f'{job.kind} of '}{run_of(job).label}"


def data(dataset: str, protocol: str) -> Interactions:
    """The interactions of a data set under a protocol, the made-up ones too."""
    if dataset in planted.DATASETS:
        return planted.planted(dataset)[0]
    return experiments.data_for(dataset, protocol)


def split(dataset: str, protocol: str) -> None:
    """Raise DataUnavailable where the split of the NCF authors is needed and not here."""
    if dataset not in planted.DATASETS:
        experiments.split_for(dataset, protocol)


def needs(job: Job) -> set[str]:
    """The models whose trials must be complete before the job."""
    return set() if job.kind in MODEL_FREE else {job.model, row(job.model).base or job.model}


def do(job: Job, device: str) -> tuple[Record, bool]:
    """Its record, and whether something was run for it now."""
    if job.kind == "statistics":
        record = experiments.statistics(job.dataset)
        return record, Store(experiments.TABLE1).append(record)
    if job.kind == "draws":
        record = draws.measure(job.model, job.dataset, job.seed)
        return record, Store(draws.TABLE).append(record)
    if job.kind == "users":
        ((_, record, new),) = users.measure_and_store([(job.dataset, job.protocol)])
    elif job.kind == "planted":
        ((_, record, new),) = planted.measure_and_store(
            [(job.model, job.dataset, job.seed)], device
        )
    elif job.kind == "figure":
        ((_, record, new),) = figure2.run([job.dataset], None, None, device)
    else:
        measures: dict[str, Callable[..., Iterator[tuple[Run, Record, bool]]]] = {
            "run": experiments.run_and_store,
            "lists": lists.measure_and_store,
            "explanations": explanations.measure_and_store,
        }
        ((_, record, new),) = measures[job.kind]([run_of(job)], device)
    return record, new
