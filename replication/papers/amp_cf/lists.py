"""Table 3 of AMP-CF, and what else is measured on the lists behind it.

A record of Table 3 belongs to one run of Table 2: the model that it trained ranks the catalogue,
and the first 30 items that the user has not consumed are measured. Models are kept beside the data
(``paths.MODELS``); where one is missing it is trained again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from replication.compare import Cell
from replication.metrics import lists as list_metrics
from replication.metrics import taste_distance as tdd
from replication.papers.amp_cf import experiments, readings, tastes
from replication.papers.amp_cf.ablations import EQUAL, PROTOCOL, SMALL
from replication.papers.amp_cf.experiments import (
    LENGTH,
    Run,
    data_for,
    kept_lists,
    row_name,
    trained,
)
from replication.papers.amp_cf.rows import row
from replication.papers.common import Stopwatch, measure_missing, refuse_unknown
from replication.records import Record, Store, provenance
from replication.training import resolve_device

TABLE3 = f"{experiments.PAPER}/table3"
METRICS = ("JS", "Hellinger")
# One vector of as many numbers as several personas, which is compared on the small data sets only.
WIDE = tuple(f"mf-{width}" for _, width in EQUAL)
# Variants of Table 2 whose lists are measured too. First settings that no source prints and that
# decide how strong AISP and DiRec are: neither trains anything of its own, so that every data set
# has them, also those on which Table 2 has none. Then personas with the settings that were found
# for one vector, where Table 2 has them: lists of better ranked models may tell another story.
UNTRAINED = ("aisp-unit-length", "radius-0.25")
VARIANTS = (*UNTRAINED, "mf-settings", "mf-settings-no-entropy")
SPACE_SEEDS = 5  # of PCA and K-means: the first is Table 3's, all give its spread


@lru_cache(maxsize=2 * SPACE_SEEDS)
def space_for(dataset: str, protocol: str, seed: int, centred: bool = True) -> tdd.TasteSpace:
    """The taste space of all interactions but the test items."""
    split = experiments.split_for(dataset, protocol).refit()
    return tdd.taste_space(split, seed, centred=centred)


def address(job: Run) -> Record:
    """What the record of a run's lists says of itself before anything was measured."""
    made = job.address()
    return made | {"table": TABLE3, "config": made["config"] | {"list_length": LENGTH}}


def measure(
    job: Run, model: Any, device: torch.device, lists: np.ndarray | None = None
) -> tuple[Record, dict[str, np.ndarray]]:
    """The record of the lists that a model recommends, and the values of single users.

    ``lists`` [U, 30] are those of a model that made them before, else they are made here. The
    record's ``seconds`` are those of the lists, where they are made here, and measures, and of a
    taste space that no other run had made; the training counts in Table 2.
    """
    watch = Stopwatch()
    split, data = job.split().refit(), data_for(job.dataset, job.protocol)
    if lists is None:
        lists = list_metrics.top_lists(model, split, LENGTH, device)
    recommended, consumed = tdd.membership(lists, split.n_items), tdd.history(split)

    def distances(seed: int, similarity: bool = False) -> dict[str, np.ndarray]:
        space = space_for(job.dataset, job.protocol, seed)
        both = [
            tdd.taste_distributions(space, items, similarity) for items in (recommended, consumed)
        ]
        return {
            "JS": tdd.jensen_shannon_printed(*both),
            "Hellinger": tdd.hellinger_printed(*both),
        }

    values = distances(0)
    metrics = {name: float(np.nanmean(value)) for name, value in values.items()}
    for name, value in distances(0, similarity=True).items():
        metrics[f"{name}/similarity"] = float(np.nanmean(value))
    spaces = [distances(seed) for seed in range(SPACE_SEEDS)]
    for name in METRICS:
        means = [np.nanmean(space[name]) for space in spaces]
        metrics[f"{name}/sd over spaces"] = float(np.std(means, ddof=1))
    for centred in (True, False):
        space = space_for(job.dataset, job.protocol, 0, centred)
        metrics |= readings.measured(
            recommended, consumed, space.distances, readings.SPACES[centred]
        )
    for name in METRICS:
        metrics[f"{name}/uncentred"] = metrics[readings.metric(name, "as printed", "uncentred")]
    metrics["coverage"] = list_metrics.coverage(lists, split.n_items)
    values["diversity"] = list_metrics.intra_list_diversity(
        space_for(job.dataset, job.protocol, 0).vectors, lists
    )
    if "genres" in data.item_features:
        genres = list_metrics.genre_shares(data.item_features["genres"])  # [I, G]
        values["miscalibration"] = list_metrics.miscalibration(genres, consumed, recommended)
    for kind, label in tastes.labels(data, space_for(job.dataset, job.protocol, 0)).items():
        shares = tastes.shares(consumed, label), tastes.shares(recommended, label)
        listed = tastes.parts(*shares, tastes.MINORITY[kind])
        values |= {f"{kind}/{part}": value for part, value in listed.items()}
    for name in sorted(values.keys() - set(METRICS)):
        metrics[name] = float(np.nanmean(values[name]))
    extra = watch.told() | {"device": device.type}
    return address(job) | {"metrics": metrics} | extra | provenance(), values


def grid(variant: str = "") -> list[Cell]:
    """The cells of Table 3 or of a variant; no variant but those of ``VARIANTS`` has any.

    Main cells are those of Table 2 under ``loo-random``, and the vectors of ``WIDE``.
    """
    if variant:
        return [
            Cell(TABLE3, row_name(job.model), job.dataset, PROTOCOL, job.select, variant, seeds)
            for job, seeds in _changed(variant).items()
        ]
    main = [
        Cell(TABLE3, c.row, c.dataset, c.protocol, c.select, "", c.seeds_required,
             c.unavailable, c.pending)
        for c in experiments.grid()
        if c.protocol == PROTOCOL
    ]  # fmt: skip
    return main + [
        Cell(TABLE3, row_name(model), dataset, PROTOCOL, "validation", "", row(model).seeds)
        for dataset in SMALL
        for model in WIDE
    ]


def _changed(variant: str) -> dict[Run, int]:
    """The first run of each cell of a variant, and how many seeds the cell needs."""
    if variant not in VARIANTS:
        return {}
    spec = experiments.VARIANTS[variant]
    return {
        Run(dataset, PROTOCOL, model, 0, variant=variant): spec.seeds or row(model).seeds
        for dataset in _datasets(variant)
        for model in spec.models
    }


def _datasets(variant: str) -> list[str]:
    """Where the lists of a variant are measured."""
    if variant in UNTRAINED:
        return list(experiments.RUN_HERE)
    cells = experiments.VARIANTS[variant].cells
    return [dataset for dataset, protocol in cells if protocol == PROTOCOL]


def plan(
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    variant: str = "",
    seeds: int | None = None,
) -> list[Run]:
    """The runs whose lists fill a part of the table or of a variant; None means all.

    Raises:
        ReplicationError: a name that is not known, or a combination that the table has not.
    """
    if variant:
        refuse_unknown(TABLE3, [variant], VARIANTS)
        whole = f"{TABLE3}, {variant},"
        refuse_unknown(whole, datasets, _datasets(variant))
        refuse_unknown(whole, models, experiments.VARIANTS[variant].models)
        refuse_unknown(whole, protocols, [PROTOCOL])
        return [
            replace(job, seed=seed)
            for job, needed in _changed(variant).items()
            if job.dataset in (datasets or [job.dataset]) and job.model in (models or [job.model])
            for seed in range(seeds or needed)
        ]
    jobs = experiments.plan(datasets, models, protocols or [PROTOCOL], seeds=seeds)
    small = [dataset for dataset in datasets or SMALL if dataset in SMALL]
    if models is None and small and PROTOCOL in (protocols or [PROTOCOL]):
        jobs += experiments.plan(small, WIDE, [PROTOCOL], seeds=seeds)
    return jobs


def measure_and_store(
    jobs: Sequence[Run], device: str = "auto", progress: bool = True
) -> Iterator[tuple[Run, Record, bool]]:
    """Measure the lists that are not stored yet, one record after the other.

    Yields:
        The job, the record, and whether it was measured now (True) or was there (False).
    """
    where = resolve_device(device)

    def measured(job: Run) -> tuple[Record, dict[str, np.ndarray]]:
        kept = kept_lists(job, where)
        model = trained(job, where, progress) if kept is None else None
        return measure(job, model, where, kept)

    return measure_missing(jobs, address, Store(TABLE3), measured)


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Train the model behind a stored record again, and measure its lists."""
    job = experiments.job_of(record)
    first, *_ = experiments.run(job, device, config=experiments.config_of(record), resumable=False)
    return measure(job, first.model, device)[0], None
