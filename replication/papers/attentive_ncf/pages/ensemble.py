"""Means over models of one fold: sentences and a table from the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import figures
from replication.compare import Record, cells, interval, least_to_most, number
from replication.page import (
    PENDING,
    Study,
    difference_text,
    errors,
    mean_sd,
    opening,
    over_folds,
    over_these_folds,
)
from replication.papers.attentive_ncf.claims import DATASET, METRIC, PROTOCOL
from replication.papers.attentive_ncf.experiments import (
    BAGGED,
    BEST_MEMBER,
    DATASETS,
    LESS_BEST,
    LESS_WHOLE,
    WHOLE,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN_MEMBER = f"{METRIC}/mean member"


def _runs(study: Study) -> dict[str, Mapping[int, Record]]:
    return {cell.row: runs for cell, runs in cells(study.grid, study.records)}


def headline(study: Study) -> str:
    """What was asked of the means, what was found, and what else there is."""
    asked = "Does a mean over models predict better than the best of them?"
    every = _runs(study)
    gaps = {
        row: float(np.mean([own[fold] - best[fold] for fold in own]))
        for row, runs in every.items()
        if (own := errors(runs)) and (best := errors(runs, f"{METRIC}/{BEST_MEMBER}"))
    }
    if not gaps:
        return opening(asked, PENDING)
    better = [row for row, gap in gaps.items() if gap < 0]
    ends = {row: _ends(every[row]) for row in gaps}
    told = [row for row in better if (reach := ends[row]) and reach[1] < 0]
    without = sum(reach is None for reach in ends.values())
    means = {row: float(np.mean(list(errors(every[row]).values()))) for row in gaps}
    lowest = min(means, key=means.__getitem__)
    so_far = "" if len(gaps) == len(every) else f" measured so far (of {len(every)})"
    return opening(
        asked,
        f"A mean over models had a lower RMSE than its best member in {len(better)} of {len(gaps)} "
        f"ensembles{so_far}, with a 95 % interval below zero in {len(told)}, differing from it by "
        f"{least_to_most(gaps.values())}.",
        [
            f"Without an interval so far: {without}." if without else "",
            f"Lowest RMSE: that of the {lowest}.",
            _beside_whole(every.get(BAGGED, {})),
            "In print: the paper prints no RMSE of a mean.",
        ],
    )


def _ends(runs: Mapping[int, Record]) -> tuple[float, float] | None:
    """The interval of a mean minus its best member that the table shows; None where it has none."""
    if len(runs) == 1:
        metrics = next(iter(runs.values()))["metrics"]
        low, high = (metrics.get(f"{METRIC}/{LESS_BEST}/{end}") for end in ("low", "high"))
        return None if low is None or high is None else (low, high)
    test = over_folds(errors(runs), errors(runs, f"{METRIC}/{BEST_MEMBER}"), PROTOCOL)
    return None if test is None else (test.ci_low, test.ci_high)


def table(study: Study) -> pd.DataFrame:
    """Each mean beside its members, over the folds that it has."""
    lines = {}
    for row, runs in _runs(study).items():
        own, best = errors(runs), errors(runs, f"{METRIC}/{BEST_MEMBER}")
        members = next(iter(runs.values()))["config"]["members"] if runs else []
        lines[row] = {
            "models": str(len(members)) if members else "–",
            "RMSE": mean_sd(list(own.values())),
            "best member": mean_sd(list(best.values())),
            "mean member": mean_sd(list(errors(runs, MEAN_MEMBER).values())),
            "mean minus best member [95 %]": difference_text(over_folds(own, best, PROTOCOL))
            if len(own) != 1
            else _over_users(next(iter(runs.values()))["metrics"], LESS_BEST),
            "folds": str(len(runs)),
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("ensemble")


def figure(study: Study) -> Figure | None:
    """RMSE of each mean beside that of its best member, with intervals over the folds."""
    series: dict[str, dict[str, figures.Interval]] = {}
    for row, runs in _runs(study).items():
        for name, metric in (("mean", METRIC), ("best member", f"{METRIC}/{BEST_MEMBER}")):
            values = errors(runs, metric)
            if values:
                series.setdefault(name, {})[row] = over_these_folds(values, PROTOCOL)
    if not series:
        return None
    labels = [row for row in _runs(study) if row in series["mean"]]
    return figures.intervals({DATASETS[DATASET]: series}, {}, labels, f"{METRIC} (stars)", 1)


def _beside_whole(runs: Mapping[int, Record]) -> str:
    """The bagged ensemble beside the same model trained on all of the fold; "" before its run."""
    if not runs:
        return ""
    metrics = next(iter(runs.values()))["metrics"]
    return (
        f"Bagging: {number(metrics[METRIC])}, where one model trained on all of the ratings that "
        f"the bags share out, at an epoch chosen as theirs, has "
        f"{number(metrics[f'{METRIC}/{WHOLE}'])}: {_over_users(metrics, LESS_WHOLE)}."
    )


def _over_users(metrics: Mapping[str, float], less: str) -> str:
    """A difference on one fold, with its interval over the users of that fold."""
    d, low, high = (metrics[f"{METRIC}/{less}{end}"] for end in ("", "/low", "/high"))
    users = int(metrics[f"{METRIC}/{less}/users"])
    return f"{number(d, True)} {interval(low, high, True)} (one fold, over {users:,} users)"


def members(study: Study) -> pd.DataFrame:
    """Which models at which epochs are averaged."""
    lines = {}
    for row, runs in _runs(study).items():
        listed = next(iter(runs.values()))["config"]["members"] if runs else []
        lines[row] = ", ".join(f"{name} (epoch {epoch})" for name, epoch, _ in listed) or "pending"
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=["members"])
    return frame.rename_axis("ensemble")
