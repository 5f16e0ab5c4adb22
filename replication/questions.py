"""Questions about single users: two values that a run left of each, and whether they differ.

A page asks the same questions of all its cells. Each is answered by a paired test over users and
seeds, Holm's correction runs over all the answers of a group, and what is established is counted.
Shapes: S seeds, U users.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from replication.claims import ALPHA
from replication.compare import (
    Cell,
    PairedTest,
    Ranks,
    Record,
    bootstrap_interval,
    holm,
    interval,
    least_to_most,
    number,
    paired_test,
)
from replication.figures import Interval, intervals
from replication.tables import COMPLETE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Filled = Sequence[tuple[Cell, Mapping[int, Record]]]  # as from ``compare.cells``


@dataclass(frozen=True)
class Question:
    """Two values of each user whose difference, first minus second, is asked for.

    Attributes:
        first, second: metrics of a record.
        text: what the difference is called.
    """

    first: str
    second: str
    text: str


class Answer(NamedTuple):
    """One question on one cell."""

    cell: Cell
    question: Question
    first: float
    second: float
    test: PairedTest
    pvalue: float  # after Holm

    @property
    def direction(self) -> int:
        """+1 or -1 where a difference is established, else 0."""
        if self.pvalue >= ALPHA or self.test.ci_low <= 0 <= self.test.ci_high:
            return 0
        return 1 if self.test.difference > 0 else -1


def values_of(ranks: Ranks, runs: Mapping[int, Record], metric: str) -> np.ndarray | None:
    """[S, U] the values of single users in the runs of a cell; None where a run has none."""
    found = [ranks.get(r["key"]) for r in runs.values()]
    values = [v[metric] for v in found if isinstance(v, Mapping) and metric in v]
    return np.stack(values).astype(np.float64) if values and len(values) == len(runs) else None


def answers(found: Filled, ranks: Ranks, questions: Sequence[Question]) -> list[Answer]:
    """Each question on each measured cell, paired over users and seeds, Holm over all of them."""
    entries = []
    for cell, runs in found:
        for question in questions:
            first, second = (values_of(ranks, runs, m) for m in (question.first, question.second))
            if first is None or second is None:
                continue
            both = np.isfinite(first).all(0) & np.isfinite(second).all(0)  # [U]
            if both.sum() < 2:
                continue  # nobody to compare
            test = paired_test(first[:, both], second[:, both])
            means = float(first[:, both].mean()), float(second[:, both].mean())
            entries.append((cell, question, *means, test))
    adjusted = holm([entry[-1].pvalue for entry in entries])
    return [Answer(*entry, float(p)) for entry, p in zip(entries, adjusted, strict=True)]


def tally(some: Sequence[Answer], question: Question) -> tuple[int, int, int]:
    """Established above, established below, and all answers of one question."""
    own = [a.direction for a in some if a.question == question]
    return own.count(1), own.count(-1), len(own)


def count(some: Sequence[Answer], question: Question) -> str:
    """In how many cells a difference above zero is established: "2 of 3"."""
    above, below, total = tally(some, question)
    return f"{above} of {total}" + (f" (and the reverse in {below})" if below else "")


def span(some: Sequence[Answer], question: Question) -> str:
    """The differences of one question over its cells: the only one, or the least and the most."""
    return least_to_most(a.test.difference for a in some if a.question == question)


def table(some: Sequence[Answer], pending: str, only: Sequence[str] = ()) -> pd.DataFrame:
    """Differences with intervals, one line a data set and model and one column a question.

    A star says that the difference is established. ``only``: the metrics whose questions are shown.
    """
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for a in some:
        if not only or a.question.first in only:
            text = f"{number(a.test.difference, signed=True)} "
            text += interval(a.test.ci_low, a.test.ci_high, signed=True)
            line = lines.setdefault((a.cell.dataset, a.cell.row), {})
            line[a.question.text] = text + (" *" if a.direction else "")
    if not lines:
        return pd.DataFrame({"data set": [pending]}).set_index("data set")
    index = pd.MultiIndex.from_tuples(list(lines), names=["data set", "model"])
    return pd.DataFrame(list(lines.values()), index=index).fillna("–")


def means(found: Filled, names: Mapping[str, str], pending: str) -> pd.DataFrame:
    """Means over the seeds, or folds, of some metrics, one line a data set and model."""
    lines = []
    for cell, runs in found:
        if runs:
            seeds = "" if len(runs) >= cell.seeds_required else f" of {cell.seeds_required}"
            lines.append(
                {"data set": cell.dataset, "model": cell.row}
                | {text: _mean(runs.values(), name) for name, text in names.items()}
                | {cell.repeats: f"{len(runs)}{seeds}"}
            )
    if not lines:
        return pd.DataFrame({"data set": [pending]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "model"])


def _mean(runs: Collection[Record], metric: str) -> str:
    """The mean over runs; a dash where a test does not apply to them."""
    values = [r["metrics"][metric] for r in runs if metric in r["metrics"]]
    return number(float(np.mean(values))) if len(values) == len(runs) else "–"


def gaps(found: Filled) -> str:
    """Which cells have no record, or not all seeds, in one sentence, or that there are none.

    A cell that cannot be had is not missing.
    """
    missing = [
        f"{cell.row} on `{cell.dataset}` ({len(runs)} of {cell.seeds_required} {cell.repeats})"
        for cell, runs in found
        if len(runs) < cell.seeds_required and not cell.unavailable
    ]
    return f"Pending: {', '.join(missing)}." if missing else COMPLETE


def dots(
    found: Filled, ranks: Ranks, kinds: Mapping[str, str], xlabel: str, columns: int = 3
) -> Figure | None:
    """Figure: means of some metrics with 95 % intervals, one panel a data set; None if empty."""
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    for cell, runs in found:
        for metric, text in kinds.items():
            values = values_of(ranks, runs, metric)
            if values is None:
                continue
            values = values[:, np.isfinite(values).all(0)]
            low, high = bootstrap_interval(values) if len(values) > 1 else (None, None)
            series = panels.setdefault(cell.dataset, {}).setdefault(text, {})
            series[cell.row] = Interval(float(values.mean()), low, high)
    drawn = {row for series in panels.values() for points in series.values() for row in points}
    labels = [row for row in dict.fromkeys(cell.row for cell, _ in found) if row in drawn]
    return intervals(panels, {}, labels, xlabel, columns=columns) if panels else None
