"""Do several personas serve minority tastes better? Per-user gains against per-user diversity.

Shapes: S seeds, U users, D draws, G groups of users.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from replication import figures
from replication.compare import (
    Cell,
    Floats,
    PairedTest,
    Record,
    cells,
    holm,
    interval,
    number,
    paired_test,
    percent,
    ranks_of,
)
from replication.figures import Interval
from replication.metrics.ranking import NO_RANK, hit_rate, ndcg
from replication.page import Study, opening
from replication.papers.amp_cf import (
    claims,
    experiments,
    lists,
    minority,
    tastes,
    users,
)
from replication.papers.amp_cf.minority import (
    DIVERSITY,
    DRAWS,
    GROUPS,
    KINDS,
    Growth,
    Held,
    centred_ranks,
    group_draws,
    growth,
    held_out,
    held_out_groups,
    interval_ends,
)
from replication.papers.amp_cf.model import AMPConfig
from replication.papers.amp_cf.pages import personas
from replication.records import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no users, or no runs of AMP and MF on their data, are recorded yet."
LISTS_PENDING = "Pending: what minority tastes make up of the lists is not measured yet."
SHUFFLES = 200
PROTOCOL = "loo-random"  # of the lists, and the only one that all data sets have
DATASETS = experiments.RUN_HERE
JUDGED = ("NDCG@10", "NDCG@10/full")  # what the answer rests on; the others are shown beside it
GAINS = ("HR@10", "reciprocal rank", "NDCG@10")
METRICS = (*GAINS, *(f"{name}/full" for name in GAINS))
ALPHA = 0.05


# --- what lies behind ------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """One model against another on the same users and seeds, and facts of these users.

    Attributes:
        model, other: printed names; the gain is the first minus the second.
        ranks: metric ending ("" or "/full") -> the two models' ranks [S, U].
        facts: value of ``amp_cf/users`` -> [U], for the users who have a test item.
    """

    dataset: str
    protocol: str
    model: str
    other: str
    ranks: Mapping[str, tuple[np.ndarray, np.ndarray]]
    facts: Mapping[str, Floats] = field(repr=False)

    def gain(self, metric: str) -> Floats:
        """[S, U] how much more the model has of a metric, user by user."""
        name, _, full = metric.partition("/")
        first, second = (_value(ranks, name) for ranks in self.ranks["/full" if full else ""])
        return first - second


def _value(ranks: np.ndarray, metric: str) -> Floats:
    """[S, U] of a metric from 0-based ranks."""
    if metric == "reciprocal rank":
        return 1.0 / (ranks.astype(np.float64) + 1.0)
    return hit_rate(ranks, 10) if metric == "HR@10" else ndcg(ranks, 10)


def _runs(study: Study, row: str, dataset: str, protocol: str) -> dict[int, Record]:
    cell = Cell(experiments.TABLE2, row, dataset, protocol, "validation")
    ((_, runs),) = cells([cell], study.records)
    return runs


def comparisons(study: Study) -> list[tuple[str, str]]:
    """(model, other): each AMP-r against one vector, and where recorded against one of r * d.

    A wide vector against the narrow one tells what more parameters do by themselves.
    """
    wide = _wide(study.records)
    found = [(row, claims.SINGLE) for row in claims.PERSONAS]
    for row in wide:
        personas, rest = divmod(int(row.removeprefix("MF-")), AMPConfig.dimension)
        several = f"AMP-{personas}"
        found += [(several, row)] if not rest and several in claims.PERSONAS else []
    return found + [(row, claims.SINGLE) for row in wide]


def _wide(records: Sequence[Record]) -> list[str]:
    """The rows of one vector of other width, narrow ones first."""
    rows = {record["row"] for record in records if re.fullmatch(r"MF-\d+", record["row"])}
    return sorted(rows, key=lambda row: int(row.removeprefix("MF-")))


@dataclass(frozen=True)
class Users:
    """The records of ``amp_cf/users`` and their values, by data set and protocol."""

    facts: Mapping[tuple[str, str], Mapping[str, Floats]]
    records: Sequence[Record] = ()

    def pairs(self, study: Study, protocol: str = PROTOCOL) -> list[Pair]:
        """Every comparison whose runs, ranks and users are recorded."""
        found = []
        for dataset in DATASETS:
            facts = self.facts.get((dataset, protocol))
            for model, other in comparisons(study):
                if facts is None:
                    continue
                pair = _pair(study, facts, (dataset, protocol), model, other)
                found += [] if pair is None else [pair]
        return found

    def untold(self) -> dict[tuple[str, str], str]:
        """(data set, kind of taste) -> why minority tastes cannot be told there."""
        found = {}
        for record in self.records:
            place = record["dataset"], record["protocol"]
            own = minority.with_largest(record, self.facts.get(place, {}))
            for kind in (k for k in KINDS if f"{k}/held-out" in own):
                why = minority.untold(own, kind)
                if why and record["protocol"] == PROTOCOL:
                    found[record["dataset"], kind] = why
        return found


def not_counted(untold: Mapping[tuple[str, str], str], dataset: str) -> str:
    """Why some differences of one data set are shown and not counted; empty if all are counted."""
    own = [f"for {kind}s, {why}" for (where, kind), why in untold.items() if where == dataset]
    return f"Not counted: {'; '.join(own)}." if own else ""


def left_out(untold: Mapping[tuple[str, str], str]) -> str:
    """Where minority tastes are not asked for, and why; empty if nowhere."""
    parts = [f"on `{dataset}` for {kind}s: {why}" for (dataset, kind), why in untold.items()]
    return f"Minority tastes cannot be told {'; '.join(parts)}." if parts else ""


def open_users() -> Users:
    """The stored facts of users."""
    store = Store(users.TABLE)
    records = store.load()
    values = store.ranks(record["key"] for record in records)
    return Users(
        {
            (r["dataset"], r["protocol"]): {
                name: np.asarray(value, dtype=np.float64) for name, value in known.items()
            }
            for r in records
            if isinstance(known := values.get(r["key"]), Mapping)
        },
        records,
    )


def _pair(
    study: Study,
    facts: Mapping[str, Floats],
    place: tuple[str, str],
    model: str,
    other: str,
) -> Pair | None:
    sides = [_runs(study, row, *place) for row in (model, other)]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    ranks = {}
    for suffix in ("", "/full"):
        found = [ranks_of(side[seed], study.ranks, f"HR@10{suffix}") for side in sides
                 for seed in seeds]  # fmt: skip
        known = [array for array in found if array is not None]
        if not known or len(known) < len(found):
            return None
        both = np.stack(known).reshape(2, len(seeds), -1)  # [2, S, U]
        has = (both != NO_RANK).all((0, 1))
        ranks[suffix] = (both[0][:, has], both[1][:, has])
    own = {name: value[has] for name, value in facts.items()}
    return Pair(*place, model, other, ranks, own)


# --- (a) does the gain grow with diversity? --------------------------------------------------


def shuffled(gain: Floats, x: Floats) -> tuple[float, float, float]:
    """The control: diversity dealt out anew among the users ``SHUFFLES`` times.

    Returns:
        The 2.5 and 97.5 % points of the correlations, and the share of them with p < 0.05: about a
        twentieth, if the test of ``growth`` finds nothing where there is nothing.
    """
    known = np.isfinite(x)
    g, ranks = centred_ranks(gain[:, known]), centred_ranks(x[known])
    mean = g.mean(0)
    dealt = np.random.default_rng(2).permuted(np.tile(ranks, (SHUFFLES, 1)), axis=1)  # [N, U]
    slope = dealt @ (mean - mean.mean()) / (len(mean) * ranks.std())  # [N] covariance / sd of x
    r = slope / mean.std()
    p = 2 * stats.t.sf(np.abs(r) * np.sqrt((len(mean) - 2) / (1 - r**2)), len(mean) - 2)
    low, high = interval_ends(slope / g.std())
    return low, high, float((p < ALPHA).mean())


def growths(
    pairs: Sequence[Pair], metrics: Sequence[str] = JUDGED
) -> dict[tuple[str, ...], Growth]:
    """(data set, model, other, measure of diversity, metric) -> correlation."""
    found: dict[tuple[str, ...], Growth] = {}
    for pair in pairs:
        for measure in DIVERSITY:
            if measure not in pair.facts:
                continue
            for metric in metrics:
                result = growth(
                    pair.gain(metric), pair.facts[measure], pair.facts["history length"]
                )
                if result is not None:
                    found[pair.dataset, pair.model, pair.other, measure, metric] = result
    return found


def kinds_here(known: personas.Kinds, dataset: str) -> str:
    """What the personas of each AMP are on one data set: for tables with no room for a column."""
    return personas.of_models(known, claims.PERSONAS, dataset, PROTOCOL)


def growth_table(pairs: Sequence[Pair], dataset: str) -> pd.DataFrame:
    """Rank correlation of the gain with diversity: one line a model, measure and metric."""
    own = [pair for pair in pairs if pair.dataset == dataset]
    found = growths(own, METRICS)
    if not found:
        return pd.DataFrame({"": [PENDING]})
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for (_, model, other, measure, metric), g in found.items():
        name, full = metric.removesuffix("/full"), metric.endswith("/full")
        line = lines.setdefault((f"{model} − {other}", measure, name), {})
        among = "full catalogue" if full else "100 candidates"
        line[among] = f"{g.r:+.3f} [{g.low:+.3f}, {g.high:+.3f}]"
    index = pd.MultiIndex.from_tuples(lines, names=["gain of", "diversity", "metric"])
    return pd.DataFrame(list(lines.values()), index=index).fillna("–")


def control_table(pairs: Sequence[Pair], dataset: str, metric: str = "NDCG@10") -> pd.DataFrame:
    """The correlation again, with the history's length held fixed, and with shuffled diversity."""
    lines = []
    for pair in (p for p in pairs if p.dataset == dataset):
        for measure in (m for m in DIVERSITY if m in pair.facts):
            gain, x = pair.gain(metric), pair.facts[measure]
            g = growth(gain, x, pair.facts["history length"])
            if g is None:
                continue
            low, high, share = shuffled(gain, x)
            lines.append(
                {
                    "gain of": f"{pair.model} − {pair.other}",
                    "diversity": measure,
                    "correlation": f"{g.r:+.3f} [{g.low:+.3f}, {g.high:+.3f}]",
                    "given the history's length": f"{g.given:+.3f} "
                    f"[{g.given_low:+.3f}, {g.given_high:+.3f}]",
                    f"shuffled {SHUFFLES} times, 95 %": f"[{low:+.3f}, {high:+.3f}]",
                    "of these p < 0.05": percent(share),
                }
            )
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).set_index(["gain of", "diversity"])


# --- gains of groups of users ----------------------------------------------------------------


def quarters(x: Floats) -> np.ndarray:
    """[4, U] bool, the users by quarter of a fact; equal values stay together; NaN in none."""
    known = np.isfinite(x)
    share = np.full(len(x), np.nan)
    share[known] = (stats.rankdata(x[known]) - 0.5) / known.sum()
    return np.stack([(share >= q / 4) & (share < (q + 1) / 4) for q in range(4)])


def quarter_gains(pair: Pair, measure: str, metric: str) -> list[Interval]:
    """The gain of each quarter of the users, then the last minus the first."""
    means, draws = group_draws(pair.gain(metric), quarters(pair.facts[measure]))
    found = [Interval(float(m), *interval_ends(d)) for m, d in zip(means, draws.T, strict=True)]
    found.append(Interval(float(means[3] - means[0]), *interval_ends(draws[:, 3] - draws[:, 0])))
    return found


def quarter_table(
    pairs: Sequence[Pair], dataset: str, metrics: Sequence[str] = JUDGED
) -> pd.DataFrame:
    """Gain by quarter of diversity: one line a model, measure and metric."""
    lines = []
    for pair in (p for p in pairs if p.dataset == dataset):
        for measure in (m for m in DIVERSITY if m in pair.facts):
            for metric in metrics:
                gains = quarter_gains(pair, measure, metric)
                names = ("least diverse", "second", "third", "most diverse")
                lines.append(
                    {"gain of": f"{pair.model} − {pair.other}", "diversity": measure}
                    | {"metric": metric}
                    | {n: number(g.mean, signed=True) for n, g in zip(names, gains, strict=False)}
                    | {"most − least [95 %]": _text(gains[-1])}
                )
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).set_index(["gain of", "diversity"])


def _text(value: Interval) -> str:
    ends = interval(value.low, value.high, signed=True)
    return f"{number(value.mean, signed=True)} {ends}"


# --- (b) is a minority item served better? ---------------------------------------------------


def held_out_gain(pair: Pair, kind: str, metric: str) -> Held | None:
    """The gain of a pair on test items of minority against majority tastes."""
    share, popularity = pair.facts[f"{kind}/held-out"], pair.facts["held-out/popularity"]
    return held_out(pair.gain(metric), share, popularity, tastes.MINORITY[kind])


def helds(pairs: Sequence[Pair], metrics: Sequence[str] = JUDGED) -> dict[tuple[str, ...], Held]:
    """(data set, model, other, kind of taste, metric) -> gain by group."""
    found: dict[tuple[str, ...], Held] = {}
    for pair in pairs:
        for kind in (k for k in KINDS if f"{k}/held-out" in pair.facts):
            for metric in metrics:
                result = held_out_gain(pair, kind, metric)
                if result is not None:
                    found[pair.dataset, pair.model, pair.other, kind, metric] = result
    return found


def held_out_table(pairs: Sequence[Pair], dataset: str) -> pd.DataFrame:
    """One line a model, kind of taste and metric."""
    own = [pair for pair in pairs if pair.dataset == dataset]
    lines = [
        {"gain of": f"{model} − {other}", "taste": kind, "metric": metric}
        | {name: _text(g) for name, g in zip(GROUPS, held.gains, strict=True)}
        | {"minority − majority": _text(held.difference)}
        | {"at equal popularity": _text(held.matched)}
        for (_, model, other, kind, metric), held in helds(own).items()
    ]
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).set_index(["gain of", "taste", "metric"])


def held_out_sizes(pairs: Sequence[Pair], dataset: str) -> str:
    """How many users' test items are of a majority, minority or new taste."""
    texts = []
    for kind in KINDS:
        own = [p for p in pairs if p.dataset == dataset and f"{kind}/held-out" in p.facts]
        if own:
            groups = held_out_groups(own[0].facts[f"{kind}/held-out"], tastes.MINORITY[kind])
            named = zip(groups.sum(1), GROUPS, strict=True)
            counts = ", ".join(f"{n} {name}" for n, name in named)
            texts.append(f"{kind} (minority below {percent(tastes.MINORITY[kind], 0)}): {counts}")
    return f"Test items by {'; by '.join(texts)}." if texts else ""


# --- (c) what minority tastes make up of the lists -------------------------------------------


@dataclass(frozen=True)
class Listed:
    """What minority tastes make up of one model's lists, against the history and another model.

    Attributes:
        history, listed, new: means over users (and seeds) of the shares.
        calibration: list minus history.
        gap: mean over users (and seeds) of |list - history|.
        against: list minus the other model's list; None for that model itself.
        nearer: the other model's |list - history| minus this one's, above zero where this one's
            lists are nearer to the histories; None for the other model itself.
        p: of ``nearer``, two-sided, over users.
    """

    history: float
    listed: float
    new: float
    calibration: Interval
    gap: float
    against: Interval | None
    nearer: Interval | None
    p: float


def listed_shares(lists_study: Study, facts: Users) -> dict[tuple[str, str, str], Listed]:
    """(data set, model, kind of taste) -> shares; MF (r=1) is what the others are compared with."""
    found = {}
    rows = (claims.SINGLE, *claims.PERSONAS, *_wide(lists_study.records))
    for dataset in DATASETS:
        own = facts.facts.get((dataset, PROTOCOL), {})
        for kind in (k for k in KINDS if f"{k}/minority" in own):
            shares = {row: _list_values(lists_study, row, dataset, kind) for row in rows}
            single = shares[claims.SINGLE]
            for row, (by_seed, new) in shares.items():
                if not by_seed:
                    continue
                history = own[f"{kind}/minority"]
                known = np.isfinite(history)
                for array in (*by_seed.values(), *single[0].values()):
                    known &= np.isfinite(array)
                values = np.stack([array[known] for array in by_seed.values()])
                calibration = paired_test(values, history[None, known], draws=DRAWS)
                seeds = sorted(by_seed.keys() & single[0].keys())
                against, nearer, p = None, None, 1.0
                if row != claims.SINGLE and seeds:
                    listed, its = (
                        np.stack([side[seed][known] for seed in seeds])  # [S, U]
                        for side in (by_seed, single[0])
                    )
                    against = _tested(paired_test(listed, its, draws=DRAWS))
                    test = paired_test(
                        np.abs(its - history[known]), np.abs(listed - history[known]), draws=DRAWS
                    )
                    nearer, p = _tested(test), test.pvalue
                found[dataset, row, kind] = Listed(
                    float(history[known].mean()), float(values.mean()), new, _tested(calibration),
                    float(np.abs(values - history[known]).mean()), against, nearer, p,
                )  # fmt: skip
    return found


def _tested(test: PairedTest) -> Interval:
    return Interval(test.difference, test.ci_low, test.ci_high)


def _list_values(
    study: Study, row: str, dataset: str, kind: str
) -> tuple[dict[int, Floats], float]:
    """The share of minority tastes in a model's lists by seed, and the mean share of new ones."""
    cell = Cell(lists.TABLE3, row, dataset, PROTOCOL, "validation")
    ((_, runs),) = cells([cell], study.records)
    found, new = {}, []
    for seed, run in runs.items():
        values = study.ranks.get(run["key"])
        if isinstance(values, Mapping) and f"{kind}/minority" in values:
            found[seed] = np.asarray(values[f"{kind}/minority"], dtype=np.float64)
            new.append(run["metrics"][f"{kind}/new"])
    return found, float(np.mean(new)) if new else float("nan")


def list_table(
    shares: Mapping[tuple[str, str, str], Listed],
    dataset: str,
    untold: Collection[tuple[str, str]] = (),
) -> pd.DataFrame:
    """One line a model and kind of taste; ``untold`` as for ``findings``: marked as not counted."""
    lines = [
        {
            "model": row,
            "taste": kind,
            "of the history": number(s.history),
            "of the list": number(s.listed),
            "list − history [95 %]": _text(s.calibration),
            f"minus {claims.SINGLE} [95 %]": "–" if s.against is None else _text(s.against),
            "|list − history|": number(s.gap),
            f"nearer than {claims.SINGLE} by [95 %]": "–"
            if s.nearer is None
            else _text(s.nearer) + (" (not counted)" if (dataset, kind) in untold else ""),
            "new tastes, of the list": number(s.new),
        }
        for (where, row, kind), s in shares.items()
        if where == dataset
    ]
    if not lines:
        return pd.DataFrame({"": [LISTS_PENDING]})
    return pd.DataFrame(lines).sort_values("taste", kind="stable").set_index(["model", "taste"])


def largest_tastes(facts: Users) -> str:
    """How much of all histories the largest cluster is: where it is most, clusters tell little."""
    parts = [
        f"{percent(r['metrics']['cluster/largest'], 0)} on {r['dataset']}"
        for dataset in DATASETS
        for r in facts.records
        if (r["dataset"], r["protocol"]) == (dataset, PROTOCOL)
    ]
    if not parts:
        return PENDING
    return (
        f"The largest of the 50 clusters makes up this much of all histories: {', '.join(parts)}. "
        "The more it is, the less a cluster is a taste."
    )


# --- what is established ---------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One comparison that speaks for (above zero) or against minority tastes being served better.

    ``p`` is Holm's, over all findings of the page.
    """

    question: str
    place: tuple[str, ...]
    statistic: float
    low: float
    high: float
    p: float

    @property
    def direction(self) -> int:
        """1 or -1 where it is established, by p and by the interval; else 0."""
        if self.p >= ALPHA or self.low <= 0 <= self.high:
            return 0
        return 1 if self.statistic > 0 else -1


QUESTIONS = {
    "diversity": "rank correlations of the gain with the diversity of a user's tastes",
    "held-out": "differences of the gain between test items of minority and of majority tastes",
    "lists": "differences in how near the list's share of minority tastes is to the history's",
}


def findings(
    pairs: Sequence[Pair],
    shares: Mapping[tuple[str, str, str], Listed],
    equal: bool = False,
    untold: Collection[tuple[str, str]] = (),
) -> list[Finding]:
    """Every comparison of an AMP-r with one vector, Holm-corrected together.

    Args:
        equal: with one vector of r * d dimensions in place of d.
        untold: (data set, kind of taste) where minority tastes cannot be told: these are left out.
    """
    some = [
        pair
        for pair in pairs
        if pair.model in claims.PERSONAS and (pair.other != claims.SINGLE) == equal
    ]
    raw: list[tuple[str, tuple[str, ...], float, float | None, float | None, float]] = []
    raw += [("diversity", key, g.r, g.low, g.high, g.p) for key, g in growths(some).items()]
    for key, held in helds(some).items():
        if (key[0], key[3]) in untold:
            continue
        gap = held.difference
        raw.append(("held-out", key, gap.mean, gap.low, gap.high, held.p))
    for (dataset, row, kind), s in shares.items():
        if (dataset, kind) in untold or s.nearer is None or equal or row not in claims.PERSONAS:
            continue
        place = (dataset, row, claims.SINGLE, kind)
        raw.append(("lists", place, s.nearer.mean, s.nearer.low, s.nearer.high, s.p))
    if not raw:
        return []
    return [
        Finding(question, place, float(x), float(low or 0), float(high or 0), float(p))
        for (question, place, x, low, high, _), p in zip(
            raw, holm([line[-1] for line in raw]), strict=True
        )
    ]


def headline(
    found: Sequence[Finding],
    known: personas.Kinds = personas.NONE_KNOWN,
    shares: Mapping[tuple[str, str, str], Listed] | None = None,
    untold: Collection[tuple[str, str]] = (),
) -> str:
    """What was asked, what was found, and the counts of each question.

    ``known``: whether the personas of a model are several or one vector; the others as for
    ``findings``.
    """
    asked = (
        "Does one vector a user crowd out minority tastes, so that several personas gain most "
        "where a user's tastes are diverse or the item is of a minority taste?"
    )
    if not found:
        return opening(asked, PENDING)
    details = []
    for name, text in QUESTIONS.items():
        own = [f for f in found if f.question == name]
        if own:
            up, down = _established(own)
            details.append(
                f"{text[:1].upper()}{text[1:]}: of {len(own)}, {up} {_is(up)} established above "
                f"zero and {down} below, and no interval ends above "
                f"{number(max(f.high for f in own), signed=True)}."
            )
    up, down = _established(found)
    speaks_for, against = (
        personas.split(found, lambda f: _kind(f, known), lambda f: f.direction, way)
        for way in (1, -1)
    )
    crowded, cases = crowded_out(shares or {}, untold)
    first = (
        f"One vector gives minority tastes less of the list than of the history in {crowded} of "
        f"{cases} cases, and what speaks for several personas is established in "
        if cases
        else "What speaks for several personas is established in "
    )
    return opening(
        asked,
        f"{first}{up} of {len(found)} comparisons of an AMP with one vector a user, against them "
        f"in {down}.",
        [
            f"Crowded out: a case is a data set and a kind of taste, and counts where the 95 % "
            f"interval of list minus history lies below zero, for {claims.SINGLE}."
            if cases
            else "",
            f"{personas.BECOME}: for it {speaks_for}; against it {against}.",
            *details,
            f"Compared with: MF (r=1), with Holm's correction over all {len(found)} comparisons.",
        ],
    )


def crowded_out(
    shares: Mapping[tuple[str, str, str], Listed], untold: Collection[tuple[str, str]]
) -> tuple[int, int]:
    """Where one vector's lists have less of minority tastes than the histories, and of how many."""
    own = [
        s.calibration
        for (dataset, row, kind), s in shares.items()
        if row == claims.SINGLE and (dataset, kind) not in untold
    ]
    return sum(i.high is not None and i.high < 0 for i in own), len(own)


def _established(found: Sequence[Finding]) -> tuple[int, int]:
    """How many are established above zero, and how many below."""
    return sum(f.direction == 1 for f in found), sum(f.direction == -1 for f in found)


def _kind(finding: Finding, known: personas.Kinds) -> str:
    dataset, model, *_ = finding.place
    return personas.kind(known, model, dataset, PROTOCOL)


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def established(
    found: Sequence[Finding], known: personas.Kinds = personas.NONE_KNOWN
) -> pd.DataFrame:
    """The findings that are established, with Holm's p; ``known`` as for ``headline``."""
    lines = [
        {
            "data set": f.place[0],
            "question": f.question,
            "compared": f"{f.place[1]} − {f.place[2]}",
            personas.HEAD: _kind(f, known),
            "by": ", ".join(f.place[3:]),
            "statistic [95 %]": _text(Interval(f.statistic, f.low, f.high)),
            "Holm's p": f"{f.p:.3f}" if f.p >= 0.001 else "< 0.001",
        }
        for f in found
        if f.direction
    ]
    if not lines:
        text = "None of the comparisons is established." if found else PENDING
        return pd.DataFrame({"": [text]})
    return pd.DataFrame(lines).set_index(["data set", "question"])


def equal_parameters(
    pairs: Sequence[Pair],
    untold: Collection[tuple[str, str]] = (),
    known: personas.Kinds = personas.NONE_KNOWN,
) -> str:
    """The same against one vector of as many numbers, in one sentence."""
    found = findings(pairs, {}, equal=True, untold=untold)
    if not found:
        return (
            "Pending: one vector of r times d dimensions (rows MF-128, MF-192, MF-256, MF-512) is "
            "not recorded beside the personas yet."
        )
    up, down = _established(found)
    above = personas.split(found, lambda f: _kind(f, known), lambda f: f.direction, 1)
    return (
        f"Against one vector with as many numbers as the personas have, of {len(found)} "
        f"correlations and differences {up} {_is(up)} established above zero ({above}) and {down} "
        "below."
    )


def gain_figure(pairs: Sequence[Pair], metric: str = "NDCG@10") -> Figure:
    """Gain over MF of the least and the most diverse quarter, a panel a data set and measure."""
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    for pair in pairs:
        if pair.other != claims.SINGLE or pair.model not in claims.PERSONAS:
            continue
        for measure in (m for m in DIVERSITY if m in pair.facts):
            least, *_, most, _ = quarter_gains(pair, measure, metric)
            series = panels.setdefault(f"{pair.dataset}, {measure}", {})
            for name, gain in (("least diverse quarter", least), ("most diverse quarter", most)):
                series.setdefault(name, {})[pair.model] = gain
    return figures.intervals(panels, {}, claims.PERSONAS, f"{metric}, gain over {claims.SINGLE}")
