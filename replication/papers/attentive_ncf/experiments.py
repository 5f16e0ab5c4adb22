"""Attentive NCF: the grid of its tables, and how a cell is run.

Tables: ``attentive_ncf/table1`` (baselines), ``attentive_ncf/table2`` (the nine combinations),
``attentive_ncf/ensemble`` (means over models of one fold) and, behind them,
``attentive_ncf/tuning`` (the search trials, on an inner split of fold 0).

A run is one fold; its number stands where other tables have the seed, and is the seed. What is
stored of a trained model is two kinds of runs, each with its whole curve:

``fold-minimum``         trained on all of the fold's training ratings; its metrics are those of
                         the epoch that is best on this fold's test ratings.
``validation-no-refit``  trained without an inner validation part, which chooses the epoch.

From the curves follow, without another run (``derived``):

``best-epoch``  what the paper reports: the one epoch at which the mean over the folds is lowest.
``validation``  the run on all training ratings, at the epoch that the inner validation chose:
                the same as training anew for so many epochs.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from replication import paths
from replication.compare import Cell, fixed_test, settings
from replication.data import Interactions, load
from replication.errors import ReplicationError
from replication.folds import RatingSplit, bagged, make_folds, make_rating_split
from replication.metrics.rating import summary
from replication.papers.attentive_ncf.model import ALL, EMBEDDINGS
from replication.papers.attentive_ncf.rows import BEST, ROWS, SHORT, Row, row
from replication.papers.common import check_known, drawn_config, measure_missing
from replication.papers.fold_runs import (
    fitted,
    run_folds,
    trained,
    weights_file,
)
from replication.papers.rating_search import Search, rank_of_trial
from replication.rating_training import (
    METRICS,
    DeviceRatings,
    evaluation_generator,
    predict_all,
    rating_range,
    unpack,
)
from replication.records import Record, Store, provenance, record_address, record_key, source_hash
from replication.training import described, resolve_device, restored, write_state

PAPER = "attentive_ncf"
TABLE1, TABLE2 = f"{PAPER}/table1", f"{PAPER}/table2"
ENSEMBLE, TUNING = f"{PAPER}/ensemble", f"{PAPER}/tuning"
SPEED = f"{PAPER}/speed"  # of benchmarks/attentive_context.py; shown beside Table II

DATASETS = {"cil": "CIL", "ml-100k": "MovieLens 100K", "ml-latest-small": "MovieLens latest-small"}
PROTOCOLS = {
    "cil": ("kfold-10", "kfold-10-plain"),
    "ml-100k": ("kfold-10",),
    "ml-latest-small": ("kfold-10",),
}
PLAIN_FOLDS = 3  # of the variant, whose folds are dealt without regard to users
RUN_HERE = ("cil",)  # without --dataset; of the companions see ``explanations.DATASETS``
MODELS = {model: known.name for model, known in ROWS.items()}
COMBINATIONS = tuple(model for model, known in ROWS.items() if known.table == "table2")
STORED_SELECTS = ("fold-minimum", "validation-no-refit")
SELECTS = ("best-epoch", "validation", *STORED_SELECTS)

# --- configurations --------------------------------------------------------------------------

N_TRIALS = 10
TRIAL_EPOCHS = 12
LONGER_EPOCHS = 40  # of a trial that the limit cut off, in the second round
TRIAL_PATIENCE = 3
EPOCHS_BEYOND = 4  # of a main run, beyond the trial's best; the curve must be seen to turn
TUNING_PROTOCOL = "kfold-10"
COMPANION_BATCH = 8  # a companion's batches are so many times smaller than those of cil


def row_name(model: str) -> str:
    """The printed name of a model: ``attentive-mlp2`` -> ``attentive + MLP2``."""
    return row(model).name


def row_on(model: str, dataset: str) -> Row:
    """A model's row, with the batches that suit a data set.

    The companions have a tenth of the ratings. With the batches of ``cil`` an epoch of theirs would
    have a tenth of the steps, and the epochs allowed would end before a model has learned.
    """
    known = row(model)
    if dataset in RUN_HERE or not known.trained:
        return known

    def smaller(batch: int) -> int:
        return batch // COMPANION_BATCH

    draw = known.draw
    return replace(
        known,
        start=replace(known.start, batch_size=smaller(known.start.batch_size)),
        draw=draw and (lambda rng: (d := draw(rng)) | {"batch_size": smaller(d["batch_size"])}),
    )


def trial_config(model: str, dataset: str, trial: int) -> Any:
    """Trial 0 is the starting point; the others are drawn at random, alike for all models."""
    return drawn_config(row_on(model, dataset), trial)


def tuned_config(model: str, dataset: str) -> Any:
    """The trial with the lowest inner validation RMSE; the starting point where none was run.

    Trials of configurations that are no longer drawn do not count. A trained model gets four
    epochs more than were best in its trial: the trial itself saw that later ones are worse. One
    that was cut off while it still improved gets twice as many, and two. None gets more than the
    start allows, or its trial in the second round.
    """
    known = row_on(model, dataset)
    if known.draw is None:
        return known.start
    found = search(model, dataset)
    stored = found.trials()
    if not stored:
        return known.start
    best = min(stored, key=rank_of_trial)
    config = trial_config(model, dataset, best["trial"])
    if known.trained:
        epochs, seen = best["epochs"], best.get("epochs_run", 0)
        turned = seen - epochs >= TRIAL_PATIENCE
        limit = epochs + EPOCHS_BEYOND if turned else 2 * epochs + 2
        most = LONGER_EPOCHS if found.is_longer(best) else config.max_epochs
        config = replace(config, max_epochs=min(most, limit))
    return config


def search(model: str, dataset: str) -> Search:
    """The search for a model's settings on fold 0."""
    known = row_on(model, dataset)
    return Search(TUNING, known, dataset, N_TRIALS, TRIAL_EPOCHS, LONGER_EPOCHS, TRIAL_PATIENCE)


@dataclass(frozen=True)
class Variant:
    """A named departure from the main cells of Tables I and II, on fold 0 of ``cil``.

    Attributes:
        text: what differs, for the reader.
        models: which models.
        changes: configuration values that differ from the tuned ones.
        runs: how many.
        repeats: what the runs differ in: "fold" (as the main cells), "seed" (all on fold 0) or
            "bag" (all on fold 0, each without another tenth of its training ratings).
    """

    text: str
    models: tuple[str, ...]
    changes: tuple[tuple[str, Any], ...] = ()
    runs: int = 1
    repeats: str = "fold"


def _with(predictor: str) -> tuple[str, ...]:
    return tuple(f"{embedding}-{predictor}" for embedding in EMBEDDINGS)


_ATTENTIVE = tuple(f"attentive-{short}" for short in SHORT.values())
_AUTOENCODER = tuple(f"autoencoder-{short}" for short in SHORT.values())
_BEST = tuple(f"{embedding}-{SHORT[predictor]}" for embedding, predictor in BEST)
_NMF = ("surprise-nmf",)
VARIANTS = {
    "other-size": Variant("the other embedding size: 128 for 64, 64 for 128", COMBINATIONS),
    "seeds": Variant(
        "fold 0 again with other seeds: the spread of seeds apart from that of folds",
        COMBINATIONS,
        runs=5,
        repeats="seed",
    ),
    "user-scale-raw": Variant(
        "the user autoencoder reads and writes ratings 1 to 5, not 0.2 to 1",
        _AUTOENCODER,
        changes=(("user_scale", "raw"),),
    ),
    "mlp2-narrow": Variant(
        "MLP2 with hidden layers 200-100-50", _with("mlp2"), changes=(("hidden", (200, 100, 50)),)
    ),
    "mlp2-deep": Variant(
        "MLP2 with hidden layers 512-256-128-64",
        _with("mlp2"),
        changes=(("hidden", (512, 256, 128, 64)),),
    ),
    "all-context": Variant(
        "trained with all of a user's other movies as context, not with 64 of them",
        _ATTENTIVE,
        changes=(("context_train", ALL),),
    ),
    "default-user": Variant(
        "one context in fifty is emptied while training, so that the default user is learned",
        _ATTENTIVE,
        changes=(("empty_share", 0.02),),
    ),
    # NMF of Table I, whose printed number does not come out: what could move it so far.
    "nmf-seeds": Variant(
        "NMF of the package from other random starts",
        _NMF,
        runs=5,
        repeats="seed",
    ),
    "nmf-biased": Variant("NMF with biases", _NMF, changes=(("biased", True),)),
    "nmf-epochs-10": Variant("NMF with 10 epochs", _NMF, changes=(("n_epochs", 10),)),
    "nmf-factors-5": Variant("NMF with 5 factors", _NMF, changes=(("n_factors", 5),)),
    # The nearest to print, with other random starts too.
    "nmf-factors-10": Variant(
        "NMF with 10 factors", _NMF, runs=5, repeats="seed", changes=(("n_factors", 10),)
    ),
    "nmf-factors-20": Variant("NMF with 20 factors", _NMF, changes=(("n_factors", 20),)),
    "nmf-factors-30": Variant("NMF with 30 factors", _NMF, changes=(("n_factors", 30),)),
    "bagged": Variant(
        "trained without one of ten inner folds of fold 0's training ratings",
        ("attentive-mlp2",),
        runs=10,
        repeats="bag",
    ),
}


def variant_config(model: str, dataset: str, variant: str) -> Any:
    """The configuration of a model in the main cells (``variant=""``) or in a variant."""
    base = tuned_config(model, dataset)
    if not variant:
        return base
    if variant == "other-size":
        return replace(base, dimension=192 - base.dimension)  # 64 <-> 128
    return replace(base, **dict(VARIANTS[variant].changes))


# --- the grid --------------------------------------------------------------------------------


def grid(table: str, select: str = "best-epoch", variant: str = "") -> list[Cell]:
    """The cells of Table I or II on ``cil``: every row that the paper prints, and ours.

    The companions have no cells: they carry explanations and new users.
    """
    cells = []
    for model, known in ROWS.items():
        if f"{PAPER}/{known.table}" != table:
            continue
        chosen = select if known.trained else "none"
        if variant:
            spec = VARIANTS[variant]
            if model in spec.models:
                chosen = "validation-no-refit" if spec.repeats == "bag" else "fold-minimum"
                chosen = chosen if known.trained else "none"
                cells.append(
                    Cell(
                        table,
                        known.name,
                        "cil",
                        "kfold-10",
                        chosen,
                        variant,
                        spec.runs,
                        repeats=f"{spec.repeats}s",
                    )
                )
            continue
        cells += [
            Cell(
                table,
                known.name,
                "cil",
                protocol,
                chosen,
                "",
                folds_needed(model, protocol, select),
                repeats="folds",
            )
            for protocol in PROTOCOLS["cil"]
            if dealt(model, protocol)
        ]
    return cells


def _plain(protocol: str) -> bool:
    return protocol.endswith("-plain")


def dealt(model: str, protocol: str) -> bool:
    """Whether a model is run on folds of this kind: plain ones are for the package's algorithms."""
    return not _plain(protocol) or model.startswith("surprise-")


def folds_needed(model: str, protocol: str, select: str) -> int:
    """On how many folds a main cell of a model is run."""
    known = row(model)
    if _plain(protocol):
        return PLAIN_FOLDS
    inner = known.trained and select.startswith("validation")
    return known.inner_folds if inner else known.folds


def derived(records: Iterable[Record]) -> list[Record]:
    """The stored records, and those that follow from their curves (see the module's text)."""
    found = list(records)
    outer, inner = defaultdict(list), {}
    for record in found:
        place = tuple(record[k] for k in ("table", "row", "dataset", "protocol", "variant"))
        if record["select"] == "fold-minimum":
            outer[place, settings(record)].append(record)
        elif record["select"] == "validation-no-refit":
            inner[place, settings(record), record["seed"]] = record
    made = []
    for group, runs in outer.items():
        epochs = min(len(run["curve"]["epoch"]) for run in runs)
        by_fold = np.array([run["curve"]["test RMSE"][:epochs] for run in runs])  # [folds, epochs]
        common = 1 + int(by_fold.mean(0).argmin())
        for run in runs:
            made.append(_at_epoch(run, "best-epoch", common))
            chosen = inner.get((*group, run["seed"]))
            if chosen is not None:
                made.append(_at_epoch(run, "validation", chosen["epochs"]))
    return found + made


def _at_epoch(run: Record, select: str, epoch: int) -> Record:
    metrics = {metric: run["curve"][f"test {metric}"][epoch - 1] for metric in METRICS}
    return {**run, "select": select, "epochs": epoch, "metrics": metrics}


# --- running ---------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def data_for(dataset: str, protocol: str = "kfold-10") -> Interactions:
    """The ratings of a data set, unfiltered, whatever the protocol."""
    return load(dataset)


@lru_cache(maxsize=2)
def _folds_of(dataset: str, protocol: str) -> np.ndarray:
    return make_folds(data_for(dataset), protocol)


@lru_cache(maxsize=2)
def split_for(dataset: str, protocol: str, fold: int, inner: bool = False) -> RatingSplit:
    """A fold of a data set, kept in memory for the next model."""
    return make_rating_split(
        data_for(dataset), protocol, fold, inner, folds=_folds_of(dataset, protocol)
    )


@dataclass(frozen=True)
class Run:
    """One run of one cell: ``number`` is the fold (or the seed, or the bag) and the seed."""

    dataset: str
    protocol: str
    model: str
    number: int
    select: str = "fold-minimum"
    variant: str = ""

    @property
    def repeats(self) -> str:
        """What ``number`` counts."""
        return VARIANTS[self.variant].repeats if self.variant else "fold"

    @property
    def fold(self) -> int:
        """The fold that is tested on."""
        return self.number if self.repeats == "fold" else 0

    @property
    def table(self) -> str:
        """Id of the table."""
        return f"{PAPER}/{row(self.model).table}"

    @property
    def label(self) -> str:
        """Short text for progress bars and messages."""
        name = f"{row_name(self.model)} on {self.dataset}, {self.protocol}"
        kind = ", inner validation" if self.select == "validation-no-refit" else ""
        variant = f", {self.variant}" if self.variant else ""
        return f"{name}{variant}{kind}, {self.repeats} {self.number}"

    def address(self) -> Record:
        """What the record says of itself before anything was run."""
        config = variant_config(self.model, self.dataset, self.variant)
        data = data_for(self.dataset)
        return record_address(
            self.table,
            row_name(self.model),
            data,
            self.protocol,
            described(config),
            variant=self.variant,
            select=self.select if row(self.model).trained else "none",
            seed=self.number,
        )

    def split(self) -> RatingSplit:
        """The split that this run trains and is tested on."""
        if self.repeats == "bag":
            return bagged(split_for(self.dataset, self.protocol, 0), self.number)
        inner = self.select == "validation-no-refit"
        return split_for(self.dataset, self.protocol, self.fold, inner)


class Finished(NamedTuple):
    """What a run leaves."""

    record: Record
    model: Any
    predictions: Tensor | None = None  # [epochs, n] uint16, of the test ratings


# Folds whose models and predictions are kept beside the data, for ensembles and explanations.
KEPT_FOLDS = 3


def run(
    job: Run,
    device: torch.device,
    progress: bool = True,
    config: Any = None,
    resumable: bool = True,
) -> Finished:
    """Train and test one cell on one fold; nothing is stored.

    ``config`` takes the place of the cell's own. Unless ``resumable``, no checkpoint of an
    interrupted run is read or written.
    """
    known = row(job.model)
    config = config or variant_config(job.model, job.dataset, job.variant)
    address, split = job.address(), job.split()
    address["config"] = described(config)
    extra: Record = {
        "fold": job.fold,
        "ratings": {"train": len(split.train), "test": len(split.test)},
        "device": device.type,
    }
    if not known.trained:
        model, found = fitted(known, split, "test", config, job.number, device)
        return Finished(address | found | extra | provenance(), model)
    # The code's hash is in the name: a run is not resumed by other code than began it.
    file = paths.CHECKPOINTS / f"{record_key(address)}-{source_hash()}.pt" if resumable else None
    result, found = trained(
        known,
        split,
        config,
        job.number,
        device,
        ("validation", "test") if job.select == "validation-no-refit" else ("test",),
        keep_predictions=_keeps(job),
        checkpoint=file,
        label=job.label,
        progress=progress,
    )
    found["metrics"] |= _contexts(job, result.model, split, device)
    told = getattr(result.model, "pretraining", {})
    if told:  # the cost of the tables, even where another run had made and kept them
        found |= {"pretraining": told, "seconds_pretraining": told["seconds"]}
    kept = torch.stack(result.curve.predictions) if result.curve.predictions else None
    return Finished(address | found | extra | provenance(), result.model, kept)


def _keeps(job: Run) -> bool:
    main = not job.variant and job.select == "fold-minimum" and job.number < KEPT_FOLDS
    return job.table == TABLE2 and (main or job.repeats == "bag")


TEST_DRAWS = 5


def _contexts(job: Run, model: Any, split: RatingSplit, device: torch.device) -> dict[str, float]:
    """On fold 0, what the drawing of test contexts does to the RMSE of the epoch given back.

    Five draws of contexts, contexts of another size, all context, and none (the default user).
    """
    if job.fold or not job.model.startswith("attentive-") or job.repeats != "fold":
        return {}
    test = DeviceRatings.of(split.test, device)
    found = {}

    def measure(name: str, draw: int) -> None:
        drawn = evaluation_generator(job.number, 1_000 + draw, device)
        predicted = predict_all(model, test, rating_range(split), drawn)
        found[f"RMSE/{name}"] = summary(predicted, test.values)["RMSE"]

    for draw in range(TEST_DRAWS):
        measure(f"draw-{draw}", draw)
    for width in (16, 64, ALL):
        model.test_width = width
        measure(f"context-{width or 'all'}", 0)
    model.test_width = model.config.context_test
    empty = model.embedding.default_user.expand(1, -1)
    rated = torch.arange(split.n_items, device=device)
    with torch.no_grad():  # without a context all users are one
        by_item = model.predictor(empty.expand(split.n_items, -1), model.embedding.structure[rated])
    found["RMSE/context-none"] = summary(by_item[test.items], test.values)["RMSE"]
    return found


def plan(
    table: str,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    select: str = "best-epoch",
    variant: str = "",
    seeds: int | None = None,
) -> list[Run]:
    """The runs behind a part of Table I or II; None means all that the table has on ``cil``.

    ``select`` best-epoch or fold-minimum: the runs on all training ratings. validation: those on
    an inner split too, which choose the epoch. ``seeds``: how many folds, from fold 0.

    Raises:
        ReplicationError: a name that is not known, or a combination that the table has not.
    """
    check_known("data set", datasets, DATASETS)
    check_known("variant", [variant] if variant else [], VARIANTS)
    check_known("select", [select], SELECTS)
    for model in models or ():
        row(model)
    protocols = protocols or ["kfold-10"]
    chosen = [
        model
        for model, known in ROWS.items()
        if f"{PAPER}/{known.table}" == table
        and (models is None or model in models)
        and (not variant or model in VARIANTS[variant].models)
    ]
    places = [
        (dataset, protocol)
        for dataset in datasets or RUN_HERE
        for protocol in protocols
        if protocol in PROTOCOLS[dataset]
    ]
    pairs = [(place, model) for place in places for model in chosen if dealt(model, place[1])]
    if not pairs:
        wanted = [*(models or []), *(datasets or []), *protocols, *([variant] if variant else [])]
        raise ReplicationError(f"{table} has no cell of {', '.join(wanted)}")
    jobs = []
    for (dataset, protocol), model in pairs:
        known = row(model)
        if variant:
            spec = VARIANTS[variant]
            kind = "validation-no-refit" if spec.repeats == "bag" else "fold-minimum"
            needed = min(seeds or spec.runs, spec.runs)
            jobs += [Run(dataset, protocol, model, n, kind, variant) for n in range(needed)]
            continue
        inner = select.startswith("validation") and known.trained
        needed = seeds or folds_needed(model, protocol, select)
        kinds = ["fold-minimum"]
        if inner:
            no_refit = select == "validation-no-refit"
            kinds = ["validation-no-refit"] if no_refit else ["fold-minimum", STORED_SELECTS[1]]
        jobs += [Run(dataset, protocol, model, n, kind) for n in range(needed) for kind in kinds]
    return sorted(jobs, key=lambda job: job.number)  # fold by fold: every row has its first soon


def run_and_store(
    jobs: Sequence[Run], device: str = "auto", store: Store | None = None, progress: bool = True
) -> Iterator[tuple[Run, Record, bool]]:
    """Run what is not stored yet, one record after the other.

    Yields:
        The job, its record, and whether it was run now (True) or was there (False).
    """

    def is_searched(job: Run) -> None:
        search(job.model, job.dataset).say_if_lacking()

    return run_folds(jobs, is_searched, run, keep, resolve_device(device), store, progress)


def keep(job: Run, finished: Finished) -> None:
    """Write the model and the predictions of a kept fold beside the data."""
    if finished.predictions is None:
        return
    key = record_key(job.address())
    write_state(predictions_file(key), {"predictions": finished.predictions})
    if isinstance(finished.model, nn.Module):
        write_state(weights_file(job), finished.model.state_dict())


def predictions_file(key: str) -> Any:
    """Where the test predictions of each epoch of a run are kept."""
    return paths.DATA / "predictions" / f"{key}.pt"


def job_of(record: Record) -> Run:
    """The run behind a stored record of Table I or II."""
    model = {name: model for model, name in MODELS.items()}[record["row"]]
    select = record["select"] if record["select"] in STORED_SELECTS else "fold-minimum"
    return Run(
        record["dataset"], record["protocol"], model, record["seed"], select, record["variant"]
    )


def config_of(record: Record) -> Any:
    """The configuration that a record of Table I or II holds."""
    return restored(row(job_of(record).model).start, record["config"])


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Run a stored record of Table I or II again, with the configuration that it holds."""
    config = config_of(record)
    return run(job_of(record), device, config=config, resumable=False).record, None


def tune(
    model: str, dataset: str, device: str = "auto", progress: bool = True
) -> Iterator[tuple[int, Record, bool]]:
    """Run the trials of one model (inner validation of fold 0, seed 0) and store them."""
    where, known = resolve_device(device), row(model)
    if known.draw is None:
        raise ReplicationError(f"{known.name} has nothing to tune")
    split, data = split_for(dataset, TUNING_PROTOCOL, 0, inner=True), data_for(dataset)
    return search(model, dataset).run(split, data, TUNING_PROTOCOL, where, progress=progress)


# --- ensembles -------------------------------------------------------------------------------

MEMBERS = {
    "mean of all nine": COMBINATIONS,
    "mean of the best of each embedding": _BEST,
    "mean of the three attentive": _ATTENTIVE,
}
BAGGED = "bagged attentive + MLP2"
# What an ensemble is set against: the best of its members, and for the bagged one, whose members
# lack a tenth of the training ratings each, the same model trained on all of them. In a record its
# error less theirs, over the users of the test.
BEST_MEMBER, WHOLE = "best member", "one trained on all"
LESS_BEST, LESS_WHOLE = f"minus {BEST_MEMBER}", f"minus {WHOLE}"


def ensemble_grid() -> list[Cell]:
    """Means over models that were trained on the same fold; the bagged one on fold 0 alone."""
    cells = [
        Cell(ENSEMBLE, name, "cil", "kfold-10", "best-epoch", "", KEPT_FOLDS, repeats="folds")
        for name in MEMBERS
    ]
    return [*cells, Cell(ENSEMBLE, BAGGED, "cil", "kfold-10", "validation-no-refit", "", 1)]


def ensembles(
    dataset: str, device: str = "auto", progress: bool = True
) -> Iterator[tuple[str, Record, bool]]:
    """Average the predictions of stored runs, and store the records.

    A member is taken at the epoch that the paper's selection gives it. The bagged models choose
    their own epochs on their inner validation, and nobody trained on what they are scored on; so
    does the model trained on all of these ratings that they are set against. The best member is the
    one with the lowest error on the same test ratings, metric by metric; a record has the interval
    of the difference over the users of the test, which is all there is where a mean has one fold.

    Yields:
        A label, its record, and whether it is new; nothing for an ensemble of which a member was
        not run yet.

    Raises:
        ReplicationError: a member's predictions were not kept, and do not come out again.
    """
    records = derived(Store(TABLE2).load())
    jobs = [
        (_address(name, fold, *behind), *behind)
        for name, fold in [*((n, f) for n in MEMBERS for f in range(KEPT_FOLDS)), (BAGGED, 0)]
        if (behind := _members(records, name, dataset, fold)) is not None
    ]

    def average(job: tuple[Record, list[Record], Record | None]) -> tuple[Record, None]:
        return _average(*job, resolve_device(device), progress), None

    found = measure_missing(jobs, lambda job: job[0], Store(ENSEMBLE), average)
    for _, record, new in found:
        yield f"{record['row']} on {dataset}, fold {record['seed']}", record, new


def rerun_ensemble(record: Record, device: torch.device) -> tuple[Record, None]:
    """Average the predictions behind a stored record again."""
    records = derived(Store(TABLE2).load())
    found = _members(records, record["row"], record["dataset"], record["seed"])
    address = found and _address(record["row"], record["seed"], *found)
    if not found or not address or address["config"] != record["config"]:
        raise ReplicationError(
            f"the members of {record['key']} are not stored here as they were; run them again"
        )
    return _average(address, *found, device, progress=False), None


def _members(
    records: Sequence[Record], name: str, dataset: str, fold: int
) -> tuple[list[Record], Record | None] | None:
    """The newest record of each member of an ensemble; None while one was not run.

    With them the record of the one model that the bagged ensemble is set against.
    """
    if name == BAGGED:
        bags = range(VARIANTS["bagged"].runs)
        wanted = [("attentive-mlp2", "validation-no-refit", "bagged", bag) for bag in bags]
        wanted.append(("attentive-mlp2", "validation", "", 0))
    else:
        wanted = [(model, "best-epoch", "", fold) for model in MEMBERS[name]]
    found = []
    for model, select, variant, number in wanted:
        place = (row_name(model), dataset, "kfold-10", select, variant, number)
        names = ("row", "dataset", "protocol", "select", "variant", "seed")
        same = [r for r in records if tuple(r[k] for k in names) == place]
        if not same:
            return None
        found.append(max(same, key=lambda r: str(r.get("time", ""))))
    return (found[:-1], found[-1]) if name == BAGGED else (found, None)


SIBLING = 0.02  # stars of test RMSE at any epoch between two trainings that rounding tells apart


def _predictions(member: Record, device: torch.device, progress: bool) -> Tensor:
    """What a member predicts for the test ratings at its epoch, [n] float64.

    A member whose predictions were not kept here, where it was trained elsewhere or a while ago, is
    trained again. On the processor of its record it must then be the same model; on another one it
    is a sibling, as far away as one of another seed may be.
    """
    file = predictions_file(member["key"])
    if not file.exists():
        again = run(job_of(member), device, progress, config_of(member))
        here = again.record["processor"] == member.get("processor")
        own, stored = (np.array(r["curve"]["test RMSE"]) for r in (again.record, member))
        apart = np.abs(own - stored).max() if len(own) == len(stored) else np.inf
        if apart > 0 if here else apart >= SIBLING:
            raise ReplicationError(
                f"the predictions of {member['row']}, {member['select']} {member['seed']} were not "
                "kept, and trained again here it has another curve than its record: run all "
                "members into an empty results folder"
            )
        write_state(file, {"predictions": again.predictions})
    kept = torch.load(file, weights_only=True)["predictions"]
    dataset, fold = member["dataset"], member["fold"]
    return unpack(kept[member["epochs"] - 1], rating_range(split_for(dataset, "kfold-10", fold)))


def _address(name: str, fold: int, members: Sequence[Record], whole: Record | None) -> Record:
    """What the record of an ensemble says of itself before anything is averaged."""
    # Of a member its row, its epoch and its settings: the same for all folds.
    listed = [
        [m["row"], m["epochs"], hashlib.sha256(settings(m).encode()).hexdigest()[:12]]
        for m in (*members, *([whole] if whole else []))
    ]
    config = {"members": listed[: len(members)]} | ({WHOLE: listed[-1]} if whole else {})
    shared = {k: members[0][k] for k in ("dataset", "data_hash", "data_source", "protocol")}
    return shared | {
        "table": ENSEMBLE,
        "row": name,
        "variant": "",
        "select": members[0]["select"],
        "config": config,
        "seed": fold,
    }


def _average(
    address: Record,
    members: Sequence[Record],
    whole: Record | None,
    device: torch.device,
    progress: bool,
) -> Record:
    """The record of one ensemble."""
    test = split_for(address["dataset"], "kfold-10", address["seed"]).test
    predicted = [_predictions(member, device, progress) for member in members]  # of each, [n]
    mean = torch.stack(predicted).mean(0)  # [n]
    metrics = summary(mean, test.values)
    errors = [summary(own, test.values) for own in predicted]
    whole_predicted = _predictions(whole, device, progress) if whole else None
    for metric in METRICS:
        alone = [own[metric] for own in errors]
        metrics[f"{metric}/mean member"] = float(np.mean(alone))
        rivals = {BEST_MEMBER: predicted[int(np.argmin(alone))]}
        if whole_predicted is not None:
            rivals[WHOLE] = whole_predicted
        for rival, theirs in rivals.items():
            error, other = ((x.numpy() - test.values) for x in (mean, theirs))
            paired = fixed_test(error, other, test.users, squared=metric == "RMSE")
            less = f"{metric}/minus {rival}"
            metrics |= {
                f"{metric}/{rival}": summary(theirs, test.values)[metric],
                less: paired.difference,
                f"{less}/low": paired.ci_low,
                f"{less}/high": paired.ci_high,
                f"{less}/p": paired.pvalue,
                f"{less}/users": paired.n_users,
            }
    return address | {"metrics": metrics, "device": "cpu"} | provenance()
