"""Seconds that the taste distance of all users takes once the taste space is there.

    python benchmarks/taste_distance.py [--dataset ml-1m] [--rounds 5] [--threads 2]

space     PCA and K-means with ten starts; once a data set and seed, then kept
ours      distributions of all lists and histories, JS and Hellinger, all users at once
loop      the same numbers one user at a time, as Section 4.2 tells them (on a tenth of the users,
          times ten); both are checked to be equal

The lists are 30 items a user, from the user's unconsumed items by popularity. Peak memory is that
of the whole process, data set included.

The comparison is a record of ``results/amp_cf/speed.jsonl``; the script fails where ours takes
longer on ML-1M than the study allows. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable

import evidence
import numpy as np
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from replication.baselines.popularity import MostPop
from replication.metrics import taste_distance as tdd
from replication.metrics.lists import top_lists
from replication.papers.amp_cf.experiments import split_for

CPU = torch.device("cpu")
LIMIT = 5.0  # seconds that the study allows for ML-1M
SHARE = 10  # the loop measures one user in ten


def seconds(action: Callable[[], object], rounds: int = 1) -> float:
    """Median over rounds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--protocol", default="loo-random")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    split = split_for(arguments.dataset, arguments.protocol).refit()
    lists = top_lists(MostPop(split, CPU), split, 30, CPU)
    kept: dict[str, tdd.TasteSpace] = {}
    found: dict[str, np.ndarray] = {}

    def space() -> None:
        kept["space"] = tdd.taste_space(split)

    def ours() -> None:
        both = [
            tdd.taste_distributions(kept["space"], items)
            for items in (tdd.membership(lists, split.n_items), tdd.history(split))
        ]
        found["JS"] = tdd.jensen_shannon_printed(*both)
        found["Hellinger"] = tdd.hellinger_printed(*both)

    users = np.arange(0, split.n_users, SHARE)
    order = np.argsort(split.train_users, kind="stable")
    ends = np.cumsum(np.bincount(split.train_users, minlength=split.n_users))[:-1]
    histories = np.split(split.train_items[order], ends)

    def loop() -> None:
        space, values = kept["space"], []
        for user in users:
            d, t = (
                softmax(np.mean([space.distances[item] for item in own], axis=0))
                for own in (lists[user], histories[user])
            )
            values.append((jensenshannon(d, t), np.linalg.norm(np.sqrt(d) - np.sqrt(t)) / 2**0.5))
        np.testing.assert_allclose(
            np.transpose(values), [found["JS"][users], found["Hellinger"][users]], atol=1e-7
        )

    with threadpool_limits(arguments.threads):
        for_space = seconds(space)
        for_ours = seconds(ours, arguments.rounds)
        for_loop = seconds(loop) * split.n_users / len(users)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak /= 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    print(
        f"{arguments.dataset}: {split.n_users} users, {split.n_items} items, lists of 30, "
        f"{arguments.threads} threads, median of {arguments.rounds} rounds"
    )
    print(f"space {for_space:8.2f} s, once")
    print(f"ours  {for_ours:8.2f} s (limit for ml-1m: {LIMIT:g} s)")
    print(f"loop  {for_loop:8.2f} s, {for_loop / for_ours:.0f} times ours")
    print(f"peak memory of the process {peak:.2f} GiB")
    if not evidence.speed(
        "taste distance of all users, the space being there",
        "TDD",
        arguments.dataset,
        for_ours,
        for_loop,
        f"SciPy, one user after the other (one in {SHARE}, scaled)",
        arguments.threads,
        bounded="ours",
        limit=LIMIT if arguments.dataset == "ml-1m" else None,
        protocol=arguments.protocol,
        rounds=arguments.rounds,
    ):
        raise SystemExit(f"ours took {LIMIT:g} s or more")


if __name__ == "__main__":
    main()
