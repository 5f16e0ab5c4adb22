"""What AFM's attention says of its users: the measures of ``explanations.py`` as records.

A record of ``afm/attention`` is AFM's main run on one fold, in the default reading of its
interaction or in the best, or the default's variant with shuffled genres.
Its metrics, by the beginnings of their names:

``attention/<slot>``           the mean over users of the attention on a slot; with ``/sd``,
                               ``/q05`` to ``/q95`` and ``/below`` (less than 20 %) behind it
``below/<slot>``               share of users with less than 20 % there, from single users
``follows/<feature>/<which>``  rank correlation over users of attention on a feature with how
                               concentrated their training ratings are on few of its values, of
                               all ratings or of those rated 5, as it is and given the number of
                               these ratings (``Following``)
``RMSE/<weighing>``, ``RMSE/<arm>/<masking>``, ``squared error/...``, ``moved/...``
                               test errors with other attention and with slots masked
                               (``Masking``); the latter two are means over users
``named/<slot>``               share of a user's test pairs for which the sentence of
                               ``AFM.explain`` names the slot; the first: it names no feature
``recovery``                   on planted users: does attention tell those who care?

Beside it lie the values of single users, and in it those who are shown in the place of Figures 1
and 4, each with a recommendation and its sentence. Planted users are records of the same table: a
number is then a world of its own, not a fold.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from replication.compare import Cell
from replication.data import Interactions
from replication.errors import DataUnavailable
from replication.folds import Ratings, RatingSplit
from replication.item_features import attach, shuffled
from replication.papers.afm import experiments
from replication.papers.afm import explanations as measures
from replication.papers.afm.experiments import Run
from replication.papers.afm.model import AFM, AFMConfig
from replication.papers.afm.rows import ATTENDED, BEST, row
from replication.papers.common import labelled, measure_missing, refuse_unknown
from replication.papers.fold_runs import kept_or_trained
from replication.rating_training import fit_ratings
from replication.records import Record, Store, provenance, record_address
from replication.training import described, resolve_device

TABLE = f"{experiments.PAPER}/attention"
MODEL = "afm"  # whose users are shown
FOLDS = experiments.FOLDS  # all: what is trained twice is tested over folds
SHUFFLED = "shuffled-genres"  # of ``experiments.VARIANTS``, and of the planted users
GENRES = "genres"
FAN_FEATURES = ("director", "actor")  # Section 4.3: a fan of a director, one of two actors
WHICH = ("all", "rated 5")  # ratings whose spread over a feature's values is looked at

# Eq. 4 with Adam learns the planted users in seconds.
PLANTED, PLANTED_MODEL = "planted", "afm-inner-biases"
PLANTED_CONFIG = AFMConfig(
    dimension=8,
    method="adam",
    learning_rate=0.03,
    batch_size=512,
    interaction="inner",
    biases=True,
    max_epochs=12,
)
WORLDS = 5

DATASETS = (*experiments.RUN_HERE, PLANTED)
MODELS = (*ATTENDED, PLANTED_MODEL)
CHOICES = {
    "least": {"ratings": measures.LEAST_RATED, "rated 5": measures.LEAST_FAVOURITES},
    "low": measures.LOW_ATTENTION,
    "draws": measures.DRAWS,
    "rules": {"figure 1": measures.FIGURE_1_RULE, "figure 4": measures.FIGURE_4_RULE},
}
# What the table of the command line shows; a record holds more.
METRICS = (
    f"attention/{GENRES}",
    f"below/{GENRES}",
    *(
        f"follows/{GENRES}/{which}/{what}"
        for which in WHICH
        for what in ("correlation", "p", "given_count", "given_p")
    ),
    *(f"RMSE/{name}" for name in measures.WEIGHINGS),
    *(f"RMSE/{arm}/{kind}" for kind in measures.MASKINGS for arm in measures.ARMS),
    "recovery",
)


# --- what is measured ------------------------------------------------------------------------


class Measured(NamedTuple):
    """Of one model."""

    attention: np.ndarray  # [U, S]
    metrics: dict[str, float]
    values: dict[str, np.ndarray]  # [U] float16 by name; NaN for a user without a value
    shown: Record  # users, by figure


def explained(model: AFM, split: RatingSplit, seed: int) -> Measured:
    """Everything that is asked of the attention of a model; its features are those of the split.

    Args:
        model: trained on the split, with attention.
        split: with features and test ratings.
        seed: decides permutations, bootstrap samples, and whose attention another user gets.
    """
    table, device = split.features, model.users.device
    assert table is not None  # AFM cannot be made without
    model.eval()
    attention = measures.all_attention(model)  # [U, S]
    metrics = {
        f"attention/{name}": value
        for name, value in measures.attention_summary(attention, model.names).items()
    }
    values: dict[str, np.ndarray] = {}
    for name, own in zip(model.names, attention.T, strict=True):
        values[f"attention/{name}"] = own
        values[f"below/{name}"] = (own < measures.LOW_ATTENTION).astype(float)
    followed, entropies = _following(attention, split, np.random.default_rng([seed, 1]))
    metrics |= followed
    values |= entropies
    generator = torch.Generator(device=device).manual_seed(seed)
    masked = measures.masking(model, split.test, generator)
    values |= masked.by_user
    values |= measures.named(model, split.test)
    metrics |= {f"RMSE/{name.removeprefix('error/')}": v for name, v in masked.rmse.items()}
    # As they are stored: the metric is then the mean of the stored values to the last digit.
    stored = {k: v.astype(np.float16) for k, v in values.items() if np.isfinite(v).any()}
    metrics |= {name: float(np.nanmean(v.astype(np.float64))) for name, v in stored.items()}
    shown = {"pairs masked": masked.pairs} | _shown(model, attention, split)
    return Measured(attention, metrics, stored, shown)


def _chosen(split: RatingSplit, which: str) -> Ratings:
    """The training ratings of one of ``WHICH``."""
    return split.train if which == "all" else measures.favourites(split.train)


def _following(
    attention: np.ndarray, split: RatingSplit, rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Does attention on each feature follow the ratings? Numbers, and the users' entropies [U].

    What cannot be ranked has no number; users with too few ratings have no entropy.
    """
    table = split.features
    assert table is not None
    metrics: dict[str, float] = {}
    entropies: dict[str, np.ndarray] = {}
    for feature, own in zip(table.names, attention.T[1:], strict=True):
        for which, least in zip(
            WHICH, (measures.LEAST_RATED, measures.LEAST_FAVOURITES), strict=True
        ):
            spread = measures.spread(_chosen(split, which), table, feature, split.n_users)
            found = measures.following(own, spread, rng, least, measures.DRAWS)
            name = f"{feature}/{which}"
            metrics |= {
                f"follows/{name}/{k}": float(v)
                for k, v in found._asdict().items()
                if np.isfinite(v)
            }
            entropies[f"entropy/{name}"] = np.where(spread.n_items >= least, spread.entropy, np.nan)
    return metrics, entropies


def _shown(model: AFM, attention: np.ndarray, split: RatingSplit) -> Record:
    """The users of Figures 1 and 4 by their rules, with all that is needed to draw them."""
    table = split.features
    assert table is not None
    slots = list(model.names)
    shown: Record = {}
    if GENRES in table.names:
        at = 1 + measures.feature_index(table, GENRES)
        spread = measures.spread(_chosen(split, "rated 5"), table, GENRES, split.n_users)
        shown["figure 4"] = {
            "feature": GENRES,
            "slots": slots,
            "values": list(spread.vocabulary),
            "users": {
                name: {
                    "user": user,
                    "attention": _rounded(attention[user]),
                    "shares": _rounded(spread.shares[user]),
                    "rated 5": int(spread.n_items[user]),
                }
                for name, user in measures.figure_4_users(attention[:, at], spread).items()
            },
        }
    fans = {
        feature: measures.fan_of(split.train, table, feature, split.n_users)
        for feature in FAN_FEATURES
        if feature in table.names
    }
    if fans:
        shown["figure 1"] = {
            "slots": slots,
            "fans": {
                name: fan._asdict() | {"attention": _rounded(attention[fan.user])}
                for name, fan in fans.items()
                if fan is not None
            },
            "nobody": [name for name, fan in fans.items() if fan is None],
        }
    return shown


def example(job: Run, model: AFM, user: int, film: int | None = None) -> Record:
    """What AFM says of one film to one user (``AFM.explain``), with all that is needed to show it.

    Args:
        job: the run that trained the model.
        model: with attention.
        user: index of the user.
        film: index of the film; None: the one that the user would be recommended
            (``explanations.best_unseen``).

    Raises:
        ReplicationError: no such user or film.
    """
    split, data = job.split(), experiments.data_for(job.dataset)
    if film is None:
        film = measures.best_unseen(model, split, user)
    if "title" in data.item_features and 0 <= film < data.n_items:
        title = str(data.item_features["title"].iloc[film])
    else:
        title = f"item {film}"
    told = model.explain(user, film, item_name=title)
    table = model.features
    own = [table.values[film, at][known] for at, known in enumerate(table.present[film])]
    tested = (split.test.users == user) & (split.test.items == film)
    return {
        "user": user,
        "film": film,
        "title": title,
        "rating": float(split.test.values[tested][0]) if tested.any() else None,
        "prediction": round(min(max(told.prediction, model.low), model.high), 4),
        "slots": list(told.names),
        "features": {
            name: [table.vocabulary[n] for n in values.tolist()]
            for name, values in zip(table.names, own, strict=True)
        },
        "attention": _rounded(told.attention.cpu().numpy()),
        "weight": _rounded(told.weight.cpu().numpy()),
        "contribution": _rounded(told.contribution.cpu().numpy()),
        "carrier": told.carrier,
        "values": list(told.values),
        "sentence": told.sentence,
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]


# --- AFM on the folds ------------------------------------------------------------------------


def address(job: Run) -> Record:
    """What the record of a run says of itself before anything was measured."""
    made = job.address()
    return made | {"table": TABLE, "config": made["config"] | {"attention": CHOICES}}


def trained(job: Run, device: torch.device, progress: bool = True) -> AFM:
    """The model of a run: the one that was kept, or trained now and kept."""
    config = job.config()
    model: AFM = kept_or_trained(
        job,
        lambda: row(job.model).build(job.split(), config, job.number, device),
        lambda: experiments.run(job, device, progress).model,
        device,
    )
    return model


def measure(job: Run, model: AFM, device: torch.device) -> tuple[Record, dict[str, np.ndarray]]:
    """The record of a run's attention, and the values of single users.

    Its seconds are those of the measuring: those of the training are with the run of Table 2.
    """
    started = time.perf_counter()
    split = job.split()
    found = explained(model, split, job.number)
    for figure, people in (("figure 4", "users"), ("figure 1", "fans")):
        for one in found.shown.get(figure, {}).get(people, {}).values():
            one["recommended"] = example(job, model, one["user"])
    seconds = round(time.perf_counter() - started, 2)
    extra = {
        "fold": job.number,
        "ratings": {"train": len(split.train), "test": len(split.test)},
        "shown": found.shown,
        "seconds": seconds,
        "device": device.type,
    }
    return address(job) | {"metrics": found.metrics} | extra | provenance(), found.values


# --- planted users ---------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """AFM on planted users: ``number`` decides the world and the training."""

    number: int
    variant: str = ""

    @property
    def label(self) -> str:
        """Short text for progress bars and messages."""
        variant = f", {self.variant}" if self.variant else ""
        return f"{experiments.row_name(PLANTED_MODEL)} on {PLANTED}{variant}, world {self.number}"

    def address(self) -> Record:
        """What the record says of itself before anything was trained."""
        data = data_for(PLANTED)
        return record_address(
            TABLE,
            experiments.row_name(PLANTED_MODEL),
            data,
            PLANTED,
            described(PLANTED_CONFIG) | {"attention": CHOICES},
            variant=self.variant,
            seed=self.number,
        )

    def planted(self) -> measures.Planted:
        """The world; in the variant its items' genres are dealt anew."""
        made = measures.planted(self.number)
        if not self.variant:
            return made
        table = made.split.features
        assert table is not None
        dealt = shuffled(table, table.names[0], self.number)
        return made._replace(split=attach(made.split, dealt))

    def measure(self, device: torch.device) -> tuple[Record, dict[str, np.ndarray]]:
        """Train for a fixed number of epochs; does attention tell the users who care?"""
        split, cares = self.planted()
        fit = fit_ratings(
            lambda: AFM(split, PLANTED_CONFIG),
            split,
            PLANTED_CONFIG,
            self.number,
            device,
            [],
            progress=False,
        )
        found = explained(fit.model, split, self.number)
        genre = found.attention[:, 1]
        metrics = found.metrics | {
            "recovery": measures.recovery(genre, cares),
            "attention/genre/of those who care": float(genre[cares].mean()),
            "attention/genre/of the others": float(genre[~cares].mean()),
        }
        values = found.values | {"cares": cares.astype(np.float16)}
        extra = {"seconds": round(fit.seconds, 2), "device": device.type}
        return self.address() | {"metrics": metrics} | extra | provenance(), values


def data_for(dataset: str, protocol: str = "") -> Interactions:
    """The ratings of a data set; of the planted ones the first world stands for all.

    Raises:
        DataUnavailable: a data set that cannot be had.
    """
    if dataset != PLANTED:
        return experiments.data_for(dataset)
    split = measures.planted(0).split
    ratings = split.train
    return Interactions(
        PLANTED,
        ratings.users,
        ratings.items,
        ratings.values,
        np.zeros(len(ratings), dtype=np.int64),
        np.arange(split.n_users),
        np.arange(split.n_items),
        source="made up, see explanations.py",
    )


# --- records ---------------------------------------------------------------------------------


def grid(variant: str = "") -> list[Cell]:
    """AFM on every data set, on planted users, and on two of them with shuffled genres.

    Its best reading where there are data: what the default reading's attention says may hang on
    the interaction that was read into the paper.
    """
    places = {
        "": [(MODEL, name) for name in experiments.DATASETS]
        + [(BEST, name) for name in experiments.RUN_HERE],
        SHUFFLED: [(MODEL, experiments.VARIANTS[SHUFFLED].dataset)],
    }
    if variant not in places:
        return []
    cells = [
        Cell(
            TABLE,
            experiments.row_name(model),
            dataset,
            experiments.PROTOCOL,
            "validation",
            variant,
            FOLDS,
            experiments.UNAVAILABLE.get(dataset),
            repeats="folds",
        )
        for model, dataset in places[variant]
    ]
    name = experiments.row_name(PLANTED_MODEL)
    return [*cells, Cell(TABLE, name, PLANTED, PLANTED, "none", variant, WORLDS)]


def plan(
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: int | None = None,
) -> list[Run | World]:
    """What is behind a part of the table, main cells first, the best reading last; None means all.

    ``seeds``: how many folds, and worlds, at most.

    Raises:
        ReplicationError: a data set or model that the table has not.
        DataUnavailable: a data set that cannot be had.
    """
    for name in datasets or ():
        if name in experiments.UNAVAILABLE:
            raise DataUnavailable(experiments.UNAVAILABLE[name])
    refuse_unknown(TABLE, datasets, DATASETS)
    refuse_unknown(TABLE, models, MODELS)
    jobs: list[Run | World] = []
    key_of = {name: model for model, name in experiments.MODELS.items()}
    for cell in (*grid(), *grid(SHUFFLED)):
        model = key_of[cell.row]
        if cell.unavailable or model not in (models or MODELS):
            continue
        if cell.dataset not in (datasets or DATASETS):
            continue
        for number in range(min(seeds or cell.seeds_required, cell.seeds_required)):
            if cell.dataset == PLANTED:
                jobs.append(World(number, cell.variant))
            else:
                jobs.append(Run(cell.dataset, model, number, cell.variant))
    # It may have to wait for searches.
    return sorted(jobs, key=lambda job: isinstance(job, Run) and job.model == BEST)


def run(
    datasets: Sequence[str] | None, models: Sequence[str] | None, seeds: int | None, device: str
) -> Iterator[tuple[str, Record, bool]]:
    """Measure what is not stored yet; what it is, the record, and whether it is new."""
    where = resolve_device(device)

    def address_of(job: Run | World) -> Record:
        return address(job) if isinstance(job, Run) else job.address()

    def measured(job: Run | World) -> tuple[Record, dict[str, np.ndarray]]:
        if isinstance(job, World):
            return job.measure(where)
        return measure(job, trained(job, where), where)

    jobs = plan(datasets, models, seeds)
    yield from labelled(measure_missing(jobs, address_of, Store(TABLE), measured))


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Train the model behind a stored record again, and measure it."""
    if record["dataset"] == PLANTED:
        return World(record["seed"], record["variant"]).measure(device)[0], None
    job, config = experiments.job_of(record), experiments.config_of(record)
    model: Any = experiments.run(job, device, config=config, resumable=False).model
    return measure(job, model, device)[0], None
