"""New users: what Attentive NCF predicts for them from a few ratings, without retraining.

A fifth of the users is left out of training altogether. Of each of them ten ratings are asked for;
up to 64 of the others are told to the model, none at first, then one, two, four and so on, and the
same ten are predicted each time. A record of ``attentive_ncf/newcomers`` is one way to do so with
one seed: the known ratings as the context of the attention, encoded by the user autoencoder, by a
look-up vector fine-tuned on them, or folded into a model in closed form. The epoch of a trained
model is chosen on held-out ratings of the users who stayed.

Shapes: V new users, I movies, U users, Q ratings asked for (10), K ratings known at most (64), n
known ones, E dimensions, B = V Q pairs.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication import paths
from replication.compare import Cell
from replication.data import Interactions
from replication.errors import ReplicationError
from replication.folds import Ratings, RatingSplit, hold_out
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf.experiments import VARIANTS, data_for, search, tuned_config
from replication.papers.attentive_ncf.model import (
    AttentiveNCF,
    AttentiveNCFConfig,
    Context,
    Pretrained,
    autoencoders,
    encoded,
)
from replication.papers.attentive_ncf.rows import row
from replication.papers.common import labelled, measure_missing, refuse_unknown
from replication.rating_training import BLOCK, fit_ratings
from replication.records import Record, Store, provenance, record_address, source_hash
from replication.training import described, resolve_device

TABLE = f"{experiments.PAPER}/newcomers"
DATASETS = ("cil", "ml-100k")
PROTOCOL, SELECT = "newcomers-20", "validation-no-refit"
SHARE = 0.2  # of the users, left out of training
SPLIT_SEED = 0  # decides who is new and what is asked for; a run's own seed never does
QUERIES = 10  # ratings that are predicted, of each new user
KNOWN = (0, 1, 2, 4, 8, 16, 32, 64)  # ratings that are told
MOST = KNOWN[-1]
SEEDS = 5
LEAST_STEPS = 60  # of the user autoencoder in an epoch
PATIENCE = 3  # epochs without a better validation error, then training stops

# A new user's look-up vector starts at the mean of the trained ones. Neither rate nor steps are
# published; two numbers of steps are shown, for every n.
RATE, STEPS = 0.02, (10, 100)
# Or rate, steps and pull are chosen for each n on users who stayed. The two settings above are in
# the grid. A pull is a penalty on the squared distance from the start, beside a sum over the known
# ratings: as a normal prior, 1 and 10 are standard deviations of about 0.7 and 0.2 a dimension.
RATES, MARKS, PULLS = (0.005, 0.02), (1, 3, 10, 30, 100), (0.0, 1.0, 10.0)
PRACTICE = 256  # users who stayed, at most, and
PRACTICE_RATINGS = 4_096  # known ratings of them at most: with many known the users are fewer

METRICS = tuple(f"RMSE/{n}" for n in KNOWN)


@dataclass(frozen=True)
class Method:
    """A way to predict for new users.

    Attributes:
        name: its row.
        model: the model of Table I or II behind it.
        way: "context", "encode", "decode", "fine-tune", "tuned" (fine-tuning whose settings are
            chosen) or "fold-in".
        text: what is done, for the reader.
        changes: configuration values that differ from the tuned ones.
        kept: the look-up table of users stays as it was encoded while the rest is trained.
        steps: of fine-tuning.
    """

    name: str
    model: str
    way: str
    text: str
    changes: tuple[tuple[str, Any], ...] = ()
    kept: bool = False
    steps: int = 0

    @property
    def trained(self) -> bool:
        """Whether a seed makes a difference."""
        return self.way != "fold-in"


METHODS = {
    "attentive": Method(
        "attentive + MLP2",
        "attentive-mlp2",
        "context",
        "the known ratings are the context; without any the default user, which was not trained",
    ),
    "attentive-default": Method(
        "attentive + MLP2, default user trained",
        "attentive-mlp2",
        "context",
        "the same; one context in fifty was emptied while training",
        changes=VARIANTS["default-user"].changes,
    ),
    "autoencoder": Method(
        "autoencoder + MLP1",
        "autoencoder-mlp1",
        "encode",
        "the user autoencoder encodes the known ratings; its table was fine-tuned afterwards, and "
        "with it all that reads the table",
    ),
    "autoencoder-alone": Method(
        "user autoencoder alone",
        "autoencoder-mlp1",
        "decode",
        "the user autoencoder's own reconstruction",
    ),
    "autoencoder-kept": Method(
        "autoencoder + MLP1, users not fine-tuned",
        "autoencoder-mlp1",
        "encode",
        "as autoencoder + MLP1, but the users' vectors stayed as they were encoded",
        kept=True,
    ),
    **{
        f"simple-{steps}": Method(
            f"simple + MLP2, {steps} steps",
            "simple-mlp2",
            "fine-tune",
            f"a look-up vector for each new user, {steps} full-batch steps of Adam (rate {RATE}) "
            "on the known ratings, all else fixed",
            steps=steps,
        )
        for steps in STEPS
    },
    **{
        f"simple-tuned-{model}": Method(
            f"simple + {model.upper()}, tuned steps",
            f"simple-{model}",
            "tuned",
            "a look-up vector for each new user, fine-tuned with the rate, steps and pull towards "
            "the start that are best for users who stayed, for each number of known ratings",
        )
        for model in ("mlp2", "mlp1")
    },
    "bias": Method(
        "bias (closed form)",
        "bias",
        "fold-in",
        "movie means and the user's bias from the known ratings",
    ),
    "item-linear": Method(
        "item-based linear",
        "item-linear",
        "fold-in",
        "movie means and the user's bias, with penalties of its own, and a ridge regression on the "
        "known ratings for each movie",
    ),
    "als": Method(
        "ALS with biases",
        "als",
        "fold-in",
        "the user's factors and bias solved for the known ratings",
    ),
}


# --- who is new, what is asked ------------------------------------------------------------------


def new_users(n_users: int) -> np.ndarray:
    """Indices of the users who are left out of training, ascending."""
    rng = np.random.default_rng([SPLIT_SEED, round(1 / SHARE)])
    return np.sort(rng.permutation(n_users)[: round(SHARE * n_users)])


def newcomer_split(data: Interactions) -> RatingSplit:
    """All ratings of the new users are the test; a tenth of each other user's is validation."""
    everything = Ratings(data.users, data.items, data.ratings)
    new = np.isin(data.users, new_users(data.n_users))
    rng = np.random.default_rng([SPLIT_SEED, round(1 / SHARE), 1])
    train, validation = hold_out(everything.take(~new), rng)
    split = RatingSplit(
        PROTOCOL,
        0,
        data.n_users,
        data.n_items,
        np.unique(data.ratings),
        train,
        validation,
        everything.take(new),
    )
    split.assert_disjoint(len(data))
    return split


class Questionnaire(NamedTuple):
    """What is known of V new users, and what is asked; places without a rating are 0."""

    users: Tensor  # [V]
    items: Tensor  # [V, K] known, in a random order
    ratings: Tensor  # [V, K]
    known: Tensor  # [V] how many are known, K at most
    asked: Tensor  # [V, Q] movies
    answers: Tensor  # [V, Q] ratings


def questionnaire(test: Ratings, device: torch.device) -> Questionnaire:
    """Shuffle each new user's ratings: the first ten are asked for, the next 64 are known.

    A user with fewer than ten ratings is not asked.
    """
    rng = np.random.default_rng([SPLIT_SEED, round(1 / SHARE), 2])
    order = np.lexsort((rng.random(len(test)), test.users))
    users, whose, size = np.unique(test.users[order], return_inverse=True, return_counts=True)
    place = np.arange(len(order)) - (np.cumsum(size) - size)[whose]
    kept = size >= QUERIES
    number = np.cumsum(kept) - 1  # of the users who are asked

    def table(column: np.ndarray, first: int, width: int) -> Tensor:
        inside = kept[whose] & (place >= first) & (place < first + width)
        filled = np.zeros((int(kept.sum()), width), dtype=column.dtype)
        filled[number[whose[inside]], place[inside] - first] = column[order][inside]
        return torch.from_numpy(filled).to(device)

    return Questionnaire(
        torch.from_numpy(users[kept]).to(device),
        table(test.items, QUERIES, MOST),
        table(test.values, QUERIES, MOST),
        torch.from_numpy(np.minimum(size[kept] - QUERIES, MOST)).to(device),
        table(test.items, 0, QUERIES),
        table(test.values, 0, QUERIES),
    )


def told(asked: Questionnaire, n: int, n_items: int) -> tuple[Tensor, Tensor]:
    """The first n known ratings of each new user as [V, I] float32, and where they are (bool)."""
    ratings = torch.zeros(len(asked.users), n_items, device=asked.items.device)
    rated = torch.zeros_like(ratings, dtype=torch.bool)
    which = torch.arange(n, device=asked.items.device) < asked.known[:, None]  # [V, n]
    users, places = which.nonzero(as_tuple=True)
    rated[users, asked.items[users, places]] = True
    ratings[users, asked.items[users, places]] = asked.ratings[users, places]
    return ratings, rated


# --- ways to predict -----------------------------------------------------------------------------


@torch.no_grad()
def by_context(model: AttentiveNCF, asked: Questionnaire, n: int) -> Tensor:
    """[V, Q] with the n known ratings as the context; with none the default user."""
    levels = model.predictor.levels
    middle, half = (levels[0] + levels[-1]) / 2, (levels[-1] - levels[0]) / 2
    width = max(n, 1)
    place = torch.arange(width, device=asked.items.device)
    valid = (place < asked.known[:, None]) & (place < n)  # [V, width]
    context = Context(
        asked.items[:, :width],
        ((asked.ratings[:, :width] - middle) / half).masked_fill(~valid, 0.0),
        valid,
    )
    rows = torch.arange(len(asked.users), device=place.device).repeat_interleave(QUERIES)  # [B]
    parts = [
        model.predict_new(items, Context(*(part[of] for part in context)))
        for items, of in zip(asked.asked.view(-1).split(BLOCK), rows.split(BLOCK), strict=True)
    ]
    return torch.cat(parts).view_as(asked.asked)


@torch.no_grad()
def by_vectors(model: AttentiveNCF, vectors: Tensor, asked: Questionnaire) -> Tensor:
    """[V, Q] with the users' vectors [V, E] in the place of a look-up."""
    users = vectors.repeat_interleave(QUERIES, 0)  # [B, E]
    items = F.embedding(asked.asked.view(-1), model.embedding.items)
    return model.predictor(users, items).view_as(asked.asked)


@torch.no_grad()
def encode(nets: Pretrained, ratings: Tensor, top: float) -> Tensor:
    """[V, E] latent vectors of known ratings [V, I] (0 where unknown); ``top``: the highest."""
    return nets.users.encoder(ratings / top * nets.user_factor)


@torch.no_grad()
def decode(nets: Pretrained, ratings: Tensor, top: float) -> Tensor:
    """[V, I] reconstruction, in stars, of known ratings [V, I]."""
    return nets.users(ratings / top * nets.user_factor) * (top / nets.user_factor)


class Tuning(NamedTuple):
    """Settings of fine-tuning."""

    rate: float
    steps: int
    pull: float


def fine_tuned(
    model: AttentiveNCF,
    start: Tensor,
    asked: Questionnaire,
    n: int,
    marks: Sequence[int],
    rate: float = RATE,
    pull: float = 0.0,
) -> dict[int, Tensor]:
    """[V, E] look-up vectors of users after some numbers of steps on the n known ratings.

    The model's own loss, full batch, Adam; movies and predictor stay. A user's vector sees that
    user's ratings alone, so that all are tuned at once and none moves another.

    Args:
        start: [E] where every vector begins.
        marks: numbers of steps after which the vectors are read, all of one run.
        pull: times the squared distance from the start, added to the loss of each user.
    """
    vectors = nn.Parameter(start.repeat(len(asked.users), 1))
    which = torch.arange(n, device=start.device) < asked.known[:, None]  # [V, n]
    whose, place = which.nonzero(as_tuple=True)
    if not len(whose):
        return dict.fromkeys(marks, vectors.detach())
    items = F.embedding(asked.items[whose, place], model.embedding.items.detach())
    ratings = asked.ratings[whose, place]
    optimizer = torch.optim.Adam([vectors], lr=rate)
    found = {}
    for step in range(1, max(marks) + 1):
        # A sum over the users: the size of a user's gradient does not depend on the others.
        loss = model.predictor.loss(vectors[whose], items, ratings) * len(whose)
        (gradient,) = torch.autograd.grad(loss, [vectors])
        vectors.grad = gradient + 2 * pull * (vectors.detach() - start) if pull else gradient
        optimizer.step()
        if step in marks:
            found[step] = vectors.detach().clone()
    return found


def practice(split: RatingSplit, device: torch.device) -> Questionnaire:
    """Users who stayed, as if they were new: told training ratings, asked validation ratings.

    Only users of whom 64 ratings can be told, as of the new users that the RMSE is over, in a
    random order. A place without a validation rating has the answer 0.

    Raises:
        ReplicationError: there is no such user.
    """
    rng = np.random.default_rng([SPLIT_SEED, round(1 / SHARE), 3])
    counts = [
        np.bincount(p.users, minlength=split.n_users) for p in (split.train, split.validation)
    ]
    able = np.flatnonzero((counts[0] >= MOST) & (counts[1] > 0))
    if not len(able):
        raise ReplicationError(f"no user who stayed has {MOST} training ratings to practise on")
    users = rng.permutation(able)[:PRACTICE]
    number = np.full(split.n_users, -1)
    number[users] = np.arange(len(users))

    def drawn(ratings: Ratings, width: int) -> tuple[Tensor, Tensor]:
        own = ratings.take(number[ratings.users] >= 0)
        own = own.take(np.lexsort((rng.random(len(own)), number[own.users])))
        whose = number[own.users]
        size = np.bincount(whose, minlength=len(users))
        place = np.arange(len(own)) - (np.cumsum(size) - size)[whose]
        inside = place < width
        filled = []
        for column in (own.items, own.values):
            table = np.zeros((len(users), width), dtype=column.dtype)
            table[whose[inside], place[inside]] = column[inside]
            filled.append(torch.from_numpy(table).to(device))
        return filled[0], filled[1]

    told_items, told_ratings = drawn(split.train, MOST)
    asked, answers = drawn(split.validation, QUERIES)
    known = torch.full((len(users),), MOST, device=device)
    return Questionnaire(
        torch.from_numpy(users).to(device), told_items, told_ratings, known, asked, answers
    )


def chosen(model: AttentiveNCF, start: Tensor, practised: Questionnaire) -> dict[int, Tuning]:
    """For each n the settings of the grid with the lowest error on users who stayed.

    Of settings that err alike the first wins: smaller rate, smaller pull, fewer steps. Nothing is
    chosen where nothing is known.
    """
    low, high = float(model.predictor.levels[0]), float(model.predictor.levels[-1])
    best = {}
    for n in KNOWN[1:]:
        some = Questionnaire(*(part[: PRACTICE_RATINGS // n] for part in practised))
        asked = some.answers > 0
        errors = {}
        for rate, pull in itertools.product(RATES, PULLS):
            tuned = fine_tuned(model, start, some, n, MARKS, rate, pull)
            for steps, vectors in tuned.items():
                predicted = by_vectors(model, vectors, some).clamp(low, high)
                error = (predicted - some.answers)[asked].square().double().mean()
                errors[Tuning(rate, steps, pull)] = float(error)
        best[n] = min(errors, key=lambda tuning: errors[tuning])
    return best


# --- models --------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def split_for(dataset: str) -> RatingSplit:
    """The split of a data set, kept in memory for the next method."""
    return newcomer_split(data_for(dataset))


class Fitted(NamedTuple):
    """A model of the users who stayed."""

    model: Any
    extra: Record  # for the record: epochs, error on validation, number of parameters


@lru_cache(maxsize=1)
def pretrained(dataset: str, config: AttentiveNCFConfig, seed: int, device: str) -> Pretrained:
    """Both autoencoders, shared by the methods that need them."""
    return autoencoders(split_for(dataset), config, seed, torch.device(device))


@lru_cache(maxsize=1)
def fitted(
    dataset: str, model: str, config: Any, seed: int, kept: bool, device: str, progress: bool = True
) -> Fitted:
    """A model trained on the users who stayed, shared by the methods that need it."""
    split, where, known = split_for(dataset), torch.device(device), row(model)
    if not known.trained:
        return Fitted(known.build(split, config, seed, where), {})
    label = f"{known.name} on {dataset}, new users left out, seed {seed}"
    named = repr((data_for(dataset).content_hash, PROTOCOL, model, config, seed, kept, PATIENCE))
    digest = hashlib.sha256(named.encode()).hexdigest()[:16]
    checkpoint = paths.CHECKPOINTS / f"{digest}-{source_hash()}.pt"

    def build() -> Any:
        if config.embedding != "autoencoder":
            return known.build(split, config, seed, where)
        tables = encoded(pretrained(dataset, _of_pretraining(config), seed, device))
        torch.manual_seed(seed)  # as in ``rows.build``
        made = AttentiveNCF(split, config, tables)
        made.embedding.users.requires_grad_(not kept)
        return made

    fit = fit_ratings(
        build,
        split,
        config,
        seed,
        where,
        ("validation",),
        patience=PATIENCE,
        checkpoint=checkpoint,
        label=label,
        progress=progress,
    )
    best = fit.curve.best("validation")
    for left in paths.CHECKPOINTS.glob(f"{digest}-*"):
        left.unlink(missing_ok=True)
    fit.model.eval()
    extra: Record = {
        "epochs": best,
        "validation RMSE": fit.curve.errors["validation RMSE"][best - 1],
        "parameters": sum(p.numel() for p in fit.model.parameters()),
    }
    return Fitted(fit.model, extra)


def _of_pretraining(config: AttentiveNCFConfig) -> AttentiveNCFConfig:
    """A configuration in which only what pretraining reads differs from the default."""
    names = ("dimension", "user_scale", "pretrain_learning_rate", "pretrain_batch",
             "pretrain_epochs", "pretrain_patience")  # fmt: skip
    return AttentiveNCFConfig(**{name: getattr(config, name) for name in names})


# --- runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One method on one data set with one seed."""

    dataset: str
    method: str
    seed: int

    @property
    def spec(self) -> Method:
        """What is done."""
        return METHODS[self.method]

    @property
    def label(self) -> str:
        """Short text for messages."""
        return f"{self.spec.name} on {self.dataset}, new users, seed {self.seed}"

    def config(self) -> Any:
        """The tuned configuration of the model, with the method's changes.

        An epoch of the user autoencoder has ``LEAST_STEPS`` steps at the least: on a small data
        set a batch of 128 users leaves too few of them to learn anything.
        """
        config = replace(tuned_config(self.spec.model, self.dataset), **dict(self.spec.changes))
        if self.spec.way in ("encode", "decode"):
            batch = max(1, data_for(self.dataset).n_users // LEAST_STEPS)
            config = replace(config, pretrain_batch=min(config.pretrain_batch, batch))
        return config

    def address(self, config: Any) -> Record:
        """What the record says of itself before anything was run."""
        data, spec = data_for(self.dataset), self.spec
        choices: Record = {
            "way": spec.way,
            "share": SHARE,
            "split_seed": SPLIT_SEED,
            "queries": QUERIES,
            "known": list(KNOWN),
        }
        if spec.trained:
            choices["patience"] = PATIENCE
        if spec.kept:
            choices["users"] = "kept"
        if spec.way == "fine-tune":
            choices |= {"steps": spec.steps, "rate": RATE}
        if spec.way == "tuned":
            choices |= {
                "steps": list(MARKS),
                "rate": list(RATES),
                "pull": list(PULLS),
                "practice": [PRACTICE, PRACTICE_RATINGS],
            }
        return record_address(
            TABLE,
            spec.name,
            data,
            PROTOCOL,
            described(config) | {"newcomers": choices},
            select=SELECT if spec.trained else "none",
            seed=self.seed,
        )


def predictions(
    job: Job, config: Any, asked: Questionnaire, device: torch.device, progress: bool = True
) -> tuple[dict[int, Tensor], Record]:
    """[V, Q] predicted ratings for each number of known ratings, and facts for the record."""
    spec, split = job.spec, split_for(job.dataset)
    top = float(split.levels[-1])
    name = str(device)
    nets: Any = None
    if spec.way in ("encode", "decode"):
        nets = pretrained(job.dataset, _of_pretraining(config), job.seed, name)
    model: Any = None
    extra: Record = {}
    if spec.way != "decode":
        model, extra = fitted(job.dataset, spec.model, config, job.seed, spec.kept, name, progress)
    found = {}
    tunings: dict[int, Tuning] = {}
    if spec.way in ("fine-tune", "tuned"):
        stayed = np.bincount(split.train.users, minlength=split.n_users) > 0
        start = model.embedding.users.detach()[torch.from_numpy(stayed).to(device)].mean(0)
        tunings = {n: Tuning(RATE, spec.steps, 0.0) for n in KNOWN}
    if spec.way == "tuned":
        best = chosen(model, start, practice(split, device))
        tunings = {0: Tuning(RATE, 0, 0.0)} | best
        told_of = {str(n): tuning._asdict() for n, tuning in best.items()}
        extra = extra | {"chosen": told_of}  # ``fitted`` keeps its own
    for n in KNOWN:
        if spec.way == "context":
            found[n] = by_context(model, asked, n)
        elif tunings:
            rate, steps, pull = tunings[n]
            vectors = fine_tuned(model, start, asked, n, (steps,), rate, pull)[steps]
            found[n] = by_vectors(model, vectors, asked)
        else:
            ratings, rated = told(asked, n, split.n_items)
            if spec.way == "encode":
                found[n] = by_vectors(model, encode(nets, ratings, top), asked)
            elif spec.way == "decode":
                found[n] = decode(nets, ratings, top).gather(1, asked.asked)
            else:
                found[n] = model.fold_in(ratings, rated).gather(1, asked.asked)
    return found, extra


def measure(
    job: Job, device: torch.device, config: Any = None, progress: bool = True
) -> tuple[Record, dict[str, np.ndarray]]:
    """The record of a method with one seed, and the values of single new users.

    ``squared error/n`` [V] is a user's mean over the ratings asked for, NaN where fewer than n are
    known. ``RMSE/n`` is over the users of whom all 64 are known, the same for every n;
    ``RMSE, enough known/n`` over all of whom n are.
    """
    started = time.perf_counter()
    config = config or job.config()
    split = split_for(job.dataset)
    asked = questionnaire(split.test, device)
    predicted, extra = predictions(job, config, asked, device, progress)
    low, high = float(split.levels[0]), float(split.levels[-1])
    values, metrics = {}, {}
    count = asked.known.cpu().numpy()
    if not (count >= MOST).any():
        raise ReplicationError(
            f"no new user of {job.dataset} has the {QUERIES + MOST} ratings that are needed"
        )
    for n in KNOWN:
        error = (predicted[n].clamp(low, high) - asked.answers).square().double().mean(1)  # [V]
        # As it is stored: the metrics follow from the stored values to the last digit.
        stored = np.where(count >= n, error.cpu().numpy(), np.nan).astype(np.float16)
        values[f"squared error/{n}"] = stored
        metrics[f"RMSE/{n}"] = _root_mean(stored[count >= MOST])
        metrics[f"RMSE, enough known/{n}"] = _root_mean(stored[count >= n])
        metrics[f"squared error/{n}"] = metrics[f"RMSE, enough known/{n}"] ** 2
    if "validation RMSE" in extra:
        metrics["RMSE/validation"] = extra["validation RMSE"]
    facts: Record = {
        "new users": len(count),
        "new users with all": int((count >= MOST).sum()),
        "device": device.type,
        "seconds": round(time.perf_counter() - started, 2),
    }
    made = job.address(config) | {"metrics": metrics} | extra | facts
    return made | provenance(), values


def _root_mean(values: np.ndarray) -> float:
    return float(np.sqrt(values.astype(np.float64).mean()))


def grid() -> list[Cell]:
    """The cells: every method on every data set."""
    return [
        Cell(
            TABLE,
            method.name,
            dataset,
            PROTOCOL,
            SELECT if method.trained else "none",
            "",
            SEEDS if method.trained else 1,
        )
        for dataset in DATASETS
        for method in METHODS.values()
    ]


def run(
    datasets: Sequence[str] | None, models: Sequence[str] | None, seeds: int | None, device: str
) -> Iterator[tuple[str, Record, bool]]:
    """Run what is not stored yet; what it is, the record, and whether it is new.

    Args:
        models: names of ``METHODS``.

    Raises:
        ReplicationError: a data set or method that the table has not.
    """
    refuse_unknown(TABLE, datasets, DATASETS)
    refuse_unknown(TABLE, models, METHODS)
    where = resolve_device(device)
    jobs = [
        Job(dataset, method, seed)
        for dataset in datasets or DATASETS
        for seed in range(min(seeds or SEEDS, SEEDS))
        for method in METHODS
        if (not models or method in models) and (METHODS[method].trained or seed == 0)
    ]

    def address(job: Job) -> Record:
        return job.address(job.config())

    def measured(job: Job) -> tuple[Record, dict[str, np.ndarray]]:
        search(job.spec.model, job.dataset).say_if_lacking()
        return measure(job, where)

    yield from labelled(measure_missing(jobs, address, Store(TABLE), measured))


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Train the model behind a stored record again, and measure it."""
    (method,) = (name for name, spec in METHODS.items() if spec.name == record["row"])
    job = Job(record["dataset"], method, record["seed"])
    of_model = {**record, "row": experiments.row_name(job.spec.model)}
    for cached in (pretrained, fitted):
        cached.cache_clear()
    return measure(job, device, experiments.config_of(of_model))[0], None
