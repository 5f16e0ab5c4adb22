"""The rows of AFM's tables: each model's start, its search, and how it is made.

Every model that has something to tune gets the same number of random trials
(``experiments.N_TRIALS``); trial 0 is the starting configuration. Some alternatives take the trial
of AFM itself (``experiments.searched``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from replication.baselines import rating_packages as packages
from replication.baselines import rating_simple as simple
from replication.baselines.cdl import CDL, CDLConfig
from replication.baselines.factorization_machine import (
    FactorizationMachine,
    FactorizationMachineConfig,
)
from replication.baselines.nfm import NFM, NFMConfig
from replication.baselines.svd_feature import SVDFeature, SVDFeatureConfig
from replication.folds import RatingSplit
from replication.papers.afm.model import AFM, AFMConfig
from replication.papers.common import check_known, log_uniform
from replication.papers.fold_runs import RatingRow, draw_als, draw_bias


@dataclass(frozen=True)
class Row(RatingRow):
    """One model of the tables.

    Attributes:
        table: "table2", or "alternatives" for AFM as the paper leaves it open.
        rules: how the values of a feature are encoded where not as a set; see
            ``replication.item_features.encode``.
        uses_features: whether item features can change its numbers.
        features: of a data set's features, what stands in their place: (name, name).
        varies: for an alternative, what it changes: "interaction", "mean" or "features".
    """

    table: str = "table2"
    rules: tuple[tuple[str, str], ...] = ()
    uses_features: bool = True
    features: tuple[tuple[str, str], ...] = ()
    varies: str = ""


def draw_sgd(rng: np.random.Generator) -> dict[str, Any]:
    """Learning rate of a batch's mean error, and the penalty; the paper prints neither.

    At 256 ratings a step a rate of 1 moves a row as a rate of 1 / 256 at one rating a step does;
    the range goes down from where the steps of a value that half of the ratings have diverge. The
    penalty goes from a tenth of to ten times what SVDFeature's and Surprise's examples use (0.004
    to 0.02), and is off in a third of the trials.
    """
    learning_rate = log_uniform(rng, 0.05, 2.0)
    decays, decay = rng.random() < 2 / 3, log_uniform(rng, 1e-3, 0.2)
    return {"learning_rate": learning_rate, "weight_decay": decay if decays else 0.0}


SCALES = [0.1, 0.3, 1.0]  # of AFM's tables at the start: standard deviations


def draw_afm(rng: np.random.Generator) -> dict[str, Any]:
    """The above with rates ten times as large, and the size of the tables at the start.

    A sigmoid of [u, v] around 0 adds what u and v say: from a small start it finds their product
    late, and the derivative that reaches the rows through the network is small.
    """
    drawn = draw_sgd(rng) | {"scale": float(rng.choice(SCALES))}
    return drawn | {"learning_rate": round(10 * drawn["learning_rate"], 3)}


def draw_inner(rng: np.random.Generator) -> dict[str, Any]:
    """The above with half the rates: no sigmoid dampens the derivative; the half is a choice."""
    drawn = draw_afm(rng)
    return drawn | {"learning_rate": round(drawn["learning_rate"] / 2, 4)}


def draw_nfm(rng: np.random.Generator) -> dict[str, Any]:
    """SGD, the size at the start as AFM's, for its network is as flat, and a dropout.

    The rates are not AFM's. Values have biases here, which no network dampens: of a value that most
    films of a batch have, a step much above 1 throws the bias beyond the error that it is to mend
    (``test_afm_tables`` holds that it diverges). He and Chua (2017, Section 3.3) add the dropout;
    off in half of the trials.
    """
    drawn = draw_sgd(rng) | {"scale": float(rng.choice(SCALES))}
    return drawn | {"dropout": float(rng.choice([0.0, 0.0, 0.2, 0.4]))}


def draw_cdl(rng: np.random.Generator) -> dict[str, Any]:
    """The above, and the weights of the offsets and of the reconstruction, a decade either side."""
    lambdas = {name: log_uniform(rng, 1.0, 100.0) for name in ("lambda_v", "lambda_n")}
    return draw_sgd(rng) | lambdas


def draw_adam(rng: np.random.Generator) -> dict[str, Any]:
    """Adam's rate over a decade and a half around its default, decoupled decay, and AFM's sizes.

    Without the sizes that AFM's tables have at the start by SGD too, the search by Adam would lack
    a choice, and the difference would not be the optimiser's.
    """
    learning_rate = log_uniform(rng, 3e-4, 1e-2)
    decays, decay = rng.random() < 2 / 3, log_uniform(rng, 1e-3, 1.0)
    drawn = {"learning_rate": learning_rate, "weight_decay": decay if decays else 0.0}
    return drawn | {"scale": float(rng.choice(SCALES))}


def draw_nfm_adam(rng: np.random.Generator) -> dict[str, Any]:
    """The above and NFM's dropout."""
    return draw_adam(rng) | {"dropout": float(rng.choice([0.0, 0.0, 0.2, 0.4]))}


def draw_surprise(rng: np.random.Generator) -> dict[str, Any]:
    """Rate, penalty and epochs around the package's defaults; it has no early stopping.

    The number of factors is the package's: its steps cost what that number is.
    """
    return {
        "lr_all": log_uniform(rng, 0.002, 0.02),
        "reg_all": log_uniform(rng, 0.005, 0.2),
        "n_epochs": int(rng.choice([10, 20, 30, 40])),
    }


def _without_features(split: RatingSplit, config: Any, seed: int, device: torch.device) -> Any:
    """A factorisation machine of user and item alone: matrix factorisation with biases."""
    return FactorizationMachine(replace(split, features=None), config)


def _trained(name: str, model: Callable[[Any, Any], Any], start: Any, draw: Any) -> Row:
    return Row(name, start, lambda split, config, seed, device: model(split, config), draw)


def _afm(name: str, draw: Any = draw_afm, varies: str = "interaction", **changes: Any) -> Row:
    """An alternative in the interaction, in its constant, or in how it is trained."""
    known = _trained(f"AFM, {name}", AFM, AFMConfig(**changes), draw)
    return replace(known, table="alternatives", varies=varies)


def _without_mean(name: str, draw: Any = draw_afm, **changes: Any) -> Row:
    """An alternative whose constant is zero, beside the same with the mean rating."""
    text = f"{name}, without the mean rating".removeprefix(", ")
    return _afm(text, draw, "mean", with_mean=False, **changes)


def _afm_features(name: str, rules: Any = (), features: Any = (), **changes: Any) -> Row:
    """An alternative in what becomes of the features."""
    return replace(_afm(name, varies="features", **changes), rules=rules, features=features)


def _by_rule(name: str, rule: str) -> Row:
    """An alternative in what becomes of several values of what OMDb and MovieLens give of a film.

    Tags remain sets: they are words of many users, which no data set orders or lists as one text.
    """
    return _afm_features(name, rules=tuple((one, rule) for one in ("genres", "director", "writer")))


def _surprise(algorithm: str, name: str = "", draw: Any = None) -> Row:
    return Row(
        f"{name or algorithm}-Surprise",
        packages.SurpriseConfig(algorithm, packages.surprise_version()),
        lambda split, config, seed, device: packages.Surprise(split, config, seed),
        draw,
        uses_features=False,
    )


BEST = "afm-best"
ATTENDED = ("afm", BEST)  # models whose attention is looked at
ROWS: dict[str, Row] = {
    # "The official implementation" of LibFM learns by SGD here, as the paper says of all models.
    "libfm": _trained("LibFM", FactorizationMachine, FactorizationMachineConfig(), draw_sgd),
    "svdfeature": _trained("SVDFeature", SVDFeature, SVDFeatureConfig(), draw_sgd),
    "cdl": _trained("CDL", CDL, CDLConfig(), draw_cdl),
    "nfm": _trained("NFM", NFM, NFMConfig(), draw_nfm),
    "afm": _trained("AFM", AFM, AFMConfig(), draw_afm),
    # The reading of the interaction with the best search (``experiments.reading``): where this row
    # fails too, it is not for the reading that was chosen above.
    BEST: _trained("AFM, best reading", AFM, AFMConfig(), None),
    # Beyond the paper. On MovieLens 1M plain SGD mostly leaves NFM's network where it starts: a win
    # over the row "nfm" is then one over its biases.
    "nfm-adam": _trained(
        "NFM by Adam", NFM, NFMConfig(method="adam", learning_rate=1e-3), draw_nfm_adam
    ),
    # What simple models with care reach on the same folds.
    "libfm-gibbs": Row(
        "LibFM by Gibbs sampling (myfm)",
        packages.MyFMFeaturesConfig(package_version=packages.myfm_version()),
        lambda split, config, seed, device: packages.MyFMFeatures(split, config, seed),
    ),
    "bias": Row(
        "bias (closed form)",
        simple.BiasConfig(),
        lambda split, config, seed, device: simple.Bias(split, config, device),
        draw_bias,
        uses_features=False,
    ),
    # By SGD with each rating's own penalty, as LibFM: the features alone tell the two apart.
    "mf": Row(
        "MF with biases",
        FactorizationMachineConfig(),
        _without_features,
        draw_sgd,
        uses_features=False,
    ),
    "als": Row(
        "ALS with biases",
        simple.ALSConfig(),
        lambda split, config, seed, device: simple.ALS(split, config, device, seed),
        draw_als,
        uses_features=False,
    ),
    "baseline": _surprise("BaselineOnly"),  # the package's solver of "bias", for its benchmark
    "svd": _surprise("SVD", draw=draw_surprise),
    "svdpp": _surprise("SVDpp", "SVD++", draw_surprise),
    # AFM as the paper leaves it open.
    "afm-biases": _afm("with biases", biases=True),
    "afm-bounded": _afm("bounded output", bounded=True),
    "afm-bounded-biases": _afm("bounded output, with biases", bounded=True, biases=True),
    "afm-product": _afm("u*v as input", interaction="mlp-product"),
    "afm-product-biases": _afm("u*v as input, with biases", interaction="mlp-product", biases=True),
    "afm-inner": _afm("inner product (Eq. 4)", draw_inner, interaction="inner"),
    "afm-inner-mean": _afm(
        "inner product, with the mean rating", draw_inner, interaction="inner", with_mean=True
    ),
    "afm-inner-biases": _afm(
        "inner product, with biases", draw_inner, interaction="inner", biases=True
    ),
    "afm-adam": _afm("Adam", draw_adam, method="adam", learning_rate=1e-3),
    "afm-no-mean": _without_mean(""),
    "afm-biases-no-mean": _without_mean("with biases", biases=True),
    "afm-bounded-no-mean": _without_mean("bounded output", bounded=True),
    "afm-bounded-biases-no-mean": _without_mean(
        "bounded output, with biases", bounded=True, biases=True
    ),
    "afm-product-no-mean": _without_mean("u*v as input", interaction="mlp-product"),
    "afm-product-biases-no-mean": _without_mean(
        "u*v as input, with biases", interaction="mlp-product", biases=True
    ),
    "afm-inner-biases-no-mean": _without_mean(
        "inner product, with biases", draw_inner, interaction="inner", biases=True
    ),
    "afm-free": _afm_features("attention of each user's own", integration="free"),
    "afm-mean": _afm_features("plain averaging", integration="mean"),
    "afm-concat": _afm_features("concatenation", integration="concat"),
    "afm-sum": _afm_features("values added up", weighting="sum"),
    "afm-slots": _afm_features("each value a slot", weighting="slots"),
    # Genres nearly in the order of the alphabet, persons as OMDb credits them.
    "afm-first": _by_rule("first value only", "first"),
    # "One-hot inputs" (Section 4.1.3) to the letter: "Action|Comedy" is one value.
    "afm-whole": _by_rule("the values together as one", "whole"),
    # Up to four that OMDb names, with the mean of their vectors.
    "afm-actors": _afm_features("several actors", features=(("actor", "actors"),)),
    "afm-lost": _afm_features("a missing slot's attention lost", missing="lost"),
}

# What the paper's words on the interaction may mean, each trained as the paper says.
READINGS = (
    "afm",
    *(m for m, known in ROWS.items() if known.varies == "interaction" and m != "afm-adam"),
)


def row(model: str) -> Row:
    """The row of a model name.

    Raises:
        ReplicationError: unknown name.
    """
    check_known("model", [model], ROWS)
    return ROWS[model]
