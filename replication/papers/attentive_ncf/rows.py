"""The rows of Attentive NCF's tables: each model's start, its search, and how it is made.

Every model that has something to tune gets the same number of random trials
(``experiments.N_TRIALS``); trial 0 is the starting configuration.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from replication import paths
from replication.baselines import rating_packages as packages
from replication.baselines import rating_simple as simple
from replication.baselines.rating_mf import RatingMF, RatingMFConfig
from replication.folds import RatingSplit
from replication.papers.attentive_ncf.model import (
    EMBEDDINGS,
    PREDICTORS,
    AttentiveNCF,
    AttentiveNCFConfig,
    autoencoders,
    encoded,
)
from replication.papers.common import check_known, log_uniform
from replication.papers.fold_runs import RatingRow, draw_als, draw_bias
from replication.records import source_hash
from replication.training import write_state


@dataclass(frozen=True)
class Row(RatingRow):
    """One model of the tables.

    Attributes:
        table: "table1" or "table2".
        folds: how many folds a cell needs.
        inner_folds: on how many folds the epoch is also chosen on an inner validation.
    """

    table: str = "table1"
    folds: int = 10
    inner_folds: int = 0


def draw_training(rng: np.random.Generator) -> dict[str, Any]:
    """What the paper tuned "specifically for each model" and does not print.

    The learning rate spans a decade around Adam's default; weight decay is off in a third of the
    trials and else goes from nothing to where a step of rate 0.001 takes away a hundredth.
    """
    learning_rate = log_uniform(rng, 5e-4, 1e-2)
    decays, decay = rng.random() < 2 / 3, log_uniform(rng, 1e-2, 10.0)
    batch = int(rng.choice([2048, 4096, 8192]))
    return {
        "learning_rate": learning_rate,
        "weight_decay": decay if decays else 0.0,
        "batch_size": batch,
    }


def draw_mf(rng: np.random.Generator) -> dict[str, Any]:
    """The above, and the number of dimensions."""
    return draw_training(rng) | {"dimension": int(rng.choice([8, 16, 32, 64, 128]))}


def draw_svd(rng: np.random.Generator) -> dict[str, Any]:
    """One to a hundred singular values of a thousand."""
    return {"rank": round(log_uniform(rng, 1, 100))}


def draw_linear(rng: np.random.Generator) -> dict[str, Any]:
    """A decade either side of the start."""
    return {"l2": log_uniform(rng, 100.0, 10_000.0)}


def of_pretraining(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration that pretrained tables depend on."""
    return {
        name: value
        for name, value in config.items()
        if name.startswith("pretrain") or name in ("dimension", "user_scale")
    }


def _pretrained(
    split: RatingSplit, config: AttentiveNCFConfig, seed: int, device: torch.device
) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
    """The autoencoders' tables, trained once for all predictors and kept beside the data.

    With them is kept what pretraining took and came to, so that the record of a run that found
    them here says the same as that of the run that made them.

    The file's name holds all that can change them: the training ratings, the configuration of the
    pretraining, the seed, the device and the code.
    """
    digest = hashlib.sha256()
    for column in (split.train.users, split.train.items, split.train.values):
        digest.update(np.ascontiguousarray(column).tobytes())
    chosen = of_pretraining(asdict(config))
    shape = (split.n_users, split.n_items, float(split.levels[-1]), split.fold)
    digest.update(repr((chosen, shape, seed, device.type, source_hash())).encode())
    file = paths.MODELS / f"autoencoder-{digest.hexdigest()[:16]}.pt"
    if file.exists():
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            return (state["users"], state["items"]), state["pretraining"]
        except Exception:  # a damaged file can make torch raise nearly anything: it is made anew
            file.unlink(missing_ok=True)
    started = time.perf_counter()
    nets = autoencoders(split, config, seed, device)
    users, items = encoded(nets)
    told = nets.told | {"seconds": round(time.perf_counter() - started, 2)}
    write_state(file, {"users": users, "items": items, "pretraining": told})
    return (users, items), told


def build(
    split: RatingSplit, config: AttentiveNCFConfig, seed: int, device: torch.device
) -> AttentiveNCF:
    """One of the nine combinations, its autoencoders pretrained where it has any."""
    if config.embedding != "autoencoder":
        return AttentiveNCF(split, config)
    tables, told = _pretrained(split, config, seed, device)
    torch.manual_seed(seed)  # the predictor starts alike whether or not the tables were kept
    model = AttentiveNCF(split, config, tables)
    model.pretraining = told
    return model


# Table II: sizes marked * are 64, those marked with a dagger 128.
SIZES = {("simple", "MLP1"): 128} | {("autoencoder", p): 128 for p in PREDICTORS}
# The best predictor of each embedding in the paper's Table II: inner validation on ten folds.
BEST = (("simple", "MLP2"), ("autoencoder", "MLP1"), ("attentive", "MLP2"))
SHORT = {"inner product": "ip", "MLP1": "mlp1", "MLP2": "mlp2"}


def _combination(embedding: str, predictor: str) -> Row:
    start = AttentiveNCFConfig(
        embedding=embedding,
        predictor=predictor,
        dimension=SIZES.get((embedding, predictor), 64),
    )
    inner = 10 if (embedding, predictor) in BEST else 3
    name = f"{embedding} + {predictor}"
    return Row(name, start, build, draw_training, "table2", inner_folds=inner)


def _surprise(algorithm: str) -> Row:
    return Row(
        f"{algorithm}-Surprise",
        packages.SurpriseConfig(algorithm, packages.surprise_version()),
        lambda split, config, seed, device: packages.Surprise(split, config, seed),
    )


def _closed(name: str, start: Any, model: Any, draw: Any = None) -> Row:
    return Row(
        name,
        start,
        lambda split, config, seed, device: model(split, config, device),
        draw,
    )


ROWS: dict[str, Row] = {
    f"{embedding}-{SHORT[predictor]}": _combination(embedding, predictor)
    for embedding in EMBEDDINGS
    for predictor in PREDICTORS
}
ROWS |= {f"surprise-{name.lower()}": _surprise(name) for name in packages.ALGORITHMS}
ROWS |= {
    "svd-imputed": _closed(
        "SVD movie mean-imputed (self-implemented)",
        simple.ImputedSVDConfig(),
        simple.ImputedSVD,
        draw_svd,
    ),
    # Beyond the paper: what a simple model with care reaches on the same folds.
    "constant": _closed("constant", simple.ConstantConfig(), simple.Constant),
    "bias": _closed("bias (closed form)", simple.BiasConfig(), simple.Bias, draw_bias),
    "als": Row(
        "ALS with biases",
        simple.ALSConfig(),
        lambda split, config, seed, device: simple.ALS(split, config, device, seed),
        draw_als,
    ),
    "item-linear": _closed(
        "item-based linear", simple.ItemLinearConfig(), simple.ItemLinear, draw_linear
    ),
    "mf": Row(
        "MF with biases",
        RatingMFConfig(),
        lambda split, config, seed, device: RatingMF(split, config),
        draw_mf,
        inner_folds=3,
    ),
    "bayesian": Row(
        "Bayesian factorisation (myfm)",
        packages.MyFMConfig(package_version=packages.myfm_version()),
        lambda split, config, seed, device: packages.MyFM(split, config, seed),
    ),
}


def row(model: str) -> Row:
    """The row of a model name.

    Raises:
        ReplicationError: unknown name.
    """
    check_known("model", [model], ROWS)
    return ROWS[model]
