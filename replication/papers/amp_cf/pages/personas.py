"""Whether a model has several personas a user, or has learned one vector for all of them.

A result "of several personas" is one of matrix factorisation where the personas are one vector
(``explanations.COLLAPSED``). Which they are is measured on the models of ``amp_cf/explanations``;
of the others it is not known. No verdict depends on it: it says what a verdict is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np

from replication.compare import Record, cells
from replication.page import enumeration
from replication.papers.amp_cf import explanations
from replication.records import Store

SEVERAL, ONE, UNKNOWN = "several", "one vector", "not known"
WHERE = {
    SEVERAL: "personas are several",
    ONE: "they are one vector",
    UNKNOWN: "it is not measured which",
}
HEAD = "personas"  # of the column of a table
BECOME = (
    "By what a user's personas have become (one vector: mean cosine above "
    f"{explanations.COLLAPSED:g})"
)
# (printed name, data set, protocol) of a main cell of Table 2 -> SEVERAL or ONE
Kinds = Mapping[tuple[str, str, str], str]
NONE_KNOWN: Kinds = {}
T = TypeVar("T")


def kinds(records: Iterable[Record]) -> Kinds:
    """Of every main cell that ``amp_cf/explanations`` has records of: several, or one vector."""
    found = {}
    for cell, runs in cells(explanations.grid(), list(records)):
        if runs:
            cosine = np.mean([r["metrics"]["overlap/cosine"] for r in runs.values()])
            one = cosine > explanations.COLLAPSED
            found[cell.row, cell.dataset, cell.protocol] = ONE if one else SEVERAL
    return found


def stored() -> Kinds:
    """The same, of the committed records."""
    return kinds(Store(explanations.TABLE).load())


def kind(known: Kinds, row: str, dataset: str, protocol: str) -> str:
    """Of one cell; a variant is a row of its own, and its personas may differ."""
    return known.get((row, dataset, protocol), UNKNOWN)


def split(
    items: Iterable[T], of: Callable[[T], str], outcome: Callable[[T], object], counted: object
) -> str:
    """How many items have one outcome, of how many, by what their personas are (``of``).

    "0 of 6 where personas are several and 2 of 9 where they are one vector"; a kind without any
    item is left out.
    """
    by_kind: dict[str, list[bool]] = {name: [] for name in WHERE}
    for item in items:
        by_kind[of(item)].append(outcome(item) == counted)
    return enumeration(
        [f"{sum(own)} of {len(own)} where {WHERE[name]}" for name, own in by_kind.items() if own]
    )


def of_models(known: Kinds, rows: Iterable[str], dataset: str, protocol: str) -> str:
    """What the personas of some models are on one data set, as a sentence."""
    names: dict[str, list[str]] = {name: [] for name in WHERE}
    for row in rows:
        names[kind(known, row, dataset, protocol)].append(row)
    parts = [f"{name} of {enumeration(own)}" for name, own in names.items() if own]
    return f"A user's personas: {', '.join(parts)}."
