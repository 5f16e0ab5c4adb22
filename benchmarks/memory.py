"""Peak memory of training, full ranking and lists, a process for each model and data set.

    python benchmarks/memory.py [--dataset pinterest] [--model ease]

On every data set each model that can be the largest (``experiments.LARGEST``): the others hold the
same tensors with fewer personas, or a number an item. A process loads and splits the data, trains,
ranks the test items among the candidates and in the catalogue, makes the lists of 30, the taste
space and both distances. Its peak is everything that it ever held, libraries included.

The peak is reached long before a whole run ends, so that only a part of one is made. Pretraining
takes one epoch, and ConvNCF's warm-up, which differs from training in numbers alone, none. Then a
whole epoch's examples are drawn and 200 batches taken: parameters, moments of the optimiser and
workspaces are there after the first, and their size depends on the batch and, in DeepICF+a, on its
longest history, which it caps. Users are scored in blocks of one size, so that
more of them take time and no memory: the models that score slowly rank for the first 128 users, a
block, and score the catalogue for the 32 with the longest histories, and the lists of the others
are filled with theirs.

Each measurement is a record of ``results/amp_cf/memory.jsonl``; one that is there is printed and
not made again. The script fails where a peak is beyond the limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates, rank_catalogue
from replication.metrics import taste_distance as tdd
from replication.metrics.lists import top_lists
from replication.papers.amp_cf import experiments
from replication.papers.amp_cf.lists import LENGTH
from replication.papers.amp_cf.rows import row
from replication.records import Record, Store, provenance, record_address
from replication.training import Sampler, described

CPU = torch.device("cpu")
TABLE = experiments.MEMORY
METRIC = "peak GiB"
LIMIT = experiments.MEMORY_LIMIT
BATCHES = 200
SLOW = ("ncf", "conv-ncf", "deep-icf", "direc")  # a pair of a user and an item at a time
USERS, LONGEST = 128, 32  # for whom these rank; a block of ``rank_catalogue`` has as many
CASES = tuple((model, d) for model in experiments.LARGEST for d in experiments.RUN_HERE)


def use(model: str, dataset: str) -> float:
    """Do everything that is done with a model; GiB at the peak of this process."""
    known, config = row(model), config_of(model)
    split = experiments.split_for(dataset, "loo-random").refit()
    base = [row(known.base).build(split, config_of(known.base), 0, CPU)] if known.base else []
    made: Any = known.build(split, config, 0, CPU, *base)
    if known.trained:
        optimizer = config.optimizer(made.parameters())
        users, items = Sampler(split, config, CPU).epoch(torch.Generator().manual_seed(0))
        size = config.batch_size
        for batch in list(zip(users.split(size), items.split(size), strict=True))[:BATCHES]:
            optimizer.zero_grad(set_to_none=False)
            made.accumulate_gradients(*batch)
            optimizer.step()
    held, some = held_out(split, "test", CPU), split
    if model in SLOW:
        few = {name: getattr(held, name)[:USERS] for name in ("users", "items", "valid")}
        held = replace(held, **few)
        some = replace(split, n_users=min(USERS, split.n_users))
        counts = np.bincount(split.train_users, minlength=split.n_users)
        with torch.no_grad():
            made.score_all(torch.from_numpy(np.argsort(-counts)[:LONGEST]))
    rank_candidates(made, held)
    rank_catalogue(made, held)
    lists = top_lists(made, some, LENGTH, CPU)
    lists = np.resize(lists, (split.n_users, LENGTH))
    space = tdd.taste_space(split)
    both = [
        tdd.taste_distributions(space, found)
        for found in (tdd.membership(lists, split.n_items), tdd.history(split))
    ]
    values = tdd.jensen_shannon_printed(*both) + tdd.hellinger_printed(*both)
    assert np.isfinite(values).any()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # bytes there, KiB elsewhere


def config_of(model: str) -> Any:
    """The starting point of a model, of the sizes of all its trials, hardly pretrained."""
    start = row(model).start
    less = {"pretrain_epochs": 1, "warmup_epochs": 0}
    return replace(start, **{name: n for name, n in less.items() if hasattr(start, name)})


def address(model: str, dataset: str) -> Record:
    """What the record says of itself before anything was measured."""
    data = experiments.data_for(dataset, "loo-random")
    return record_address(
        TABLE,
        experiments.row_name(model),
        data,
        "loo-random",
        described(config_of(model)) | {"list_length": LENGTH},
    )


def main() -> None:
    """Measure what is not measured yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", action="append")
    parser.add_argument("--model", action="append")
    parser.add_argument("--use", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.use:
        print(json.dumps(use(*arguments.use)))
        return
    store, kept = Store(TABLE), True
    print(f"{'model':<8} {'data set':<20} peak GiB (limit {LIMIT:g})")
    for model, dataset in CASES:
        if dataset not in (arguments.dataset or [dataset]) or model not in (
            arguments.model or [model]
        ):
            continue
        known = {(r["row"], r["dataset"]): r["metrics"][METRIC] for r in store.load()}
        peak = known.get((experiments.row_name(model), dataset))
        if peak is None:
            try:
                made = address(model, dataset)
            except ReplicationError as error:
                print(f"{model:<8} {dataset:<20} not measured: {error}", flush=True)
                continue
            command = [sys.executable, __file__, "--use", model, dataset]
            peak = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            place = {"metrics": {METRIC: peak}, "device": "cpu"}
            store.append(made | place | provenance())
        kept &= peak < LIMIT
        print(
            f"{model:<8} {dataset:<20} {peak:.2f}{'' if peak < LIMIT else ' TOO MUCH'}", flush=True
        )
    if not kept:
        raise SystemExit(f"a process held {LIMIT:g} GiB or more")


if __name__ == "__main__":
    main()
