"""Does a gain depend on the users' tastes? What the claims and the page of tastes have in common.

Three tests of "several personas serve minority tastes": whether the gain over one vector grows with
the diversity of a user's history (``growth``), whether it is larger on test items of minority
tastes than on others (``held_out``), and whether what such tastes make up of the list is nearer to
what they make up of the history (``with_histories``).

Shapes: S seeds, U users, D draws, F facts, G groups of users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from replication.claims import ByUser, Comparison, Facts, NoEvidence
from replication.compare import Floats, PairedTest, Ranks, Record, bootstrap_means, percent
from replication.figures import Interval
from replication.papers.amp_cf import tastes

DRAWS = 1000
GROUPS = ("majority", "minority", "new")
KINDS = tuple(tastes.MINORITY)
DIVERSITY = ("genre entropy", "taste distance")
HISTORY = "The history"  # as a row beside the models, whose "list" is the history itself


def share(kind: str) -> str:
    """Metric: what minority tastes make up of a list, or of the history."""
    return f"{kind}/minority"


def gap(kind: str) -> str:
    """Metric: how far that share of a user's list is from that of the history, either way."""
    return f"minority gap/{kind}"


# --- (a) does the gain grow with diversity? --------------------------------------------------


@dataclass(frozen=True)
class Growth:
    """How gains go with a fact of the users.

    Attributes:
        r, low, high: rank correlation over pairs of user and seed, 95 % interval over both.
        p: two-sided, for "no correlation", over users.
        given, given_low, given_high: the same with the length of the history held fixed.
    """

    r: float
    low: float
    high: float
    p: float
    given: float
    given_low: float
    given_high: float


def growth(gain: Floats, x: Floats, given: Floats, draws: int = DRAWS) -> Growth | None:
    """Rank correlation of users' gains with a fact of the users.

    Gains are ranked over all pairs of seed and user. That keeps every sum linear in the weights of
    users and seeds, so that the bootstrap of both is centred; ranking the means over seeds would
    give other ties, and another correlation, in every draw of seeds. Ranks are those of all pairs,
    also within a draw. The partial correlation holds the rank of ``given`` fixed.

    Args:
        gain: [S, U].
        x, given: [U], NaN for users that do not count.

    Returns:
        None if there are fewer than ten users, or nothing varies.
    """
    known = np.isfinite(x) & np.isfinite(given)
    gain, x, given = gain[:, known], x[known], given[known]
    if len(x) < 10 or np.ptp(x) == 0 or np.ptp(gain) == 0:
        return None
    g, x, given = centred_ranks(gain), centred_ranks(x), centred_ranks(given)
    of_gain = np.stack([g, g * g, g * x, g * given])  # [4, S, U]
    of_user = np.stack([x, x * x, given, given * given, x * given])[:, None]  # [5, 1, U]
    drawn = [bootstrap_means(part, draws) for part in (of_gain, of_user)]
    whole = [part.mean((1, 2))[None] for part in (of_gain, of_user)]
    plain, partial = _correlations(*whole)
    ends = [interval_ends(each) for each in _correlations(*drawn)]
    return Growth(
        float(plain[0]), ends[0][0], ends[0][1], _pvalue(x, g.mean(0)),
        float(partial[0]), ends[1][0], ends[1][1],
    )  # fmt: skip


def centred_ranks(values: Floats) -> Floats:
    """Ranks in -1/2 to 1/2, in the shape of the values; equal values share a rank."""
    return stats.rankdata(values).reshape(values.shape) / values.size - 0.5


def _correlations(of_gain: Floats, of_user: Floats) -> tuple[Floats, Floats]:
    """[D] correlation of gain and fact, and the same with a third held fixed, from moments.

    Args:
        of_gain: [D, 4] means of g, g², g x, g h.
        of_user: [D, 5] means of x, x², h, h², x h.
    """
    g, gg, gx, gh = of_gain.T
    x, xx, h, hh, xh = of_user.T
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw in which nothing varies
        plain = (gx - g * x) / np.sqrt((gg - g * g) * (xx - x * x))
        first = (gh - g * h) / np.sqrt((gg - g * g) * (hh - h * h))
        second = (xh - x * h) / np.sqrt((xx - x * x) * (hh - h * h))
        partial = (plain - first * second) / np.sqrt((1 - first**2) * (1 - second**2))
    # Where the two facts are one, nothing is left to correlate.
    return plain, np.where(np.abs(second) > 1 - 1e-9, np.nan, partial)


def _pvalue(x: Floats, mean: Floats) -> float:
    """Two-sided, for "no correlation" of a fact [U] and the users' mean rank of gain [U]."""
    return float(stats.pearsonr(x, mean).pvalue)


# --- (b) is the gain larger on items of minority tastes? --------------------------------------


def group_draws(gain: Floats, groups: np.ndarray, draws: int = DRAWS) -> tuple[Floats, Floats]:
    """Mean gain of groups of users, [G], and resampled, [D, G].

    Users and seeds are drawn over all users, so that a group's size varies as it would.

    Args:
        gain: [S, U].
        groups: [G, U] bool.
    """
    weight = groups[:, None].astype(np.float64)  # [G, 1, U]
    both = np.concatenate([weight * gain, np.broadcast_to(weight, (len(groups), *gain.shape))])
    drawn = bootstrap_means(both, draws)  # [D, 2 G]
    total, size = drawn[:, : len(groups)], drawn[:, len(groups) :]
    means = (weight * gain).sum((1, 2)) / np.maximum(weight.sum((1, 2)) * len(gain), 1)
    resampled = np.divide(total, size, out=np.full_like(total, np.nan), where=size > 0)
    return np.where(groups.any(1), means, np.nan), resampled


def interval_ends(draws: Floats) -> tuple[float, float]:
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def held_out_groups(share: Floats, limit: float) -> np.ndarray:
    """[3, U] bool: is the test item of a majority, a minority or a new taste? NaN is in none."""
    return np.stack([share >= limit, (share > 0) & (share < limit), share == 0])


@dataclass(frozen=True)
class Held:
    """The gain by what the test item's taste is to the user.

    Attributes:
        sizes: users by ``GROUPS``.
        gains: by ``GROUPS``.
        difference: minority minus majority.
        matched: the same at equal popularity of the test item.
        p: of the difference, two-sided, over users (Welch's t).
    """

    sizes: tuple[int, ...]
    gains: tuple[Interval, ...]
    difference: Interval
    matched: Interval
    p: float


def held_out(
    gain: Floats, share: Floats, popularity: Floats, limit: float, draws: int = DRAWS
) -> Held | None:
    """The gain on test items of minority against majority tastes; None if a group is empty.

    An item of a rare taste is often a rare item. ``matched`` compares within fifths of popularity,
    weighted by the minority's users; a fifth that lacks one of the two is left out.

    Args:
        gain: [S, U].
        share: [U] what the test item's taste makes up of the history.
        popularity: [U] of the test item.
        limit: the share below which a taste is a minority.
    """
    groups = held_out_groups(share, limit)
    if min(groups[0].sum(), groups[1].sum()) < 2:
        return None
    means, drawn = group_draws(gain, groups, draws)
    by_user = gain.mean(0)
    test = stats.ttest_ind(by_user[groups[1]], by_user[groups[0]], equal_var=False)
    fifth = _fifths(popularity)  # [5, U]
    strata = np.concatenate([fifth & groups[1], fifth & groups[0]])
    each, drawn_each = group_draws(gain, strata, draws)
    size = strata[:5].sum(1) * strata[5:].any(1)  # users of the minority, by fifth

    def over(values: Floats) -> Floats:
        difference = np.where(size > 0, values[..., :5] - values[..., 5:], 0.0)
        weight = np.where(np.isfinite(difference), size, 0)  # a fifth that a draw left empty
        return (np.nan_to_num(difference) * weight).sum(-1) / np.maximum(weight.sum(-1), 1)

    return Held(
        tuple(int(n) for n in groups.sum(1)),
        tuple(Interval(float(m), *interval_ends(d)) for m, d in zip(means, drawn.T, strict=True)),
        Interval(float(means[1] - means[0]), *interval_ends(drawn[:, 1] - drawn[:, 0])),
        Interval(float(over(each)), *interval_ends(over(drawn_each))),
        float(test.pvalue) if np.isfinite(test.pvalue) else 1.0,
    )


def _fifths(x: Floats) -> np.ndarray:
    share = (stats.rankdata(x) - 0.5) / len(x)
    return np.stack([(share >= q / 5) & (share < (q + 1) / 5) for q in range(5)])


# --- (c) is the list nearer to the history? --------------------------------------------------


def with_histories(
    table: str,
    records: Iterable[Record],
    values: Ranks,
    of_users: Iterable[Record],
    facts: Ranks,
) -> tuple[list[Record], dict[str, Any]]:
    """The records of lists with ``gap`` beside ``share``, and the histories as a row of their own.

    The distance is taken user by user, |list - history|: a share above the history's is as far
    from it as one below, which the share by itself does not say.

    Args:
        table: of the lists.
        records, values: of the lists, as from a store.
        of_users, facts: records of ``amp_cf/users`` and their values.

    Returns:
        All records, and the values of each by name.
    """
    histories: dict[tuple[Any, ...], Mapping[str, np.ndarray]] = {}
    rows: list[Record] = []
    found: dict[str, Any] = {}
    for record in of_users:
        known = facts.get(str(record["key"]))
        if isinstance(known, Mapping):
            histories[_place(record)] = known
            rows.append({**record, "table": table, "row": HISTORY})
            found[str(record["key"])] = known
    for record in records:
        rows.append(record)
        own, history = values.get(str(record["key"])), histories.get(_place(record), {})
        if not isinstance(own, Mapping):
            continue
        distances = {
            gap(kind): np.abs(_float(own[share(kind)]) - _float(history[share(kind)]))
            for kind in KINDS
            if share(kind) in own and share(kind) in history
        }
        found[str(record["key"])] = {**own, **distances}
    return rows, found


def _place(record: Record) -> tuple[Any, ...]:
    return record["dataset"], record["protocol"], record.get("data_hash")


def _float(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)


def facts_by_data(of_users: Iterable[Record], values: Ranks) -> Facts:
    """The values of ``amp_cf/users`` by data set, protocol and version of the data.

    With them, as single numbers, what the largest taste makes up of all histories.
    """
    return {
        (record["dataset"], record["protocol"], str(record.get("data_hash"))): with_largest(
            record, known
        )
        for record in of_users
        if isinstance(known := values.get(str(record["key"])), Mapping)
    }


def with_largest(record: Record, known: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a record of ``amp_cf/users``, and what the largest taste of each kind makes up.

    NaN for a kind that the data set has not.
    """
    return {
        **known,
        **{f"{k}/largest": record["metrics"].get(f"{k}/largest", np.nan) for k in KINDS},
    }


# --- where a minority can be told ------------------------------------------------------------

LARGEST = 0.5  # of all interactions: what the largest cluster may make up


def untold(known: Mapping[str, Any], kind: str) -> str:
    """Why minority tastes cannot be told on a data set; "" where they can.

    Two rules, both about the data alone. A kind of taste of which one makes up more than half of
    all interactions does not divide tastes. And a share below the limit needs a history of more
    than 1 / limit items: where the median user has fewer, most users cannot have a minority.

    Args:
        known: facts of the users as from ``facts_by_data``; without any, nothing is said.
        kind: of taste.
    """
    if "history length" not in known:
        return ""
    largest = float(known[f"{kind}/largest"])
    needed = 1 / tastes.MINORITY[kind]
    lengths = _float(known["history length"])
    able = float((lengths > needed).mean())
    reasons = []
    if largest > LARGEST:
        reasons.append(
            f"one {kind} makes up {percent(largest, 0)} of all interactions (more than "
            f"{percent(LARGEST, 0)})"
        )
    if able < 0.5:
        reasons.append(
            f"only {percent(able, 0)} of the users have more than {needed:.0f} items, without "
            f"which no {kind} can be below {percent(tastes.MINORITY[kind], 0)} of a history"
        )
    held = known.get(f"{kind}/held-out")
    if reasons and held is not None:
        _, minority, _ = held_out_groups(_float(held), tastes.MINORITY[kind])
        number = int(np.isfinite(_float(held)).sum())
        reasons.append(f"{int(minority.sum()):,} of {number:,} test items are of a minority taste")
    return "; ".join(reasons)


# --- as questions for a claim ----------------------------------------------------------------


def _growth_test(gain: Floats, facts: Floats, draws: int) -> PairedTest:
    """Rank correlation of the gain [S, U] with diversity; facts [2, U]: it, history length."""
    found = growth(gain, facts[0], facts[1], draws)
    if found is None:
        raise NoEvidence("too little data: fewer than ten users, or nothing varies")
    return PairedTest(found.r, found.low, found.high, found.p, found.p, *gain.shape)


def _held_out_test(gain: Floats, facts: Floats, draws: int, limit: float) -> PairedTest:
    """Gain [S, U] on minority minus majority items; facts [2, U]: share, popularity."""
    found = held_out(gain, facts[0], facts[1], limit, draws)
    if found is None:
        raise NoEvidence("too little data: fewer than two test items of a minority taste")
    gain_gap = found.difference
    low, high = float(gain_gap.low or 0.0), float(gain_gap.high or 0.0)
    return PairedTest(gain_gap.mean, low, high, found.p, found.p, *gain.shape)


_ON_MINORITY = {kind: partial(_held_out_test, limit=tastes.MINORITY[kind]) for kind in KINDS}


def grows(comparison: Comparison, diversity: str) -> ByUser:
    """Does the gain grow with a measure of ``DIVERSITY``?"""
    return ByUser(
        comparison,
        (diversity, "history length"),
        _growth_test,
        f"rank correlation with {diversity} of",
        "the gain falls with it",
    )


def on_minority(comparison: Comparison, kind: str) -> ByUser:
    """Is the gain larger on test items of a minority taste than of a majority taste?"""
    return ByUser(
        comparison,
        (f"{kind}/held-out", "held-out/popularity"),
        _ON_MINORITY[kind],
        f"on test items of a minority less those of a majority {kind},",
        "the gain is smaller there",
    )


def is_correlation(question: ByUser) -> bool:
    """Whether the statistic is a correlation, and not a difference in the metric."""
    return question.statistic is _growth_test
