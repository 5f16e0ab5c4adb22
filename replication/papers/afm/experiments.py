"""AFM: the grid of its tables, and how a cell is run.

Tables: ``afm/table1`` (the data), ``afm/table2`` (the models), ``afm/alternatives`` (AFM as the
paper leaves it open) and, behind them, ``afm/tuning`` (the search trials, on an inner split of
fold 0, the paper's first).

A run is one fold; its number stands where other tables have the seed, and is the seed. Of a fold's
training ratings a tenth of each user's chooses the epoch, since the paper describes no choice; the
models without epochs learn from the other nine tenths too, so that all know the same. The variant
``refit`` says what that tenth is worth.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from replication import paths
from replication.compare import Cell
from replication.data import Interactions, douban, load, load_tags, omdb
from replication.errors import Diverged, ReplicationError
from replication.folds import Ratings, RatingSplit, make_folds, make_rating_split
from replication.item_features import attach, coverage, encode, shuffled, training_tags
from replication.metrics.rating import summary
from replication.papers.afm.rows import ATTENDED, BEST, READINGS, ROWS, row
from replication.papers.common import check_known, drawn_config
from replication.papers.fold_runs import (
    failure,
    fitted,
    run_folds,
    trained,
    weights_file,
)
from replication.papers.rating_search import Search, rank_of_trial
from replication.rating_training import (
    DeviceRatings,
    evaluation_generator,
    predict_all,
    rating_range,
)
from replication.records import Record, Store, provenance, record_address, record_key, source_hash
from replication.training import described, resolve_device, restored, write_state

PAPER = "afm"
TABLE1, TABLE2 = f"{PAPER}/table1", f"{PAPER}/table2"
SPEED = f"{PAPER}/speed"  # of benchmarks/afm_speed.py; shown beside Table 2
ALTERNATIVES, TUNING = f"{PAPER}/alternatives", f"{PAPER}/tuning"

# Names of the paper's Table 1, and ours.
DATASETS = {
    "ml-1m": "MovieLens",
    "douban-music": "Douban Music",
    "douban-movie": "Douban Movie",
    "ml-1m-omdb": "MovieLens with five features",
    "ml-latest-small": "MovieLens latest-small",
}
# Data sets that a reader may bring, for Table 2: run where they are asked for by name, and in no
# grid, so that no page shows them or waits for them.
BROUGHT = {douban.NAME: "Douban Movie (public graph)"}
# Columns of ``Interactions.item_features``; "tags" are those of the fold's training ratings.
FEATURES = {
    "ml-1m": ("genres",),
    "ml-1m-omdb": ("director", "writer", "actor", "genres", "certificate"),
    "ml-latest-small": ("genres", "tags"),
    douban.NAME: ("director", "actor", "genres"),
}
UNAVAILABLE = douban.UNPUBLISHED
RUN_HERE = tuple(name for name in DATASETS if name not in UNAVAILABLE)
PROTOCOL = "kfold-5-plain"  # Section 4.1.3: five-fold cross-validation
PROTOCOLS = dict.fromkeys(DATASETS, (PROTOCOL,))
FOLDS = 5
MODELS = {model: known.name for model, known in ROWS.items()}
SELECTS = ("validation",)

# --- configurations --------------------------------------------------------------------------

N_TRIALS = 10
# Epochs of a trial at most; these have ten times the ratings of ml-latest-small.
TRIAL_EPOCHS = {"ml-1m": 30, "ml-1m-omdb": 30, douban.NAME: 30}
# Of every main run, which early stopping ends, and of a trial that its limit cut off, in the second
# round.
LONGER_EPOCHS = 100
PATIENCE = 5  # networks stand still at first, where what goes into their sigmoids is small


def row_name(model: str) -> str:
    """The printed name of a model: ``libfm`` -> ``LibFM``."""
    return row(model).name


def trial_config(model: str, trial: int) -> Any:
    """Trial 0 is the starting point; the others are drawn at random, alike for like models."""
    return drawn_config(row(model), trial)


def tuned_config(model: str, dataset: str) -> Any:
    """The trial with the lowest inner validation RMSE; the starting point where none was run.

    Raises:
        ReplicationError: of ``BEST``, as ``reading``.
    """
    decides = searched(model, dataset)
    trials = search(decides, dataset).trials()
    best = min(trials, key=rank_of_trial)["trial"] if trials else 0
    # ``BEST`` is the reading itself; of another model's trials the number alone is taken over.
    config = trial_config(decides if model == BEST else model, best)
    return replace(config, max_epochs=LONGER_EPOCHS) if row(decides).trained else config


def searched(model: str, dataset: str) -> str:
    """The model whose trials decide on a model's settings, mostly itself.

    Of ``BEST`` it is the reading that it is. An alternative in the features of which nothing is
    claimed is AFM but for one rule, and draws as AFM does: where trials cost most, it has the
    settings of the trial with the number that was best for AFM.

    Raises:
        ReplicationError: of ``BEST``, as ``reading``.
    """
    if model == BEST:
        return reading(dataset)
    varied = dataset in NOT_SEARCHED_ON and row(model).varies == "features"
    return "afm" if varied and (model, dataset) not in CLAIMED_FOLDS else model


def reading(dataset: str) -> str:
    """The model of ``READINGS`` with the lowest inner validation RMSE, each searched alike.

    It is chosen on fold 0 as every other setting is. Where five features stand in the place of one,
    the ratings are the same, and so is the reading; its rates are then searched anew.

    Raises:
        ReplicationError: a search is not complete.
    """
    chosen_on = SAME_RATINGS[0] if dataset == SAME_RATINGS[1] else dataset
    known = {model: search(model, chosen_on) for model in READINGS}
    lacking = [row_name(model) for model, found in known.items() if found.lacking()]
    if lacking:
        raise ReplicationError(
            f"which reading of AFM is best on {chosen_on} is not known before every one has been "
            f"searched; missing are trials of {'; '.join(lacking)}"
        )
    return min(READINGS, key=lambda model: min(map(rank_of_trial, known[model].trials())))


def search(model: str, dataset: str) -> Search:
    """The search for a model's settings on the inner split of fold 0."""
    known = row(model)
    epochs = TRIAL_EPOCHS.get(dataset, known.start.max_epochs) if known.trained else 0
    return Search(TUNING, known, dataset, N_TRIALS, epochs, LONGER_EPOCHS, PATIENCE)


@dataclass(frozen=True)
class Variant:
    """A named departure from the main cells of Table 2.

    Attributes:
        text: what differs, for the reader.
        dataset: on which data set it is run.
        models: which models.
        features: the features in place of the data set's own; None: those.
        shuffled: this feature's values are dealt anew among the items.
        constant: this feature has one and the same value for all items.
        share: of the training ratings so much is left.
        refit: trained on all of the fold's training ratings, for the epochs of the main cell.
        benchmark: trained as Surprise's own benchmark does: in the order in which its KFold deals
            the ratings, and with its random state.
        folds: on how many folds.
    """

    text: str
    dataset: str
    models: tuple[str, ...]
    features: tuple[str, ...] | None = None
    shuffled: str = ""
    constant: str = ""
    share: float = 1.0
    refit: bool = False
    benchmark: bool = False
    folds: int = 2


# The order in which Section 4.1.1 names Douban Movie's features, with genre, the only one of the
# other data sets, first; the certificate stands in for the country, the year is a sixth.
ORDER = ("genres", "director", "writer", "actor", "certificate", "year")
SHARES = (20, 40, 60, 80)
# The benchmarks of the README of scikit-surprise 1.1.5, on the same folds. Its program
# examples/benchmark.py, which makes them, has this random state for the folds and the algorithms.
ORACLE_STATE = 0
ORACLE = {
    "baseline": {"RMSE": 0.909, "MAE": 0.719},
    "svd": {"RMSE": 0.873, "MAE": 0.686},
    "svdpp": {"RMSE": 0.862, "MAE": 0.672},
}
_STUDIED = ("afm", "nfm", "libfm")
# Models that see useless genres. By SGD NFM's network has mostly not learned on these data, and
# whether wrong genres harm it could not be told.
DEALT_TO = ("afm", "afm-mean", "nfm-adam", "libfm", "cdl")
VARIANTS = {
    f"features-{n}": Variant(
        f"{n} of the features: {', '.join(ORDER[:n])}",
        "ml-1m-omdb",
        _STUDIED,
        ORDER[:n],
        # The claim that the gain grows sets one feature against five: a test over folds.
        folds=FOLDS if n == 1 else 2,
    )
    for n in (1, 2, 3, 4, 6)
} | {
    f"train-{share}": Variant(
        f"trained on {share} % of the training ratings",
        "ml-1m",
        (*_STUDIED, "mf"),
        share=share / 100,
    )
    for share in SHARES
}
VARIANTS |= {
    "shuffled-genres": Variant(
        "the genres are dealt anew among the films",
        "ml-1m",
        DEALT_TO,
        shuffled="genres",
        folds=FOLDS,  # the claims that rest on it need a test over folds
    ),
    # What wrong genres do is told from what right ones are worth: the slot is there, and the same.
    "one-genre": Variant(
        "all films have one and the same genre", "ml-1m", DEALT_TO, constant="genres", folds=FOLDS
    ),
    "refit": Variant(
        "trained on all training ratings, for as many epochs as the main run chose",
        "ml-1m",
        (*_STUDIED, "mf", "als"),
        refit=True,
    ),
    "oracle": Variant(
        "trained on all training ratings as the package's own benchmark does, which publishes "
        "errors for these folds",
        "ml-1m",
        tuple(ORACLE),
        refit=True,
        benchmark=True,
        folds=FOLDS,
    ),
}


# --- the grid --------------------------------------------------------------------------------


def grid(
    table: str,
    select: str = "validation",
    variant: str = "",
    datasets: Iterable[str] = tuple(DATASETS),
) -> list[Cell]:
    """The cells of Table 2 or of the alternatives: every row that the paper prints, and ours."""
    cells = []
    for model, known in ROWS.items():
        if f"{PAPER}/{known.table}" != table:
            continue
        chosen = select if known.trained else "none"
        for dataset in datasets:
            folds = FOLDS
            if model == BEST and dataset in BROUGHT:
                continue  # it is chosen among alternatives, which are not run there
            if variant:
                spec = VARIANTS[variant]
                if model not in spec.models or dataset != spec.dataset:
                    continue
                folds = spec.folds
            elif table == ALTERNATIVES:
                if not tries(model, dataset):
                    continue
                folds = CLAIMED_FOLDS.get((model, dataset), ALTERNATIVE_FOLDS[dataset])
            cells.append(
                Cell(
                    table,
                    known.name,
                    dataset,
                    PROTOCOL,
                    chosen,
                    variant,
                    folds,
                    unavailable=UNAVAILABLE.get(dataset),
                    repeats="folds",
                )
            )
    return cells


# Most alternatives are searched each, which costs more than their runs.
ALTERNATIVE_FOLDS = {"ml-latest-small": 5, "ml-1m": 2, "ml-1m-omdb": 2}
# Of how features are integrated the paper claims something, and a claim needs a test over folds:
# an attention of each user's own "may result in serious overfitting" (Section 3.1), and simply
# adding or concatenating features says nothing of what users care for (Sections 1 and 3.1).
# AFM by Adam stands beside NFM by Adam, which a check needs.
NOT_SEARCHED_ON = ("ml-1m", "ml-1m-omdb")  # the other alternatives in the features: ``searched``
CLAIMED_FOLDS = {
    (model, dataset): FOLDS
    for model in ("afm-free", "afm-mean", "afm-concat")
    for dataset in NOT_SEARCHED_ON
} | {("afm-adam", "ml-1m"): FOLDS}
# What is varied on which data set.
VARIED = {
    "ml-latest-small": ("interaction", "mean", "features"),
    "ml-1m": ("interaction", "features"),
    "ml-1m-omdb": ("features",),
}
# What of that changes nothing there: hardly a film of MovieLens lacks genres.
WITHOUT_EFFECT = {("afm-lost", "ml-1m")}


def tries(model: str, dataset: str) -> bool:
    """Whether an alternative is run on a data set: it must have what the alternative changes."""
    known = row(model)
    if known.varies not in VARIED.get(dataset, ()) or (model, dataset) in WITHOUT_EFFECT:
        return False
    return all(name in FEATURES[dataset] for name, _ in known.features)


def features_of(model: str, dataset: str) -> tuple[str, ...]:
    """The item features that a model of a main cell sees on a data set."""
    others = dict(row(model).features)
    return tuple(others.get(name, name) for name in FEATURES[dataset])


# The second has the ratings, and so the folds, of the first, and other features.
SAME_RATINGS = ("ml-1m", "ml-1m-omdb")


def derived(records: Iterable[Record]) -> list[Record]:
    """The stored records, and those of models that no feature can change, on the same ratings.

    Without those on data sets that a reader brought: of them a table or page says nothing.
    """
    found = [record for record in records if record["dataset"] not in BROUGHT]
    blind = {known.name for known in ROWS.values() if not known.uses_features}
    ratings, again = SAME_RATINGS
    return found + [
        {**record, "dataset": again}
        for record in found
        if record["row"] in blind and record["dataset"] == ratings and not record["variant"]
    ]


# --- running ---------------------------------------------------------------------------------


@lru_cache(maxsize=3)
def data_for(dataset: str, protocol: str = PROTOCOL) -> Interactions:
    """The ratings of a data set, unfiltered, whatever the protocol."""
    if dataset in UNAVAILABLE:
        raise douban.unpublished(dataset)
    return load(dataset)


@lru_cache(maxsize=3)
def _folds_of(dataset: str) -> np.ndarray:
    return make_folds(data_for(dataset), PROTOCOL)


@lru_cache(maxsize=2)
def split_for(dataset: str, fold: int, inner: bool = True) -> RatingSplit:
    """A fold of a data set without features, kept in memory for the next model."""
    return make_rating_split(data_for(dataset), PROTOCOL, fold, inner, folds=_folds_of(dataset))


def features_used(dataset: str, names: Sequence[str]) -> Record:
    """Which features, and 12 hex digits over their texts; the hash of the data is of ratings."""
    columns = [name for name in names if name != "tags"]
    text = data_for(dataset).item_features[columns].to_csv(index=False)
    if "tags" in names:
        text += load_tags(data_for(dataset)).to_csv(index=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {"features": list(names), "features_hash": digest}


def with_features(
    dataset: str,
    split: RatingSplit,
    names: Sequence[str] | None = None,
    rules: Sequence[tuple[str, str]] = (),
    shuffle: str = "",
    constant: str = "",
) -> RatingSplit:
    """A fold with the table of its items' features.

    Args:
        dataset: whose items they are.
        split: tags come from its training ratings.
        names: features; None: those of the data set.
        rules: how the values of a feature are encoded, where not as a set.
        shuffle: this feature's values are dealt anew among the items.
        constant: this feature has one and the same value for all items.
    """
    names = FEATURES[dataset] if names is None else tuple(names)
    items = data_for(dataset).item_features
    if "tags" in names:
        items = items.assign(tags=training_tags(split, load_tags(data_for(dataset))).to_numpy())
    if constant:
        items = items.assign(**{constant: "any"})
    table = encode(items, names, {name: rule for name, rule in rules if name in names})
    if shuffle:
        # Folds are the unit of the test: each has a deal of its own.
        table = shuffled(table, shuffle, seed=split.fold)
    return attach(split, table)


def as_dealt(dataset: str, split: RatingSplit) -> RatingSplit:
    """The fold with its training ratings in the order in which Surprise's KFold deals them.

    The package steps through them in an order that follows from it. None are held out inside.
    """
    data, folds = data_for(dataset), _folds_of(dataset)
    order = np.random.RandomState(ORACLE_STATE).permutation(len(data))
    order = order[folds[order] != split.fold]
    return replace(split, train=Ratings(data.users, data.items, data.ratings).take(order))


def thinned(split: RatingSplit, share: float) -> RatingSplit:
    """The fold with a share of its training ratings and of those that choose the epoch."""
    rng = np.random.default_rng([split.fold, round(1000 * share)])
    train = split.train.take(rng.random(len(split.train)) < share)
    validation = split.validation.take(rng.random(len(split.validation)) < share)
    return replace(split, train=train, validation=validation)


@dataclass(frozen=True)
class Run:
    """One run of one cell: ``number`` is the fold and the seed."""

    dataset: str
    model: str
    number: int
    variant: str = ""

    @property
    def table(self) -> str:
        """Id of the table."""
        return f"{PAPER}/{row(self.model).table}"

    @property
    def label(self) -> str:
        """Short text for progress bars and messages."""
        variant = f", {self.variant}" if self.variant else ""
        return f"{row_name(self.model)} on {self.dataset}{variant}, fold {self.number}"

    def config(self) -> Any:
        """The configuration that it is run with.

        Raises:
            ReplicationError: of ``BEST``, as ``reading``.
        """
        spec = VARIANTS.get(self.variant)
        if spec and spec.benchmark:  # what is published is of the package's defaults
            return replace(row(self.model).start, random_state=ORACLE_STATE)
        return tuned_config(self.model, self.dataset)

    def address(self) -> Record:
        """What the record says of itself before anything was run."""
        data, known = data_for(self.dataset), row(self.model)
        return record_address(
            self.table,
            known.name,
            data,
            PROTOCOL,
            self.describe(self.config()),
            variant=self.variant,
            select="validation" if known.trained else "none",
            seed=self.number,
        )

    def features(self) -> tuple[str, ...]:
        """Which item features the model sees."""
        spec = VARIANTS.get(self.variant)
        return spec.features if spec and spec.features else features_of(self.model, self.dataset)

    def describe(self, config: Any) -> Record:
        """A configuration as the record holds it, with what the items' features are."""
        names = self.features()
        known, spec = row(self.model), VARIANTS.get(self.variant)
        found = described(config) | features_used(self.dataset, names)
        if known.rules:
            found["rules"] = [list(rule) for rule in known.rules]
        if spec and spec.benchmark:
            found["order"] = "as dealt"
        if known.trained:
            found["patience"] = PATIENCE
        return found

    def split(self) -> RatingSplit:
        """The fold that this run trains and is tested on, with its features."""
        spec = VARIANTS.get(self.variant)
        split = split_for(self.dataset, self.number, inner=not (spec and spec.refit))
        if spec and spec.benchmark:
            split = as_dealt(self.dataset, split)
        if spec and spec.share < 1:
            split = thinned(split, spec.share)
        useless = (spec.shuffled, spec.constant) if spec else ()
        return with_features(self.dataset, split, self.features(), row(self.model).rules, *useless)


class Finished(NamedTuple):
    """What a run leaves."""

    record: Record
    model: Any


def run(
    job: Run,
    device: torch.device,
    progress: bool = True,
    config: Any = None,
    resumable: bool = True,
) -> Finished:
    """Train and test one cell on one fold; nothing is stored.

    A training that diverges leaves a record without metrics that says so, and no model.
    ``config`` takes the place of the cell's own. Unless ``resumable``, no checkpoint of an
    interrupted run is read or written.
    """
    known, spec = row(job.model), VARIANTS.get(job.variant)
    config = config or job.config()
    address, split = job.address() | {"config": job.describe(config)}, job.split()
    extra: Record = {
        "fold": job.number,
        "ratings": {"train": len(split.train), "test": len(split.test)},
        "device": device.type,
    }
    if not known.trained:
        model, found = fitted(known, split, "test", config, job.number, device)
        return Finished(address | found | extra | provenance(), model)
    refit = spec is not None and spec.refit
    # Of a refit the last epoch counts: its number comes from the main run, not from the test.
    used, started = config, time.perf_counter()
    if refit:
        main = _main(job, config)
        if "failed" in main:
            reason = failure(Diverged("the main run of this fold diverged"), started)
            return Finished(address | reason | extra | provenance(), None)
        used = replace(config, max_epochs=main["epochs"])
    # The code's hash is in the name: a run is not resumed by other code than began it.
    file = paths.CHECKPOINTS / f"{record_key(address)}-{source_hash()}.pt" if resumable else None
    try:
        result, found = trained(
            known,
            split,
            used,
            job.number,
            device,
            ("test",) if refit else ("validation", "test"),
            patience=None if refit else PATIENCE,
            last=refit,
            checkpoint=file,
            label=job.label,
            progress=progress,
        )
    except Diverged as error:  # the other runs of the command go on
        return Finished(address | failure(error, started) | extra | provenance(), None)
    extra["train_errors"] = training_errors(result.model, split, job.number, device)
    return Finished(address | found | extra | provenance(), result.model)


# The difference of two RMSEs, and so an RMSE to what judges it; no run stores it.
GAP = "RMSE/validation minus training"


def training_errors(model: Any, split: RatingSplit, seed: int, device: torch.device) -> Record:
    """RMSE and MAE of a trained model on the ratings that it was trained on, clipped as all are.

    The loss of the curve is no such error: it is taken while the model still changes, without
    clipping, and with the penalty.
    """
    ratings = DeviceRatings.of(split.train, device)
    drawn = evaluation_generator(seed, 0, device)
    return dict(summary(predict_all(model, ratings, rating_range(split), drawn), ratings.values))


def with_gap(record: Record) -> Record:
    """The record with ``GAP`` among its metrics: how much it overfits at the chosen epoch.

    Unchanged where it does not say how well it predicts its training ratings, or had none to choose
    the epoch.
    """
    held = record.get("curve", {}).get("validation RMSE")
    if held is None or "train_errors" not in record:
        return record
    gap = held[record["epochs"] - 1] - record["train_errors"]["RMSE"]
    return record | {"metrics": record["metrics"] | {GAP: gap}}


def _main(job: Run, config: Any) -> Record:
    """The record of the main run behind a refit, with the same configuration.

    Raises:
        ReplicationError: it was not run yet.
    """
    main = replace(job, variant="")
    key = record_key(main.address() | {"config": main.describe(config)})
    for record in Store(job.table).load():
        if record["key"] == key:
            return record
    raise ReplicationError(f"{job.label} needs the main run of that fold first")


def plan(
    table: str,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    variant: str = "",
    folds: int | None = None,
) -> list[Run]:
    """The runs behind a part of a table; None means all that the table has.

    ``folds``: how many, from fold 0.

    Raises:
        ReplicationError: a name that is not known, or a combination that the table has not.
        DataUnavailable: a data set that cannot be had.
    """
    check_known("data set", datasets, (*DATASETS, *BROUGHT))
    check_known("variant", [variant] if variant else [], VARIANTS)
    places = (*DATASETS, *(name for name in BROUGHT if name in (datasets or ())))
    cells = grid(table, variant=variant, datasets=places)
    offered = dict.fromkeys(cell.dataset for cell in cells)
    for name in datasets or ():
        if name in UNAVAILABLE:
            raise douban.unpublished(name)
        if name not in offered:
            raise ReplicationError(f"{table} has no data set {name!r}; it has {', '.join(offered)}")
    for model in models or ():
        row(model)
    key_of = {known.name: model for model, known in ROWS.items()}
    cells = [
        cell
        for cell in cells
        if cell.unavailable is None
        and (datasets is None or cell.dataset in datasets)
        and (models is None or key_of[cell.row] in models)
        and (cell.dataset != SAME_RATINGS[1] or row(key_of[cell.row]).uses_features)
    ]
    if not cells:
        wanted = [*(models or []), *(datasets or []), *([variant] if variant else [])]
        raise ReplicationError(f"{table} has no cell of {', '.join(wanted)}")
    jobs = [
        Run(cell.dataset, key_of[cell.row], number, variant)
        for cell in cells
        for number in range(min(folds or cell.seeds_required, cell.seeds_required))
    ]
    # Fold by fold, so that every row has its first soon; ``BEST`` may have to wait for searches.
    return sorted(jobs, key=lambda job: (job.model == BEST, job.number))


def run_and_store(
    jobs: Sequence[Run], device: str = "auto", store: Store | None = None, progress: bool = True
) -> Iterator[tuple[Run, Record, bool]]:
    """Run what is not stored yet, one record after the other.

    Yields:
        The job, its record, and whether it was run now (True) or was there (False).
    """

    def is_searched(job: Run) -> None:
        if job.variant in VARIANTS and VARIANTS[job.variant].benchmark:
            return  # it has the package's settings
        search(searched(job.model, job.dataset), job.dataset).say_if_lacking()

    return run_folds(jobs, is_searched, run, keep, resolve_device(device), store, progress)


def keep(job: Run, finished: Finished) -> None:
    """Write AFM's weights beside the data, for its explanations."""
    if job.model in ATTENDED and finished.model is not None:
        write_state(weights_file(job), finished.model.state_dict())


def job_of(record: Record) -> Run:
    """The run behind a stored record of Table 2 or of the alternatives."""
    model = {name: model for model, name in MODELS.items()}[record["row"]]
    return Run(record["dataset"], model, record["seed"], record["variant"])


def config_of(record: Record) -> Any:
    """The configuration that a stored record holds."""
    return restored(row(job_of(record).model).start, record["config"])


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Run a stored record again, with the configuration that it holds."""
    config = config_of(record)
    return run(job_of(record), device, config=config, resumable=False).record, None


def tune(
    model: str, dataset: str, device: str = "auto", progress: bool = True
) -> Iterator[tuple[int, Record, bool]]:
    """Run the trials of one model (inner validation of fold 0, seed 0) and store them.

    Of a model that has none of its own they are those that decide on its settings (``searched``).
    """
    if model == BEST and dataset in BROUGHT:
        raise ReplicationError(f"{row_name(model)} is not run on {dataset}")
    data = data_for(dataset)  # first: what cannot be had has no features either
    own = searched(model, dataset)
    where, known = resolve_device(device), row(own)
    if known.draw is None:
        raise ReplicationError(f"{known.name} has nothing to tune")
    if row(model).varies and not tries(model, dataset):
        raise ReplicationError(f"{row_name(model)} is not run on {dataset}")
    names = features_of(own, dataset)
    split = with_features(dataset, split_for(dataset, 0), names, known.rules)
    describe = Run(dataset, own, 0).describe
    return search(own, dataset).run(split, data, PROTOCOL, where, describe, progress)


# --- Table 1 ---------------------------------------------------------------------------------

STATISTICS = ("users", "items", "ratings", "sparsity")
LARGEST_ID = "largest item id"  # not in the paper's table by this name


def statistics_grid() -> list[Cell]:
    """The rows of Table 1, one a data set."""
    return [
        Cell(TABLE1, name, dataset, "none", "none", "", 1, UNAVAILABLE.get(dataset))
        for dataset, name in DATASETS.items()
    ]


def director_strings(data: Interactions) -> dict[str, float]:
    """Directors in OMDb's file as it stands: lines, different strings, and strings that occur once.

    Of all films of the file, and of those with a rating. The features have persons instead: a
    string may name several, and what is not known is a string here and no value there.
    """
    text = (paths.RAW / omdb.NAME / omdb.FILE).read_text(encoding="utf-8")
    lines = [line.split("::") for line in text.split("\n") if line]
    films = pd.DataFrame(lines, columns=omdb.FIELDS)
    rated = films["id"].astype(int).isin(data.item_ids)
    found: dict[str, float] = {}
    for whose, some in (("the file", films["director"]), ("rated films", films["director"][rated])):
        counts = some.value_counts()
        numbers = {"lines": len(some), "strings": len(counts), "strings once": (counts == 1).sum()}
        found |= {f"director, {whose}: {name}": float(n) for name, n in numbers.items()}
    return found


def statistics(dataset: str) -> Record:
    """The record of one row of Table 1: counts of the data, and the coverage of its features."""
    data = data_for(dataset)
    metrics: dict[str, float] = {
        "users": data.n_users,
        "items": data.n_items,
        "ratings": len(data),
        "sparsity": 1 - len(data) / (data.n_users * data.n_items),
        LARGEST_ID: int(max(data.item_ids)),
    }
    split = with_features(dataset, split_for(dataset, 0))
    assert split.features is not None
    for feature, line in coverage(split.features).iterrows():
        metrics |= {f"{feature}: {name}": float(value) for name, value in line.items()}
    if dataset == omdb.NAME:
        metrics |= director_strings(data)
    return (
        record_address(
            TABLE1,
            DATASETS[dataset],
            data,
            "none",
            features_used(dataset, FEATURES[dataset]),
        )
        | {
            "metrics": metrics,
        }
        | provenance()
    )
