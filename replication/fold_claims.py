"""The evidence of a cross-validation: a run is a fold, and what varies is the fold.

Differences are paired over the folds that both models have, with the corrected test of
``compare.fold_test``. A departure that was run on one fold only has no folds to vary: it is set
against the spread that other seeds have on that fold, and speaks for that fold. What has one
fixed test set by design is compared over the users of that set, and speaks for that set.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from replication.claims import (
    LEVEL,
    Comparison,
    Contrast,
    Estimate,
    Evidence,
    InPrint,
    NoEvidence,
    Question,
    Record,
)
from replication.compare import FoldTest, PairedTest, fold_test, n_splits, overlap_share

Place = tuple[str, str, str]  # row (with its variant, see ``claims.variant_row``), data, protocol
Runs = Mapping[Place, Mapping[int, Record]]  # by fold


def one_fold_test(
    a: float, b: float, seeds_of_a: Sequence[float], seeds_of_b: Sequence[float]
) -> PairedTest:
    """Two single runs on one fold, against the spread over seeds on that fold.

    The seeds' variances are pooled, and a - b has their sum: Student's t with the pooled degrees of
    freedom. It says nothing of other folds.

    Args:
        a, b: the two runs.
        seeds_of_a, seeds_of_b: a model like each of them with several seeds; the same twice where
            one model stands for both.

    Raises:
        NoEvidence: fewer than three seeds.
    """
    samples = [np.asarray(x, dtype=np.float64) for x in (seeds_of_a, seeds_of_b)]
    if min(len(x) for x in samples) < 3:
        raise NoEvidence("too little data: the spread over seeds needs at least 3 seeds")
    same = len(samples[0]) == len(samples[1]) and bool((samples[0] == samples[1]).all())
    free = float(sum(len(x) - 1 for x in (samples[:1] if same else samples)))
    error = float(np.sqrt(sum(x.var(ddof=1) for x in samples)))
    difference = a - b
    reach = float(stats.t.ppf((1 + LEVEL) / 2, free)) * error
    if error > 0:
        p = float(2 * stats.t.sf(abs(difference) / error, free))
    else:
        p = float(difference == 0)
    return PairedTest(difference, difference - reach, difference + reach, p, p, 1, 0)


class FoldEvidence(Evidence):
    """Runs of a cross-validation, arranged for comparisons.

    Args:
        table: id of the table that the claims are about.
        runs: by place and fold; all that is compared, variants and other tables' rows included.
        published: as from ``compare.load_published``.
        printed_in: names of the published tables to look a number up in, in this order.
        spread: row -> metric -> values of several seeds on one fold, for departures that were run
            on that fold only; a row that is not named has none.
        reasons: why a place has no runs.
        min_folds: fewer folds are no evidence.
        fixed: comparisons on one fixed test set -> their tests over its users
            (``compare.fixed_test``).
        second: the same runs at an epoch that was chosen in another way.
    """

    repeats = "folds"

    def __init__(
        self,
        table: str,
        runs: Runs,
        published: pd.DataFrame,
        printed_in: Sequence[str],
        spread: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
        reasons: Mapping[Place, str] | None = None,
        min_folds: int = 3,
        fixed: Mapping[Comparison, PairedTest] | None = None,
        second: FoldEvidence | None = None,
    ) -> None:
        super().__init__(table, [], {}, published, min_seeds=min_folds)
        self._runs = {place: dict(found) for place, found in runs.items()}
        self._reasons = dict(reasons or {})
        self._printed_in = tuple(printed_in)
        self._spread = dict(spread or {})
        self._fixed = dict(fixed or {})
        self._second = second

    def otherwise(self) -> Evidence:
        """The same runs at the other epoch; without any, nothing can be judged again."""
        return self._second or FoldEvidence(self.table, {}, self.published, self._printed_in)

    def matched(self) -> Evidence:
        """The runs on those folds alone that have the other epoch too."""
        if self._second is None:
            return self
        other = copy.copy(self)
        other._memory = {}
        other._runs = {
            place: {
                fold: run for fold, run in runs.items() if fold in self._second._runs.get(place, {})
            }
            for place, runs in self._runs.items()
        }
        return other

    def in_print(self) -> InPrint:
        return InPrint(self.table, self.published, self._printed_in)

    def numbers(self, row: str, dataset: str, protocol: str, metric: str) -> dict[int, float]:
        """A metric by fold; NoEvidence where there is no run."""
        place = (row, dataset, protocol)
        runs = self._runs.get(place) or {}
        found = {
            fold: float(run["metrics"][metric])
            for fold, run in sorted(runs.items())
            if np.isfinite(run["metrics"].get(metric, np.nan))
        }
        if not found:
            reason = self._reasons.get(place)
            why = f": {reason.rstrip('.')}" if reason else ""
            raise NoEvidence(f"{row} has no records on {dataset} under {protocol} yet{why}")
        return found

    def estimate(self, row: str, dataset: str, protocol: str, metric: str) -> Estimate:
        """The mean over the folds, with the corrected interval."""
        values = list(self.numbers(row, dataset, protocol, metric).values())
        self._enough(len(values), f"{row} on {dataset} under {protocol}", self.min_seeds)
        test = self._fold_test(values, protocol, [(row, dataset, protocol)])
        fine = f"over {test.n_folds} folds the sd is {np.std(values, ddof=1):.4f}"
        return Estimate(test.difference, test.ci_low, test.ci_high, fine)

    def mean(self, row: str, dataset: str, protocol: str, metric: str) -> float:
        return float(np.mean(list(self.numbers(row, dataset, protocol, metric).values())))

    def _compare(self, comparison: Comparison) -> PairedTest:
        """The corrected test over common folds; of one fold alone see ``one_fold_test``."""
        if comparison in self._fixed:
            return self._fixed[comparison]
        a, b, dataset, protocol, metric = comparison
        first, second = (self.numbers(row, dataset, protocol, metric) for row in (a, b))
        hashes = {
            run.get("data_hash")
            for row in (a, b)
            for run in self._runs[row, dataset, protocol].values()
        }
        if len(hashes) > 1:
            raise NoEvidence(
                f"{a} and {b} ran on different versions of {dataset}; run the older one again"
            )
        common = sorted(first.keys() & second.keys())
        if len(common) == 1 and a in self._spread and b in self._spread:
            seeds = (self._spread[row].get(metric, ()) for row in (a, b))
            return one_fold_test(first[common[0]], second[common[0]], *seeds)
        what = f"{a} and {b} on {dataset} under {protocol} together"
        self._enough(len(common), what, self.min_seeds)
        delta = [first[fold] - second[fold] for fold in common]
        return self._paired(delta, protocol, [(row, dataset, protocol) for row in (a, b)])

    def _contrast(self, contrast: Contrast) -> PairedTest:
        """A relative gain, or the difference of two, fold by fold: all runs share the ratings.

        Raises:
            NoEvidence: too few common folds, or folds of different ratings.
        """
        gains: list[dict[int, float]] = []
        places: list[Place] = []
        for a, b, dataset, protocol, metric in contrast.parts:
            first, second = (self.numbers(row, dataset, protocol, metric) for row in (a, b))
            gains.append({k: 1 - first[k] / second[k] for k in first.keys() & second.keys()})
            places += [(row, dataset, protocol) for row in (a, b)]
        hashes = {run.get("data_hash") for place in places for run in self._runs[place].values()}
        where = [part.dataset for part in contrast.parts]
        if len(hashes) > 1:
            raise NoEvidence(f"the gains on {' and '.join(where)} are of different ratings")
        common = sorted(set.intersection(*(set(gain) for gain in gains)))
        rows = ", ".join(dict.fromkeys(row for row, _, _ in places))
        what = f"{rows} on {' and '.join(dict.fromkeys(where))} together"
        self._enough(len(common), what, self.min_seeds)
        own, *other = [[gain[fold] for fold in common] for gain in gains]
        delta = np.subtract(own, other[0]).tolist() if other else own
        return self._paired(delta, contrast.first.protocol, places)

    def _fold_test(
        self, values: Sequence[float], protocol: str, places: Sequence[Place]
    ) -> FoldTest:
        """The corrected test, by the ratings that the runs at these places counted."""
        share = overlap_share(run for place in places for run in self._runs[place].values())
        return fold_test(values, n_splits=n_splits(protocol), share=share)

    def _paired(self, delta: Sequence[float], protocol: str, places: Sequence[Place]) -> PairedTest:
        """``_fold_test`` as other evidence has its tests."""
        test = self._fold_test(delta, protocol, places)
        p = test.pvalue
        return PairedTest(test.difference, test.ci_low, test.ci_high, p, p, test.n_folds, 0)

    def describe(self, question: Question, test: PairedTest, p: float, count: int) -> str:
        text = super().describe(question, test, p, count)
        over = f"{test.n_seeds} folds"
        if test.n_seeds == 1:
            over = "one fold, against the spread of seeds"
        if test.n_users:
            over = f"one fixed test set, over its {test.n_users:,} users"
        return f"{text}, {over}"
