"""Table 1, the features of the films, and the learning curves: from the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replication import figures, page
from replication.compare import number, percent
from replication.data import omdb
from replication.page import PENDING, Study, agrees, opening, range_text, with_digits
from replication.papers.afm import experiments
from replication.papers.afm.experiments import DATASETS, LARGEST_ID, RUN_HERE, STATISTICS
from replication.papers.afm.pages.table2 import FIVE, MAIN, METRIC, runs_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Digits after the point with which Table 1 prints each statistic; a sparsity of 95.81 % has four.
DIGITS = dict.fromkeys(STATISTICS, 0) | {"sparsity": 4}


# --- Table 1 ---------------------------------------------------------------------------------


def headline(study: Study) -> str:
    """What Table 1 was asked, what was found, and where the number of films comes from."""
    asked = "Are these the data that the paper used, and what is known of their films?"
    rows = study.rows()
    both = [r for r in rows if None not in (r["mean"], r["published"])]
    if not both:
        return opening(asked, PENDING)
    same = sum(agrees(r, DIGITS[r["metric"]]) for r in both)
    missing = list(dict.fromkeys(r["row"] for r in rows if r["status"].startswith("unavailable")))
    return opening(
        asked,
        f"{same} of {len(both)} printed statistics of "
        f"{' and '.join(dict.fromkeys(r['row'] for r in both))} come out to the printed digit, "
        f"{' and '.join(missing)} cannot be had, and five features from OMDb stand in for those of "
        "Douban Movie.",
        [largest_id(study)],
    )


def largest_id(study: Study) -> str:
    """Where the printed number of films comes from, in one sentence; "" before a run."""
    found = {r["metric"]: r for r in study.rows() if r["dataset"] == MAIN}
    largest = _metrics(study).get(MAIN, {}).get(LARGEST_ID)
    films = found.get("items")
    if films is None or largest is None or films["mean"] is None:
        return ""
    is_id = "which is the largest id" if films["published"] == largest else "which is not an id"
    return (
        f"The number of films: {films['mean']:,.0f} have a rating where {films['published']:,.0f} "
        f"are printed, {is_id}"
        + ("." if films["published"] == largest else f" ({largest:,.0f} is the largest).")
    )


def sparsity(study: Study) -> str:
    """What the sparsity would be with the largest id as the number of films, in one sentence."""
    known = _metrics(study).get(MAIN, {})
    if LARGEST_ID not in known:
        return PENDING
    users, ratings, films = (known[name] for name in ("users", "ratings", LARGEST_ID))
    found = 1 - ratings / (users * films)
    printed = {r["metric"]: r["published"] for r in study.rows() if r["dataset"] == MAIN}
    same = with_digits(found, DIGITS["sparsity"]) == with_digits(
        printed["sparsity"], DIGITS["sparsity"]
    )
    return (
        f"With the largest id, {films:,.0f}, as the number of films the sparsity of `{MAIN}` would "
        f"be {found:.4f}: {'' if same else 'not '}the printed one."
    )


def table(study: Study) -> pd.DataFrame:
    """Table 1 as strings: measured, published and the difference, a column a data set."""
    return page.statistics_table(study.rows(), DIGITS, DATASETS)


def _metrics(study: Study) -> dict[str, dict[str, Any]]:
    """What was counted in each data set; the newest record counts."""
    return {record["dataset"]: record["metrics"] for record in study.records}


def coverage(study: Study) -> pd.DataFrame:
    """What is known of the films of each data set, one line a feature."""
    lines, index = [], []
    for dataset, metrics in _metrics(study).items():
        for feature in experiments.FEATURES[dataset]:
            if f"{feature}: covered" not in metrics:
                continue
            covered, values, once, each = (
                float(metrics[f"{feature}: {name}"])
                for name in ("covered", "n_values", "n_once", "mean_values")
            )
            index.append((DATASETS[dataset], feature))
            lines.append(
                {
                    "films that have a value": percent(covered),
                    "values a film, mean": f"{each:.2f}",
                    "different values": f"{values:,.0f}",
                    "of one film alone": f"{once:,.0f} ({percent(once / values, 0)})",
                }
            )
    places = pd.MultiIndex.from_tuples(index, names=["data set", "feature"]) if index else None
    return pd.DataFrame(lines, index=places, dtype=str)


def coverage_sentence(study: Study) -> str:
    """Which features say hardly more than the film's own id, and which are rarely there."""
    once, rare = [], []
    for dataset, metrics in _metrics(study).items():
        for feature in experiments.FEATURES[dataset]:
            if f"{feature}: covered" not in metrics:
                continue
            values, alone = metrics[f"{feature}: n_values"], metrics[f"{feature}: n_once"]
            if alone > values / 2:
                once.append(f"{feature} ({alone:,.0f} of {values:,.0f})")
            if metrics[f"{feature}: covered"] < 0.5:
                rare.append(
                    f"{feature} of `{dataset}` ({percent(metrics[f'{feature}: covered'], 0)})"
                )
    if not _metrics(study):
        return PENDING
    return (
        "More than half of a feature's values belong to one film alone, of which they say no more "
        f"than its id does, for {', '.join(once) or 'no feature'}. Less than half of the films "
        f"have a value of {', '.join(rare) or 'no feature'}."
    )


def director_strings(study: Study) -> str:
    """Why the directors of the table are fewer than the strings of OMDb's file; "" before a run."""
    known = _metrics(study).get(FIVE, {})
    if "director, the file: lines" not in known:
        return ""
    lines, strings, once, rated, of_rated, once_rated = (
        f"{known[f'director, {whose}: {name}']:,.0f}"
        for whose in ("the file", "rated films")
        for name in ("lines", "strings", "strings once")
    )
    persons, alone = (f"{known[f'director: {name}']:,.0f}" for name in ("n_values", "n_once"))
    return (
        f"OMDb's file has {lines} films and {strings} different texts for their directors, of "
        f"which {once} occur once; the {rated} of its films that are rated have {of_rated}, "
        f"{once_rated} of them once. The table counts persons of rated films: a text that names "
        f'several is several values, and "{omdb.UNKNOWN}" is none. That makes {persons} directors, '
        f"{alone} of one film alone."
    )


# --- learning curves -------------------------------------------------------------------------


def curves(study: Study, metric: str = METRIC) -> Figure | None:
    """Validation error by epoch, the mean over folds and each fold, one panel a data set."""
    panels: dict[str, dict[str, figures.Curve]] = {}
    for dataset in RUN_HERE:
        for row, runs in runs_of(study, dataset).items():
            lines = [
                run["curve"][f"validation {metric}"] for run in runs.values() if "curve" in run
            ]
            curve = figures.over_seeds(lines)
            if curve is not None:
                panels.setdefault(DATASETS[dataset], {})[row] = curve
    if not panels:
        return None
    return figures.curves(panels, dict.fromkeys(panels, f"validation {metric} (stars)"))


def epochs(study: Study, dataset: str) -> pd.DataFrame:
    """When each model's validation error was lowest, and what another epoch would have given."""
    lines = {}
    for row, runs in runs_of(study, dataset).items():
        known = [run for run in runs.values() if "curve" in run]
        if not known:
            continue
        chosen = [run["epochs"] for run in known]
        best = [min(run["curve"][f"test {METRIC}"]) for run in known]
        own = [run["metrics"][METRIC] for run in known]
        lines[row] = {
            "epoch chosen": range_text(chosen),
            "epochs run": range_text([len(run["curve"]["epoch"]) for run in known]),
            "epochs at most": range_text([run["config"]["max_epochs"] for run in known]),
            "test RMSE at the chosen epoch": number(float(np.mean(own))),
            "at the best epoch of the test": number(float(np.mean(best))),
            "folds": str(len(known)),
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def stopping(study: Study) -> str:
    """How a run's epoch is chosen and when it ends, by the settings that the records hold."""
    runs = [
        run["config"]
        for dataset in RUN_HERE
        for found in runs_of(study, dataset).values()
        for run in found.values()
        if "curve" in run
    ]
    chosen = (
        "The epoch of each run is the one with the lowest RMSE on a tenth of each user's training "
        "ratings"
    )
    if not runs:
        return f"{chosen}. {PENDING}"
    limits = range_text([config["max_epochs"] for config in runs])
    ends = f"{chosen}; a run ends after {limits} epochs at the latest"
    patience = [config["patience"] for config in runs if "patience" in config]
    if patience:
        some = "" if len(patience) == len(runs) else f" in {len(patience)} of {len(runs)} runs"
        ends += f", or{some} when that has not fallen for {range_text(patience)} epochs"
    return f"{ends}. The limit of each model stands in the tables."


def convergence(study: Study) -> str:
    """What the learning curves of plain SGD were asked and what was found, in two sentences."""
    asked = (
        "How many epochs does each model need by plain SGD, and what does the honest choice of the "
        "epoch cost?"
    )
    runs = [
        run
        for dataset in RUN_HERE
        for found in runs_of(study, dataset).values()
        for run in found.values()
        if "curve" in run and run["config"].get("method") == "sgd"
    ]
    if not runs:
        return opening(asked, PENDING)
    chosen = [run["epochs"] for run in runs]
    cut = sum(run["epochs"] >= run["config"]["max_epochs"] for run in runs)
    cost = [run["metrics"][METRIC] - min(run["curve"][f"test {METRIC}"]) for run in runs]
    return opening(
        asked,
        f"The validation error is lowest at epoch {range_text(chosen)} (median "
        f"{np.median(chosen):g}), in {cut} of {len(runs)} runs at the last one allowed, and "
        "choosing it on the test ratings would lower the test RMSE by "
        f"{number(float(np.mean(cost)))} on average and {number(max(cost))} at most.",
    )
