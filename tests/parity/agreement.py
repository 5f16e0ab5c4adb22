"""What the comparisons with another implementation share."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from replication.data import Interactions, filter_rare, load
from replication.evaluation import HeldOut
from replication.metrics.ranking import rank_of_target, summary
from replication.protocols import Split, make_split

# An interpreter that has RecBole: a test marked ``peer`` runs only where there is one.
PEER = os.environ.get("REPLICATION_PEER_PYTHON", "")
METRICS = ("HR@10", "NDCG@10")


def split_of_users(wanted: Callable[[Interactions], np.ndarray]) -> Split:
    """``loo-random`` of those users of ml-100k that [U] bool of the data set says."""
    data = load("ml-100k")
    keep = wanted(data)[data.users]
    columns = ("users", "items", "ratings", "timestamps")
    part = replace(data, **{name: getattr(data, name)[keep] for name in columns})
    return make_split(filter_rare(part), "loo-random")


def measured(scores: Tensor, held: HeldOut) -> tuple[float, ...]:
    """HR@10 and NDCG@10 of scores [E, C] of the candidates of held-out items."""
    target = torch.zeros(len(scores), dtype=torch.long)
    found = summary(rank_of_target(scores, target, held.valid).numpy())
    return tuple(found[name] for name in METRICS)


def assert_within_the_spread(
    ours: Sequence[tuple[float, ...]], theirs: Sequence[tuple[float, ...]]
) -> None:
    """The means over seeds of ``measured`` differ by less than three standard errors."""
    for name, mine, other in zip(METRICS, np.transpose(ours), np.transpose(theirs), strict=True):
        error = np.sqrt(np.var(mine, ddof=1) / len(mine) + np.var(other, ddof=1) / len(other))
        print(
            f"{name}: ours {np.mean(mine):.4f} (sd {np.std(mine, ddof=1):.4f}), "
            f"RecBole {np.mean(other):.4f} (sd {np.std(other, ddof=1):.4f})"
        )
        assert abs(np.mean(mine) - np.mean(other)) < 3 * error
