"""Seconds of an epoch of each of Attentive NCF's combinations, and against a loop over users.

    python benchmarks/attentive_context.py            # on cil, one core
    python benchmarks/attentive_context.py --steps 40

Some steps of training are timed as CPU time of the process and scaled to an epoch of one fold.
The loop makes the users of a batch one after the other; batch, predictor, loss and optimiser stay
the same. For an attentive user it does what Equation 1 prints: it gathers the other movies of one
user, draws 64 of them and attends to them. For a look-up it takes one row at a time.

Each measurement is a record of ``results/attentive_ncf/speed.jsonl``; one that is there is printed
and not made again. Run it on an idle core: the ratios are of times taken one after the other.
"""

from __future__ import annotations

import argparse
import time

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

LOOP_STEPS = 3  # of the loop, which takes many times as long


class LoopAttentive(Attentive):
    """The same embedding with a Python loop over the users of a batch."""

    def forward(
        self, users: Tensor, items: Tensor, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """User and movie vectors [B, E]."""
        h, found = self.history, []
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            start, count = int(h.start[user]), int(h.count[user])
            movies = h.keys[start : start + count] - user * h.n_items
            others = (movies != item).nonzero()[:, 0]
            chosen = others[torch.randperm(len(others), generator=generator)[:width]]
            context, likings = movies[chosen], h.likings[start : start + count][chosen]
            query = self.structure[item]
            score = self.structure[context] @ query / query.shape[0] ** 0.5
            found.append((score.softmax(0) * likings) @ self.tastes[context])  # Eq. 1
        return torch.stack(found), F.embedding(items, self.structure)


class LoopLookUp(LookUp):
    """The same embedding with a Python loop over the users of a batch."""

    def forward(
        self, users: Tensor, items: Tensor, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """User and movie vectors [B, E]."""
        rows = [F.embedding(user, self.users) for user in users]
        return torch.stack(rows), F.embedding(items, self.items)


def seconds_of_epoch(model: AttentiveNCF, train: DeviceRatings, size: int, steps: int) -> float:
    """CPU seconds of an epoch, from some steps of ``size`` ratings after one to warm up."""
    generator = torch.Generator().manual_seed(0)
    optimizer = model.config.optimizer(model.parameters())
    batches = torch.randperm(len(train), generator=generator).split(size)

    def step(rows: Tensor) -> None:
        optimizer.zero_grad()
        loss = model.loss(train.users[rows], train.items[rows], train.values[rows], generator)
        loss.backward()
        optimizer.step()

    step(batches[0])
    started = time.process_time()
    for rows in batches[1 : 1 + steps]:
        step(rows)
    return (time.process_time() - started) / (steps * size) * len(train)


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
                "loop_steps": LOOP_STEPS,
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
            f"{metrics['loop ratio']:.1f} times as long",
            flush=True,
        )


def measure(
    name: str, train: DeviceRatings, split: RatingSplit, arguments: argparse.Namespace
) -> dict[str, float]:
    """Seconds of an epoch, and how many times as long the loop takes."""
    config = row(name).start
    tables = None
    if config.embedding == "autoencoder":  # the values do not matter for the time
        sizes = ((split.n_users, config.dimension), (split.n_items, config.dimension))
        tables = (torch.rand(sizes[0]), torch.rand(sizes[1]))
    fast = seconds_of_epoch(
        AttentiveNCF(split, config, tables), train, arguments.batch, arguments.steps
    )
    model = AttentiveNCF(split, config, tables)
    loop = LoopAttentive if config.embedding == "attentive" else LoopLookUp
    model.embedding.__class__ = loop
    slow = seconds_of_epoch(model, train, arguments.batch, LOOP_STEPS)
    return {"seconds an epoch": fast, "loop ratio": slow / fast}


if __name__ == "__main__":
    main()
