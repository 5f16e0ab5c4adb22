"""One model's error minus another's over common folds: tests, and lines of a page's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from replication.claims import ALPHA
from replication.compare import FoldTest, holm, number
from replication.page import Runs, difference_text, errors, over_folds

# Of two folds the corrected t has one degree of freedom, and of 5 % it needs 12.7 times the error.
MIN_FOLDS = 3


def outcome_of(difference: float, pvalue: float) -> str:
    """What a difference of two errors is established as: "better", "worse" or "neither"."""
    if pvalue >= ALPHA:
        return "neither"
    return "worse" if difference > 0 else "better"


@dataclass(frozen=True)
class Gap:
    """One model's error minus another's over their common folds.

    Attributes:
        name: of the first model, or of the second, whichever the table lists.
        before, after: means of the second and of the first over the common folds.
        folds: their number.
        test: corrected for the overlap of the folds; None for fewer than ``MIN_FOLDS``.
        pvalue: after Holm, over the gaps that are listed together.
    """

    name: str
    before: float
    after: float
    folds: int
    test: FoldTest | None = None
    pvalue: float | None = None

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def outcome(self) -> str:
        """ "better", "worse" or "neither"; "too few folds" without a test."""
        if self.test is None or self.pvalue is None:
            return "too few folds"
        return outcome_of(self.difference, self.pvalue)


def gap(name: str, first: Runs, second: Runs, protocol: str, metric: str = "RMSE") -> Gap | None:
    """The first model against the second; None without a common fold.

    Args:
        name: what the table calls the gap.
        first, second: runs by fold.
        protocol: in how many folds the data were cut.
        metric: an error.
    """
    a, b = errors(first, metric), errors(second, metric)
    common = sorted(a.keys() & b.keys())
    if not common:
        return None
    after, before = (float(np.mean([found[fold] for fold in common])) for found in (a, b))
    test = over_folds(a, b, protocol) if len(common) >= MIN_FOLDS else None
    return Gap(name, before, after, len(common), test)


def adjusted(gaps: Sequence[Gap]) -> list[Gap]:
    """The gaps with p-values after Holm over all that have a test."""
    tested = [found.test.pvalue for found in gaps if found.test is not None]
    values = iter(holm(tested).tolist()) if tested else iter(())
    return [replace(g, pvalue=next(values)) if g.test is not None else g for g in gaps]


def gap_text(found: Gap) -> str:
    """The difference, with its interval where it has a test."""
    return difference_text(found.test) if found.test else number(found.difference, signed=True)


def gap_line(found: Gap) -> dict[str, str]:
    """What every table of gaps says of one."""
    p = found.pvalue
    return {
        "difference [95 %]": gap_text(found),
        "relative": f"{100 * found.difference / found.before:+.2f} %",
        "p": "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        "outcome": found.outcome,
        "folds": str(found.folds),
    }
