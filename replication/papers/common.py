"""What the tables of all papers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from replication.compare import Cell
from replication.records import Record


@dataclass(frozen=True)
class Table:
    """What a page and the command line need to know of a table.

    Attributes:
        grid: its cells, for a way to select and a variant ("" for the main cells).
        metrics: what is reported, for a variant.
        rerun: runs a stored record again: the new record, and its ranks where it has any.
        derive: the stored records and those that follow from them without a run.
    """

    grid: Callable[[str, str], list[Cell]]
    metrics: Callable[[str], Sequence[str]]
    rerun: Callable[[Record, torch.device], tuple[Record, np.ndarray | None]]
    derive: Callable[[Iterable[Record]], list[Record]] = list
