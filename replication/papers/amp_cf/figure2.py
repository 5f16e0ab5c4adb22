"""What Figure 2 of AMP-CF shows, for one user: history, final list, and each persona's own list.

A record of ``amp_cf/figure2`` holds no more than the figure: some items of the history and the
lists of ten, with titles and genres, of the one user that ``median_user`` picks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from replication.compare import Cell
from replication.errors import ReplicationError
from replication.metrics import explanation as measures
from replication.metrics import lists as list_metrics
from replication.papers.amp_cf import experiments, explanations
from replication.papers.amp_cf.experiments import Run
from replication.papers.amp_cf.model import AMP
from replication.papers.common import Stopwatch, labelled, measure_missing
from replication.records import Record, Store, provenance
from replication.training import resolve_device

TABLE = f"{experiments.PAPER}/figure2"
MODEL, SEED = "amp-4", 0
SHOWN = 20  # items of the history
METRICS = ("AMI", "overlap", "history")
RULE = (
    f"among the users with at least {SHOWN} items in their history the one in the middle by the "
    "agreement (AMI) of its persona assignment with genres; of two in the middle the lower"
)


def run_of(dataset: str) -> Run:
    """The run of Table 2 whose model the figure shows.

    Raises:
        ReplicationError: a data set without genres.
    """
    if dataset not in explanations.GENRES:
        known = ", ".join(explanations.GENRES)
        raise ReplicationError(f"{TABLE} has no data set {dataset!r}; it has {known}")
    return Run(dataset, explanations.PROTOCOL, MODEL, SEED)


def median_user(agreement: np.ndarray, history: np.ndarray) -> int:
    """The user that ``RULE`` picks, from AMI [U] and the numbers of history items [U]."""
    able = np.flatnonzero((history >= SHOWN) & np.isfinite(agreement))
    order = able[np.argsort(agreement[able], kind="stable")]
    return int(order[(len(order) - 1) // 2])


def measure(job: Run, model: AMP, device: torch.device, user: int | None = None) -> Record:
    """The record of the figure of one user; by ``RULE`` if none is asked for.

    Personas are numbered from 1 by the number of history items that they claim.

    The record's ``figure`` holds what is drawn.

    Raises:
        ReplicationError: no such user.
    """
    watch = Stopwatch()
    split, data = job.split().refit(), experiments.data_for(job.dataset, job.protocol)
    features, r = data.item_features, model.config.personas
    claims = explanations.assignments(model, split, device)
    genre = measures.main_genre(features["genres"])[split.train_items]
    agreement = measures.adjusted_mutual_information(
        split.train_users, claims, genre, split.n_users
    ).per_user
    history = np.bincount(split.train_users, minlength=split.n_users)
    if user is None:
        user = median_user(agreement, history)
    elif not 0 <= user < split.n_users:
        raise ReplicationError(f"{job.dataset} has users 0 to {split.n_users - 1}, not {user}")
    mine = split.train_users == user
    items, claimed = split.train_items[mine], claims[mine]
    order = np.argsort(-np.bincount(claimed, minlength=r), kind="stable")
    number = np.argsort(order) + 1  # [r] persona -> its number

    final = list_metrics.top_lists(model, split, explanations.LENGTH, device)[user]
    own = explanations.persona_lists(model, split, device)  # [U, r, L]
    overlap = measures.list_overlap(own)  # [U, P]

    def described(listed: np.ndarray) -> list[Record]:
        listed = listed[listed >= 0]
        users = torch.full((len(listed),), user, device=device)
        weights = explanations.attention_of(model, users, torch.from_numpy(listed).to(device))
        return [
            {
                "title": str(features["title"].iloc[item]),
                "genres": str(features["genres"].iloc[item]),
                "persona": int(number[int(weight.argmax())]),
                "attention": round(float(weight.max()), 3),
            }
            for item, weight in zip(listed.tolist(), weights, strict=True)
        ]

    drawn = np.random.default_rng(0).permutation(len(items))[:SHOWN]
    drawn = drawn[np.argsort(number[claimed[drawn]], kind="stable")]
    figure = {
        "user": user,
        "history": described(items[drawn]),
        "claimed": [int((claimed == k).sum()) for k in order],
        "final": described(final),
        "personas": [described(own[user, k]) for k in order],
    }
    metrics = {
        "AMI": float(np.nan_to_num(agreement[user])),
        "overlap": float(overlap[user].mean()),
        "history": float(history[user]),
    }
    extra: Record = {"figure": figure} | watch.told() | {"device": device.type}
    return address(job) | {"metrics": metrics} | extra | provenance()


def address(job: Run) -> Record:
    """What the record says of itself before anything was measured."""
    made = job.address()
    choices = {"list_length": explanations.LENGTH, "shown": SHOWN, "rule": RULE}
    return made | {"table": TABLE, "config": made["config"] | {"figure": choices}}


def grid() -> list[Cell]:
    """One cell a data set with genres."""
    name = experiments.row_name(MODEL)
    return [
        Cell(TABLE, name, dataset, explanations.PROTOCOL, "validation", "", 1)
        for dataset in explanations.GENRES
    ]


def run(
    datasets: Sequence[str] | None, models: Sequence[str] | None, seeds: int | None, device: str
) -> Iterator[tuple[str, Record, bool]]:
    """Measure what is not stored yet; what it is, the record, and whether it is new.

    Raises:
        ReplicationError: another model or number of seeds than the figure has.
    """
    if (models and list(models) != [MODEL]) or seeds not in (None, 1):
        raise ReplicationError(f"{TABLE} shows {MODEL} with seed {SEED} and takes no other")
    where = resolve_device(device)
    jobs = [run_of(dataset) for dataset in datasets or explanations.GENRES]

    def measured(job: Run) -> tuple[Record, None]:
        return measure(job, experiments.trained(job, where), where), None

    yield from labelled(measure_missing(jobs, address, Store(TABLE), measured))


def rerun(record: Record, device: torch.device) -> tuple[Record, None]:
    """Train the model behind a stored record again, and measure its figure."""
    job, config = experiments.job_of(record), experiments.config_of(record)
    first, *_ = experiments.run(job, device, config=config, resumable=False)
    return measure(job, first.model, device), None
