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

from replication.baselines.aisp import AISP, AISPConfig
from replication.baselines.ease import EASE, EASEConfig
from replication.baselines.ials import IALS, IALSConfig
from replication.baselines.item_knn import ItemKNN, ItemKNNConfig
from replication.baselines.popularity import MostPop, MostPopConfig
from replication.errors import ReplicationError
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.protocols import Split
from replication.training import RankingConfig


@dataclass(frozen=True)
class Row:
    """One model of the tables.

    Attributes:
        name: as the paper prints it, or ours.
        start: the configuration before tuning: what the sources print.
        build: the model from a split, a configuration, a seed and a device: untrained where the
            configuration is a ``RankingConfig``, else ready.
        draw: a trial's departures from ``start``; None where there is nothing to tune.
        deterministic: nothing depends on the seed, so that one run is all there is.
    """

    name: str
    start: Any
    build: Callable[[Split, Any, int, torch.device], Any]
    draw: Callable[[np.random.Generator], dict[str, Any]] | None = None
    deterministic: bool = False

    @property
    def trained(self) -> bool:
        """Trained by gradient steps over epochs, one of which is selected."""
        return isinstance(self.start, RankingConfig)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def draw_training(rng: np.random.Generator) -> dict[str, Any]:
    """Learning rate and weight decay.

    The learning rate spans the values that He et al. (2017, Section 4.1) search, without their
    smallest; weight decay is off in half of the trials, as in AMP-CF's released code.
    """
    learning_rate = _log_uniform(rng, 5e-4, 5e-3)
    decays, decay = rng.random() < 0.5, _log_uniform(rng, 1e-3, 1.0)
    return {"learning_rate": learning_rate, "weight_decay": decay if decays else 0.0}


def draw_amp(rng: np.random.Generator) -> dict[str, Any]:
    """The above, and Eq. 2's three weights.

    alpha is the open range of a mixture weight; each lambda goes from a tenth of the released
    0.005 to above the 1.28 that the released reduction amounts to at batch 256.
    """
    changes = draw_training(rng)
    alpha = round(float(rng.uniform(0.1, 0.9)), 3)
    lambda_p, lambda_n = _log_uniform(rng, 5e-4, 2.0), _log_uniform(rng, 5e-4, 2.0)
    return changes | {"alpha": alpha, "lambda_p": lambda_p, "lambda_n": lambda_n}


def _amp(personas: int, name: str) -> Row:
    # One persona (matrix factorisation) has no attention: the weights in Eq. 2 do nothing.
    return Row(
        name,
        AMPConfig(personas=personas),
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
    """The ranges of Ferrari Dacrema et al. (RecSys 2019) for neighbours and shrinkage."""
    return {"neighbours": int(rng.integers(5, 801)), "shrink": float(rng.integers(0, 1001))}


def draw_ease(rng: np.random.Generator) -> dict[str, Any]:
    """Around the values that Steck (2019) reports as best (200 to 1,000), a decade either side."""
    return {"l2": _log_uniform(rng, 10.0, 1e4)}


def draw_ials(rng: np.random.Generator) -> dict[str, Any]:
    """A decade around the values that Rendle et al. (RecSys 2022) find on three data sets.

    Theirs are an unobserved weight of 0.02 to 0.3 and a regularization of 0.002 to 0.007.
    """
    return {
        "unobserved_weight": _log_uniform(rng, 0.005, 3.0),
        "regularization": _log_uniform(rng, 3e-4, 0.07),
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
PRINTED_ONLY = ("DeepICF+a", "NCF", "ConvNCF", "DiRec")


def row(model: str) -> Row:
    """The row of a model name; ``amp-N`` is known for every N.

    Raises:
        ReplicationError: unknown name.
    """
    if model in ROWS:
        return ROWS[model]
    found = re.fullmatch(r"amp-([1-9]\d?)", model)
    if not found:
        raise ReplicationError(
            f"unknown model {model!r}; known are {', '.join(ROWS)} and amp-N for N personas"
        )
    return _amp(int(found[1]), model.upper())
