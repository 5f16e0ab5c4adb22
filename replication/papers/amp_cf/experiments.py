"""AMP-CF: the grid of every table, where each hyper-parameter comes from, and how a cell is run.

Tables: ``amp_cf/table1`` (data statistics; over other draws: ``draws.py``), ``amp_cf/table2``
(HR@10, NDCG@10) and, behind it, ``amp_cf/tuning`` (the search trials, on validation items).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from replication import paths
from replication.compare import Cell
from replication.data import UNKNOWN_TIME, Interactions, filter_rare, load
from replication.errors import ReplicationError
from replication.evaluation import (
    HeldOut,
    held_out,
    rank_and_list,
    rank_candidates,
    rank_catalogue,
)
from replication.metrics.ranking import summary
from replication.papers.amp_cf import ablations
from replication.papers.amp_cf.rows import ROWS, row
from replication.papers.common import (
    Stopwatch,
    check_known,
    distinct_draws,
    drawn_config,
    run_missing,
    run_trials,
    say_if_unsearched,
)
from replication.protocols import PROTOCOLS as ALL_PROTOCOLS
from replication.protocols import Split, make_split
from replication.records import Record, Store, provenance, record_address, record_key, source_hash
from replication.training import Fit, described, fit, resolve_device, restored, write_state

PAPER = "amp_cf"
TABLE1, TABLE2, TUNING = f"{PAPER}/table1", f"{PAPER}/table2", f"{PAPER}/tuning"
LONGER = f"{PAPER}/tuning-longer"  # trials that go on, for the variant ``longer-search`` alone
# Measured on one machine by the scripts in benchmarks/ and, the last, by tests/parity (see
# tests/parity/agreement.py); the page of costs shows them.
MEMORY, SPEED, PARITY = f"{PAPER}/memory", f"{PAPER}/speed", f"{PAPER}/parity"
PACE = f"{PAPER}/pace"  # by benchmarks/memory.py too

# Name of each data set in the paper's Table 1 (Table 2 writes ML100K, ML1M); ml-100k is ours.
DATASETS = {
    "ml-latest-small": "ML-100k",
    "ml-100k": "MovieLens 100K",
    "ml-1m": "ML-1M",
    "pinterest": "Pinterest",
    "yahoo-music": "Yahoo!",
    "amazon-video-games": "Amazon",
}
# For headings: the paper's ML-100k is not the data set that goes by this name.
TITLES = DATASETS | {
    "ml-latest-small": "The paper's ML-100k",
    "ml-100k": "MovieLens 100K, not in the paper",
}
PROTOCOLS = {
    "ml-latest-small": ("loo-random", "loo-last"),
    "ml-100k": ("loo-random", "loo-last"),
    "ml-1m": ("loo-ncf", "loo-random"),
    "pinterest": ("loo-random",),
    "yahoo-music": ("loo-random",),
    "amazon-video-games": ("loo-random",),
}
RUN_HERE = tuple(name for name in DATASETS if name != "yahoo-music")
MODELS = {model: known.name for model, known in ROWS.items()}
# Models of which none needs less memory than one that is left out: fewer personas, MF and MostPop.
LARGEST = ("amp-8", "ncf", "conv-ncf", "deep-icf", "direc", "item-knn", "ease", "ials", "aisp-4")
LENGTH = 30  # of the lists of Table 3; Section 4.2
MEMORY_LIMIT = 3.0  # GiB that the study allows for every data set
SELECTS = ("validation", "test")
VALIDATION_NO_REFIT = "validation-no-refit"

NO_LICENCE = "Yahoo! Music is given out by application only"

# --- configurations --------------------------------------------------------------------------

N_TRIALS = 20
TUNING_PROTOCOL = "loo-random"
# An epoch of ml-1m is ten epochs of the small data sets, one of pinterest four: the most epochs of
# a trial and of a run, pretraining included. (Trials on fewer users would not do: a user's row is
# then in ten times as many batches, which moves the best weight decay.)
TUNING_EPOCHS = {"ml-1m": 2, "pinterest": 3}
MAX_EPOCHS = {"ml-1m": 6, "pinterest": 10}
# What the short trials may have hidden is checked for some models, for which the best trials go on.
CONTINUED, LONGER_EPOCHS = 3, 25
CONTINUED_WHERE = {"ml-1m": ("mf", "amp-2", "amp-4")}


def row_name(model: str) -> str:
    """The printed name of a model: ``amp-2`` -> ``AMP-2``."""
    return row(model).name


def trial_config(model: str, trial: int) -> Any:
    """Trial 0 is the starting point; the others are drawn at random."""
    return drawn_config(row(model), trial)


def _limited(config: Any, of_model: int | None, of_data: int | None) -> Any:
    """A configuration that trains, and pretrains, no longer than is allowed."""
    limits = [n for n in (config.max_epochs, of_model, of_data) if n is not None]
    changes = {"max_epochs": min(limits)}
    if of_data is not None and hasattr(config, "pretrain_epochs"):
        changes["pretrain_epochs"] = min(config.pretrain_epochs, of_data)
    return replace(config, **changes)


def tuned_config(model: str, dataset: str) -> Any:
    """The trial with the best validation NDCG@10; the starting point where none was run."""
    known, trials = row(model), _trials(model, dataset)
    config = known.start
    if known.draw is not None and trials:
        best = min(trials, key=_rank_of_trial)
        # A trial may have had fewer epochs than the configuration that it tried.
        full = trial_config(model, best["trial"])
        epochs = {
            n: getattr(full, n) for n in ("max_epochs", "pretrain_epochs") if hasattr(full, n)
        }
        config = replace(restored(config, best["config"]), **epochs)
    if known.trained:
        config = _limited(config, known.max_epochs, MAX_EPOCHS.get(dataset))
    return config


def _trials(model: str, dataset: str, table: str = TUNING) -> list[Record]:
    """The stored search trials of a model on a data set."""
    of = (row_name(model), dataset)
    return [record for record in Store(table).load() if (record["row"], record["dataset"]) == of]


def _rank_of_trial(trial: Record) -> tuple[float, int]:
    """The better of two trials has the lower: validation NDCG@10 turned round, then its number."""
    return -trial["metrics"]["NDCG@10"], trial["trial"]


def continued(model: str, dataset: str) -> dict[int, Any]:
    """The best trials with more epochs, number -> configuration; none for most models."""
    if model not in CONTINUED_WHERE.get(dataset, ()):
        return {}
    best = sorted(_trials(model, dataset), key=_rank_of_trial)[:CONTINUED]
    return {
        trial["trial"]: replace(trial_config(model, trial["trial"]), max_epochs=LONGER_EPOCHS)
        for trial in best
    }


def _continued_config(model: str, dataset: str) -> Any:
    """The best of the trials that went on.

    Raises:
        ReplicationError: not all of them are stored.
    """
    wanted = continued(model, dataset)
    trials = [t for t in _trials(model, dataset, LONGER) if t["trial"] in wanted]
    if not wanted or len(trials) < len(wanted):
        raise ReplicationError(
            f"{row_name(model)} on {dataset} has {len(trials)} of {CONTINUED} longer trials; "
            f"`python -m replication tune {TABLE2} --dataset {dataset} --model {model}` runs them"
        )
    return wanted[min(trials, key=_rank_of_trial)["trial"]]


@dataclass(frozen=True)
class Variant:
    """A named departure from the main cells of Table 2.

    Attributes:
        text: what differs, for the reader.
        cells: data sets and protocols on which it is run.
        models: which models.
        select: how the epoch is chosen.
        changes: configuration values that differ from the tuned ones.
        from_start: change the starting point in place of the tuned configuration.
        split: arguments of ``make_split`` that differ; ``{"split_seed": "seed"}`` redraws.
        rides_along: measured in the same run as the main cell, from the same training.
        ties: who wins a tie with the held-out item: the other ("against" the model), the
            held-out item ("for" it), or the larger item index ("index").
        seeds: how many runs a cell needs; None: as many as the model's main cells.
    """

    text: str
    cells: tuple[tuple[str, str], ...]
    models: tuple[str, ...]
    select: str = "validation"
    changes: tuple[tuple[str, Any], ...] = ()
    from_start: bool = False
    split: tuple[tuple[str, Any], ...] = ()
    rides_along: bool = False
    ties: str = "against"
    seeds: int | None = None


_SMALL = (("ml-latest-small", "loo-random"),)
_SEARCHED = tuple(
    (dataset, "loo-random")
    for dataset in ("ml-latest-small", "ml-100k", "amazon-video-games", "ml-1m")
)
_AMP = ("amp-2", "amp-3", "amp-4")
VARIANTS = {
    "printed-loss": Variant(
        "Eq. 2 as printed: the log-sum runs over the negatives alone",
        _SMALL,
        ("amp-2", "mf"),
        changes=(("likelihood", "printed"),),
    ),
    "released": Variant(
        "the released code's habits: no projections, no item bias (MF: user and item biases), "
        "uniform negatives that the user has not consumed in training, redrawn positives, summed "
        "entropies, the epoch chosen on the test items, and no search: the values that the sources "
        "print",
        # The third is the data set whose file the authors released.
        (*_SMALL, ("ml-100k", "loo-random"), ("amazon-video-games", "loo-random")),
        # For AMP-r and MF the code says all of this. A model without epochs, sampled negatives and
        # attention (iALS, AISP, ItemKNN, EASE^R, MostPop) would come out as in the main cells.
        ("amp-2", "amp-3", "amp-4", "amp-8", "mf"),
        select="test",
        changes=(
            ("attention_projections", False),
            ("item_bias", False),
            ("negative_distribution", "uniform"),
            ("reject_consumed", "train"),
            ("positives", "redrawn"),
            ("entropy_reduction", "sum"),
            ("negative_entropy", "mean"),
        ),
        from_start=True,
    ),
    "redraw": Variant(
        "every seed redraws the held-out items and the candidates",
        _SMALL,
        ("amp-2", "mf", "mostpop"),
        split=(("split_seed", "seed"),),
    ),
    "first-row-ties": Variant(
        "of several ratings at a user's last time the first file row is held out",
        (("ml-latest-small", "loo-last"), ("ml-100k", "loo-last")),
        ("amp-2", "mf", "mostpop"),
        split=(("ties", "first"),),
    ),
    "no-consumed-negatives": Variant(
        "the published negatives without the 156 that the user did rate",
        (("ml-1m", "loo-ncf"),),
        tuple(MODELS),
        split=(("clean", True),),
        rides_along=True,
    ),
    "longer": Variant(
        "up to 25 epochs, as on the small data sets",
        (("ml-1m", "loo-random"), ("pinterest", "loo-random")),
        ("mf", "amp-2", "amp-4"),
        changes=(("max_epochs", 25),),
        seeds=1,  # it is asked whether a later epoch would be chosen
    ),
    "longer-search": Variant(
        f"the best of the {CONTINUED} trials that went on for up to {LONGER_EPOCHS} epochs, and as "
        "many in the run",
        tuple((dataset, "loo-random") for dataset in CONTINUED_WHERE),
        ("mf", "amp-2", "amp-4"),
        seeds=1,  # it is asked whether the short trials chose wrongly
    ),
    # A search over five values has fewer trials near the best rate and decay than one over two:
    # are personas worse than one vector, or only worse searched?
    "mf-settings": Variant(
        "the rate and decay that the search found for MF, and the entropy weights that the sources "
        "print",
        _SEARCHED,
        _AMP,
        from_start=True,
        seeds=3,
    ),
    "mf-settings-no-entropy": Variant(
        "the same without the entropy terms",
        _SEARCHED,
        _AMP,
        changes=(("lambda_p", 0.0), ("lambda_n", 0.0)),
        from_start=True,
        seeds=3,
    ),
    "ncf-settings": Variant(
        "NCF with the settings that its authors print and release: a rate of 0.001, no weight "
        "decay, GMF and MLP trained for 20 epochs each; both together for up to 25",
        (("ml-1m", "loo-ncf"),),
        ("ncf",),
        from_start=True,
        seeds=1,  # it is asked whether the model reaches what its authors print
    ),
    "ties-for-the-model": Variant(
        "a held-out item wins every tie",
        # Of a user with few items most of the catalogue shares no neighbour: ItemKNN scores it 0.
        (
            ("ml-1m", "loo-ncf"),
            ("ml-latest-small", "loo-random"),
            ("amazon-video-games", "loo-random"),
            ("pinterest", "loo-random"),
        ),
        ("mostpop", "item-knn"),
        rides_along=True,
        ties="for",
    ),
    "ties-by-index": Variant(
        "of two items with the same score the one with the larger index wins",
        (("ml-1m", "loo-ncf"),),
        ("mostpop",),
        rides_along=True,
        ties="index",
    ),
} | {
    name: Variant(
        level.text,
        tuple((dataset, ablations.PROTOCOL) for dataset in level.datasets),
        level.models,
        changes=level.changes,
        from_start=level.from_start,
        seeds=level.seeds,
    )
    for name, level in ablations.LEVELS.items()
}
# MostPop on the NCF authors' split as Rendle et al. (RecSys 2020) publish it: the oracle.
ORACLE = {"HR@10": 0.4535, "NDCG@10": 0.2543}
# NeuMF with pretraining and 64 factors on that split: He et al., WWW 2017, Table 2.
PRINTED_NCF = {"HR@10": 0.730, "NDCG@10": 0.447}


def variant_config(model: str, dataset: str, variant: str) -> Any:
    """The configuration of a model in the main cells (``variant=""``) or in a variant."""
    spec = VARIANTS[variant] if variant else None
    if variant == "longer-search":
        return _continued_config(model, dataset)
    base = row(model).start if spec and spec.from_start else tuned_config(model, dataset)
    if spec is None:
        return base
    changes = dict(spec.changes)
    if variant == "released" and model == "mf":
        changes |= {"item_bias": True, "user_bias": True}
    if variant.startswith("mf-settings"):
        of_mf = tuned_config("mf", dataset)
        changes |= {n: getattr(of_mf, n) for n in ("learning_rate", "weight_decay", "max_epochs")}
    return replace(base, **changes)


# --- the grid --------------------------------------------------------------------------------


def grid(select: str = "validation", variant: str = "") -> list[Cell]:
    """The cells of Table 2: every row that the paper prints, and ours, on every data set."""
    cells = []
    if variant:
        spec = VARIANTS[variant]
        for dataset, protocol in spec.cells:
            for model in spec.models:
                chosen = "none" if row(model).deterministic else spec.select
                seeds = spec.seeds or row(model).seeds
                needed = 1 if row(model).deterministic and variant != "redraw" else seeds
                cells.append(
                    Cell(TABLE2, row_name(model), dataset, protocol, chosen, variant, needed)
                )
        return cells
    for dataset, protocols in PROTOCOLS.items():
        for protocol in protocols:
            unavailable = NO_LICENCE if dataset == "yahoo-music" else None
            place = (dataset, protocol)
            for known in ROWS.values():
                chosen = "none" if known.deterministic else select
                needed = 1 if known.deterministic else known.seeds
                cells.append(Cell(TABLE2, known.name, *place, chosen, variant, needed, unavailable))
    return cells


# --- running ---------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def data_for(dataset: str, protocol: str) -> Interactions:
    """The interactions that a protocol splits: filtered, except for the NCF authors' split."""
    data = load(dataset)
    return data if protocol == "loo-ncf" else filter_rare(data)


@lru_cache(maxsize=8)
def split_for(
    dataset: str, protocol: str, split_seed: int = 0, ties: str = "last", clean: bool = False
) -> Split:
    """The split of a data set, kept in memory for the next seed."""
    return make_split(data_for(dataset, protocol), protocol, split_seed, ties, clean)


@dataclass(frozen=True)
class Run:
    """One run of one cell with one seed."""

    dataset: str
    protocol: str
    model: str
    seed: int
    select: str = "validation"
    variant: str = ""

    @property
    def label(self) -> str:
        """Short text for progress bars and messages."""
        name = f"{row_name(self.model)} on {self.dataset}, {self.protocol}"
        return f"{name}{', ' + self.variant if self.variant else ''}, seed {self.seed}"

    def address(self) -> Record:
        """What the record says of itself before anything was run."""
        config = variant_config(self.model, self.dataset, self.variant)
        data = data_for(self.dataset, self.protocol)
        return record_address(
            TABLE2,
            row_name(self.model),
            data,
            self.protocol,
            described(config) | self.base_config(),
            variant=self.variant,
            select="none" if row(self.model).deterministic else self.select,
            seed=self.seed,
        )

    @property
    def base(self) -> Run | None:
        """The run that this one re-ranks; a changed configuration is not the base's."""
        model = row(self.model).base
        if model is None:
            return None
        other_split = self.variant and VARIANTS[self.variant].split
        return replace(self, model=model, variant=self.variant if other_split else "")

    def base_config(self) -> Record:
        """What the record says of the model that this one re-ranks."""
        base = self.base
        if base is None:
            return {}
        return {"base": described(variant_config(base.model, base.dataset, base.variant))}

    def split(self) -> Split:
        """The split that this run trains and is tested on."""
        arguments = dict(VARIANTS[self.variant].split) if self.variant else {}
        if arguments.get("split_seed") == "seed":
            arguments["split_seed"] = self.seed
        return split_for(self.dataset, self.protocol, **arguments)


class Finished(NamedTuple):
    """What a run leaves."""

    record: Record
    ranks: np.ndarray  # [U]
    ranks_full: np.ndarray | None = None  # [U]; None: only the sampled candidates were ranked
    model: Any = None  # for lists and explanations; None: another way to test the same model
    lists: np.ndarray | None = None  # [U, LENGTH], from the pass that ranked the catalogue


def run(
    job: Run,
    device: torch.device,
    progress: bool = True,
    config: Any = None,
    resumable: bool = True,
    every_catalogue: bool = False,
) -> list[Finished]:
    """Train and test one cell with one seed; nothing is stored.

    ``config`` takes the place of the cell's own. Unless ``resumable``, no checkpoint of an
    interrupted run is read or written. A ``slow`` model ranks the catalogue without its refit too
    if ``every_catalogue``, as it did when some of the stored records were made.

    ``select="validation"``: the epoch with the best validation NDCG@10 is chosen, then the model
    is trained anew on training plus validation for as many epochs. The model of that epoch
    without the refit is reported as ``validation-no-refit``. ``select="test"``: trained on
    training plus validation, the epoch with the best test NDCG@10 is reported, and beside it the
    best of each metric over the epochs (``HR@10/best``), which is what the released code reports.
    """
    known = row(job.model)
    config = config or variant_config(job.model, job.dataset, job.variant)
    address, split = job.address(), job.split()
    address["config"] = described(config) | job.base_config()
    refit = split.refit()
    test = held_out(split, "test", device)

    def finished(model: Any, extra: Record, **changes: Any) -> Finished:
        ranks, full, lists = rank_candidates(model, test), None, None
        metrics = summary(ranks)
        no_refit = changes.get("select") == VALIDATION_NO_REFIT
        if not (known.slow and no_refit) or every_catalogue:
            # Lists need the scores of every user, in the blocks of users in which they are ranked.
            wanted = known.slow and not no_refit and job.protocol == ablations.PROTOCOL
            listed = wanted and len(test.users) == test.n_users
            full, lists = rank_and_list(model, test, LENGTH if listed else 0)
            metrics |= summary(full, suffix="/full")
            lists = lists if listed else None
        metrics |= extra.pop("metrics", {})
        record = address | changes | {"metrics": metrics} | extra | provenance()
        return Finished(record, ranks, full, model, lists)

    if not known.trained:
        # What re-ranks another model: the time to train that one is counted there.
        base = [trained(job.base, device, progress)] if job.base else []
        watch = Stopwatch()
        model = known.build(refit, config, job.seed, device, *base)
        extra = {"epochs": 0, "parameters": 0} | watch.told() | {"device": device.type}
        main = finished(model, extra)
        return [main, *_riding_along(job, main, extra, device)]

    # The code's hash is in the name: a run is not resumed by other code than began it.
    checkpoint = paths.CHECKPOINTS / f"{record_key(address)}-{source_hash()}-{{}}.pt"
    common: dict[str, Any] = {
        "config": config,
        "seed": job.seed,
        "device": device,
        "progress": progress,
    }

    def phase(name: str, on: Split, **arguments: Any) -> Any:
        file = checkpoint.with_name(checkpoint.name.format(name)) if resumable else None
        label = f"{job.label} ({name})"
        build = partial(known.build, on, config, job.seed, device)
        empty = partial(known.empty, on, config) if known.empty else None
        return fit(build, on, checkpoint=file, label=label, empty=empty, **common, **arguments)

    def extras(result: Fit, epochs: int) -> Record:
        done = len(result.curve.epoch)
        trained = sum(p.numel() for p in result.model.parameters())
        return {
            "curve": result.curve.as_dict(),
            "epochs": epochs,
            "parameters": trained,
            **_times(result),
            "seconds_per_epoch": round(result.seconds / done, 4),
            "cpu_seconds_per_epoch": round(result.cpu_seconds / done, 4),
            "device": device.type,
        }

    if job.select == "test":
        chosen = phase("selection", refit, select_on="test")
        extra = extras(chosen, chosen.curve.best)
        best = {"HR@10/best": max(chosen.curve.hr), "NDCG@10/best": max(chosen.curve.ndcg)}
        results = [finished(chosen.model, extra | {"metrics": best})]
    else:
        chosen = phase("selection", split, select_on="validation")
        epochs = chosen.curve.best
        without = extras(chosen, epochs)
        final = phase("refit", refit, select_on=None, epochs=epochs)
        extra = without | _times(chosen, final)
        main = finished(final.model, extra)
        results = [
            main,
            finished(chosen.model, without, select=VALIDATION_NO_REFIT),
            *_riding_along(job, main, extra, device),
        ]
    return results


def _times(*fits: Fit) -> Record:
    """What trainings took, preparation included, as a record holds it."""
    return {
        "seconds": round(sum(one.seconds + one.preparation for one in fits), 2),
        "cpu_seconds": round(sum(one.cpu_seconds + one.cpu_preparation for one in fits), 2),
    }


def ranks_by(ties: str, model: Any, held: HeldOut) -> np.ndarray:
    """[U] uint16, ranks among the sampled candidates under a rule for ties (see ``Variant``)."""
    ranks = rank_candidates(model, held)
    if ties == "against":
        return ranks
    scores = model.score_candidates(held.users, held.items)  # [E, 100]
    lost = (scores == scores[:, :1]) & held.valid  # ties that count against the model so far
    if ties == "index":
        lost &= held.items <= held.items[:, :1]  # equal: the held-out item among its own negatives
    lost[:, 0] = False
    ranks[held.users.cpu().numpy()] -= lost.sum(1).cpu().numpy().astype(np.uint16)
    return ranks


def job_of(record: Record) -> Run:
    """The run behind a record: for a variant that rides along, the main run."""
    model = {name: model for model, name in MODELS.items()}.get(record["row"])
    select, variant = record["select"], record["variant"]
    rides_along = bool(variant) and VARIANTS[variant].rides_along
    return Run(
        record["dataset"],
        record["protocol"],
        model or record["row"].lower(),
        record["seed"],
        select if select in SELECTS else "validation",
        "" if rides_along else variant,
    )


def config_of(record: Record) -> Any:
    """The configuration that a record of Table 2 or 3 holds.

    Raises:
        ReplicationError: it re-ranks a base that has been tuned anew since.
    """
    job = job_of(record)
    start, values = row(job.model).start, dict(record["config"])
    if (values.pop("base", None) or {}) != job.base_config().get("base", {}):
        raise ReplicationError(f"the record {record['key']} re-ranks a base that is not tuned so")
    return restored(start, values)


def rerun(record: Record, device: torch.device) -> tuple[Record, np.ndarray | None]:
    """Run a stored record of Table 1 or 2 again, with the configuration that it holds.

    Returns:
        The new record and its ranks [U] (None for Table 1).
    """
    if record["table"] == TABLE1:
        return statistics(record["dataset"]), None
    job, config = job_of(record), config_of(record)
    place = (record["variant"], record["select"])
    every = record["select"] == VALIDATION_NO_REFIT and "HR@10/full" in record["metrics"]
    results = run(job, device, config=config, resumable=False, every_catalogue=every)
    for again, ranks, *_ in results:
        if (again["variant"], again["select"]) == place:
            return again, ranks
    raise ReplicationError(f"the record {record['key']} is not one that this code makes")


def _riding_along(
    job: Run, main: Finished, extra: Record, device: torch.device
) -> Iterator[Finished]:
    """Variants that only test the trained model of a main cell in another way."""
    for name, spec in VARIANTS.items():
        here = (job.dataset, job.protocol) in spec.cells and job.model in spec.models
        if not spec.rides_along or job.variant or not here:
            continue
        other = replace(job, variant=name)
        test = held_out(other.split(), "test", device)
        ranks, metrics = ranks_by(spec.ties, main.model, test), {}
        full = None
        if spec.ties == "against":
            full = main.ranks_full
            if full is None or not _same_catalogue(job.split(), other.split()):
                full = rank_catalogue(main.model, test)
            metrics = summary(full, suffix="/full")
        metrics = summary(ranks) | metrics
        config = {"config": main.record["config"]}
        record = other.address() | config | {"metrics": metrics} | extra | provenance()
        yield Finished(record, ranks, full)


def _same_catalogue(one: Split, other: Split) -> bool:
    """Whether two splits differ in their sampled candidates alone, which a full ranking ignores."""
    names = ("train_users", "train_items", "validation", "test")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def plan(
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    select: str = "validation",
    variant: str = "",
    seeds: int | None = None,
) -> list[Run]:
    """The runs behind a part of Table 2; None means all that the table has.

    Raises:
        ReplicationError: a name that is not known, or a combination that the table has not.
    """
    check_known("data set", datasets, DATASETS)
    check_known("protocol", protocols, ALL_PROTOCOLS)
    check_known("variant", [variant] if variant else [], VARIANTS)
    check_known("select", [select], SELECTS)
    for model in models or ():
        row(model)
    spec = VARIANTS.get(variant)
    if spec is not None and spec.rides_along:
        raise ReplicationError(f"{variant} is measured along with the main runs; run those")
    if spec is not None:
        places, select = spec.cells, spec.select
        models = models or spec.models
    else:
        places = tuple((d, p) for d in (datasets or RUN_HERE) for p in PROTOCOLS[d])
    chosen = [
        (dataset, protocol)
        for dataset, protocol in places
        if (datasets is None or dataset in datasets)
        and (protocols is None or protocol in protocols)
    ]
    if not chosen:
        raise ReplicationError(
            f"{TABLE2} has no cell of {', '.join(datasets or ['any data set'])} under "
            f"{', '.join(protocols or ['any protocol'])}"
        )
    jobs = []
    for dataset, protocol in chosen:
        for model in models or MODELS:
            if model not in MODELS and protocols is None and protocol != TUNING_PROTOCOL:
                continue  # what is no row of the table has no cell there
            one_is_enough = row(model).deterministic and variant != "redraw"
            wanted = (spec.seeds if spec else None) or row(model).seeds
            needed = 1 if one_is_enough else (seeds or wanted)
            jobs += [Run(dataset, protocol, model, seed, select, variant) for seed in range(needed)]
    return jobs


def keep(finished: Finished) -> None:
    """Write the trained model of a main cell beside the data, and its lists, where it has any."""
    key = record_key(finished.record)
    if isinstance(finished.model, nn.Module) and not finished.record["variant"]:
        write_state(paths.MODELS / f"{key}.pt", finished.model.state_dict())
    if finished.lists is not None:
        lists = {"lists": torch.from_numpy(finished.lists)}
        write_state(_lists_file(key, finished.record["device"]), lists)


def _lists_file(key: str, device: str) -> Path:
    """Where the lists of a run are kept: made on another kind of device they may be others."""
    return paths.MODELS / f"{key}-lists-{device}.pt"


def kept_lists(job: Run, device: torch.device) -> np.ndarray | None:
    """[U, LENGTH] int64, the lists that a run of Table 2 made as it ranked; None: it kept none.

    They stand in for a second pass over the catalogue by a ``slow`` model.
    """
    file = _lists_file(record_key(job.address()), device.type)
    if not file.exists():
        return None
    lists = torch.load(file, map_location="cpu", weights_only=True)["lists"]
    return lists.numpy().astype(np.int64)


def trained(job: Run, device: torch.device, progress: bool = True) -> Any:
    """The model of a run of Table 2: the one that was kept, or trained again.

    Where the run's record says for how many epochs, only the refit is repeated.
    """
    known, split = row(job.model), job.split().refit()
    config = variant_config(job.model, job.dataset, job.variant)
    if not known.trained:
        base = [trained(job.base, device, progress)] if job.base else []
        return known.build(split, config, job.seed, device, *base)
    key = record_key(job.address())
    file = paths.MODELS / f"{key}.pt"
    build = partial(known.build, split, config, job.seed, device)
    if file.exists():
        model = (known.empty(split, config) if known.empty else build()).to(device)
        model.load_state_dict(torch.load(file, map_location=device, weights_only=True))
        return model
    epochs = next((r["epochs"] for r in Store(TABLE2).load() if r["key"] == key), None)
    if epochs is None:
        again, *_ = run(job, device, progress)
        keep(again)
        return again.model
    model = fit(
        build, split, config, job.seed, device, None, epochs, label=job.label, progress=progress
    ).model
    write_state(file, model.state_dict())
    return model


def run_and_store(
    jobs: Sequence[Run], device: str = "auto", store: Store | None = None, progress: bool = True
) -> Iterator[tuple[Run, Record, bool]]:
    """Run what is not stored yet, one record after the other.

    Yields:
        The job, the record of its cell, and whether it was run now (True) or was there (False).
    """
    where = resolve_device(device)
    into = store or Store(TABLE2)

    def perform(job: Run) -> Record:
        if store is None and not (job.variant and VARIANTS[job.variant].from_start):
            have = len(_trials(job.model, job.dataset))
            wanted = distinct_draws(row(job.model), N_TRIALS)
            say_if_unsearched(row(job.model), job.dataset, have, wanted)
        results = run(job, where, progress)
        for record, ranks, full, *_ in reversed(results):  # the cell itself last: the run is done
            into.append(record, ranks, full)
        keep(results[0])
        return results[0].record

    return run_missing(jobs, Run.address, lambda job: into, perform)


def tune(
    model: str, dataset: str, device: str = "auto", progress: bool = True
) -> Iterator[tuple[int, Record, bool]]:
    """Run the trials of one model on one data set (validation items, seed 0) and store them.

    Where trials are ``continued``, these follow.
    """
    where, known = resolve_device(device), row(model)
    if known.draw is None:
        raise ReplicationError(f"{known.name} has nothing to tune")
    data, split = data_for(dataset, TUNING_PROTOCOL), split_for(dataset, TUNING_PROTOCOL)
    configs = [trial_config(model, trial) for trial in range(N_TRIALS)]
    if known.trained:
        configs = [_limited(c, known.trial_epochs, TUNING_EPOCHS.get(dataset)) for c in configs]

    def tried(trial: int, config: Any) -> Record:
        build = partial(known.build, split, config, 0, where)
        if known.trained:
            label = f"{known.name} on {dataset}, trial {trial + 1} of {N_TRIALS}"
            result = fit(
                build, split, config, 0, where, "validation", label=label, progress=progress
            )
            best = result.curve.best - 1
            return {
                "metrics": {"HR@10": result.curve.hr[best], "NDCG@10": result.curve.ndcg[best]},
                "epochs": result.curve.best,
                "epochs_run": len(result.curve.epoch),
                **_times(result),
            }
        watch = Stopwatch()
        ranks = rank_candidates(build(), held_out(split, "validation", where))
        return {"metrics": summary(ranks)} | watch.told()

    def several(table: str, numbered: Mapping[int, Any]) -> Iterator[tuple[int, Record, bool]]:
        return run_trials(table, known.name, data, TUNING_PROTOCOL, numbered, tried, where)

    yield from several(TUNING, dict(enumerate(configs)))
    yield from several(LONGER, continued(model, dataset))


# --- Table 1 ---------------------------------------------------------------------------------


TIED = "users whose last time is shared by several ratings"  # not in the paper
STATISTICS = (
    "users",
    "items",
    "training examples",
    "sparsity",
    "ratings per user mean",
    "ratings per user std",
    "ratings per user median",
    "ratings per item mean",
    "ratings per item std",
    "ratings per item median",
)


def statistics_grid() -> list[Cell]:
    """The rows of Table 1, one a data set."""
    cells = []
    for dataset, name in DATASETS.items():
        unavailable = NO_LICENCE if dataset == "yahoo-music" else None
        cells.append(Cell(TABLE1, name, dataset, "loo-random", "none", "", 1, unavailable))
    return cells


def example_statistics(
    users: np.ndarray, items: np.ndarray, n_users: int, n_items: int
) -> dict[str, float]:
    """The values of ``STATISTICS`` for training examples; sd with ddof 1.

    Args:
        users, items: [n] int64, one pair an example.
        n_users, n_items: sizes of the catalogue; who has no example counts as 0.
    """
    metrics: dict[str, float] = {
        "users": n_users,
        "items": n_items,
        "training examples": len(users),
        "sparsity": 1 - len(users) / (n_users * n_items),
    }
    for name, who, size in (("user", users, n_users), ("item", items, n_items)):
        counts = np.bincount(who, minlength=size)
        metrics[f"ratings per {name} mean"] = float(counts.mean())
        metrics[f"ratings per {name} std"] = float(counts.std(ddof=1))
        metrics[f"ratings per {name} median"] = float(np.median(counts))
    return metrics


def statistics(dataset: str) -> Record:
    """The record of one row of Table 1: counts without the test items."""
    data = data_for(dataset, "loo-random")
    split = split_for(dataset, "loo-random").refit()  # all but the test item of each user
    metrics = example_statistics(split.train_users, split.train_items, split.n_users, split.n_items)
    if (data.timestamps != UNKNOWN_TIME).all():
        last = np.zeros(data.n_users, dtype=np.int64)
        np.maximum.at(last, data.users, data.timestamps)
        at_last = np.bincount(data.users[data.timestamps == last[data.users]])
        metrics[TIED] = int((at_last > 1).sum())
    return (
        record_address(
            TABLE1,
            DATASETS[dataset],
            data,
            "loo-random",
            {"min_count": 2, "passes": 3, "ddof": 1},
        )
        | {
            "metrics": metrics,
        }
        | provenance()
    )
