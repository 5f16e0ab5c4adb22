"""Does the attention of Attentive NCF explain its predictions? Measured on data with titles.

A record of ``attentive_ncf/explanations`` is one attentive model on fold 0 of a companion data set
with one seed, its epoch chosen on an inner validation. On its test pairs are measured: whether the
attention follows the genres that context and target share, how evenly it is spread, what the error
is with other attention, and how far the prediction moves when the context movies with the most
attention are taken away. Each test has a control that must fail: the attention shuffled among the
movies of the context.

Contexts are whole here (all of the user's other training ratings), so that nothing is drawn.

Shapes: B pairs of a block, C context movies, I movies, U users, N test pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from replication.compare import Cell
from replication.errors import ReplicationError
from replication.folds import RatingSplit
from replication.metrics import explanation as measures
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf.experiments import Run, data_for
from replication.papers.attentive_ncf.model import ALL, Attend, AttentiveNCF, Context
from replication.papers.attentive_ncf.rows import row
from replication.papers.common import labelled, measure_missing, refuse_unknown
from replication.papers.fold_runs import kept_or_trained
from replication.rating_training import DeviceRatings
from replication.records import Record, Store, provenance
from replication.training import resolve_device

TABLE = f"{experiments.PAPER}/explanations"
MODELS = ("attentive-ip", "attentive-mlp1", "attentive-mlp2")
DATASETS = ("ml-100k", "ml-latest-small")  # the companions, which have titles and genres
PROTOCOL, SELECT = "kfold-10", "validation-no-refit"
SEEDS = 5  # all on fold 0: the same test pairs of the same users

BLOCK = 1024  # pairs at a time
REMOVED = (1, 4, 16)  # context movies that are taken away
LEAST = 2  # a pair counts where its context holds so many times as many
# How the movies to take away are picked, and with which weights the model then predicts, before and
# after: with its own attention where nothing is said.
ARMS = {
    "attended": "the most attention",
    "random": "at random",
    "shuffled": "the most of an attention that was shuffled, with which the model predicts",
    "attended, uniform": "the most attention; all movies weigh the same",
    "random, uniform": "at random; all movies weigh the same",
    "weighted": "the largest attention times |rescaled rating|, their weight in Eq. 1",
    "nearest": "the largest cosine with the target, of movie embeddings",
    "extreme": "the ratings farthest from the middle of the scale, ties at random",
    "co-rated": "the largest co-rating similarity with the target",
    "same genres": "the largest genre overlap with the target, ties at random",
}
# The weights with which a model predicts in an arm, where they are not its own attention.
WEIGHTS = {"shuffled": "shuffled", "attended, uniform": "uniform", "random, uniform": "uniform"}
SHOWN = 15  # context movies of an example
LEAST_SHOWN = 20  # that an example's context holds at the least
QUANTILES = {"low": 0.1, "middle": 0.5, "high": 0.9}
RULE = (
    f"among the test pairs with at least {LEAST_SHOWN} context movies the one in the middle by the "
    "rank correlation of attention and genre overlap; of two in the middle the lower"
)
CHOICES = {
    "context": "all",
    "shuffled": "in the model",  # not only in what is taken away, as in records before
    "removed": list(REMOVED),
    "least": LEAST,
    "rule": RULE,
    "shown": SHOWN,
}
# What the table of the command line shows; a record holds more.
METRICS = (
    "genres/attention",
    "genres/shuffled",
    "genres/other target",
    "genres/co-rating",
    "co-rating/attention",
    "popularity/attention",
    "overlap/attention",
    "overlap/shuffled",
    "overlap/uniform",
    "evenness",
    *(f"times uniform/{k}" for k in REMOVED),
    "squared error/own",
    "squared error/shuffled",
    "squared error/uniform",
    *(f"moved/{arm}/{k}" for k in REMOVED for arm in ARMS),
)


# --- what is measured ------------------------------------------------------------------------


@dataclass(frozen=True)
class Similarities:
    """Of every two movies, [I, I] each: what attention is compared with."""

    genres: Tensor  # Jaccard overlap
    co_rating: Tensor  # cosine of who rated them in training
    embedding: Tensor  # cosine of the model's m_i
    popularity: Tensor  # [I] training ratings

    @classmethod
    def of(cls, model: AttentiveNCF, split: RatingSplit, genres: Any) -> Similarities:
        """From the model, its training ratings, and the genres' names joined by ``|``."""
        device = model.embedding.structure.device
        train = split.train
        rated = measures.co_rating(train.users, train.items, split.n_users, split.n_items)
        unit = F.normalize(model.embedding.structure.detach(), dim=1)
        return cls(
            torch.from_numpy(measures.genre_overlap(genres)).to(device),
            torch.from_numpy(rated).to(device),
            unit @ unit.T,
            torch.from_numpy(np.bincount(train.items, minlength=split.n_items)).to(device),
        )


@torch.no_grad()
def attention_of(model: AttentiveNCF, items: Tensor, context: Context) -> Tensor:
    """[B, C] attention to given contexts for target movies [B]; 0 where not valid."""
    e = model.embedding
    _, attention = Attend.apply(e.structure, e.tastes, items, *context)
    return attention


@torch.no_grad()
def predict_attending(
    model: AttentiveNCF, items: Tensor, context: Context, attention: Tensor
) -> Tensor:
    """Ratings [B] with given attention [B, C] in the place of the model's own."""
    e = model.embedding
    weight = attention * context.likings  # [B, C], 0 where not valid
    user = F.embedding_bag(context.items, e.tastes, per_sample_weights=weight, mode="sum")  # Eq. 1
    return model.predictor(user, F.embedding(items, e.structure))


def shuffled(attention: Tensor, valid: Tensor, generator: torch.Generator) -> Tensor:
    """[B, C] the attention in a random order over the valid places, which come first in a row."""
    chance = torch.rand(attention.shape, generator=generator, device=attention.device)
    return attention.gather(1, chance.masked_fill(~valid, torch.inf).argsort(1))


def strongest(strength: Tensor, valid: Tensor, k: int) -> Tensor:
    """[B, C] bool: the k valid places of each row with the most strength."""
    k = min(k, strength.shape[1])
    places = strength.masked_fill(~valid, -torch.inf).topk(k, dim=1).indices
    return torch.zeros_like(valid).scatter_(1, places, True) & valid


def evenness(attention: Tensor, valid: Tensor) -> Tensor:
    """[B] exponential of the attention's entropy as a share of the context: 1 if uniform."""
    count = valid.sum(1)
    return torch.special.entr(attention).sum(1).exp() / torch.where(count > 0, count, torch.nan)


@torch.no_grad()
def measure_pairs(
    model: AttentiveNCF,
    pairs: DeviceRatings,
    similar: Similarities,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """[N] by metric, NaN where a pair does not count.

    ``genres/...``, ``co-rating/...`` and ``popularity/...`` are rank correlations over a context;
    ``overlap/...`` is the mean genre overlap of target and context under weights; ``times
    uniform/k`` is how much more attention the k most attended movies get than k movies would of a
    uniform one; ``moved/...`` is the absolute change of the prediction, in stars, without some of
    the context.
    """
    model.eval()
    found: dict[str, list[Tensor]] = {}
    for users, items, ratings in zip(
        pairs.users.split(BLOCK), pairs.items.split(BLOCK), pairs.values.split(BLOCK), strict=True
    ):
        # All of them are in the context: nothing is drawn.
        context = model.embedding.history.draw(users, items, ALL, torch.Generator())
        for name, values in _measure_block(
            model, items, ratings, context, similar, generator
        ).items():
            found.setdefault(name, []).append(values.double())
    return {name: torch.cat(parts) for name, parts in found.items()}


def _measure_block(
    model: AttentiveNCF,
    items: Tensor,
    ratings: Tensor,
    context: Context,
    similar: Similarities,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    valid, count = context.valid, context.valid.sum(1)  # [B, C], [B]
    attention = attention_of(model, items, context)
    control = shuffled(attention, valid, generator)
    uniform = valid / count.clamp_min(1)[:, None]
    # What the same context would get if another of the tested movies were the target.
    swapped = items[torch.randperm(len(items), generator=generator, device=items.device)]
    elsewhere = attention_of(model, swapped, context)
    genres = similar.genres[items[:, None], context.items]  # [B, C]
    rated = similar.co_rating[items[:, None], context.items]
    found = {
        "genres/attention": measures.rank_correlation(attention, genres, valid),
        "genres/shuffled": measures.rank_correlation(control, genres, valid),
        "genres/other target": measures.rank_correlation(elsewhere, genres, valid),
        "genres/co-rating": measures.rank_correlation(rated, genres, valid),
        "co-rating/attention": measures.rank_correlation(attention, rated, valid),
        "popularity/attention": measures.rank_correlation(
            attention, similar.popularity[context.items].float(), valid
        ),
        "evenness": evenness(attention, valid),
    }
    by_rating = rated * valid
    by_rating = by_rating / by_rating.sum(1, keepdim=True).clamp_min(1e-12)
    for name, weights in (
        ("attention", attention),
        ("shuffled", control),
        ("uniform", uniform),
        ("co-rating", by_rating),
    ):
        found[f"overlap/{name}"] = (weights * genres).sum(1)
    low, high = model.predictor.levels[0], model.predictor.levels[-1]

    def predict(weights: Tensor) -> Tensor:
        return predict_attending(model, items, context, weights).clamp(low, high)

    weights_by = {"own": attention, "shuffled": control, "uniform": uniform}
    whole = {name: predict(weights) for name, weights in weights_by.items()}  # [B] each

    def moves(name: str, removed: Tensor) -> Tensor:
        """[B] stars without the movies removed [B, C]; a softmax over the rest is its share."""
        rest = weights_by[name] * ~removed
        rest = rest / rest.sum(1, keepdim=True).clamp_min(1e-12)
        return (predict(rest) - whole[name]).abs()

    for name, predicted in whole.items():
        found[f"squared error/{name}"] = (predicted - ratings).square()

    noise = torch.rand(valid.shape, generator=generator, device=items.device)
    strength = {
        "attended": attention,
        "random": noise,
        "shuffled": control,
        "attended, uniform": attention,
        "random, uniform": noise,
        "weighted": attention * context.likings.abs(),
        "nearest": similar.embedding[items[:, None], context.items],
        "extreme": context.likings.abs() + 1e-4 * noise,
        "co-rated": rated,
        "same genres": genres + 1e-4 * noise,
    }
    for k in REMOVED:
        enough = count >= LEAST * k
        top = (attention * strongest(attention, valid, k)).sum(1) * count / k
        found[f"times uniform/{k}"] = torch.where(enough, top, torch.nan)
        for arm in ARMS:
            moved = moves(WEIGHTS.get(arm, "own"), strongest(strength[arm], valid, k))
            found[f"moved/{arm}/{k}"] = torch.where(enough, moved, torch.nan)
    return found


# --- one pair ---------------------------------------------------------------------------------


@torch.no_grad()
def example(job: Run, model: AttentiveNCF, user: int, item: int) -> Record:
    """The attention over the movies that a user rated, for one target movie.

    Returns:
        Target, prediction and the ``SHOWN`` context movies with the most attention: title, genres,
        rating, attention, genre overlap with the target, and how the prediction changes without
        the movie.

    Raises:
        ReplicationError: no such user or movie, or a user without other ratings.
    """
    split, data = job.split(), data_for(job.dataset)
    for kind, value, size in (("user", user, split.n_users), ("movie", item, split.n_items)):
        if not 0 <= value < size:
            raise ReplicationError(f"{job.dataset} has {kind}s 0 to {size - 1}, not {value}")
    model.eval()
    device = model.embedding.structure.device
    users, items = (torch.tensor([x], device=device) for x in (user, item))
    context = model.embedding.history.draw(users, items, ALL, torch.Generator())
    if not context.valid.any():
        raise ReplicationError(f"user {user} of {job.dataset} has no other rating to attend to")
    attention = attention_of(model, items, context)[0]  # [C]
    top = attention.argsort(descending=True, stable=True)[:SHOWN]  # [K]
    low, high = float(split.levels[0]), float(split.levels[-1])
    whole = model.predict_new(items, context).clamp(low, high)
    repeated = Context(*(part.expand(len(top), -1) for part in context))
    left = repeated.valid.scatter(1, top[:, None], False)  # row k lacks the k-th shown movie
    without = model.predict_new(items.expand(len(top)), repeated._replace(valid=left))
    change = without.clamp(low, high) - whole  # [K]
    overlap = measures.genre_overlap(data.item_features["genres"])[item]  # [I]
    middle, half = (low + high) / 2, (high - low) / 2

    def named(movie: int) -> Record:
        features = data.item_features.iloc[movie]
        return {"title": str(features["title"]), "genres": str(features["genres"])}

    tested = (split.test.users == user) & (split.test.items == item)
    shown = [
        named(movie := int(context.items[0, place]))
        | {
            "rating": round(float(context.likings[0, place]) * half + middle, 1),
            "attention": round(float(attention[place]), 5),
            "overlap": round(float(overlap[movie]), 3),
            "change": round(float(change[number]), 4),
        }
        for number, place in enumerate(top.tolist())
    ]
    return {
        "user": user,
        "movie": item,
        "target": named(item),
        "rating": float(split.test.values[tested][0]) if tested.any() else None,
        "prediction": round(float(whole), 4),
        "context": int(context.valid.sum()),
        "shown attention": round(float(attention[top].sum()), 4),
        "movies": shown,
    }


def picked(correlation: np.ndarray, context: np.ndarray) -> dict[str, int]:
    """Which of N test pairs ``RULE`` shows (``middle``), and one tenth from either end.

    Args:
        correlation: [N] of attention and genre overlap; NaN where there is none.
        context: [N] number of context movies.
    """
    able = np.flatnonzero((context >= LEAST_SHOWN) & np.isfinite(correlation))
    order = able[np.argsort(correlation[able], kind="stable")]
    if not len(order):
        return {}
    return {name: int(order[int((len(order) - 1) * q)]) for name, q in QUANTILES.items()}


# --- runs ------------------------------------------------------------------------------------


def run_of(dataset: str, model: str, seed: int) -> Run:
    """The training run behind a record: fold 0, the seed, an inner validation for the epoch."""
    return Run(dataset, PROTOCOL, model, seed, SELECT, "seeds")


def trained(job: Run, device: torch.device, progress: bool = True) -> Any:
    """The model of a training run: the one that was kept, or trained now and kept."""
    config = experiments.variant_config(job.model, job.dataset, job.variant)
    return kept_or_trained(
        job,
        lambda: row(job.model).build(job.split(), config, job.number, device),
        lambda: experiments.run(job, device, progress).model,
        device,
    )


def address(job: Run) -> Record:
    """What the record of a run says of itself before anything was measured."""
    made = job.address()
    config = made["config"] | {"explanations": CHOICES}
    return made | {"table": TABLE, "variant": "", "config": config}


def measure(
    job: Run, model: AttentiveNCF, device: torch.device
) -> tuple[Record, dict[str, np.ndarray]]:
    """The record of a run's explanations, and the values of single users."""
    split, data = job.split(), data_for(job.dataset)
    similar = Similarities.of(model, split, data.item_features["genres"])
    generator = torch.Generator(device=device).manual_seed(job.number)
    test = DeviceRatings.of(split.test, device)
    by_pair = {
        k: v.cpu().numpy() for k, v in measure_pairs(model, test, similar, generator).items()
    }
    # As they are stored: the metric is then the mean of the stored values to the last digit.
    values = {
        name: measures.mean_by_user(split.test.users, v, split.n_users).astype(np.float16)
        for name, v in by_pair.items()
    }
    values = {name: v for name, v in values.items() if np.isfinite(v).any()}
    metrics = {name: float(np.nanmean(v.astype(np.float64))) for name, v in values.items()}
    for name in ("own", "shuffled", "uniform"):
        metrics[f"RMSE/{name}"] = float(np.sqrt(by_pair[f"squared error/{name}"].mean()))
    extra: Record = {"device": device.type, "pairs": len(split.test)}
    if job.number == 0:
        rated = np.bincount(split.train.users, minlength=split.n_users)
        shown = picked(by_pair["genres/attention"], rated[split.test.users])
        extra["examples"] = {
            name: example(job, model, int(split.test.users[n]), int(split.test.items[n]))
            for name, n in shown.items()
        }
    return address(job) | {"metrics": metrics} | extra | provenance(), values


def grid() -> list[Cell]:
    """The cells: every attentive model on every companion with titles."""
    return [
        Cell(TABLE, experiments.row_name(model), dataset, PROTOCOL, SELECT, "", SEEDS)
        for dataset in DATASETS
        for model in MODELS
    ]


def run(
    datasets: Sequence[str] | None, models: Sequence[str] | None, seeds: int | None, device: str
) -> Iterator[tuple[str, Record, bool]]:
    """Measure what is not stored yet; what it is, the record, and whether it is new.

    Raises:
        ReplicationError: a data set or model that the table has not.
    """
    refuse_unknown(TABLE, datasets, DATASETS)
    refuse_unknown(TABLE, models, MODELS)
    where = resolve_device(device)
    jobs = [
        run_of(dataset, model, seed)
        for seed in range(min(seeds or SEEDS, SEEDS))
        for dataset in datasets or DATASETS
        for model in models or MODELS
    ]

    def measured(job: Run) -> tuple[Record, dict[str, np.ndarray]]:
        experiments.search(job.model, job.dataset).say_if_lacking()
        return measure(job, trained(job, where), where)

    yield from labelled(measure_missing(jobs, address, Store(TABLE), measured))


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Train the model behind a stored record again, and measure it."""
    job = run_of(record["dataset"], experiments.job_of(record).model, record["seed"])
    config = experiments.config_of(record)
    model = experiments.run(job, device, config=config, resumable=False).model
    return measure(job, model, device)[0], None
