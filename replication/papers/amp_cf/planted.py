"""Planted personas: users whose tastes are known because they were made up.

Items belong to cells of 20. Under ``planted-3`` a user takes 10 items from each of three cells
drawn at random: three tastes that few other users share as a set. Under ``planted-1`` the cells
come in fixed triples, and a user takes 30 items from one triple: histories of the same sizes, but
the three cells of a triple are always wanted together and make one taste. There the cells are
names without a meaning: nothing can be recovered, and an assignment that agrees with them would be
an artefact. What can be asked of both sets is how many personas a model uses (``personas used``,
``overlap/cosine``) where three or one are true: a model of three personas may use them all for one
taste.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from replication.compare import Cell
from replication.data import Interactions
from replication.metrics import explanation as measures
from replication.papers.amp_cf import experiments, explanations
from replication.papers.amp_cf.model import AMP, AMPConfig
from replication.papers.common import check_known, measure_missing, refuse_unknown
from replication.protocols import make_split
from replication.records import Record, Store, provenance, record_address
from replication.training import described, fit, resolve_device

TABLE = f"{experiments.PAPER}/planted"
DATASETS = ("planted-3", "planted-1")
PERSONAS = 3
CELLS, CELL_ITEMS, USERS, HISTORY = 12, 20, 600, 30
SEEDS = 5
TRUE = {"planted-3": PERSONAS, "planted-1": 1}  # tastes of a user
METRICS = ("AMI", "AMI shuffled", "AMI, pooled", "AMI shuffled, pooled", "personas used")

# 18,000 pairs: the default rate would need more epochs.
_START = AMPConfig(personas=PERSONAS, learning_rate=0.01, max_epochs=20)
DIVIDED = "MF (r=1), K-means"  # one vector a user; items are divided by their vectors
# Row -> configuration. The entropy terms are what is said to make personas distinct: once with
# weights of the size that the search of Table 2 draws, once with the released ones.
MODELS = {
    "AMP-3": replace(_START, lambda_p=0.2, lambda_n=0.05),
    "AMP-3, released weights": _START,
    DIVIDED: replace(_START, personas=1),
}


def planted(dataset: str) -> tuple[Interactions, np.ndarray]:
    """One of ``DATASETS``, the same each time, and the cell of each of its items [I].

    Raises:
        ReplicationError: unknown name.
    """
    check_known("data set", [dataset], DATASETS)
    rng = np.random.default_rng(0)
    if dataset == "planted-3":
        cells = rng.random((USERS, CELLS)).argsort(1)[:, :PERSONAS]  # [U, 3]
        draws = rng.random((USERS, PERSONAS, CELL_ITEMS)).argsort(2)[..., : HISTORY // PERSONAS]
        items = (cells[..., None] * CELL_ITEMS + draws).reshape(USERS, HISTORY)
    else:
        together = PERSONAS * CELL_ITEMS
        triple = rng.integers(CELLS // PERSONAS, size=(USERS, 1))
        items = triple * together + rng.random((USERS, together)).argsort(1)[:, :HISTORY]
    users = np.repeat(np.arange(USERS), HISTORY)
    order = rng.permutation(len(users))
    n = len(users)
    data = Interactions(
        dataset,
        users[order],
        items.ravel()[order],
        np.ones(n, dtype=np.float32),
        np.arange(n),
        np.arange(USERS),
        np.arange(CELLS * CELL_ITEMS),
        source="made up, see planted.py",
    )
    return data, np.arange(CELLS * CELL_ITEMS) // CELL_ITEMS


def address(model: str, dataset: str, seed: int) -> Record:
    """What the record says of itself before anything was trained."""
    data, _ = planted(dataset)
    return record_address(
        TABLE,
        model,
        data,
        explanations.PROTOCOL,
        described(MODELS[model]),
        seed=seed,
    )


def measure(
    model: str, dataset: str, seed: int, device: torch.device
) -> tuple[Record, dict[str, np.ndarray]]:
    """Train on planted data for a fixed number of epochs; does the assignment find the cells?

    And how many personas does it use: the effective number of those that claim a user's items, and
    the mean cosine of a user's personas. MF has no personas: its item vectors are clustered by
    K-means over each user's history, as AISP does, into as many parts, which have no cosine here.
    """
    config = MODELS[model]
    (data, cell), rng = planted(dataset), np.random.default_rng([seed, 2])
    split = make_split(data, explanations.PROTOCOL).refit()

    def build() -> AMP:
        return AMP(split.n_users, split.n_items, config)

    trained = fit(build, split, config, seed, device, None, progress=False)
    amp: AMP = trained.model
    if config.personas > 1:
        found = explanations.assignments(amp, split, device)
    else:
        found = explanations.nearest_means(amp.items.detach(), split, PERSONAS, seed)
    users, n_users = split.train_users, split.n_users
    measured = {"personas used": measures.effective_personas(users, found, n_users, PERSONAS)}
    if config.personas > 1:
        personas = amp.personas.detach().unflatten(1, (config.personas, -1)).cpu().numpy()
        measured["overlap/cosine"] = measures.vector_cosine(personas).mean(1)
    pooled = {}
    for name, labels in (
        ("AMI", found),
        ("AMI shuffled", measures.shuffled_within(users, found, rng)),
    ):
        agreement = measures.adjusted_mutual_information(
            users, labels, cell[split.train_items], n_users
        )
        measured[name], pooled[f"{name}, pooled"] = agreement.per_user, agreement.pooled
    # As they are stored: the metric is then the mean of the stored values to the last digit.
    values = {name: value.astype(np.float16) for name, value in measured.items()}
    metrics = {name: float(v.astype(np.float64).mean()) for name, v in values.items()} | pooled
    extra = {"seconds": round(trained.seconds, 2), "device": device.type}
    return address(model, dataset, seed) | {"metrics": metrics} | extra | provenance(), values


def grid() -> list[Cell]:
    """Each model on each planted data set."""
    return [
        Cell(TABLE, model, dataset, explanations.PROTOCOL, "none", "", SEEDS)
        for dataset in DATASETS
        for model in MODELS
    ]


def run(
    datasets: Sequence[str] | None, models: Sequence[str] | None, seeds: int | None, device: str
) -> Iterator[tuple[str, Record, bool]]:
    """Train and measure what is not stored yet, or the part of it that is asked for.

    Yields:
        What it is, the record, and whether it was measured now (True) or was there (False).

    Raises:
        ReplicationError: a data set or model that the table has not.
    """
    refuse_unknown(TABLE, datasets, DATASETS)
    refuse_unknown(TABLE, models, MODELS)
    cases = [
        (cell.row, cell.dataset, seed)
        for cell in grid()
        if cell.dataset in (datasets or DATASETS) and cell.row in (models or MODELS)
        for seed in range(seeds or cell.seeds_required)
    ]
    yield from measure_and_store(cases, device)


def measure_and_store(
    cases: Iterable[tuple[str, str, int]], device: str = "auto"
) -> Iterator[tuple[str, Record, bool]]:
    """Train and measure the cases (model, data set, seed) that are not stored yet.

    Yields:
        What it is, the record, and whether it was measured now (True) or was there (False).
    """
    where = resolve_device(device)
    found = measure_missing(
        cases, lambda case: address(*case), Store(TABLE), lambda case: measure(*case, where)
    )
    for (model, dataset, seed), record, new in found:
        yield f"{model} on {dataset}, seed {seed}", record, new


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Train and measure a stored record again."""
    return measure(record["row"], record["dataset"], record["seed"], device)[0], None
