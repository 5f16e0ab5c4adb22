"""Claims of a paper, judged from records.

A paper's `claims.py` lists its claims. Each one carries a predicate, written down before the
records are looked at, that turns evidence (records, ranks, published numbers) into one of four
verdicts with a number, an interval and a sentence:

- replicated: the data establish what is claimed;
- direction only: the data point the claimed way, but do not establish it or show less of it;
- not replicated: the data exclude what is claimed;
- untestable: no data, or too few to tell the claim from its opposite. "No difference" and "too
  little data" are therefore never the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from replication.compare import (
    Cell,
    Floats,
    PairedTest,
    Ranks,
    Record,
    bootstrap_interval,
    cells,
    holm,
    interval,
    number,
    paired_test,
    per_user_values,
    published_values,
    ranks_of,
    user_standard_error,
)
from replication.errors import ReplicationError

VERDICTS = ("replicated", "direction only", "not replicated", "untestable")
ALPHA = 0.05  # of the adjusted p-values


class NoEvidence(ReplicationError):
    """What a claim needs is not among the records; the text says what."""


class Comparison(NamedTuple):
    """Model `a` against model `b` in one metric on one data set under one protocol."""

    a: str
    b: str
    dataset: str
    protocol: str
    metric: str


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        id: "family/...", unique within the paper.
        text: the claim in one sentence.
        where: the place in the paper.
        predicate: (claim, evidence) -> verdict; may raise NoEvidence.
    """

    id: str
    text: str
    where: str
    predicate: Callable[[Claim, Evidence], Verdict] = field(repr=False)

    @property
    def family(self) -> str:
        return self.id.split("/")[0]

    def judge(self, evidence: Evidence) -> Verdict:
        """The verdict; untestable, with the reason, where the evidence is not there."""
        try:
            return self.predicate(self, evidence)
        except NoEvidence as reason:
            return Verdict(self, "untestable", None, None, f"{reason}.")


@dataclass(frozen=True)
class Verdict:
    """What the records say about a claim.

    Attributes:
        verdict: one of VERDICTS.
        statistic: the difference that was judged, or None.
        interval: its 95 % interval over users and seeds, or None.
        sentence: the reason, in words and numbers.
    """

    claim: Claim
    verdict: str
    statistic: float | None
    interval: tuple[float, float] | None
    sentence: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}, not {self.verdict!r}")


class Evidence:
    """The records of one table, arranged for comparisons; results are kept for the next claim."""

    def __init__(
        self,
        table: str,
        records: Iterable[Record],
        ranks: Ranks,
        published: pd.DataFrame,
        grid: Iterable[Cell] = (),
        seeds: int = 5,
        min_seeds: int = 3,
        draws: int = 2000,
    ) -> None:
        """
        Args:
            table: id of the table, for instance "amp_cf/table2".
            records, ranks, published: as in `replication.compare.rows`.
            grid: the table's cells: which seeds count, and why some have no records.
            seeds: where the grid says nothing, seeds 0 to seeds - 1 count.
            min_seeds: fewer seeds than this are no evidence (a model without a seed, `select`
                "none", needs one).
            draws: of the bootstrap.
        """
        self.table = table
        self.published = published
        self.min_seeds = min_seeds
        self.draws = draws
        self._ranks = ranks
        self._printed = published_values(published)
        self._memory: dict[Hashable, Any] = {}
        own = [r for r in records if r["table"] == table]
        places = dict.fromkeys((r["row"], r["dataset"], r["protocol"], r["select"]) for r in own)
        grid = [cell for cell in grid if not cell.variant]
        required = {(c.row, c.dataset, c.protocol, c.select): c.seeds_required for c in grid}
        wanted = [
            Cell(table, *place, seeds_required=required.get(place, seeds))
            for place in places
            if place[3] in ("validation", "none")
        ]
        self._runs = {(c.row, c.dataset, c.protocol): runs for c, runs in cells(wanted, own)}
        self._unseeded = {(c.row, c.dataset, c.protocol) for c in wanted if c.select == "none"}
        self._reasons = {
            (c.row, c.dataset, c.protocol): c.unavailable or c.pending
            for c in grid
            if c.unavailable or c.pending
        }

    def printed(self, row: str, dataset: str, metric: str) -> float:
        """The printed number; NoEvidence where the paper prints none."""
        found = self._printed.get((self.table.split("/")[-1], row, dataset, metric))
        if found is None:
            raise NoEvidence(f"the paper prints no {metric} of {row} on {dataset}")
        return found

    def has(self, row: str) -> bool:
        """Whether any run of this model is recorded."""
        return any(place[0] == row and runs for place, runs in self._runs.items())

    def best_on_validation(self, rows: Sequence[str], dataset: str, protocol: str) -> str:
        """The model whose chosen epoch has the best NDCG@10 on the validation items, over seeds."""
        found = {}
        for row in rows:
            runs = self._runs.get((row, dataset, protocol), {}).values()
            best = [max(run["curve"]["NDCG@10"]) for run in runs if "curve" in run]
            if best:
                found[row] = sum(best) / len(best)
        if not found:
            raise NoEvidence(f"none of {', '.join(rows)} has runs on {dataset} under {protocol}")
        return max(found, key=lambda row: found[row])

    def _seeds(self, row: str, dataset: str, protocol: str, metric: str) -> dict[int, Any]:
        """Ranks by seed."""
        place = (row, dataset, protocol)
        if not self._runs.get(place):
            reason = self._reasons.get(place)
            why = f": {reason.rstrip('.')}" if reason else ""
            if not self.has(row):
                raise NoEvidence(f"{row}: the model has no records yet{why}")
            raise NoEvidence(f"{row} has no records on {dataset} under {protocol}{why}")
        ranked = {s: ranks_of(run, self._ranks, metric) for s, run in self._runs[place].items()}
        return {seed: array for seed, array in ranked.items() if array is not None}

    def _enough(self, n: int, what: str, needed: int) -> None:
        if n < needed:
            raise NoEvidence(
                f"too little data: {what} {'has' if n else 'have'} {n} of at least {needed} seeds"
            )

    def values(self, row: str, dataset: str, protocol: str, metric: str) -> Floats:
        """[S, U] per-user values of one model; NoEvidence where there are too few seeds."""
        by_seed = self._seeds(row, dataset, protocol, metric)
        needed = 1 if (row, dataset, protocol) in self._unseeded else self.min_seeds
        self._enough(len(by_seed), f"{row} on {dataset} under {protocol}", needed)
        return per_user_values(list(by_seed.values()), metric)

    def pair(self, comparison: Comparison) -> tuple[Floats, Floats]:
        """[S, U] per-user values of both models: the same users and, where both have any, seeds."""
        a, b, dataset, protocol, metric = comparison
        places = [(row, dataset, protocol) for row in (a, b)]
        found = [self._seeds(row, dataset, protocol, metric) for row in (a, b)]
        if not any(place in self._unseeded for place in places):
            common = sorted(found[0].keys() & found[1].keys())
            what = f"{a} and {b} on {dataset} under {protocol}"
            self._enough(len(common), f"{what} together", self.min_seeds)
            found = [{seed: by_seed[seed] for seed in common} for by_seed in found]
        else:
            for place, by_seed in zip(places, found, strict=True):
                needed = 1 if place in self._unseeded else self.min_seeds
                self._enough(len(by_seed), f"{place[0]} on {dataset} under {protocol}", needed)
            found = [
                dict([next(iter(by_seed.items()))]) if place in self._unseeded else by_seed
                for place, by_seed in zip(places, found, strict=True)
            ]
        hashes = {run.get("data_hash") for place in places for run in self._runs[place].values()}
        if len(hashes) > 1:
            raise NoEvidence(
                f"{a} and {b} ran on different versions of {dataset}; run the older one again"
            )
        ranked = [*found[0].values(), *found[1].values()]
        both = per_user_values(ranked, metric)  # [S_a + S_b, U]
        return both[: len(found[0])], both[len(found[0]) :]

    def test(self, comparison: Comparison) -> PairedTest:
        """Paired test of a - b over users and seeds."""
        return self._remember(
            ("test", comparison),
            lambda: paired_test(*self.pair(comparison), draws=self.draws),
        )

    def adjusted(self, family: Sequence[Comparison]) -> dict[Comparison, float]:
        """Holm-adjusted p-values of those comparisons of a family that the records allow."""

        def work() -> dict[Comparison, float]:
            pvalues = {}
            for comparison in dict.fromkeys(family):
                try:
                    pvalues[comparison] = self.test(comparison).pvalue
                except NoEvidence:
                    continue
            return dict(zip(pvalues, holm(list(pvalues.values())).tolist(), strict=True))

        return self._remember(("adjusted", tuple(family)), work)

    def _remember(self, name: Hashable, work: Callable[[], Any]) -> Any:
        if name not in self._memory:
            self._memory[name] = work()
        return self._memory[name]


# ---------------------------------------------------------------------------------------------
# Rules of judgement
# ---------------------------------------------------------------------------------------------


def judge_number(
    claim: Claim,
    evidence: Evidence,
    row: str,
    dataset: str,
    protocol: str,
    metric: str,
    margin: float,
) -> Verdict:
    """Is a printed number reached? Equivalence within a margin that was fixed beforehand.

    With [low, high] the 95 % interval of measured minus printed (users and seeds resampled, the
    printed number taken as exact):

    - replicated: the interval lies within (-margin, margin), that is, both one-sided tests of a
      difference as large as the margin reject (TOST, at 2.5 % each);
    - not replicated: it lies outside altogether;
    - untestable: it is so wide that even a perfect match could not be shown: too little data;
    - direction only: it is narrow enough, but lies across the margin: near, not equal.
    """
    printed = evidence.printed(row, dataset, metric)
    values = evidence.values(row, dataset, protocol, metric)
    low, high = bootstrap_interval(values, draws=evidence.draws)
    low, high = low - printed, high - printed
    mean = float(values.mean())
    gap = mean - printed
    start = (
        f"measured {number(mean)}, printed {number(printed)}: "
        f"difference {number(gap, True)} {interval(low, high, True)}"
    )
    if -margin < low and high < margin:
        kind, end = "replicated", f"the interval lies within the margin of {margin:g}"
    elif low >= margin or high <= -margin:
        side = "above" if gap > 0 else "below"
        kind, end = "not replicated", f"{side} the printed number by more than {margin:g}"
    elif high - low >= 2 * margin:
        error = user_standard_error(values)
        kind = "untestable"
        end = (
            f"too little data: with {values.shape[1]:,} users one standard error is "
            f"{error:.4f}, and the interval is wider than the margins of ±{margin:g}"
        )
    else:
        kind, end = "direction only", f"near, but not within ±{margin:g} with confidence"
    return Verdict(claim, kind, gap, (low, high), f"{start}; {end}.")


def judge_gain(
    claim: Claim,
    evidence: Evidence,
    comparison: Comparison,
    family: Sequence[Comparison],
    margin: float,
) -> Verdict:
    """Is model a better than model b by an amount that matters?

    With d the mean difference, [low, high] its 95 % interval (users and seeds resampled) and p the
    Holm-adjusted p-value over users:

    - replicated: d >= margin, p < 0.05 and low > 0;
    - direction only: p < 0.05 and low > 0, but d < margin (real, but small); or d > 0 and a loss
      as large as the margin is excluded (low > -margin), but no gain is established;
    - not replicated: a is established to be worse (p < 0.05 and high < 0), or a gain as large as
      the margin is excluded (high < margin);
    - untestable: anything else, since the interval then holds both a gain that matters and a loss
      that matters (or d <= 0): too little data.
    """
    test = evidence.test(comparison)
    adjusted = evidence.adjusted(family)
    p = adjusted[comparison]
    d, low, high = test.difference, test.ci_low, test.ci_high
    if low > 0 and p < ALPHA:
        kind = "replicated" if d >= margin else "direction only"
        size = "at least" if d >= margin else "a real difference, but smaller than"
        end = f"{size} the margin of {margin:g}"
    elif high < 0 and p < ALPHA:
        kind, end = "not replicated", f"{comparison.a} is worse"
    elif high < margin:
        kind, end = "not replicated", f"a gain of {margin:g} is excluded"
    elif d > 0 and low > -margin:
        kind, end = "direction only", f"no gain is established, a loss of {margin:g} is excluded"
    else:
        kind, end = "untestable", f"too little data to tell a gain of {margin:g} from none"
    return Verdict(claim, kind, d, (low, high), f"{_found(comparison, test, p, adjusted)}; {end}.")


def judge_lead(
    claim: Claim,
    evidence: Evidence,
    comparison: Comparison,
    family: Sequence[Comparison],
    margin: float,
) -> Verdict:
    """Does model a lead model b, as printed?

    The printed lead g > 0 comes from the published numbers. With d, [low, high] and p as in
    `judge_gain`:

    - replicated: p < 0.05 and low > 0;
    - not replicated: b is established to be better (p < 0.05 and high < 0), or the printed lead
      is excluded (high < g);
    - direction only: d > 0 and a loss as large as the margin is excluded (low > -margin);
    - untestable: anything else: too little data.
    """
    a, b, dataset, _, metric = comparison
    lead = evidence.printed(a, dataset, metric) - evidence.printed(b, dataset, metric)
    if lead <= 0:
        raise NoEvidence(f"the paper prints no lead of {a} over {b} in {metric} on {dataset}")
    test = evidence.test(comparison)
    adjusted = evidence.adjusted(family)
    p = adjusted[comparison]
    d, low, high = test.difference, test.ci_low, test.ci_high
    if low > 0 and p < ALPHA:
        kind, end = "replicated", f"{a} leads (printed lead {number(lead)})"
    elif high < 0 and p < ALPHA:
        kind, end = "not replicated", f"{b} is better (printed lead of {a} {number(lead)})"
    elif high < lead:
        kind, end = "not replicated", f"the printed lead of {number(lead)} is excluded"
    elif d > 0 and low > -margin:
        kind, end = "direction only", f"ahead, but not established (printed lead {number(lead)})"
    else:
        kind, end = "untestable", f"too little data for a printed lead of {number(lead)}"
    return Verdict(claim, kind, d, (low, high), f"{_found(comparison, test, p, adjusted)}; {end}.")


def _found(comparison: Comparison, test: PairedTest, p: float, adjusted: dict[Any, float]) -> str:
    value = "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}"
    return (
        f"{comparison.a} minus {comparison.b}, {comparison.metric} on {comparison.dataset} under "
        f"{comparison.protocol}: {number(test.difference, True)} "
        f"{interval(test.ci_low, test.ci_high, True)}, {value} "
        f"(Holm, {len(adjusted)} comparisons)"
    )


def weakest(claim: Claim, verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict for a claim of several parts, all of which must hold.

    "not replicated" if one part is, else "untestable" if one part is, else "direction only" if
    one part is, else "replicated". The first part that decides gives number and interval.
    """
    if not verdicts:
        raise NoEvidence("no part of the claim can be judged yet")
    for kind in ("not replicated", "untestable", "direction only", "replicated"):
        parts = [verdict for verdict in verdicts if verdict.verdict == kind]
        if parts:
            break
    count = f" ({kind} in {len(parts)} of {len(verdicts)} parts)" if len(verdicts) > 1 else ""
    first = parts[0]
    sentence = first.sentence.rstrip(".") + count + "."
    return Verdict(claim, first.verdict, first.statistic, first.interval, sentence)


# ---------------------------------------------------------------------------------------------
# Tables of verdicts
# ---------------------------------------------------------------------------------------------


def judge(claims: Iterable[Claim], evidence: Evidence) -> list[Verdict]:
    """The verdicts of all claims, in order."""
    return [claim.judge(evidence) for claim in claims]


def verdict_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One line a claim, as strings: claim, where, verdict, difference, 95 % interval, why."""
    lines = [
        {
            "claim": v.claim.text,
            "where": v.claim.where,
            "verdict": v.verdict,
            "difference": number(v.statistic, signed=True),
            "95 % interval": "–" if v.interval is None else interval(*v.interval, signed=True),
            "why": v.sentence,
        }
        for v in verdicts
    ]
    heads = ["claim", "where", "verdict", "difference", "95 % interval", "why"]
    return pd.DataFrame(lines, columns=heads, dtype=str)


def tally(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """How often each verdict was given, by family of claims. Index: family; columns: VERDICTS."""
    counts: dict[str, dict[str, int]] = {}
    for v in verdicts:
        line = counts.setdefault(v.claim.family, dict.fromkeys(VERDICTS, 0))
        line[v.verdict] += 1
    frame = pd.DataFrame.from_dict(counts, orient="index", columns=list(VERDICTS))
    return frame.rename_axis("family")
