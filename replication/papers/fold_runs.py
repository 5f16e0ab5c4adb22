"""Runs of rating models on folds: what the papers that predict ratings have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from replication import paths
from replication.errors import Diverged
from replication.folds import RatingSplit
from replication.metrics.rating import summary
from replication.papers.common import Addressed, Table, log_uniform, run_missing
from replication.rating_training import (
    METRICS,
    DeviceRatings,
    RatingConfig,
    RatingFit,
    evaluation_generator,
    fit_ratings,
    predict_all,
    rating_range,
)
from replication.records import Record, Store, record_key, source_hash
from replication.training import write_state


@dataclass(frozen=True)
class RatingRow:
    """One rating model of a paper's tables.

    Attributes:
        name: as the paper prints it, or ours.
        start: the configuration before tuning: what the paper prints.
        build: the model from a split, a configuration, a seed and a device: ready to be trained
            where the configuration is a ``RatingConfig``, else ready to predict.
        draw: a trial's departures from ``start``; None where there is nothing to tune.
    """

    name: str
    start: Any
    build: Callable[[RatingSplit, Any, int, torch.device], Any]
    draw: Callable[[np.random.Generator], dict[str, Any]] | None = None

    @property
    def trained(self) -> bool:
        """Trained by gradient steps over epochs, one of which is selected."""
        return isinstance(self.start, RatingConfig)


def fold_tables(study: Any, names: Iterable[str]) -> dict[str, Table]:
    """The tables of a module whose rating models are run on folds.

    Args:
        study: it has ``grid(table, select, variant)``, ``rerun`` and ``derived``.
        names: of the tables.
    """
    return {
        name: Table(
            partial(study.grid, name), lambda variant: METRICS, study.rerun, derive=study.derived
        )
        for name in names
    }


def draw_bias(rng: np.random.Generator) -> dict[str, Any]:
    """From nearly no penalty to one as heavy as a median user's ratings."""
    return {"l2_users": log_uniform(rng, 0.1, 100), "l2_items": log_uniform(rng, 0.1, 100)}


def draw_als(rng: np.random.Generator) -> dict[str, Any]:
    """Ranks 4 to 64; a penalty from a tenth of to ten times the start."""
    return {"rank": round(log_uniform(rng, 4, 64)), "l2": log_uniform(rng, 3.0, 100.0)}


def fitted(
    known: RatingRow, split: RatingSplit, part: str, config: Any, seed: int, device: torch.device
) -> tuple[Any, Record]:
    """A model that is ready once it is built, and a record's part on the errors of its predictions.

    Args:
        known: its row.
        split: its training ratings are used.
        part: "test" or "validation": what is predicted.
        config, seed, device: how, and where.
    """
    started = time.perf_counter()
    model = known.build(split, config, seed, device)
    built = time.perf_counter()
    held = DeviceRatings.of(getattr(split, part), device)
    drawn = evaluation_generator(seed, 0, device)
    metrics = summary(predict_all(model, held, rating_range(split), drawn), held.values)
    return model, {
        "metrics": metrics,
        "epochs": 0,
        "seconds": round(built - started, 2),
        "seconds_test": round(time.perf_counter() - built, 2),
    }


def trained(
    known: RatingRow,
    split: RatingSplit,
    config: RatingConfig,
    seed: int,
    device: torch.device,
    watch: Sequence[str],
    patience: int | None = None,
    last: bool = False,
    keep_predictions: bool = False,
    checkpoint: Path | None = None,
    label: str = "",
    progress: bool = True,
) -> tuple[RatingFit, Record]:
    """A model that is trained over epochs, and a record's part on its test errors.

    The epoch is the best on the first part of ``watch``, or the ``last``; the other arguments are
    those of ``fit_ratings``.
    """
    built: dict[str, float] = {}

    def build() -> Any:
        before = time.perf_counter()
        model = known.build(split, config, seed, device)
        built["seconds"] = time.perf_counter() - before  # pretraining, where it was not kept
        return model

    result = fit_ratings(
        build,
        split,
        config,
        seed,
        device,
        watch,
        patience=patience,
        last=last,
        keep_predictions=keep_predictions,
        checkpoint=checkpoint,
        label=label,
        progress=progress,
    )
    curve = result.curve
    epoch = curve.epoch[-1] if last else curve.best(watch[0])
    return result, {
        "metrics": {metric: curve.errors[f"test {metric}"][epoch - 1] for metric in METRICS},
        "curve": curve.as_dict(),
        "epochs": epoch,
        "parameters": sum(p.numel() for p in result.model.parameters()),
        "seconds": round(result.seconds + built["seconds"], 2),
        "seconds_pretraining": round(built["seconds"], 2),
        "seconds_per_epoch": round(result.seconds / len(curve.epoch), 3),
    }


def failure(error: Diverged, started: float) -> Record:
    """A record's part on a run whose loss was no longer a number: it has no metrics, and says why.

    It is stored, so that it is not begun again, counts as missing, and the pages name it.

    Args:
        error: what stopped it.
        started: when it began, by ``time.perf_counter``.
    """
    seconds = round(time.perf_counter() - started, 2)
    return {"metrics": {}, "failed": str(error), "epochs": 0, "seconds": seconds}


def weights_file(job: Addressed, made_by: str = "") -> Path:
    """Where the weights of a run are kept, named as checkpoints are: by run and by code.

    Args:
        job: the run.
        made_by: hash of the code that trained them; by default the present code.
    """
    return paths.MODELS / f"{record_key(job.address())}-{made_by or source_hash()}.pt"


def kept_or_trained(
    job: Any, build: Callable[[], Any], train: Callable[[], Any], device: torch.device
) -> Any:
    """The model of a run: the one that was kept beside the data, or trained now and kept.

    Kept weights are those of the run's stored record if the same code made them, else those of the
    present code: what is measured of weights of yet other code would not be of that record.

    Args:
        job: the run, which knows its table and its address.
        build: the model before its training, to load the kept weights into.
        train: the model after it.
        device: where the model shall be.
    """
    key = record_key(job.address())
    codes = [r["source"] for r in Store(job.table).load() if r["key"] == key]
    for file in (*(weights_file(job, code) for code in codes), weights_file(job)):
        if file.exists():
            model = build().to(device)
            model.load_state_dict(torch.load(file, map_location=device, weights_only=True))
            return model
    model = train()
    write_state(weights_file(job), model.state_dict())
    for left in paths.CHECKPOINTS.glob(f"{key}-*"):
        left.unlink(missing_ok=True)  # another process may have finished it too
    return model


def run_folds(
    jobs: Iterable[Any],
    search: Callable[[Any], None],
    run: Callable[[Any, torch.device, bool], Any],
    keep: Callable[[Any, Any], None],
    device: torch.device,
    store: Store | None,
    progress: bool,
) -> Iterator[tuple[Any, Record, bool]]:
    """Run what is not stored yet, one record after the other.

    Args:
        jobs: runs that know their table and their address.
        search: says whether the search for its settings is complete.
        run: does one; what it gives has the ``record``.
        keep: writes beside the data what other tables need of a run.
        device: where.
        store: where the records go; None: each to its table. A page that retrains has a store of
            its own and leaves nothing beside the data.
        progress: show bars.

    Yields:
        The job, its record, and whether it was run now (True) or was there (False).
    """

    def store_of(job: Any) -> Store:
        return store or Store(job.table)

    def perform(job: Any) -> Record:
        if store is None:
            search(job)
        finished = run(job, device, progress)
        if store is None:
            keep(job, finished)
        store_of(job).append(finished.record)
        return finished.record

    return run_missing(jobs, lambda job: job.address(), store_of, perform)
