"""Seconds an epoch of AFM and its baselines by SGD, as ratios to an iteration of myfm in one run.

    python benchmarks/afm_speed.py [--dataset ml-1m] [--share 1.0] [--rounds 3] [--threads 1]

myfm       one iteration of the Gibbs sampler of the peer package: it visits every training rating,
           as an epoch does. From a run with many iterations that with few is taken away, so that
           what comes before the first does not count.
the study   one epoch of plain SGD at 256 ratings a step, as the study trains its models.
autograd   LibFM and AFM with the same steps, the derivative by automatic differentiation.

All have 64 dimensions, the same training ratings (a fold of the study's) and the same features.
They take turns, so that a machine whose speed drifts does not favour one; the time is the
processor's. An epoch is not worth an iteration: SGD needs ten to fifty epochs, the sampler a
hundred or more iterations. ``--share`` leaves so much of the training ratings.

Of all training ratings each side is a record of ``results/afm/speed.jsonl``, which AFM's Table 2
shows; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from replication.baselines.rating_packages import MyFMFeatures, MyFMFeaturesConfig
from replication.folds import RatingSplit
from replication.papers.afm.experiments import (
    PROTOCOL,
    SPEED,
    data_for,
    split_for,
    thinned,
    with_features,
)
from replication.papers.afm.rows import row
from replication.rating_training import DeviceRatings
from replication.records import Store, provenance, record_address

CPU = torch.device("cpu")
ITERATIONS = (2, 6)  # of the two runs of myfm


def peer_seconds(split: RatingSplit) -> float:
    """Processor time of one iteration of myfm."""
    spent = []
    for iterations in ITERATIONS:
        config = MyFMFeaturesConfig(iterations=iterations, burn_in=iterations - 1)
        started = time.process_time()
        MyFMFeatures(split, config, 0)
        spent.append(time.process_time() - started)
    return (spent[1] - spent[0]) / (ITERATIONS[1] - ITERATIONS[0])


def epoch_of(name: str, split: RatingSplit, written: bool) -> Callable[[], float]:
    """What trains a model for an epoch and gives the processor time.

    Args:
        name: of the study's rows.
        split: one fold.
        written: with the step of the model's own; else with automatic differentiation.
    """
    known = row(name)
    torch.manual_seed(0)
    model: Any = known.build(split, known.start, 0, CPU).train()
    optimizer = known.start.optimizer(model.parameters())
    generator = torch.Generator().manual_seed(0)
    train, size = DeviceRatings.of(split.train, CPU), known.start.batch_size

    def epoch() -> float:
        started = time.process_time()
        order = torch.randperm(len(train), generator=generator)
        items = train.items[order]
        parts = [c.split(size) for c in (train.users[order], items, train.values[order])]
        if written:
            rate = known.start.learning_rate
            for users, some, values, ready in zip(*parts, model.batches(items, size), strict=True):
                model.sgd_step(users, some, ready, values, generator, rate * len(users) / size)
        else:
            for users, some, values in zip(*parts, strict=True):
                optimizer.zero_grad(set_to_none=True)
                loss = model.loss(users, some, values, generator)
                (loss * (len(users) / size)).backward()
                optimizer.step()
        return time.process_time() - started

    return epoch


def record_of(
    name: str, arguments: argparse.Namespace, metrics: dict[str, float]
) -> dict[str, Any]:
    """The record of one side."""
    config = {"rounds": arguments.rounds, "threads": arguments.threads}
    address = record_address(SPEED, name, data_for(arguments.dataset), PROTOCOL, config)
    return address | {"metrics": metrics, "device": "cpu"} | provenance()


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    split = with_features(arguments.dataset, split_for(arguments.dataset, 0))
    if arguments.share < 1:
        split = thinned(split, arguments.share)
    sides = {"myfm": lambda: peer_seconds(split)}
    for name in ("libfm", "svdfeature", "cdl", "nfm", "afm"):
        sides[row(name).name] = epoch_of(name, split, written=True)
        if name in ("libfm", "afm"):
            sides[f"{row(name).name}, autograd"] = epoch_of(name, split, written=False)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            seconds[name].append(side())
    print(
        f"{len(split.train):,} training ratings of {arguments.dataset}, threads: "
        f"{arguments.threads}, median of {arguments.rounds} rounds"
    )
    for name, found in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(found, seconds["myfm"], strict=True)]
        metrics = {
            "seconds": statistics.median(found),
            "ratio": statistics.median(ratios),
            "lowest ratio": min(ratios),
            "highest ratio": max(ratios),
        }
        if arguments.share == 1:
            Store(SPEED).append(record_of(name, arguments, metrics))
        print(
            f"{name:<16} {metrics['seconds']:8.2f} s an epoch or iteration, "
            f"{metrics['ratio']:5.2f} of myfm's "
            f"(by round {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
