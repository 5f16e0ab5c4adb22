"""Peak memory of training, full ranking and lists, a process for each model and data set.

    python benchmarks/memory.py [--dataset pinterest] [--model ease]

AMP-4 on every data set, and on the two with the largest catalogues the models that hold a matrix
of items by items or keep every user's items: EASE^R, ItemKNN, iALS and AISP-4. A process loads and
splits the data, trains (AMP-4: a whole epoch's examples are drawn and 50 batches taken, after which
every buffer is there), ranks the test items among the candidates and in the catalogue, makes the
lists of 30, the taste space and both distances. Its peak is everything that it ever held, libraries
included.

Each measurement is a record of ``results/amp_cf/memory.jsonl``; one that is there is printed and
not made again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
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
from replication.records import Record, Store, provenance
from replication.training import Sampler, described

CPU = torch.device("cpu")
TABLE = f"{experiments.PAPER}/memory"  # shown by replication/papers/amp_cf/pages/cost.py
METRIC = "peak GiB"
LIMIT = 3.0  # GiB that the study allows for every data set
BATCHES = 50
LARGE = ("amazon-video-games", "pinterest")
CASES = (
    *(("amp-4", dataset) for dataset in experiments.RUN_HERE),
    *((model, dataset) for dataset in LARGE for model in ("ease", "item-knn", "ials", "aisp-4")),
)


def use(model: str, dataset: str) -> float:
    """Do everything that is done with a model; GiB at the peak of this process."""
    known = row(model)
    split = experiments.split_for(dataset, "loo-random").refit()
    made: Any = known.build(split, known.start, 0, CPU)
    if known.trained:
        optimizer = known.start.optimizer(made.parameters())
        users, items = Sampler(split, known.start, CPU).epoch(torch.Generator().manual_seed(0))
        size = known.start.batch_size
        for batch in list(zip(users.split(size), items.split(size), strict=True))[:BATCHES]:
            optimizer.zero_grad(set_to_none=False)
            made.accumulate_gradients(*batch)
            optimizer.step()
    held = held_out(split, "test", CPU)
    rank_candidates(made, held)
    rank_catalogue(made, held)
    lists = top_lists(made, split, LENGTH, CPU)
    space = tdd.taste_space(split)
    both = [
        tdd.taste_distributions(space, found)
        for found in (tdd.membership(lists, split.n_items), tdd.history(split))
    ]
    values = tdd.jensen_shannon_printed(*both) + tdd.hellinger_printed(*both)
    assert np.isfinite(values).any()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # bytes there, KiB elsewhere


def address(model: str, dataset: str) -> Record:
    """What the record says of itself before anything was measured."""
    data = experiments.data_for(dataset, "loo-random")
    return {
        "table": TABLE,
        "row": experiments.row_name(model),
        "dataset": dataset,
        "data_hash": data.content_hash,
        "data_source": data.source,
        "protocol": "loo-random",
        "variant": "",
        "select": "none",
        "config": described(row(model).start) | {"list_length": LENGTH},
        "seed": 0,
    }


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
    store = Store(TABLE)
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
        print(
            f"{model:<8} {dataset:<20} {peak:.2f}{'' if peak < LIMIT else ' TOO MUCH'}", flush=True
        )


if __name__ == "__main__":
    main()
