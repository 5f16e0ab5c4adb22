"""Seconds of an epoch of each of Attentive NCF's combinations, and against a loop over users.

    python benchmarks/attentive_context.py            # on cil, one core
    python benchmarks/attentive_context.py --steps 40

Some steps of training are timed as CPU time of the process and scaled to an epoch of one fold.
The loop does the same work pair by pair, as Equation 1 is printed: it gathers the other movies of
one user, draws 64 of them and attends to them; predictor, loss and optimiser stay the same. Its
batches are smaller, and a look-up, which gathers nothing for a user, has none to loop over.

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
from replication.papers.attentive_ncf.model import Attentive, AttentiveNCF
from replication.papers.attentive_ncf.rows import row
from replication.rating_training import DeviceRatings
from replication.records import Store, provenance, record_address
from replication.training import described

LOOP_BATCH = 256  # ratings a step of the loop, which takes many times as long


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
            | {"steps": arguments.steps, "batch": arguments.batch, "loop_batch": LOOP_BATCH},
        )
        known = {record["row"]: record["metrics"] for record in store.load()}
        metrics = known.get(row_name(name))
        if metrics is None:
            metrics = measure(name, train, split, arguments)
            store.append(head | {"metrics": metrics, "device": "cpu"} | provenance())
        line = f"{row_name(name):<28} E={config.dimension:<4} "
        line += f"{metrics['seconds an epoch']:7.1f} s an epoch"
        if "loop ratio" in metrics:
            line += f"; with a loop over users {metrics['loop ratio']:.0f} times as long"
        print(line, flush=True)


def measure(
    name: str, train: DeviceRatings, split: RatingSplit, arguments: argparse.Namespace
) -> dict[str, float]:
    """Seconds of an epoch, and for the attentive embedding how many times the loop takes."""
    config = row(name).start
    tables = None
    if config.embedding == "autoencoder":  # the values do not matter for the time
        sizes = ((split.n_users, config.dimension), (split.n_items, config.dimension))
        tables = (torch.rand(sizes[0]), torch.rand(sizes[1]))
    fast = seconds_of_epoch(
        AttentiveNCF(split, config, tables), train, arguments.batch, arguments.steps
    )
    if config.embedding != "attentive":
        return {"seconds an epoch": fast}
    model = AttentiveNCF(split, config)
    model.embedding.__class__ = LoopAttentive
    slow = seconds_of_epoch(model, train, LOOP_BATCH, 2)
    return {"seconds an epoch": fast, "loop ratio": slow / fast}


if __name__ == "__main__":
    main()
