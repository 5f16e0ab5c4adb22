"""Measured beside published: means, intervals, paired tests and the rows of a table.

Everything here is a pure function of three things: the records of the runs, the per-user ranks
that lie beside them, and the grid of cells that a table consists of. Shapes: S seeds, U users,
D bootstrap draws.

Two things vary when a run is repeated: the seed and, if the study is to speak about more than the
users it happens to have, the users. Every interval and every test here counts both.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from replication.errors import ReplicationError
from replication.metrics.ranking import NO_RANK, hit_rate, ndcg

Record = Mapping[str, Any]
Floats = NDArray[np.float64]
# key of a record -> (ranks among the sampled candidates, ranks in the full catalogue), uint16 [U]
# key of a record -> (ranks, full-catalogue ranks), or each metric's values
Ranks = Mapping[str, tuple[np.ndarray, np.ndarray | None] | Mapping[str, np.ndarray]]

METRICS = ("HR@10", "NDCG@10", "HR@10/full", "NDCG@10/full")
KEYS = (
    "table",
    "row",
    "dataset",
    "metric",
    "protocol",
    "select",
    "published",
    "mean",
    "sd",
    "n",
    "ci_low",
    "ci_high",
    "status",
)
PUBLISHED_COLUMNS = ("table", "row", "dataset", "metric", "value", "std", "page", "note")
FORMATS = ("md", "json", "csv", "html")

_METRIC = re.compile(r"(HR|NDCG)@(\d+)(/full)?")
_FOLDS = re.compile(r"kfold-(\d+)")
_NOT_SETTINGS = ("seed", "device")  # what may differ between the seeds of one cell
_BLOCK = 2_000_000  # elements of a block of bootstrap weights: 16 MB as float64


@dataclass(frozen=True)
class Cell:
    """One cell of a table's grid: one model on one data set under one protocol.

    Attributes:
        table: for instance "amp_cf/table2".
        row: the name as the paper prints it, or the study's own ("MostPop", "MF (r=1)").
        dataset, protocol: their ids.
        select: what chose the epoch: "validation", "validation-no-refit", "test" or "none".
        variant: "" for the cell itself, else the name of a departure from it.
        seeds_required: number of seeds (0 to seeds_required - 1) that make the cell complete.
        unavailable: why the cell can never be filled here (data that cannot be had), or None.
        pending: why it is not filled yet, or None.
        repeats: what the numbers 0 to seeds_required - 1 count: "seeds", or "folds" of one
            cross-validation, whose results depend on each other.
    """

    table: str
    row: str
    dataset: str
    protocol: str
    select: str
    variant: str = ""
    seeds_required: int = 5
    unavailable: str | None = None
    pending: str | None = None
    repeats: str = "seeds"


@dataclass(frozen=True)
class PairedTest:
    """Result of `paired_test`: a minus b, with its 95 % interval unless asked otherwise.

    `pvalue` takes the seeds as given; `pvalue_crossed` counts users and seeds as random.
    """

    difference: float
    ci_low: float
    ci_high: float
    pvalue: float
    pvalue_crossed: float
    n_seeds: int
    n_users: int


# ---------------------------------------------------------------------------------------------
# Published numbers
# ---------------------------------------------------------------------------------------------


def load_published(paper: str) -> pd.DataFrame:
    """The numbers that a paper prints, from `replication/papers/<paper>/published.csv`.

    Returns:
        A frame with the columns table, row, dataset, metric (str), value (float), std (float,
        missing where the paper prints none), page and note (str, "" where there is none).

    Raises:
        ReplicationError: no such file, a missing column, a value that is no number, or two lines
            for the same number.
    """
    path = Path(__file__).parent / "papers" / paper / "published.csv"
    if not path.is_file():
        raise ReplicationError(
            f"no published numbers for paper {paper!r}: expected {path.name} in {path.parent}"
        )
    return read_published(path)


def read_published(path: Path) -> pd.DataFrame:
    """Read and check one file of published numbers; see `load_published`."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in PUBLISHED_COLUMNS if name not in frame.columns]
    if missing:
        raise ReplicationError(
            f"{path}: expected the columns {', '.join(PUBLISHED_COLUMNS)}; "
            f"{', '.join(missing)} is missing"
        )
    frame = frame[list(PUBLISHED_COLUMNS)].copy()
    for column in ("value", "std"):
        try:
            frame[column] = [float(text) if text else np.nan for text in frame[column]]
        except ValueError as error:
            raise ReplicationError(f"{path}: column {column} holds no number: {error}") from None
    if not np.isfinite(frame["value"]).all():
        line = int(np.flatnonzero(~np.isfinite(frame["value"]))[0]) + 2
        raise ReplicationError(f"{path}, line {line}: expected a finite value, found none")
    twice = frame.duplicated(["table", "row", "dataset", "metric"])
    if twice.any():
        line = int(np.flatnonzero(twice)[0]) + 2
        raise ReplicationError(f"{path}, line {line}: this number stands there twice")
    return frame


def published_values(published: pd.DataFrame) -> dict[tuple[str, str, str, str], float]:
    """Look-up (table, row, dataset, metric) -> printed value; table without the paper's name."""
    columns = (published[name] for name in ("table", "row", "dataset", "metric", "value"))
    return {(t, r, d, m): float(v) for t, r, d, m, v in zip(*columns, strict=True)}


# ---------------------------------------------------------------------------------------------
# Per-user values, intervals, tests
# ---------------------------------------------------------------------------------------------


def hit_and_ndcg(ranks: ArrayLike, k: int) -> tuple[Floats, Floats]:
    """HR@k and NDCG@k of every user.

    Args:
        ranks: [..., U] 0-based rank of the held-out item; 65535 where the user has none.
        k: length of the recommendation list, at least 1.

    Returns:
        Two arrays of the shape of `ranks`; NaN for users without a held-out item.
    """
    if k < 1:
        raise ReplicationError(f"k must be at least 1, found {k}")
    ranks = np.asarray(ranks)
    has_item = ranks != NO_RANK  # [..., U]
    return (
        np.where(has_item, hit_rate(ranks, k), np.nan),
        np.where(has_item, ndcg(ranks, k), np.nan),
    )


def has_value(values: np.ndarray) -> NDArray[np.bool_]:
    """Which users have a rank, or a value, in an array of ranks or of floats of any shape."""
    return ~np.isnan(values) if np.issubdtype(values.dtype, np.floating) else values != NO_RANK


def per_user_values(arrays: Sequence[ArrayLike], metric: str) -> Floats:
    """One metric of several seeds, one column a user that has a value.

    Args:
        arrays: S arrays [U] of 0-based ranks, 65535 where the user has no held-out item; or of the
            metric itself (floats), NaN where the user has none.
        metric: "HR@k" or "NDCG@k", with or without "/full", for ranks.

    Returns:
        [S, U'] where U' counts the users with a value.

    Raises:
        ReplicationError: a metric that ranks cannot give; seeds with different users.
    """
    by_seed = [np.asarray(array) for array in arrays]
    if len({array.shape for array in by_seed}) != 1:
        raise ReplicationError(
            "the seeds of one cell must rank the same users; found "
            + " and ".join(str(n) for n in sorted({array.size for array in by_seed}))
        )
    stacked = np.stack(by_seed)  # [S, U]
    ready = np.issubdtype(stacked.dtype, np.floating)
    match = _METRIC.fullmatch(metric)
    if match is None and not ready:
        raise ReplicationError(f"expected a metric such as HR@10 or NDCG@10/full, found {metric!r}")
    has_item = has_value(stacked)
    if (has_item != has_item[0]).any():
        raise ReplicationError(
            "the seeds of one cell must hold out an item for the same users; they do not"
        )
    if match is None or ready:
        return stacked[:, has_item[0]].astype(np.float64)
    hit, gain = hit_and_ndcg(stacked[:, has_item[0]], int(match[2]))
    return hit if match[1] == "HR" else gain


@lru_cache(maxsize=3)
def _user_weights(users: int, draws: int, seed: int) -> NDArray[np.uint8]:
    """[D, U] how often each user is drawn when U users are drawn with replacement (multinomial).

    Kept for the next metric and model of the same data set: one byte a weight (a weight above 255
    would need one user to be drawn 256 times).
    """
    rng = np.random.default_rng([seed, 1])
    weights = np.empty((draws, users), dtype=np.uint8)
    for block in _blocks(draws, users):
        size = block.stop - block.start
        picks = rng.integers(users, size=(size, users), dtype=np.int64)
        picks += users * np.arange(size)[:, None]
        weights[block] = np.bincount(picks.ravel(), minlength=size * users).reshape(size, users)
    weights.setflags(write=False)
    return weights


def _blocks(draws: int, users: int) -> list[slice]:
    """Slices over the draws, so that a block of weights has about `_BLOCK` elements."""
    step = max(1, _BLOCK // users)
    return [slice(start, min(start + step, draws)) for start in range(0, draws, step)]


def bootstrap_means(values: ArrayLike, draws: int = 2000, seed: int = 0) -> Floats:
    """Means of resampled tables of values, users and seeds drawn together.

    Every draw takes S seeds and U users with replacement and averages the values where they cross
    (the "pigeonhole" bootstrap of Owen 2007: never too narrow for crossed random effects, but for
    the usual (S - 1) / S of a bootstrap over few seeds). The weights do not depend on the values,
    so that all metrics and models of a data set are resampled alike.

    Args:
        values: [..., S, U] finite.

    Returns:
        [D, ...] the resampled means.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 2 or 0 in values.shape:
        raise ReplicationError(
            f"the bootstrap needs values of at least one seed and one user, found {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ReplicationError("the bootstrap needs finite values; leave out users without an item")
    *lead, n_seeds, n_users = values.shape
    flat = values.reshape(-1, n_users)  # [M * S, U]
    rng = np.random.default_rng([seed, 0])
    seed_weights = rng.multinomial(n_seeds, np.full(n_seeds, 1.0 / n_seeds), size=draws)  # [D, S]
    user_weights = _user_weights(n_users, draws, seed)  # [D, U]
    means = np.empty((draws, flat.shape[0] // n_seeds))  # [D, M]
    for block in _blocks(draws, n_users):
        by_seed = user_weights[block].astype(np.float64) @ flat.T / n_users  # [B, M * S]
        by_seed = by_seed.reshape(by_seed.shape[0], -1, n_seeds)  # [B, M, S]
        means[block] = (by_seed * seed_weights[block, None, :]).sum(-1) / n_seeds
    return means.reshape(draws, *lead)


def bootstrap_interval(
    per_user: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, users and seeds resampled together.

    Args:
        per_user: [S, U] one value a seed and user, finite.
        level: coverage, in (0, 1).
        draws: number of resampled tables.
        seed: of the bootstrap itself; the same seed gives the same interval.

    Returns:
        Lower and upper end.
    """
    per_user = np.asarray(per_user, dtype=np.float64)
    if per_user.ndim != 2:
        raise ReplicationError(f"expected values of shape [seeds, users], found {per_user.shape}")
    low, high = _percentiles(bootstrap_means(per_user, draws, seed), level)
    return float(low), float(high)


def _percentiles(means: Floats, level: float) -> Floats:
    """[2, ...] the two ends of the percentile interval over the draws (first axis)."""
    if not 0.0 < level < 1.0:
        raise ReplicationError(f"the level of an interval lies between 0 and 1, found {level}")
    return np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)


def user_standard_error(per_user: ArrayLike) -> float:
    """Standard error of the mean over users, each user's values averaged over the seeds first.

    per_user: [S, U] with at least two users.
    """
    by_user = np.asarray(per_user, dtype=np.float64).mean(axis=0)  # [U]
    if by_user.size < 2:
        raise ReplicationError(f"a standard error needs at least two users, found {by_user.size}")
    return float(by_user.std(ddof=1) / np.sqrt(by_user.size))


def paired_test(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> PairedTest:
    """Compare two models on the same users and seeds.

    The difference is the mean over users and seeds of a - b; its interval is the bootstrap of
    `bootstrap_interval` on the differences.

    `pvalue` is two-sided, for "the mean difference is zero": Student's t over users, each user
    averaged over the seeds first. It tests the mean, which is what the tables print; a Wilcoxon
    test would drop the many users whose hit or miss does not change and is about a median, and at
    hundreds of users the mean is close enough to normal that a sign-flip test gives the same p.

    It takes the seeds as given, and a lucky set of seeds moves all users together. So a difference
    counts as established only if the interval, which counts the seeds too, also excludes zero.
    `pvalue_crossed` is the p-value that takes both as random: the squared standard errors over
    users and over seeds are added and t gets Satterthwaite's degrees of freedom (min F', Clark
    1973). With three to five seeds it has so few degrees of freedom that hardly any difference
    survives a correction for many comparisons; it is given for single comparisons.

    Args:
        a, b: [S, U], row s of both with seed s, column u of both the same user. A model that has
            no seed (MostPop) may have one row, which is then compared with every seed.

    Raises:
        ReplicationError: shapes that do not fit, fewer than two users, values that are not finite.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ReplicationError(
            f"a paired test needs two tables [seeds, users] of the same users, found {a.shape} "
            f"and {b.shape}"
        )
    if a.shape[0] != b.shape[0] and 1 not in (a.shape[0], b.shape[0]):
        raise ReplicationError(
            f"a paired test needs the same seeds on both sides, found {a.shape[0]} and {b.shape[0]}"
        )
    delta = a - b  # [S, U]
    n_seeds, n_users = delta.shape
    if n_users < 2:
        raise ReplicationError(f"a paired test needs at least two users, found {n_users}")
    low, high = bootstrap_interval(delta, level, draws, seed)
    difference = float(delta.mean())
    over_users = float(delta.mean(axis=0).var(ddof=1)) / n_users
    over_seeds = float(delta.mean(axis=1).var(ddof=1)) / n_seeds if n_seeds > 1 else 0.0
    variance = over_users + over_seeds
    free = n_users - 1.0
    if n_seeds > 1 and variance > 0.0:
        free = variance**2 / (over_users**2 / (n_users - 1) + over_seeds**2 / (n_seeds - 1))
    return PairedTest(
        difference=difference,
        ci_low=low,
        ci_high=high,
        pvalue=_two_sided(difference, over_users, n_users - 1.0),
        pvalue_crossed=_two_sided(difference, variance, free),
        n_seeds=n_seeds,
        n_users=n_users,
    )


def _two_sided(difference: float, variance: float, free: float) -> float:
    """p-value of Student's t; without any variance 0 for a difference and 1 for none."""
    if variance <= 0.0:
        return 1.0 if difference == 0.0 else 0.0
    return float(2.0 * stats.t.sf(abs(difference) / np.sqrt(variance), free))


def fixed_test(
    first: ArrayLike, second: ArrayLike, users: ArrayLike, squared: bool, level: float = 0.95
) -> PairedTest:
    """Compare two models on one fixed test set, whose users are a sample of users.

    What was trained is taken as given: it speaks of these two models and of this test set, not of
    other folds or seeds. A user's ratings stay together. The RMSE is no mean over users, so that
    the spread of a difference of two is that of its linear part (delta method): rating n of model
    a adds (e_an^2 - MSE_a) / (2 RMSE_a).

    Args:
        first, second: [n] errors, predicted minus rated, of models a and b on the same ratings.
        users: [n] who rated.
        squared: the difference of the RMSEs, a minus b; else of the MAEs.
        level: coverage of the interval.

    Returns:
        Its p-value is Student's with as many degrees of freedom as users less one; one seed.

    Raises:
        ReplicationError: other lengths, fewer than two users, or an error that is not finite.
    """
    people, owner = np.unique(np.asarray(users), return_inverse=True)
    n_users, n = len(people), len(owner)
    found = [np.asarray(error, dtype=np.float64) for error in (first, second)]
    if any(e.shape != (n,) or not np.isfinite(e).all() for e in found) or n_users < 2:
        shapes = " and ".join(str(e.shape) for e in found)
        raise ReplicationError(
            "a test on one test set needs finite errors of two models on the same ratings of two "
            f"users or more, found {shapes} on {n} ratings of {n_users} users"
        )
    errors = np.stack(found)  # [2, n]
    losses = errors**2 if squared else np.abs(errors)
    means = losses.mean(1)  # [2]
    slope = np.ones(2)
    if squared:
        means, slope = np.sqrt(means), 0.5 / np.maximum(np.sqrt(means), 1e-12)
    parts = slope[:, None] * (losses - losses.mean(1, keepdims=True))  # [2, n]
    by_user = np.bincount(owner, parts[0] - parts[1], n_users)
    variance = float((by_user**2).sum()) / n**2 * n_users / (n_users - 1.0)
    difference, free = float(means[0] - means[1]), n_users - 1.0
    half = float(stats.t.ppf((1.0 + level) / 2.0, free) * np.sqrt(variance))
    p = _two_sided(difference, variance, free)
    return PairedTest(difference, difference - half, difference + half, p, p, 1, n_users)


@dataclass(frozen=True)
class FoldTest:
    """Result of `fold_test`: mean difference over the folds, its 95 % interval, the p-value."""

    difference: float
    ci_low: float
    ci_high: float
    pvalue: float
    n_folds: int


def fold_test(
    differences: ArrayLike,
    level: float = 0.95,
    n_splits: int | None = None,
    share: float | None = None,
) -> FoldTest:
    """Compare two models over the folds of one cross-validation.

    The training sets of the folds overlap, so that their results are not independent and the
    plain paired t-test finds differences that are not there. Nadeau and Bengio (2003, Section 4)
    put 1/J + n_test/n_train in the place of 1/J in the variance of the mean over J folds.

    n_train counts the ratings that a model learns from. In K-fold cross-validation these are all
    other folds, and n_test/n_train is 1/(K - 1); where a part of them is held back to choose the
    epoch it is more: with five folds and a tenth held back 0.2/0.72, not 0.2/0.8.

    Args:
        differences: [J] one a fold: a minus b.
        level: coverage of the interval.
        n_splits: K, in how many folds the data were cut; None: all of them are here, K = J.
        share: n_test/n_train as counted (``overlap_share``); None: 1/(K - 1).

    Raises:
        ReplicationError: fewer than two folds, more folds than there are, or a value that is not
            finite.
    """
    delta = np.asarray(differences, dtype=np.float64)
    if delta.ndim != 1 or delta.size < 2 or not np.isfinite(delta).all():
        raise ReplicationError("a test over folds needs finite differences of two folds or more")
    if not 0.0 < level < 1.0:
        raise ReplicationError(f"the level of an interval lies between 0 and 1, found {level}")
    n = delta.size
    if n_splits is not None and n_splits < n:
        raise ReplicationError(f"{n} folds of a cross-validation that has {n_splits}")
    ratio = 1.0 / ((n_splits or n) - 1) if share is None else share
    variance = float(delta.var(ddof=1)) * (1.0 / n + ratio)
    mean, free = float(delta.mean()), n - 1.0
    half = float(stats.t.ppf((1.0 + level) / 2.0, free) * np.sqrt(variance))
    return FoldTest(mean, mean - half, mean + half, _two_sided(mean, variance, free), n)


def overlap_share(records: Iterable[Record]) -> float | None:
    """n_test/n_train of runs on folds, by the counts in their records; None where none has any.

    The largest: where two models that are compared learn from different numbers of ratings, the
    one with fewer decides.
    """
    counts = [record["ratings"] for record in records if "ratings" in record]
    return max((n["test"] / n["train"] for n in counts), default=None)


def n_splits(protocol: str) -> int | None:
    """In how many folds a protocol such as "kfold-10" cuts the data; None for one without folds."""
    match = _FOLDS.match(protocol)
    return int(match[1]) if match else None


def holm(pvalues: ArrayLike) -> Floats:
    """Holm's (1979) step-down adjusted p-values, in the order given; controls false alarms.

    The i-th smallest of m p-values is multiplied by m - i + 1; the result never falls from one to
    the next and is at most 1.
    """
    p = np.asarray(pvalues, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise ReplicationError("Holm's correction needs a list of p-values between 0 and 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    steps = p[order] * np.arange(p.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


# ---------------------------------------------------------------------------------------------
# Records -> rows
# ---------------------------------------------------------------------------------------------


def settings(record: Record) -> str:
    """What must agree between the seeds of one cell: configuration and data, as one string."""
    config = {k: v for k, v in record.get("config", {}).items() if k not in _NOT_SETTINGS}
    return json.dumps([config, record.get("data_hash")], sort_keys=True, default=str)


def cells(grid: Iterable[Cell], records: Iterable[Record]) -> list[tuple[Cell, dict[int, Record]]]:
    """The runs that fill each cell of a grid.

    Of several records of one cell and seed the newest counts. A mean never mixes two
    configurations or two versions of the data: where the newest record of a cell was made with
    other settings than older ones, the older ones do not count. A run that failed has no numbers
    and fills nothing.

    Returns:
        In the order of the grid: the cell and its records by seed (ascending, all below
        `seeds_required`).
    """
    by_cell: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        by_cell.setdefault(_place(record), []).append(record)
    filled = []
    for cell in grid:
        place = (cell.table, cell.row, cell.dataset, cell.protocol, cell.select, cell.variant)
        runs = [r for r in by_cell.get(place, []) if 0 <= int(r["seed"]) < cell.seeds_required]
        runs.sort(key=lambda r: str(r.get("time", "")))  # stable: of equals the last line counts
        current = [r for r in runs if settings(r) == settings(runs[-1])]
        newest = {int(r["seed"]): r for r in current}
        newest = {seed: r for seed, r in newest.items() if "failed" not in r}
        filled.append((cell, dict(sorted(newest.items()))))
    return filled


def _place(record: Record) -> tuple[str, ...]:
    names = ("table", "row", "dataset", "protocol", "select")
    return (*(str(record[name]) for name in names), str(record.get("variant", "")))


def rows(
    grid: Iterable[Cell],
    records: Iterable[Record],
    ranks: Ranks,
    published: pd.DataFrame,
    metrics: Sequence[str] = METRICS,
    variant: str = "",
) -> list[dict[str, Any]]:
    """The rows of a table: one object per cell and metric, with exactly the keys `KEYS`.

    Args:
        grid: the cells of the table; only those of `variant` are reported.
        records: run records, in any order, also of other cells.
        ranks: key -> (ranks among sampled candidates, full-catalogue ranks).
        published: as from `load_published`. Its values stand beside every protocol of the same
            table, row, data set and metric; full-catalogue metrics are printed nowhere.
        metrics: the metrics to report, in this order.
        variant: "" for the table itself.

    Returns:
        Plain Python values. What is missing is None, never NaN: `sd` (ddof 1) for n < 2, and the
        interval (95 %, users and seeds) for n < 2 unless the cell requires one seed only, or where
        a run has no ranks. Over folds
        the interval is that of `fold_test`.
        `status` is "complete", "partial: 3 of 5 seeds", "pending: why" or "unavailable: why".

    Raises:
        ReplicationError: the stored ranks of a run do not give the metric in its record.
    """
    printed = published_values(published)
    table = []
    for cell, runs in cells((c for c in grid if c.variant == variant), records):
        by_metric = {metric: _finite(runs, metric) for metric in metrics}
        if cell.repeats == "folds":
            intervals = _fold_intervals(cell, by_metric)
        else:
            intervals = _intervals(cell, by_metric, ranks)
        for metric in metrics:
            values = [value for _, value in by_metric[metric]]
            n = len(values)
            low, high = intervals.get(metric, (None, None))
            where = (cell.table.split("/")[-1], cell.row, cell.dataset, metric)
            row = {
                "table": cell.table,
                "row": cell.row,
                "dataset": cell.dataset,
                "metric": metric,
                "protocol": cell.protocol,
                "select": cell.select,
                "published": printed.get(where),
                "mean": float(np.mean(values)) if n else None,
                "sd": float(np.std(values, ddof=1)) if n > 1 else None,
                "n": n,
                "ci_low": low,
                "ci_high": high,
                "status": _status(cell, n, len(runs)),
            }
            table.append(row)
    return table


def _finite(runs: Mapping[int, Record], metric: str) -> list[tuple[Record, float]]:
    """(record, value) of the runs that have a finite value of a metric, by seed."""
    pairs = ((run, run.get("metrics", {}).get(metric)) for run in runs.values())
    return [(run, float(v)) for run, v in pairs if v is not None and np.isfinite(v)]


def _intervals(
    cell: Cell, by_metric: Mapping[str, list[tuple[Record, float]]], ranks: Ranks
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the metrics that have at least two seeds with ranks.

    Of a model that draws nothing one run is all there can be: its interval is over users alone.
    """
    found: dict[str, tuple[float, float]] = {}
    for metric, pairs in by_metric.items():
        arrays = [ranks_of(run, ranks, metric) for run, _ in pairs]
        known = [array for array in arrays if array is not None]
        if len(known) < min(cell.seeds_required, 2) or len(known) < len(arrays) or not known:
            continue
        values = per_user_values(known, metric)  # [S, U]
        gap = np.abs(values.mean(axis=1) - [value for _, value in pairs])
        if gap.max() > 1e-4:
            run = pairs[int(gap.argmax())][0]
            raise ReplicationError(
                f"record {run.get('key')} ({cell.row}, {cell.dataset}, seed {run.get('seed')}) "
                f"has {metric} = {run['metrics'][metric]:.4f}, but its stored ranks give "
                f"{values[int(gap.argmax())].mean():.4f}; run it again"
            )
        found[metric] = bootstrap_interval(values)
    return found


def _fold_intervals(
    cell: Cell, by_metric: Mapping[str, list[tuple[Record, float]]]
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the means over the folds, for two folds or more (see `fold_test`)."""
    splits = n_splits(cell.protocol)
    tests = {
        metric: fold_test(
            [v for _, v in pairs], n_splits=splits, share=overlap_share(run for run, _ in pairs)
        )
        for metric, pairs in by_metric.items()
        if pairs[1:]
    }
    return {metric: (test.ci_low, test.ci_high) for metric, test in tests.items()}


def ranks_of(record: Record, ranks: Ranks, metric: str) -> np.ndarray | None:
    """What lies behind one metric of one record: ranks or values [U]; None where there are none."""
    known = ranks.get(str(record.get("key")))
    if isinstance(known, Mapping):
        return known.get(metric)
    if known is None or _METRIC.fullmatch(metric) is None:
        return None
    sampled, full = known
    return full if metric.endswith("/full") else sampled


def _status(cell: Cell, n: int, runs: int) -> str:
    """``n``: runs that have the metric, of all ``runs`` of the cell."""
    if runs >= cell.seeds_required and not n:
        return "unavailable: the runs of this cell do not measure it"
    if n >= cell.seeds_required:
        return "complete"
    if n:
        return f"partial: {n} of {cell.seeds_required} {cell.repeats}"
    if cell.unavailable:
        return f"unavailable: {cell.unavailable}"
    return f"pending: {cell.pending or 'no run of this cell is recorded yet'}"


# ---------------------------------------------------------------------------------------------
# Rows -> text
# ---------------------------------------------------------------------------------------------


def render(table: Sequence[Mapping[str, Any]], format: str = "md") -> str:
    """Rows as text.

    Args:
        table: rows as from `rows`.
        format: "json" and "csv" hold exactly the keys of the rows (empty in CSV for what is
            missing); "md" and "html" are for people: rounded, with the difference (measured minus
            published) and the intervals.

    Raises:
        ReplicationError: an unknown format.
    """
    if format == "json":
        return json.dumps([dict(row) for row in table], indent=1, allow_nan=False) + "\n"
    if format == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=KEYS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        return text.getvalue()
    if format == "md":
        return _markdown(table)
    if format == "html":
        return _html(table)
    raise ReplicationError(f"unknown format {format!r}; choose one of {', '.join(FORMATS)}")


_HEADS = (
    "row",
    "metric",
    "published",
    "measured",
    "sd",
    "95 % interval",
    "difference",
    "n",
    "selected on",
    "status",
)
_RIGHT = {"published", "measured", "sd", "n"}
_NONE = "–"


def number(value: float | None, signed: bool = False) -> str:
    """Four digits after the point; a dash for None; never a negative zero."""
    if value is None:
        return _NONE
    rounded = round(float(value), 4) + 0.0
    return f"{rounded:+.4f}" if signed else f"{rounded:.4f}"


def percent(share: float, digits: int = 1) -> str:
    """A share as the book writes it: "2.5 %"."""
    return f"{100 * share:.{digits}f} %"


def least_to_most(values: Iterable[float], signed: bool = True) -> str:
    """ "+0.1000 to +0.2000", or the one number where both look alike."""
    found = list(values)
    return " to ".join(dict.fromkeys(number(end, signed) for end in (min(found), max(found))))


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """ "[0.1000, 0.2000]", or a dash."""
    if low is None or high is None:
        return _NONE
    return f"[{number(low, signed)}, {number(high, signed)}]"


def difference(row: Mapping[str, Any]) -> str:
    """Measured minus published with its interval (the printed number taken as exact), or a dash."""
    if row["mean"] is None or row["published"] is None:
        return _NONE
    text = number(row["mean"] - row["published"], signed=True)
    if row["ci_low"] is None:
        return text
    ends = (row["ci_low"] - row["published"], row["ci_high"] - row["published"])
    return f"{text} {interval(*ends, signed=True)}"


def _for_people(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["row"],
        row["metric"],
        number(row["published"]),
        number(row["mean"]),
        number(row["sd"]),
        interval(row["ci_low"], row["ci_high"]),
        difference(row),
        str(row["n"]),
        row["select"],
        row["status"],
    )


def _sections(table: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], list[Any]]:
    """Rows by table, data set and protocol, in the order in which they come."""
    parts: dict[tuple[str, str, str], list[Any]] = {}
    for row in table:
        parts.setdefault((row["table"], row["dataset"], row["protocol"]), []).append(row)
    return parts


_LEGEND = (
    "Difference: measured minus published; the printed number is taken as exact. Intervals: 95 %, "
    "bootstrap over users and seeds; under a protocol kfold-N over folds, corrected for their "
    "overlap. sd: over the n seeds or folds."
)


def _markdown(table: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for (name, dataset, protocol), group in _sections(table).items():
        lines = [_HEADS, *(_for_people(row) for row in group)]
        cells_ = [[text.replace("|", "\\|") for text in line] for line in lines]
        widths = [max(3, *(len(line[i]) for line in cells_)) for i in range(len(_HEADS))]
        rule = [
            "-" * (w - 1) + ":" if head in _RIGHT else "-" * w
            for head, w in zip(_HEADS, widths, strict=True)
        ]
        body = [
            [
                text.rjust(w) if head in _RIGHT else text.ljust(w)
                for head, text, w in zip(_HEADS, line, widths, strict=True)
            ]
            for line in cells_
        ]
        text = "\n".join(f"| {' | '.join(line)} |" for line in [body[0], rule, *body[1:]])
        parts.append(f"### {name}: {dataset}, protocol {protocol}\n\n{text}\n")
    if not parts:
        return "This table has no cells.\n"
    return "\n".join([*parts, _LEGEND + "\n"])


def _html(table: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for (name, dataset, protocol), group in _sections(table).items():
        heads = "".join(f"<th>{html.escape(head)}</th>" for head in _HEADS)
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in _for_people(row)) + "</tr>"
            for row in group
        )
        caption = html.escape(f"{name}: {dataset}, protocol {protocol}")
        parts.append(
            f"<table>\n<caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody>\n</table>\n"
        )
    if not parts:
        return "<p>This table has no cells.</p>\n"
    return "\n".join([*parts, f"<p>{html.escape(_LEGEND)}</p>\n"])


def page_table(
    table: Sequence[Mapping[str, Any]],
    dataset: str,
    protocol: str,
    metrics: Sequence[str] | None = None,
    select: str | None = None,
) -> pd.DataFrame:
    """The table of a book page: our numbers above the paper's, for one data set and protocol.

    Args:
        table: rows as from `rows`.
        dataset, protocol: which part of it.
        metrics: the columns (all that occur, if None).
        select: only cells selected so, and those where there is nothing to select ("none").

    Returns:
        A frame of strings, so that a stored page does not change with the last digit of a float.
        Index: model, and "measured" (mean, sd over seeds, 95 % interval), "published",
        "difference" (measured minus published, 95 % interval). Columns: the metrics, and
        "status": the number of seeds or folds, or a sentence that says why there is no number.

    Raises:
        ReplicationError: nothing there, or two cells for the same model (choose `select`).
    """
    chosen = [
        row
        for row in table
        if row["dataset"] == dataset
        and row["protocol"] == protocol
        and (select is None or row["select"] in (select, "none"))
        and (metrics is None or row["metric"] in metrics)
    ]
    if not chosen:
        raise ReplicationError(f"the table has no cell for {dataset} under {protocol}")
    names = list(metrics or dict.fromkeys(row["metric"] for row in chosen))
    models: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in chosen:
        found = models.setdefault(row["row"], {})
        if row["metric"] in found:
            raise ReplicationError(
                f"{row['row']} stands twice in the table for {dataset} under {protocol}; say how "
                "the epoch is selected"
            )
        found[row["metric"]] = row
    index: list[tuple[str, str]] = []
    lines: list[list[str]] = []
    for model, found in models.items():
        cells_ = [found.get(name) for name in names]
        status = _why(dict.fromkeys(c["status"] for c in cells_ if c), [c for c in cells_ if c])
        index.append((model, "measured"))
        lines.append([_measured(cell) for cell in cells_] + [status])
        if any(cell and cell["published"] is not None for cell in cells_):
            index.append((model, "published"))
            lines.append([number(cell["published"]) if cell else _NONE for cell in cells_] + [""])
            if any(cell and cell["mean"] is not None for cell in cells_):
                index.append((model, "difference"))
                lines.append([difference(cell) if cell else _NONE for cell in cells_] + [""])
    return pd.DataFrame(
        lines,
        columns=[*names, "status"],
        index=pd.MultiIndex.from_tuples(index, names=["model", ""]),
    )


def _measured(cell: Mapping[str, Any] | None) -> str:
    if cell is None or cell["mean"] is None:
        return _NONE
    text = number(cell["mean"])
    if cell["sd"] is not None:
        text += f" ± {number(cell['sd'])}"
    if cell["ci_low"] is not None:
        text += f" {interval(cell['ci_low'], cell['ci_high'])}"
    return text


def _why(statuses: Iterable[str], found: Sequence[Mapping[str, Any]]) -> str:
    """Statuses of the metrics of one model as one plain sentence."""
    texts = []
    for status in statuses:
        kind, _, reason = status.partition(": ")
        if kind == "complete":
            n = max(cell["n"] for cell in found)
            what = "folds" if n_splits(found[0]["protocol"]) else "seeds"
            texts.append("1 run" if n == 1 else f"{n} {what}")
        elif kind == "partial":
            texts.append(f"{reason} so far")
        else:
            start = "No number yet" if kind == "pending" else "No number can be had"
            texts.append(f"{start}: {reason.rstrip('.')}.")
    return "; ".join(texts)
