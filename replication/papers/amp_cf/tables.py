"""AMP-CF's tables by their ids: which cells each has, which metrics, and how a record is remade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from replication.compare import METRICS, Cell
from replication.papers.amp_cf import experiments, lists
from replication.records import Record


@dataclass(frozen=True)
class Table:
    """What a page and the command line need to know of a table.

    Attributes:
        grid: its cells, for a way to select and a variant ("" for the main cells).
        metrics: what is reported, for a variant.
        rerun: runs a stored record again: the new record, and its ranks where it has any.
    """

    grid: Callable[[str, str], list[Cell]]
    metrics: Callable[[str], Sequence[str]]
    rerun: Callable[[Record, torch.device], tuple[Record, np.ndarray | None]]


def _ranking_metrics(variant: str) -> Sequence[str]:
    # Other rules for ties are tried on the sampled candidates alone.
    sampled_only = bool(variant) and experiments.VARIANTS[variant].ties != "against"
    return [name for name in METRICS if not (sampled_only and name.endswith("/full"))]


TABLES = {
    experiments.TABLE1: Table(
        lambda select, variant: experiments.statistics_grid(),
        lambda variant: experiments.STATISTICS,
        experiments.rerun,
    ),
    experiments.TABLE2: Table(experiments.grid, _ranking_metrics, experiments.rerun),
    lists.TABLE3: Table(
        lambda select, variant: lists.grid(), lambda variant: lists.METRICS, lists.rerun
    ),
}
