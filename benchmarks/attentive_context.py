"""Seconds of an epoch of each of Attentive NCF's combinations, and against a loop over users.

    python benchmarks/attentive_context.py            # on cil, one core
    python benchmarks/attentive_context.py --steps 40

Some steps of training are timed as CPU time of the process; their median is scaled to an epoch of
one fold. The loop makes the users of a batch one after the other; batch, predictor, loss and
optimiser stay the same. What it includes, user by user, forward and backward:

attentive  what Equation 1 prints: it finds the other movies of one user, draws 64 of them and
           attends to them.
look-up    handing on the user's row, since nothing is computed of it: the least that a loop costs.

It does not include taking rows out of the embedding tables: those of a batch are gathered at once,
as ours are, and the loop works on its user's part of them. Were they taken user by user, autograd
would make a gradient as large as the table of each, and the time would be that of thousands of such
tables.

Ours and the loop take turns, step by step, so that a machine whose speed drifts favours neither.
Each measurement is a record of ``results/attentive_ncf/speed.jsonl``; one that is there is printed
and not made again. For the seconds, run it on an idle core.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from replication.folds import RatingSplit
from replication.papers.attentive_ncf.experiments import (
    COMBINATIONS,
    SPEED,
    data_for,
    row_name,
    split_for,
)
from replication.papers.attentive_ncf.model import Attentive, AttentiveNCF, LookUp
from replication.papers.attentive_ncf.rows import row
from replication.rating_training import DeviceRatings
from replication.records import Store, provenance, record_address, record_key
from replication.training import described

LOOP = "over the rows of one gather a step"  # of which kind it is, for the record


class LoopAttentive(Attentive):
    """The same embedding with a Python loop over the users of a batch."""

    def forward(
        self, users: Tensor, items: Tensor, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """User and movie vectors [B, E]."""
        h, contexts, likings = self.history, [], []
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            start, count = int(h.start[user]), int(h.count[user])
            movies = h.items[start : start + count]
            others = (movies != item).nonzero()[:, 0]
            chosen = others[torch.randperm(len(others), generator=generator)[:width]]
            contexts.append(movies[chosen])
            likings.append(h.likings[start : start + count][chosen])
        movies, sizes = torch.cat(contexts), [len(context) for context in contexts]
        structure = F.embedding(movies, self.structure).split(sizes)  # of each user [C, E]
        tastes = F.embedding(movies, self.tastes).split(sizes)
        targets = F.embedding(items, self.structure)  # [B, E]
        found = []
        for query, m, t, liking in zip(targets.unbind(), structure, tastes, likings, strict=True):
            score = m @ query / len(query) ** 0.5
            found.append((score.softmax(0) * liking) @ t)  # Eq. 1
        return torch.stack(found), targets


class LoopLookUp(LookUp):
    """The same embedding with a Python loop over the users of a batch."""

    def forward(
        self, users: Tensor, items: Tensor, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """User and movie vectors [B, E]."""
        rows = list(F.embedding(users, self.users).unbind())
        return torch.stack(rows), F.embedding(items, self.items)


def training_step(model: AttentiveNCF, train: DeviceRatings) -> Callable[[Tensor], float]:
    """What trains on some ratings and gives the CPU seconds that it took."""
    generator = torch.Generator().manual_seed(0)
    optimizer = model.config.optimizer(model.parameters())

    def step(rows: Tensor) -> float:
        started = time.process_time()
        optimizer.zero_grad()
        loss = model.loss(train.users[rows], train.items[rows], train.values[rows], generator)
        loss.backward()
        optimizer.step()
        del loss  # what it was made from is given back within the time
        return time.process_time() - started

    return step


def main() -> None:
    """Print one line a combination."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4096)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    split = split_for("cil", "kfold-10", 0)
    train = DeviceRatings.of(split.train, torch.device("cpu"))
    data, store = data_for("cil"), Store(SPEED)
    for name in COMBINATIONS:
        config = row(name).start
        head = record_address(
            SPEED,
            row_name(name),
            data,
            "kfold-10",
            described(config)
            | {
                "steps": arguments.steps,
                "batch": arguments.batch,
                "loop_steps": arguments.steps,
                "loop": LOOP,
            },
        )
        known = {record["key"]: record["metrics"] for record in store.load()}
        metrics = known.get(record_key(head))
        if metrics is None:
            metrics = measure(name, train, split, arguments)
            store.append(head | {"metrics": metrics, "device": "cpu"} | provenance())
        print(
            f"{row_name(name):<28} E={config.dimension:<4} "
            f"{metrics['seconds an epoch']:7.1f} s an epoch; with a loop over users "
            f"{metrics['loop ratio']:.1f} times as long (by step "
            f"{metrics['lowest loop ratio']:.1f} to {metrics['highest loop ratio']:.1f})",
            flush=True,
        )


def measure(
    name: str, train: DeviceRatings, split: RatingSplit, arguments: argparse.Namespace
) -> dict[str, float]:
    """Seconds of an epoch of ours and of the loop, and how many times as long the loop takes."""
    config = row(name).start
    tables = None
    if config.embedding == "autoencoder":  # the values do not matter for the time
        sizes = ((split.n_users, config.dimension), (split.n_items, config.dimension))
        tables = (torch.rand(sizes[0]), torch.rand(sizes[1]))
    models = [AttentiveNCF(split, config, tables) for _ in range(2)]
    models[1].embedding.__class__ = LoopAttentive if config.embedding == "attentive" else LoopLookUp
    sides = [training_step(model, train) for model in models]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    taken = [
        [step(rows) for step in sides]
        for rows in order.split(arguments.batch)[: 1 + arguments.steps]
    ]
    ours, loop = zip(*taken[1:], strict=True)  # the first is to warm up
    ratios = [theirs / own for own, theirs in zip(ours, loop, strict=True)]
    seconds, looped = (
        statistics.median(side) / arguments.batch * len(train) for side in (ours, loop)
    )
    return {
        "seconds an epoch": seconds,
        "loop seconds an epoch": looped,
        "loop ratio": looped / seconds,
        "lowest loop ratio": min(ratios),
        "highest loop ratio": max(ratios),
    }


if __name__ == "__main__":
    main()
