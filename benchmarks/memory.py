"""Peak memory of each model on each data set, and the pace of those that score slowly.

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

The pace is timed in another process, at the settings of the cell of Table 2, for the models whose
runs may have to be estimated (``slow`` in ``rows.py``). Of training: drawing an epoch's examples
and 200 batches, from which the seconds of an epoch follow; an epoch of pretraining, where there is
one; ranking the candidates, as is done on validation items after each epoch. Of scoring: users who
lie evenly among all score the catalogue. DiRec trains nothing: its time is that of its clusters and
of its lists. Seconds are those of the processor where torch has one thread, else by the clock.

Each peak is a record of ``results/amp_cf/memory.jsonl``, each pace one of ``pace.jsonl`` beside it;
what is there is printed and not made again. The script fails where a peak is beyond the limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
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
from replication.papers.amp_cf.rows import ROWS, row
from replication.records import Record, Store, provenance, record_address, record_key
from replication.training import Sampler, described

CPU = torch.device("cpu")
TABLE = experiments.MEMORY
METRIC = "peak GiB"
LIMIT = experiments.MEMORY_LIMIT
PACE = experiments.PACE
TIMED = tuple(model for model, known in ROWS.items() if known.slow)
LESS = {"pretrain_epochs": 1, "warmup_epochs": 0}
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
    return replace(start, **{name: n for name, n in LESS.items() if hasattr(start, name)})


def pace(model: str, dataset: str) -> dict[str, float]:
    """Seconds of what a run of a cell of Table 2 does; see the text of the module."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    known, config = row(model), experiments.variant_config(model, dataset, "")
    split = experiments.split_for(dataset, "loo-random").refit()
    base = []
    if known.base:
        base = [
            row(known.base).build(
                split, experiments.variant_config(known.base, dataset, ""), 0, CPU
            )
        ]
    less = replace(config, **{n: v for n, v in LESS.items() if getattr(config, n, 0)})
    started = clock()
    made: Any = known.build(split, less, 0, CPU, *base)
    found = {"seconds of preparation": clock() - started}
    if known.trained:
        optimizer = config.optimizer(made.parameters())
        started = clock()
        users, items = Sampler(split, config, CPU).epoch(torch.Generator().manual_seed(0))
        drawing, size = clock() - started, config.batch_size
        batches = list(zip(users.split(size), items.split(size), strict=True))
        timed = batches[:BATCHES]
        started = clock()
        for batch in timed:
            optimizer.zero_grad(set_to_none=False)
            made.accumulate_gradients(*batch)
            optimizer.step()
        of_batch = (clock() - started) / len(timed)
        epoch = drawing + of_batch * len(batches)
        found["seconds of preparation"] *= max(1, getattr(config, "pretrain_epochs", 0))
        found["seconds of preparation"] += getattr(config, "warmup_epochs", 0) * epoch
        found |= {
            "batches": len(batches),
            "batches timed": len(timed),
            "seconds per batch": of_batch,
            "seconds per epoch": epoch,
        }
    held = held_out(split, "test", CPU)
    few = replace(held, **{n: getattr(held, n)[:USERS] for n in ("users", "items", "valid")})
    started = clock()
    rank_candidates(made, few)
    share = len(few.users) / len(held.users)
    found["seconds per validation"] = (clock() - started) / share
    some = torch.linspace(0, split.n_users - 1, min(LONGEST, split.n_users)).long()
    started = clock()
    with torch.no_grad():
        made.score_all(some)
    rate = len(some) / max(clock() - started, 1e-9)
    return found | {
        "users scored per second": rate,
        "seconds of a full pass": split.n_users / rate,
    }


def address_of_pace(model: str, dataset: str) -> Record:
    """As ``address``: the cell of Table 2 that was timed."""
    return experiments.Run(dataset, "loo-random", model, 0).address() | {"table": PACE}


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


def in_a_process(what: str, model: str, dataset: str) -> Any:
    """What ``use`` or ``pace`` finds in a process of its own."""
    command = [sys.executable, __file__, what, model, dataset]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def time_of(model: str, dataset: str) -> str:
    """Time a cell unless that is stored; the numbers as text."""
    store, made = Store(PACE), address_of_pace(model, dataset)
    stored = {r["key"]: r["metrics"] for r in store.load()}
    found = stored.get(record_key(made))
    if found is None:
        found = in_a_process("--pace", model, dataset)
        store.append(made | {"metrics": found, "device": "cpu"} | provenance())
    return ", ".join(f"{name} {value:.3g}" for name, value in found.items())


def main() -> None:
    """Measure what is not measured yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", action="append")
    parser.add_argument("--model", action="append")
    parser.add_argument("--use", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--pace", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for measure in (use, pace):
        if given := getattr(arguments, measure.__name__):
            print(json.dumps(measure(*given)))
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
            peak = in_a_process("--use", model, dataset)
            place = {"metrics": {METRIC: peak}, "device": "cpu"}
            store.append(made | place | provenance())
        kept &= peak < LIMIT
        print(
            f"{model:<8} {dataset:<20} {peak:.2f}{'' if peak < LIMIT else ' TOO MUCH'}", flush=True
        )
        if model in TIMED:
            print(f"{'':<8} {'':<20} {time_of(model, dataset)}", flush=True)
    if not kept:
        raise SystemExit(f"a process held {LIMIT:g} GiB or more")


if __name__ == "__main__":
    main()
