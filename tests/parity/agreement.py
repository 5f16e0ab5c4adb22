"""What the comparisons with another implementation share, and how they leave evidence.

The tests marked ``peer`` run where ``REPLICATION_PEER_PYTHON`` names an interpreter with RecBole.
With ``REPLICATION_PARITY_RECORD=1`` beside it each comparison is a record of
``results/amp_cf/parity.jsonl`` too, whether it agrees or not:

    REPLICATION_PEER_PYTHON=peer/bin/python REPLICATION_PARITY_RECORD=1 pytest -m peer tests/parity
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import recbole_peer
import torch
from torch import Tensor

from replication.data import Interactions, filter_rare, load
from replication.evaluation import HeldOut
from replication.metrics.ranking import rank_of_target, summary
from replication.papers.amp_cf import experiments
from replication.protocols import Split, make_split
from replication.training import Differentiable, RankingConfig, Sampler

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import evidence

PEER = os.environ.get("REPLICATION_PEER_PYTHON", "")
METRICS = ("HR@10", "NDCG@10")


@cache
def version_of_peer() -> str:
    """RecBole's, as the interpreter that has it says."""
    ask = "from importlib.metadata import version; print(version('recbole'))"
    done = subprocess.run([PEER, "-c", ask], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def note(
    row: str, peer: str, what: str, difference: float, allowed: float, **numbers: float
) -> None:
    """Store a comparison if that was asked for; it agrees if the difference is within what is
    allowed.

    Args:
        row: our model.
        peer: RecBole's.
        what: is compared, on which part of ml-100k.
        numbers: what the difference is of.
    """
    if os.environ.get("REPLICATION_PARITY_RECORD") != "1":
        return
    metrics = {"difference": float(difference), "allowed": float(allowed)}
    metrics |= {name: float(value) for name, value in numbers.items()}
    config = {"what": what, "peer": f"RecBole {version_of_peer()}, {peer}"}
    evidence.keep(experiments.PARITY, row, "ml-100k", metrics, config)


def assert_same(
    ours: Tensor, theirs: Tensor, rtol: float, atol: float, row: str, peer: str, what: str
) -> None:
    """Two tensors agree within ``atol + rtol * |theirs|``; noted with the entry that is worst."""
    apart, tolerance = (ours - theirs).abs(), atol + rtol * theirs.abs()
    worst = (apart / tolerance).flatten().argmax()
    note(row, peer, what, apart.flatten()[worst], tolerance.flatten()[worst])
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


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
    ours: Sequence[tuple[float, ...]],
    theirs: Sequence[tuple[float, ...]],
    row: str,
    peer: str,
    part: str = "",
) -> None:
    """The means over seeds of ``measured`` differ by less than three standard errors.

    All comparisons are noted before one of them fails. ``part``: of the data, for the reader.
    """
    within = []
    for name, mine, other in zip(METRICS, np.transpose(ours), np.transpose(theirs), strict=True):
        error = np.sqrt(np.var(mine, ddof=1) / len(mine) + np.var(other, ddof=1) / len(other))
        print(
            f"{name}: ours {np.mean(mine):.4f} (sd {np.std(mine, ddof=1):.4f}), "
            f"RecBole {np.mean(other):.4f} (sd {np.std(other, ddof=1):.4f})"
        )
        apart = abs(np.mean(mine) - np.mean(other))
        what = f"{name}, mean of {len(mine)} seeds{', ' + part if part else ''}"
        note(row, peer, what, apart, 3 * error, ours=np.mean(mine), theirs=np.mean(other))
        within.append(apart < 3 * error)
    assert all(within)


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
