"""Seconds that ranking every user's held-out item among 100 candidates takes, beside two peers.

    python benchmarks/evaluation_speed.py [--dataset ml-1m] [--rounds 7] [--threads 2]

ours      ``replication.evaluation.rank_candidates``: blocks of users, ranks counted on the device
loop      the same ranks one user at a time in NumPy, with the model's own matrices
batched   the same ranks from one matrix of all users, all candidates gathered at once, and
          ``argsort`` in place of counting; the usual way in PyTorch

MF (one persona) scores by a dot product, AMP-4 by a dot product after attention. All three must
give the same ranks, or the script stops. They take turns, so that a machine whose speed drifts does
not favour one.

Each comparison is a record of ``results/amp_cf/speed.jsonl``; the script fails where ours takes
longer on ML-1M than the study allows. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import evidence
import numpy as np
import torch

from replication.evaluation import HeldOut, held_out, rank_candidates
from replication.metrics.ranking import NO_RANK
from replication.papers.amp_cf.experiments import row_name, split_for
from replication.papers.amp_cf.model import AMP, AMPConfig

CPU = torch.device("cpu")
LIMIT = 0.1  # seconds that the study allows for ML-1M
PEERS = {
    "loop": "NumPy, one user after the other",
    "batched": "PyTorch, all users at once, argsort",
}


def loop(model: AMP, held: HeldOut) -> np.ndarray:
    """[U] ranks, one user after the other."""
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    config = model.config
    personas = weights["personas"].reshape(-1, config.personas, config.dimension)
    ranks = np.full(held.n_users, NO_RANK, dtype=np.uint16)
    users, items, valid = held.users.numpy(), held.items.numpy(), held.valid.numpy()
    for user, own, there in zip(users, items, valid, strict=True):
        vectors = weights["items"][own]  # [C, d]
        mixture = personas[user]  # [r, d]
        if config.personas > 1:
            queries, keys = personas[user], vectors
            if config.attention_projections:
                queries = queries @ weights["attention_user"]  # [r, a]
                keys = keys @ weights["attention_item"]  # [C, a]
            affinity = keys @ queries.T  # [C, r]
            attention = np.exp(affinity - affinity.max(1, keepdims=True))
            attention /= attention.sum(1, keepdims=True)
            mixture = attention @ personas[user]  # [C, d]
        scores = (mixture * vectors).sum(1) + weights["item_bias"][own]
        ranks[user] = (scores[1:] >= scores[0])[there[1:]].sum()
    return ranks


def batched(model: AMP, held: HeldOut) -> np.ndarray:
    """[U] ranks from one matrix of scores."""
    scores = model.score_candidates(held.users, held.items)  # [E, 100]
    scores = scores.masked_fill(~held.valid, -torch.inf)
    # Of equal scores the last column comes first: ties count against the held-out item.
    order = scores.flip(1).argsort(dim=1, descending=True, stable=True)
    rank = (order == scores.shape[1] - 1).int().argmax(1)
    ranks = np.full(held.n_users, NO_RANK, dtype=np.uint16)
    ranks[held.users.numpy()] = rank.numpy()
    return ranks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--protocol", default="loo-random")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    split = split_for(arguments.dataset, arguments.protocol)
    held = held_out(split, "test", CPU)
    print(
        f"{len(held.users)} users of {arguments.dataset} with {held.items.shape[1]} candidates, "
        f"{arguments.threads} threads, median of {arguments.rounds} rounds "
        f"(limit for ml-1m: {LIMIT:g} s)"
    )
    ways: dict[str, Callable[[AMP, HeldOut], np.ndarray]] = {
        "ours": rank_candidates,
        "loop": loop,
        "batched": batched,
    }
    kept = True
    for name, personas in ((row_name("mf"), 1), (row_name("amp-4"), 4)):
        torch.manual_seed(0)
        model = AMP(split.n_users, split.n_items, AMPConfig(personas=personas))
        wall: dict[str, list[float]] = {way: [] for way in ways}
        processor: dict[str, list[float]] = {way: [] for way in ways}
        found = {}
        for _ in range(arguments.rounds):
            for way, rank in ways.items():
                started, busy = time.perf_counter(), time.process_time()
                found[way] = rank(model, held)
                wall[way].append(time.perf_counter() - started)
                processor[way].append(time.process_time() - busy)
        # Sums taken in another order can swap two nearly equal scores.
        for way in ("loop", "batched"):
            off = int((found[way] != found["ours"]).sum())
            if off > 0.001 * len(held.users):
                raise SystemExit(f"{way} gives other ranks for {off} users of {name}")
        best = statistics.median(wall["ours"])
        for way in ways:
            middle, busy = statistics.median(wall[way]), statistics.median(processor[way])
            print(
                f"{name:<8} {way:<8} {middle:8.4f} s, {middle / best:6.1f} times ours (best "
                f"{min(wall[way]):.4f} s; processor {busy:.4f} s)"
            )
            if way in PEERS:
                kept &= evidence.speed(
                    "ranking all users' held-out items among 100 candidates",
                    name,
                    arguments.dataset,
                    best,
                    middle,
                    PEERS[way],
                    arguments.threads,
                    bounded="ours",
                    limit=LIMIT if arguments.dataset == "ml-1m" else None,
                    protocol=arguments.protocol,
                    rounds=arguments.rounds,
                )
    if not kept:
        raise SystemExit(f"ours took {LIMIT:g} s or more")


if __name__ == "__main__":
    main()
