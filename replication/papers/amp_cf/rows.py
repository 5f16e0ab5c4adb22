"""The rows of AMP-CF's Tables 2 and 3: each model's start, its search, and how it is made.

Every model that has something to tune gets the same number of random trials
(``experiments.N_TRIALS``; Bergstra and Bengio 2012); trial 0 is the starting configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from replication.baselines import conv_ncf, deep_icf, neumf
from replication.baselines.aisp import AISP, AISPConfig
from replication.baselines.conv_ncf import ConvNCF, ConvNCFConfig
from replication.baselines.deep_icf import DeepICF, DeepICFConfig
from replication.baselines.direc import DiRec, DiRecConfig
from replication.baselines.ease import EASE, EASEConfig
from replication.baselines.ials import IALS, IALSConfig
from replication.baselines.item_knn import ItemKNN, ItemKNNConfig
from replication.baselines.neumf import NeuMF, NeuMFConfig
from replication.baselines.popularity import MostPop, MostPopConfig
from replication.errors import ReplicationError
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.papers.common import log_uniform
from replication.protocols import Split
from replication.training import RankingConfig


@dataclass(frozen=True)
class Row:
    """One model of the tables.

    Attributes:
        name: as the paper prints it, or ours.
        start: the configuration before tuning: what the sources print.
        build: the model from a split, a configuration, a seed and a device: ready to be trained
            where the configuration is a ``RankingConfig`` (pretrained if its source does that),
            else ready for use. A row with a ``base`` gets the trained base as a fifth argument.
        draw: a trial's departures from ``start``; None where there is nothing to tune.
        deterministic: nothing depends on the seed, so that one run is all there is.
        empty: the model without its pretraining, to load kept weights into; None: ``build``.
        seeds: how many runs a cell needs.
        trial_epochs: the most epochs of a trial; None: as many as of a run.
        max_epochs: the most epochs of a run; None: those of ``start``.
        base: the model that this one re-ranks.
        slow: a pass over the catalogue takes so long that no second one is made: the lists are
            those of the pass that ranks, and the model without its refit ranks the sampled
            candidates alone.
    """

    name: str
    start: Any
    build: Callable[..., Any]
    draw: Callable[[np.random.Generator], dict[str, Any]] | None = None
    deterministic: bool = False
    empty: Callable[[Split, Any], Any] | None = None
    seeds: int = 5
    trial_epochs: int | None = None
    max_epochs: int | None = None
    base: str | None = None
    slow: bool = False

    @property
    def trained(self) -> bool:
        """Trained by gradient steps over epochs, one of which is selected."""
        return isinstance(self.start, RankingConfig)


def draw_training(rng: np.random.Generator) -> dict[str, Any]:
    """Learning rate and weight decay.

    The learning rate spans the values that He et al. (2017, Section 4.1) search, without their
    smallest; weight decay is off in half of the trials, as in AMP-CF's released code.
    """
    learning_rate = log_uniform(rng, 5e-4, 5e-3)
    decays, decay = rng.random() < 0.5, log_uniform(rng, 1e-3, 1.0)
    return {"learning_rate": learning_rate, "weight_decay": decay if decays else 0.0}


def draw_amp(rng: np.random.Generator) -> dict[str, Any]:
    """The above, and Eq. 2's three weights.

    alpha is the open range of a mixture weight; each lambda goes from a tenth of the released
    0.005 to above the 1.28 that the released reduction amounts to at batch 256.
    """
    changes = draw_training(rng)
    alpha = round(float(rng.uniform(0.1, 0.9)), 3)
    lambda_p, lambda_n = log_uniform(rng, 5e-4, 2.0), log_uniform(rng, 5e-4, 2.0)
    return changes | {"alpha": alpha, "lambda_p": lambda_p, "lambda_n": lambda_n}


def _amp(personas: int, name: str, dimension: int = AMPConfig.dimension) -> Row:
    # One persona (matrix factorisation) has no attention: the weights in Eq. 2 do nothing.
    return Row(
        name,
        AMPConfig(personas=personas, dimension=dimension),
        lambda split, config, seed, device: AMP(split.n_users, split.n_items, config),
        draw_amp if personas > 1 else draw_training,
    )


def _closed_form(
    name: str,
    start: Any,
    model: Callable[[Split, Any, torch.device, int], Any],
    draw: Callable[[np.random.Generator], dict[str, Any]] | None,
    deterministic: bool = True,
) -> Row:
    return Row(
        name,
        start,
        lambda split, config, seed, device: model(split, config, device, seed),
        draw,
        deterministic,
    )


def draw_item_knn(rng: np.random.Generator) -> dict[str, Any]:
    """The ranges of Ferrari Dacrema et al. (RecSys 2019), on a logarithmic scale.

    They draw neighbours from 5 to 800 and shrinkage from 0 to 1,000 uniformly, which leaves small
    values of either almost untried; here shrinkage is 0 in a fifth of the trials.
    """
    neighbours = round(log_uniform(rng, 5, 800))
    none, shrink = rng.random() < 0.2, log_uniform(rng, 1.0, 1000.0)
    return {"neighbours": neighbours, "shrink": 0.0 if none else shrink}


def draw_ease(rng: np.random.Generator) -> dict[str, Any]:
    """Around the values that Steck (2019) reports as best (200 to 1,000), a decade either side."""
    return {"l2": log_uniform(rng, 10.0, 1e4)}


def draw_ials(rng: np.random.Generator) -> dict[str, Any]:
    """A decade either side of the values that Rendle et al. (RecSys 2022) find on three data sets.

    Theirs are an unobserved weight of 0.02 to 0.3 and a regularization of 0.002 to 0.007.
    """
    return {
        "unobserved_weight": log_uniform(rng, 0.002, 3.0),
        "regularization": log_uniform(rng, 2e-4, 0.07),
    }


def draw_ncf(rng: np.random.Generator) -> dict[str, Any]:
    """AMP's training values, on the whole range of He et al.; and how long the parts train."""
    changes = draw_training(rng)
    learning_rate = log_uniform(rng, 1e-4, 5e-3)
    return changes | {"learning_rate": learning_rate, "pretrain_epochs": int(rng.integers(0, 21))}


def draw_conv_ncf(rng: np.random.Generator) -> dict[str, Any]:
    """A decade either side of the released learning rates and penalty on the embeddings."""
    return {
        "learning_rate": log_uniform(rng, 5e-3, 0.5),
        "l2_embeddings": log_uniform(rng, 1e-3, 0.1),
        "pretrain_epochs": int(rng.integers(5, 41)),
    }


def draw_deep_icf(rng: np.random.Generator) -> dict[str, Any]:
    """Around the two published settings, of the released script and of its README."""
    return {
        "learning_rate": log_uniform(rng, 1e-3, 0.05),
        "beta": round(float(rng.uniform(0.5, 0.9)), 3),
        "alpha": float(rng.choice([0.0, 0.5])),
        "l2_embeddings": log_uniform(rng, 1e-7, 1e-5),
        "l2_hidden": float(rng.choice([0.0, 0.1, 10.0])),
        "hidden": ((32, 16), (64, 32, 16))[rng.integers(2)],
    }


def _aisp(personas: int) -> Row:
    # Nothing to tune: the paper fixes what there is, and the rest is not learned.
    return _closed_form(
        f"AISP-{personas}", AISPConfig(personas=personas), AISP, None, deterministic=False
    )


ROWS: dict[str, Row] = {
    "amp-2": _amp(2, "AMP-2"),
    "amp-3": _amp(3, "AMP-3"),
    "amp-4": _amp(4, "AMP-4"),
    "amp-8": _amp(8, "AMP-8"),
    "mf": _amp(1, "MF (r=1)"),
    "item-knn": _closed_form("ItemKNN", ItemKNNConfig(), ItemKNN, draw_item_knn),
    "ease": _closed_form("EASE^R", EASEConfig(), EASE, draw_ease),
    "ials": _closed_form("iALS", IALSConfig(), IALS, draw_ials, deterministic=False),
    "ncf": Row(
        "NCF",
        NeuMFConfig(),
        neumf.build,
        draw_ncf,
        empty=lambda split, config: NeuMF(split.n_users, split.n_items, config),
        trial_epochs=10,
    ),
    # An epoch of the next two costs ten to a hundred times one of MF: three seeds, shorter trials.
    "conv-ncf": Row(
        "ConvNCF",
        ConvNCFConfig(),
        conv_ncf.build,
        draw_conv_ncf,
        empty=lambda split, config: ConvNCF(split.n_users, split.n_items, config),
        seeds=3,
        trial_epochs=3,
        max_epochs=8,
        slow=True,
    ),
    "deep-icf": Row(
        "DeepICF+a",
        DeepICFConfig(history_cap=64),
        deep_icf.build,
        draw_deep_icf,
        empty=DeepICF,
        seeds=3,
        trial_epochs=5,
        max_epochs=12,
        slow=True,
    ),
    # Nothing to tune: what could be, the balance of accuracy and diversity, is the model's purpose.
    "direc": Row(
        "DiRec",
        DiRecConfig(),
        lambda split, config, seed, device, base: DiRec(base, split, config, device),
        seeds=3,
        base="mf",
        slow=True,
    ),
    "aisp-2": _aisp(2),
    "aisp-3": _aisp(3),
    "aisp-4": _aisp(4),
    "mostpop": Row(
        "MostPop",
        MostPopConfig(),
        lambda split, config, seed, device: MostPop(split, device),
        deterministic=True,
    ),
}


def row(model: str) -> Row:
    """The row of a model name; ``amp-N`` is known for every N personas.

    So is ``mf-N``, matrix factorisation with vectors of N dimensions.

    Raises:
        ReplicationError: unknown name.
    """
    if model in ROWS:
        return ROWS[model]
    found = re.fullmatch(r"amp-([1-9]\d?)|mf-([1-9]\d{0,3})", model)
    if not found:
        raise ReplicationError(
            f"unknown model {model!r}; known are {', '.join(ROWS)}, amp-N for N personas and mf-N "
            "for N dimensions"
        )
    personas, dimension = found.groups()
    if dimension:
        return _amp(1, model.upper(), int(dimension))
    return _amp(int(personas), model.upper())
