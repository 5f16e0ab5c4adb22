"""What the comparisons with another implementation share."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import recbole_peer
import torch
from torch import Tensor

from replication.data import Interactions, filter_rare, load
from replication.evaluation import HeldOut
from replication.metrics.ranking import rank_of_target, summary
from replication.protocols import Split, make_split
from replication.training import Differentiable, RankingConfig, Sampler

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


def same_steps(
    peer: recbole_peer.Peer,
    model: Differentiable,
    split: Split,
    config: RankingConfig,
    held: HeldOut,
    steps: int = 20,
) -> tuple[Tensor, Tensor]:
    """Scores [E, C] by ours and by the peer's after the same steps from the same weights.

    The peer has been given the weights already.
    """
    users, items = Sampler(split, config, held.users.device).epoch(torch.Generator().manual_seed(0))
    users = users[: steps * config.batch_size].view(steps, -1)
    items = items[: steps * config.batch_size].view(steps, config.batch_size, -1)
    peer.train_on(users.numpy(), items.numpy())
    theirs = torch.from_numpy(peer.scores(held.users.numpy(), held.items.numpy()))
    optimizer = config.optimizer(model.parameters())
    for batch in zip(users, items, strict=True):
        optimizer.zero_grad()
        model.accumulate_gradients(*batch)
        optimizer.step()
    return model.score_candidates(held.users, held.items), theirs
