"""Claims of a paper, judged from records.

A paper's `claims.py` lists its claims. Each one carries a predicate that turns evidence (records,
ranks, published numbers) into one of four verdicts with a number, an interval and a sentence. A
predicate is code and the same for every record, but not every one was written before the records
that it judges: a paper's `claims.py` says which were.

- replicated: the data establish what is claimed;
- direction only: the data point the claimed way, but do not establish it or show less of it;
- not replicated: the data exclude what is claimed;
- untestable: no data, or too few to tell the claim from its opposite, or nothing to judge it on.
  "No difference" and "too little data" are therefore never the same verdict.

The same predicate runs on three kinds of evidence: what was measured (``Evidence``), the same runs
measured in a second way (``Evidence.otherwise``: under full ranking, or at an honestly chosen
epoch), and what the paper itself prints (``InPrint``), whose own tables may refute its own
sentences. ``replication.fold_claims`` has the evidence of a cross-validation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from replication.compare import (
    Cell,
    Floats,
    PairedTest,
    Ranks,
    Record,
    bootstrap_interval,
    bootstrap_means,
    cells,
    has_value,
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
LEVEL = 0.95  # of all intervals
ITSELF = "a printed number is not compared with itself"
FULL = "/full"  # ending of a metric under full ranking
LOWER_IS_BETTER = frozenset(
    {"JS", "Hellinger", "overlap of lists", "minority gap", "RMSE", "MAE", "squared error"}
)


class NoEvidence(ReplicationError):
    """What a claim needs is not among the records; the text says what."""


def lower_is_better(metric: str) -> bool:
    """Whether a metric is an error, or a distance; what stands after a slash does not count."""
    return metric.split("/")[0] in LOWER_IS_BETTER


class Comparison(NamedTuple):
    """Model `a` against model `b` in one metric on one data set under one protocol."""

    a: str
    b: str
    dataset: str
    protocol: str
    metric: str


class Contrast(NamedTuple):
    """Is a's relative gain over b, 1 - a / b, larger in `first` than in `second`, or than zero?"""

    first: Comparison
    second: Comparison | None = None

    @property
    def parts(self) -> tuple[Comparison, ...]:
        """The comparisons whose gains are looked at: two, or one."""
        return (self.first,) if self.second is None else (self.first, self.second)


class ByUser(NamedTuple):
    """Does a's gain over b depend on facts of the users, the way that is claimed?

    Attributes:
        comparison: whose gain, user by user.
        facts: names of values [U] of the users, as in ``Evidence``.
        statistic: (gain [S, U], facts [F, U], draws) -> test of what is above zero if it does; may
            raise NoEvidence. One function for equal questions.
        text: what the statistic is, before "AMP-2 minus NCF".
        reverse: what is said where it is established to be below zero.
    """

    comparison: Comparison
    facts: tuple[str, ...]
    statistic: Callable[[Floats, Floats, int], PairedTest]
    text: str
    reverse: str


Question = Comparison | Contrast | ByUser
# (data set, protocol, hash of the data) -> name -> [U], NaN for a user who has none, or one number
Facts = Mapping[tuple[str, str, str], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        id: "family/...", unique within the paper.
        text: the claim in one sentence.
        where: the place in the paper.
        predicate: (claim, evidence) -> verdict; may raise NoEvidence.
        table: id of the table whose records judge it.
        asks: evidence -> the comparisons that the claim rests on; may raise NoEvidence.
        again: whether it can be judged again by what was measured in the second way.
        opponent: the row that it compares with, where that is one row of the table.
    """

    id: str
    text: str
    where: str
    predicate: Callable[[Claim, Evidence], Verdict] = field(repr=False)
    table: str = ""
    asks: Callable[[Evidence], Sequence[Question]] = field(default=lambda _: (), repr=False)
    again: bool = False
    opponent: str = ""

    @property
    def family(self) -> str:
        return self.id.split("/")[0]

    def judge(self, evidence: Evidence) -> Verdict:
        """The verdict; untestable, with the reason, where the evidence is not there."""
        try:
            return self.predicate(self, evidence)
        except NoEvidence as reason:
            return Verdict(self, "untestable", None, None, f"{reason}.", str(reason))


@dataclass(frozen=True)
class Verdict:
    """What the records say about a claim.

    Attributes:
        verdict: one of VERDICTS.
        statistic: the difference that was judged, or None.
        interval: its 95 % interval over users and seeds, or over folds, or None.
        sentence: the reason, in words and numbers.
        reason: its last part, without the numbers.
        no_difference: the interval lies within the margins of equivalence.
        lower: the claim asks for a difference below zero, as of errors.
    """

    claim: Claim
    verdict: str
    statistic: float | None
    interval: tuple[float, float] | None
    sentence: str
    reason: str = ""
    no_difference: bool = False
    lower: bool = False

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}, not {self.verdict!r}")

    @property
    def at_best(self) -> float:
        """The end of the interval that speaks most for the claim, above zero if it favours it."""
        if self.interval is None:
            return 0.0
        low, high = self.interval
        return -low if self.lower else high

    @property
    def has_runs(self) -> bool:
        """Whether anything was measured; what is untestable for want of runs has no statistic."""
        return self.verdict != "untestable" or self.statistic is not None


class Estimate(NamedTuple):
    """A measured value with its 95 % interval; ``resolution`` says in words how fine it is."""

    mean: float
    low: float
    high: float
    resolution: str


class Evidence:
    """The records of one table, arranged for comparisons; results are kept for the next claim."""

    repeats = "seeds"  # what several runs of a cell differ in
    unrecorded = "the model has no records yet"  # said of a row without any

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
        validation: Evidence | None = None,
        selects: Sequence[str] = ("validation", "none"),
        facts: Facts | None = None,
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
            validation: the table whose runs have validation curves, if not this one.
            selects: how the epoch was chosen in the runs that count.
            facts: of the users of each data set, which no model has made.
        """
        self.table = table
        self.published = published
        self.min_seeds = min_seeds
        self.draws = draws
        self.suffix = ""  # of the metrics that are looked up
        self.scale = 1.0  # of the margins
        self._facts = facts or {}
        self._validation = validation or self
        self._ranks = ranks
        self._printed = published_values(published)
        self._printed_in: tuple[str, ...] = (table.split("/")[-1],)  # where numbers are looked up
        self._memory: dict[Hashable, Any] = {}
        own = [r for r in records if r["table"] == table]
        names = ("row", "dataset", "protocol", "select", "variant")
        places = dict.fromkeys(tuple(r[name] for name in names) for r in own)
        grid = list(grid)
        required = {
            (c.row, c.dataset, c.protocol, c.select, c.variant): c.seeds_required for c in grid
        }
        wanted = [
            Cell(
                table, row, dataset, protocol, select, variant,
                required.get((row, dataset, protocol, select, variant), seeds),
            )
            for row, dataset, protocol, select, variant in places
            if select in selects
        ]  # fmt: skip
        self._runs = {_name(c): runs for c, runs in cells(wanted, own)}
        self._unseeded = {_name(c) for c in wanted if c.select == "none"}
        self._reasons = {
            _name(c): c.unavailable or c.pending for c in grid if c.unavailable or c.pending
        }

    def otherwise(self) -> Evidence:
        """The same runs, each held-out item ranked among the whole catalogue."""
        other = copy.copy(self)
        other.suffix, other._memory = FULL, {}
        return other

    def matched(self) -> Evidence:
        """Those runs alone that ``otherwise`` has too: here, all of them."""
        return self

    def in_print(self) -> InPrint:
        """The paper's own table as evidence."""
        return InPrint(self.table, self.published)

    def scaled(self, scale: float) -> Evidence:
        """The same with other margins: a paper's claims multiply theirs by ``scale``.

        No test depends on a margin, so that what was tested already is not tested again.
        """
        other = copy.copy(self)
        other.scale = scale
        return other

    def printed(self, row: str, dataset: str, metric: str) -> float:
        """The printed number; NoEvidence where the paper prints none."""
        for table in self._printed_in:
            found = self._printed.get((table, row, dataset, metric))
            if found is not None:
                return found
        raise NoEvidence(f"the paper prints no {metric} of {row} on {dataset}")

    def has(self, row: str) -> bool:
        """Whether any run of this model is recorded."""
        return any(place[0] == row and runs for place, runs in self._runs.items())

    def best(self, rows: Sequence[str], dataset: str, protocol: str, metric: str) -> str:
        """The model whose chosen epoch has the best NDCG@10 on the validation items, over seeds.

        The same for every ``metric``; what is printed can only be chosen by what is printed.
        """
        found = {}
        for row in rows:
            runs = self._validation._runs.get((row, dataset, protocol), {}).values()
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
                raise NoEvidence(f"{row}: {self.unrecorded}{why}")
            raise NoEvidence(f"{row} has no records on {dataset} under {protocol}{why}")
        name = metric + self.suffix
        ranked = {s: ranks_of(run, self._ranks, name) for s, run in self._runs[place].items()}
        return {seed: array for seed, array in ranked.items() if array is not None}

    def _enough(self, n: int, what: str, needed: int) -> None:
        if n < needed:
            raise NoEvidence(f"too little data: {n} of at least {needed} {self.repeats} of {what}")

    def values(self, row: str, dataset: str, protocol: str, metric: str) -> Floats:
        """[S, U] per-user values of one model; NoEvidence where there are too few seeds."""
        by_seed = self._seeds(row, dataset, protocol, metric)
        needed = 1 if (row, dataset, protocol) in self._unseeded else self.min_seeds
        self._enough(len(by_seed), f"{row} on {dataset} under {protocol}", needed)
        return per_user_values(list(by_seed.values()), metric + self.suffix)

    def estimate(self, row: str, dataset: str, protocol: str, metric: str) -> Estimate:
        """The measured value of one model, users and seeds resampled for its interval."""
        values = self.values(row, dataset, protocol, metric)
        low, high = bootstrap_interval(values, draws=self.draws)
        fine = f"with {values.shape[1]:,} users one standard error is "
        fine += f"{user_standard_error(values):.4f}"
        return Estimate(float(values.mean()), low, high, fine)

    def runs(self, row: str, dataset: str, protocol: str) -> Mapping[int, Record]:
        """The records of one model by seed; NoEvidence where there are too few."""
        place = (row, dataset, protocol)
        runs = self._runs.get(place, {})
        needed = 1 if place in self._unseeded else self.min_seeds
        self._enough(len(runs), f"{row} on {dataset} under {protocol}", needed)
        return runs

    def mean(self, row: str, dataset: str, protocol: str, metric: str) -> float:
        """The measured value of one model over users and seeds."""
        place = (row, dataset, protocol, metric)
        return self._remember(("mean", *place), lambda: float(self.values(*place).mean()))

    def pair(self, comparison: Comparison) -> tuple[Floats, Floats]:
        """[S, U] per-user values of both models: the same users and, where both have any, seeds."""
        return self._pair(comparison)[0]

    def _pair(
        self, comparison: Comparison
    ) -> tuple[tuple[Floats, Floats], tuple[list[int], list[int]]]:
        """Both models' values [S, U], and the seeds behind their rows."""
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
        both = per_user_values(ranked, metric + self.suffix)  # [S_a + S_b, U]
        values = both[: len(found[0])], both[len(found[0]) :]
        return values, (list(found[0]), list(found[1]))

    def test(self, question: Question) -> PairedTest:
        """Paired test of a - b over users and seeds, or what the question asks instead."""

        def work() -> PairedTest:
            if isinstance(question, Contrast):
                return self._contrast(question)
            if isinstance(question, ByUser):
                return self._by_user(question)
            return self._compare(question)

        return self._remember(("test", question), work)

    def _compare(self, comparison: Comparison) -> PairedTest:
        """What `compare.paired_test` gives, with every model resampled only once."""
        (a, b), seeds = self._pair(comparison)
        draws = np.subtract(*self._draws(comparison, seeds))  # [D]
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return replace(paired_test(a, b, draws=1), ci_low=float(low), ci_high=float(high))

    def _draws(
        self, comparison: Comparison, seeds: tuple[list[int], list[int]]
    ) -> tuple[Floats, Floats]:
        """[D] resampled means of a and of b: the same users and, where both have any, seeds."""
        resampled = self._resampled(comparison.dataset, comparison.protocol, comparison.metric)
        means = []
        for row, wanted in zip((comparison.a, comparison.b), seeds, strict=True):
            own, by_seed = resampled[row]  # [D, S]
            means.append(by_seed[:, [own.index(seed) for seed in wanted]])
        n = max(m.shape[1] for m in means)
        # As in `compare.bootstrap_means`, so that both give the same intervals.
        weights = np.random.default_rng([0, 0]).multinomial(n, np.full(n, 1 / n), self.draws)
        first, second = ((m * weights).sum(1) / n for m in means)  # [D]
        return first, second

    def _resampled(
        self, dataset: str, protocol: str, metric: str
    ) -> dict[str, tuple[list[int], Floats]]:
        """Of every model at a place: its seeds, and their means [D, S] over resampled users.

        All models at once, since drawing the users costs more than averaging over them.
        """

        def work() -> dict[str, tuple[list[int], Floats]]:
            rows = [row for row, *place in self._runs if place == [dataset, protocol]]
            found = {row: self._seeds(row, dataset, protocol, metric) for row in rows}
            values = {
                row: per_user_values(list(by_seed.values()), metric + self.suffix)  # [S, U]
                for row, by_seed in found.items()
                if by_seed
            }
            done: dict[str, tuple[list[int], Floats]] = {}
            for users in {array.shape[1] for array in values.values()}:
                own = {row: array for row, array in values.items() if array.shape[1] == users}
                stacked = np.concatenate(list(own.values()))[:, None]  # one seed in each table
                means = bootstrap_means(stacked, self.draws)  # [D, all seeds of all models]
                ends = np.cumsum([len(array) for array in own.values()])
                parts = np.split(means, ends[:-1], axis=1)
                done |= {
                    row: (list(found[row]), part) for row, part in zip(own, parts, strict=True)
                }
            return done

        return self._remember(("resampled", dataset, protocol, metric), work)

    def _contrast(self, contrast: Contrast) -> PairedTest:
        """A relative gain, or the difference of two on two data sets, resampled independently.

        The p-value is that of a normal distribution with the spread of the draws.
        """
        tests = [self.test(comparison) for comparison in contrast.parts]
        gains, draws = [], []
        for comparison in contrast.parts:
            values, seeds_used = self._pair(comparison)
            a, b = self._draws(comparison, seeds_used)  # [D]
            gains.append(1 - values[0].mean() / values[1].mean())
            draws.append(1 - a / b)
        d, difference = float(gains[0]), draws[0]
        if contrast.second is not None:
            d -= float(gains[1])
            # The two data sets share the generator's seed: shifted, their draws have nothing in
            # common.
            difference = difference - np.roll(draws[1], self.draws // 2)
        low, high = np.quantile(difference, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        spread = float(difference.std(ddof=1))
        p = 2 * float(stats.norm.sf(abs(d) / spread)) if spread else float(d == 0)
        seeds, users = (
            min(getattr(test, name) for test in tests) for name in ("n_seeds", "n_users")
        )
        return PairedTest(d, float(low), float(high), p, p, seeds, users)

    def _by_user(self, question: ByUser) -> PairedTest:
        """A statistic of the gains [S, U] of single users and of facts about them."""
        a, _, dataset, protocol, metric = question.comparison
        first, second = self.pair(question.comparison)  # [S, U'] each, or one of them [1, U']
        known = self.facts(a, dataset, protocol)
        missing = [name for name in question.facts if name not in known]
        if missing:
            raise NoEvidence(
                f"{' and '.join(missing)} of the users of {dataset} under {protocol} are not "
                "recorded"
            )
        has = has_value(np.asarray(next(iter(self._seeds(a, dataset, protocol, metric).values()))))
        facts = np.stack([known[name] for name in question.facts]).astype(np.float64)  # [F, U]
        return question.statistic(first - second, facts[:, has], self.draws)

    def facts(self, row: str, dataset: str, protocol: str) -> Mapping[str, np.ndarray]:
        """Facts of the users whom a model's runs rank: name -> [U]; empty where there are none."""
        runs = self._runs.get((row, dataset, protocol), {}).values()
        hashes = {str(run.get("data_hash")) for run in runs}
        return self._facts.get((dataset, protocol, hashes.pop()), {}) if len(hashes) == 1 else {}

    def adjusted(self, family: Sequence[Any]) -> dict[Any, float]:
        """Holm-adjusted p-values of those comparisons of a family that the records allow."""

        def work() -> dict[Question, float]:
            pvalues = {}
            for question in dict.fromkeys(family):
                try:
                    pvalues[question] = self.test(question).pvalue
                except NoEvidence:
                    continue
            return dict(zip(pvalues, self._correct(list(pvalues.values())), strict=True))

        return self._remember(("adjusted", tuple(family)), work)

    def asked(self, claims: Iterable[Claim]) -> tuple[Question, ...]:
        """All comparisons of this table that claims rest on: the family of Holm's correction."""

        def work() -> tuple[Question, ...]:
            found: list[Question] = []
            for claim in claims:
                if claim.table == self.table and (claim.again or not self.suffix):
                    try:
                        found += claim.asks(self)
                    except NoEvidence:
                        continue
            return tuple(dict.fromkeys(found))

        return self._remember("asked", work)

    def corrected_over(self, questions: Sequence[Question]) -> Evidence:
        """The same, with p-values that are corrected over these comparisons alone."""
        other = copy.copy(self)
        other._memory = {"asked": tuple(questions)}
        return other

    def describe(self, question: Question, test: PairedTest, p: float, count: int) -> str:
        """What was found, in words and numbers."""
        value = "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}"
        return (
            f"{_what(question, self.suffix, protocols=True)}: {number(test.difference, True)} "
            f"{interval(test.ci_low, test.ci_high, True)}, {value} (Holm, {count} comparisons)"
        )

    def _correct(self, pvalues: Sequence[float]) -> list[float]:
        return holm(pvalues).tolist()

    def _remember(self, name: Hashable, work: Callable[[], Any]) -> Any:
        if name not in self._memory:
            self._memory[name] = work()
        return self._memory[name]


class InPrint(Evidence):
    """A paper's own table as evidence: one number a model, taken as exact."""

    def __init__(self, table: str, published: pd.DataFrame, printed_in: Sequence[str] = ()) -> None:
        """``printed_in``: names of the published tables, if not that of ``table``."""
        super().__init__(table, [], {}, published)
        self._printed_in = tuple(printed_in) or self._printed_in
        self._rows = {row for where, row, *_ in self._printed if where in self._printed_in}

    def has(self, row: str) -> bool:
        return row in self._rows

    def best(self, rows: Sequence[str], dataset: str, protocol: str, metric: str) -> str:
        """The model with the best printed value of this metric."""
        known = [row for row in rows if self.has(row)]
        values = {row: self.printed(row, dataset, metric) for row in known}
        if not values:
            raise NoEvidence(f"the paper prints none of {', '.join(rows)}")
        choose = min if lower_is_better(metric) else max
        return choose(values, key=lambda row: values[row])

    def values(self, row: str, dataset: str, protocol: str, metric: str) -> Floats:
        raise NoEvidence(ITSELF)

    def runs(self, row: str, dataset: str, protocol: str) -> Mapping[int, Record]:
        raise NoEvidence("the paper prints no runs")

    def mean(self, row: str, dataset: str, protocol: str, metric: str) -> float:
        return self.printed(row, dataset, metric)

    def _compare(self, comparison: Comparison) -> PairedTest:
        a, b, dataset, _, metric = comparison
        d = self.printed(a, dataset, metric) - self.printed(b, dataset, metric)
        return PairedTest(d, d, d, float(d == 0), float(d == 0), 1, 1)

    def _contrast(self, contrast: Contrast) -> PairedTest:
        gains = [
            1 - self.printed(c.a, c.dataset, c.metric) / self.printed(c.b, c.dataset, c.metric)
            for c in contrast.parts
        ]
        d = gains[0] - sum(gains[1:])
        return PairedTest(d, d, d, float(d == 0), float(d == 0), 1, 1)

    def _by_user(self, question: ByUser) -> PairedTest:
        raise NoEvidence("the paper prints no values of single users")

    def _correct(self, pvalues: Sequence[float]) -> list[float]:
        return list(pvalues)

    def describe(self, question: Question, test: PairedTest, p: float, count: int) -> str:
        def numbers(c: Comparison) -> str:
            a, b = (number(self.printed(row, c.dataset, c.metric)) for row in (c.a, c.b))
            return f"{c.a} {a}, {c.b} {b}"

        if isinstance(question, ByUser):
            pairs: tuple[Comparison, ...] = (question.comparison,)
        else:
            pairs = question.parts if isinstance(question, Contrast) else (question,)
        return f"{_what(question, '')}: {'; '.join(map(numbers, pairs))}"


def arms(
    records: Iterable[Record], ranks: Ranks, measured: Mapping[str, Mapping[str, str]]
) -> tuple[list[Record], dict[str, Any]]:
    """Records with each measured arm as a row of its own: "AMP-4, claimed items".

    So that an arm can be compared with another of the same runs as models are elsewhere.

    Args:
        records: of runs that have several arms.
        ranks: key of a record -> its values [U] by name.
        measured: metric -> arm -> name of its values.

    Returns:
        One record for each run and arm, and its values by metric.
    """
    rows: list[Record] = []
    values: dict[str, Any] = {}
    for record in records:
        known = ranks.get(str(record["key"]), {})
        if not isinstance(known, Mapping):
            continue
        found: dict[str, dict[str, np.ndarray]] = {}
        for metric, own in measured.items():
            for arm, name in own.items():
                if name in known:
                    found.setdefault(arm, {})[metric] = known[name]
        for arm, own_values in found.items():
            key = f"{record['key']}, {arm}"
            rows.append({**record, "key": key, "row": f"{record['row']}, {arm}"})
            values[key] = own_values
    return rows, values


def variant_row(row: str, variant: str) -> str:
    """What a comparison calls a model's runs in a variant."""
    return f"{row} ({variant})" if variant else row


def _name(cell: Cell) -> tuple[str, str, str]:
    return variant_row(cell.row, cell.variant), cell.dataset, cell.protocol


def _what(question: Question, suffix: str, protocols: bool = False) -> str:
    """The difference that is tested, in words."""
    if isinstance(question, ByUser):
        return f"{question.text} {_what(question.comparison, suffix, protocols)}"
    if isinstance(question, Contrast):
        gains = " minus ".join(f"{c.a} over {c.b} on {c.dataset}" for c in question.parts)
        return f"relative gain in {question.first.metric}, {gains}"
    a, b, dataset, protocol, metric = question
    under = f" under {protocol}" if protocols else ""
    return f"{a} minus {b}, {metric}{suffix} on {dataset}{under}"


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
    """Is a printed number reached? Equivalence within a margin.

    With [low, high] the 95 % interval of measured minus printed (users and seeds resampled, or over
    folds; the printed number taken as exact):

    - replicated: the interval lies within (-margin, margin), that is, both one-sided tests of a
      difference as large as the margin reject (TOST, at 2.5 % each);
    - not replicated: it lies outside altogether;
    - untestable: it is so wide that even a perfect match could not be shown: too little data;
    - direction only: it is narrow enough, but lies across the margin: near, not equal.
    """
    printed = evidence.printed(row, dataset, metric)
    mean, low, high, fine = evidence.estimate(row, dataset, protocol, metric)
    low, high = low - printed, high - printed
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
        kind = "untestable"
        end = f"too little data: {fine}, and the interval is wider than the margins of ±{margin:g}"
        if low > 0 or high < 0:
            side = "above" if gap > 0 else "below"
            end = f"{side} it by more than chance, but whether by more than {margin:g}: {end}"
    else:
        kind, end = "direction only", f"near, but not within ±{margin:g} with confidence"
    inside = kind == "replicated"
    return Verdict(claim, kind, gap, (low, high), f"{start}; {end}.", end, inside)


class _Decided(NamedTuple):
    """A test, oriented so that a positive difference speaks for the first model."""

    gain: float
    low: float
    high: float
    significant: bool
    inside: bool  # no difference: the interval lies within the margins


def _asks_for_lower(question: Question) -> bool:
    return isinstance(question, Comparison) and lower_is_better(question.metric)


def _decide(
    evidence: Evidence, question: Question, family: Sequence[Question], margin: float
) -> _Decided:
    test = evidence.test(question)
    d, low, high = test.difference, test.ci_low, test.ci_high
    if _asks_for_lower(question):
        d, low, high = -d, -high, -low
    p = evidence.adjusted(family)[question]
    return _Decided(d, low, high, p < ALPHA, -margin < low and high < margin)


def _verdict(
    claim: Claim,
    evidence: Evidence,
    question: Question,
    family: Sequence[Question],
    kind: str,
    reason: str,
    no_difference: bool,
) -> Verdict:
    test, adjusted = evidence.test(question), evidence.adjusted(family)
    start = evidence.describe(question, test, adjusted[question], len(adjusted))
    ends = (test.ci_low, test.ci_high)
    sentence = f"{start}; {reason}."
    lower = _asks_for_lower(question)
    return Verdict(claim, kind, test.difference, ends, sentence, reason, no_difference, lower)


def judge_gain(
    claim: Claim,
    evidence: Evidence,
    comparison: Question,
    family: Sequence[Question],
    margin: float,
) -> Verdict:
    """Is model a better than model b by an amount that matters?

    With d the mean difference (turned round where lower is better), [low, high] its 95 % interval
    (users and seeds resampled) and p the Holm-adjusted p-value over users, the first that holds:

    1. a gain is established (p < 0.05 and low > 0): replicated if d >= margin, else direction only
       (real, but small). This goes first: a small gain that is established is direction only even
       where a gain as large as the margin is excluded (high < margin);
    2. not replicated: a is established to be worse (p < 0.05 and high < 0);
    3. not replicated: a gain as large as the margin is excluded (high < margin), and none is
       established. Where a loss that large is excluded as well, that is "no difference" (both
       one-sided tests reject: TOST);
    4. direction only: d > 0, and a loss as large as the margin is excluded (low > -margin);
    5. untestable: anything else, since the interval then holds both a gain that matters and a loss
       that matters (or d <= 0): too little data.
    """
    d, low, high, significant, inside = _decide(evidence, comparison, family, margin)
    if isinstance(comparison, ByUser):
        worse = comparison.reverse
    elif not isinstance(comparison, Contrast):
        worse = f"{comparison.a} is worse"
    elif comparison.second is None:
        worse = f"{comparison.first.a} is worse"
    else:
        worse = "the gain is smaller there"
    if low > 0 and significant:
        kind = "replicated" if d >= margin else "direction only"
        size = "at least" if d >= margin else "a real difference, but smaller than"
        end = f"{size} the margin of {margin:.2g}"
    elif high < 0 and significant:
        kind, end = "not replicated", worse
    elif high < margin:
        kind, end = "not replicated", f"a gain of {margin:.2g} is excluded"
        end = f"no difference, {end}, and so is a loss" if inside else end
    elif d > 0 and low > -margin:
        # The interval is of this comparison alone, p of its whole family.
        after = " after correction" if low > 0 else ""
        end = f"no gain is established{after}, a loss of {margin:.2g} is excluded"
        kind = "direction only"
    else:
        kind, end = "untestable", f"too little data to tell a gain of {margin:.2g} from none"
    return _verdict(claim, evidence, comparison, family, kind, end, inside)


def judge_competitive(
    claim: Claim,
    evidence: Evidence,
    comparison: Comparison,
    family: Sequence[Question],
    margin: float,
) -> Verdict:
    """Is model a at least no worse than model b by an amount that matters (non-inferiority)?

    With d, [low, high] and p as in `judge_gain`:

    - replicated: a loss as large as the margin is excluded (low > -margin);
    - not replicated: a is established to be worse (p < 0.05 and high < 0) by at least the margin
      (d <= -margin);
    - untestable: the interval is so wide that not even equal models could be told from a loss of
      the margin (high - low >= 2 margin): too little data;
    - direction only: anything else.
    """
    d, low, high, significant, inside = _decide(evidence, comparison, family, margin)
    if low > -margin:
        kind, end = "replicated", f"a loss of {margin:.2g} is excluded"
    elif high < 0 and significant and d <= -margin:
        kind, end = "not replicated", f"{comparison.a} is worse by at least {margin:.2g}"
    elif high - low >= 2 * margin:
        kind, end = "untestable", f"too little data to exclude a loss of {margin:.2g}"
    else:
        kind, end = "direction only", f"near, but a loss of {margin:.2g} is not excluded"
    return _verdict(claim, evidence, comparison, family, kind, end, inside)


def judge_no_gain(
    claim: Claim,
    evidence: Evidence,
    comparison: Comparison,
    family: Sequence[Question],
    margin: float,
) -> Verdict:
    """Does model a bring no gain over model b that matters?

    With d, [low, high] and p as in `judge_gain`:

    - replicated: a gain as large as the margin is excluded (high < margin);
    - not replicated: a is established to be better (p < 0.05 and low > 0) by at least the margin;
    - direction only: d < margin, and the interval is narrower than 2 margin;
    - untestable: anything else: too little data.
    """
    d, low, high, significant, inside = _decide(evidence, comparison, family, margin)
    if high < margin:
        kind, end = "replicated", f"a gain of {margin:.2g} is excluded"
    elif low > 0 and significant and d >= margin:
        kind, end = "not replicated", f"{comparison.a} is better by at least {margin:.2g}"
    elif d < margin and high - low < 2 * margin:
        kind, end = "direction only", f"near, but a gain of {margin:.2g} is not excluded"
    else:
        kind, end = "untestable", f"too little data to exclude a gain of {margin:.2g}"
    return _verdict(claim, evidence, comparison, family, kind, end, inside)


def judge_lead(
    claim: Claim,
    evidence: Evidence,
    comparison: Comparison,
    family: Sequence[Question],
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
    lead = -lead if lower_is_better(metric) else lead
    if lead <= 0:
        raise NoEvidence(f"the paper prints no lead of {a} over {b} in {metric} on {dataset}")
    d, low, high, significant, inside = _decide(evidence, comparison, family, margin)
    if low > 0 and significant:
        kind, end = "replicated", f"{a} leads (printed lead {number(lead)})"
    elif high < 0 and significant:
        kind, end = "not replicated", f"{b} is better (printed lead of {a} {number(lead)})"
    elif high < lead:
        kind, end = "not replicated", f"the printed lead of {number(lead)} is excluded"
    elif d > 0 and low > -margin:
        kind, end = "direction only", f"ahead, but not established (printed lead {number(lead)})"
    else:
        kind, end = "untestable", f"too little data for a printed lead of {number(lead)}"
    return _verdict(claim, evidence, comparison, family, kind, end, inside)


def judge_longer(claim: Claim, evidence: Evidence, comparison: Comparison) -> Verdict:
    """Does an epoch of model a take longer than one of model b, on the same machine?

    With r the mean over seeds of the logarithm of the ratio, and a 95 % interval of Student's t:
    replicated if the interval lies above zero, not replicated if it lies below, direction only if
    it holds zero and r > 0, else untestable. What is reported is exp(r) - 1.
    """
    a, b, dataset, protocol, _ = comparison
    runs = [evidence.runs(row, dataset, protocol) for row in (a, b)]
    seeds = sorted(runs[0].keys() & runs[1].keys())
    machines = {(run[seed]["machine"], run[seed]["device"]) for run in runs for seed in seeds}
    if len(seeds) < evidence.min_seeds or len(machines) > 1:
        raise NoEvidence(f"{a} and {b} have too few runs on the same machine on {dataset}")
    logs = np.log(
        [runs[0][s]["seconds_per_epoch"] / runs[1][s]["seconds_per_epoch"] for s in seeds]
    )
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(seeds) - 1) * stats.sem(logs))
    mean, low, high = (float(np.expm1(logs.mean() + x)) for x in (0.0, -reach, reach))
    if low > 0:
        kind, end = "replicated", f"an epoch of {a} takes longer"
    elif high < 0:
        kind, end = "not replicated", f"an epoch of {a} is shorter"
    elif mean > 0:
        kind, end = "direction only", f"an epoch of {a} is not established to take longer"
    else:
        kind, end = "untestable", "too little data to tell which epoch is longer"
    start = (
        f"seconds per epoch of {a} over those of {b}, less one, on {dataset}: "
        f"{number(mean, True)} {interval(low, high, True)}"
    )
    return Verdict(claim, kind, mean, (low, high), f"{start}; {end}.", end)


def weakest(claim: Claim, verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict for a claim of several parts, all of which must hold.

    "not replicated" if one part is, else "untestable" if one part is, else "direction only" if
    one part is, else "replicated". Of the parts that decide, the one that is least for the claim
    even at its best (``Verdict.at_best``) gives number and interval; of those that cannot be
    judged, the first.
    """
    if not verdicts:
        raise NoEvidence("no part of the claim can be judged yet")
    for kind in ("not replicated", "untestable", "direction only", "replicated"):
        parts = [verdict for verdict in verdicts if verdict.verdict == kind]
        if parts:
            break
    count = f" ({kind} in {len(parts)} of {len(verdicts)} parts)" if len(verdicts) > 1 else ""
    told = parts[0]
    if kind != "untestable":
        told = min(parts, key=lambda part: part.at_best)
    sentence = told.sentence.rstrip(".") + count + "."
    return replace(told, claim=claim, sentence=sentence, reason=told.reason + count)


def judge_parts(
    claim: Claim,
    evidence: Evidence,
    judge: Callable[..., Verdict],
    family: Sequence[Question],
    margin: Callable[[Any], float],
) -> Verdict:
    """``weakest`` of a rule of judgement over all comparisons that a claim asks for.

    A part without evidence is untestable and no more: it cannot hide that another is refuted.

    Args:
        judge: (claim, evidence, question, family, margin) -> verdict, as ``judge_gain``.
        family: the comparisons of Holm's correction.
        margin: of a question.

    Raises:
        NoEvidence: of no part is there any.
    """
    parts: list[Verdict] = []
    missing: list[NoEvidence] = []
    for question in claim.asks(evidence):
        try:
            parts.append(judge(claim, evidence, question, family, margin(question)))
        except NoEvidence as reason:
            missing.append(reason)
            parts.append(Verdict(claim, "untestable", None, None, f"{reason}.", str(reason)))
    if missing and len(missing) == len(parts):
        raise missing[0]
    return weakest(claim, parts)


# ---------------------------------------------------------------------------------------------
# Tables of verdicts
# ---------------------------------------------------------------------------------------------


def judge(claims: Iterable[Claim], evidence: Evidence) -> list[Verdict]:
    """The verdicts of all claims, in order."""
    return [claim.judge(evidence) for claim in claims]


@dataclass(frozen=True)
class Judgement:
    """One claim judged three times, and with other margins.

    Attributes:
        main: by what was measured.
        again: by the same runs measured in the second way; None where there is none for the claim.
        in_print: by the paper's own table.
        matched: as ``main``, by those runs alone that were measured in the second way too; None
            where these are all. What sets it apart from ``again`` is the way alone.
        scaled: by what was measured, with every margin multiplied by a number: number -> verdict.
        notes: what else a paper's page says of what was compared: head of a column -> text. No
            verdict depends on it.
    """

    main: Verdict
    again: Verdict | None
    in_print: Verdict
    matched: Verdict | None = None
    scaled: Mapping[float, Verdict] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def claim(self) -> Claim:
        return self.main.claim

    @property
    def before(self) -> Verdict:
        """What ``again`` is to be compared with."""
        return self.matched or self.main


def judge_all(
    claims: Iterable[Claim], tables: Iterable[Evidence], scales: Sequence[float] = ()
) -> list[Judgement]:
    """Every claim of these tables by its records, in the second way, and by the paper's table.

    ``scales``: multiples of the margins at which the records judge it again.
    """
    found = {evidence.table: evidence for evidence in tables}
    again = {name: evidence.otherwise() for name, evidence in found.items()}
    matched = {name: evidence.matched() for name, evidence in found.items()}
    fewer = {name for name in found if matched[name] is not found[name]}
    printed = {name: evidence.in_print() for name, evidence in found.items()}
    scaled = {(name, s): e.scaled(s) for name, e in found.items() for s in scales}
    return [
        Judgement(
            claim.judge(found[claim.table]),
            claim.judge(again[claim.table]) if claim.again else None,
            claim.judge(printed[claim.table]),
            claim.judge(matched[claim.table]) if claim.again and claim.table in fewer else None,
            {scale: claim.judge(scaled[claim.table, scale]) for scale in scales},
        )
        for claim in claims
        if claim.table in found
    ]


def tally(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """How often each verdict was given, by family of claims. Index: family; columns: VERDICTS."""
    counts: dict[str, dict[str, int]] = {}
    for v in verdicts:
        line = counts.setdefault(v.claim.family, dict.fromkeys(VERDICTS, 0))
        line[v.verdict] += 1
    frame = pd.DataFrame.from_dict(counts, orient="index", columns=list(VERDICTS))
    return frame.rename_axis("family")
