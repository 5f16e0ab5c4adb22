"""What the book says about the data sets and the training curves of AMP-CF, from the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from replication import figures
from replication.compare import Record, cells, published_values, rows
from replication.page import Study
from replication.papers.amp_cf import experiments

PENDING = "Pending: no runs are recorded yet."

# How Table 1 prints each statistic: digits after the point, and a short heading.
_PRINTED = {
    "users": (0, "users"),
    "items": (0, "items"),
    "training examples": (0, "training examples"),
    "sparsity": (3, "sparsity"),
    "ratings per user mean": (1, "per user: mean"),
    "ratings per user std": (1, "sd"),
    "ratings per user median": (0, "median"),
    "ratings per item mean": (1, "per item: mean"),
    "ratings per item std": (1, "sd "),
    "ratings per item median": (0, "median "),
}


# --- Table 1 ---------------------------------------------------------------------------------


def statistics(study: Study) -> list[dict[str, Any]]:
    """The rows of Table 1: one object a data set and statistic."""
    return rows(study.grid, study.records, {}, study.published, experiments.STATISTICS)


def _digits(value: float | None, metric: str, signed: bool = False) -> str:
    if value is None:
        return "–"
    places = _PRINTED[metric][0]
    rounded = round(value, places) + 0.0
    return f"{rounded:+,.{places}f}" if signed else f"{rounded:,.{places}f}"


def _agrees(row: dict[str, Any]) -> bool:
    """Whether the measured value, rounded as printed, is the printed one."""
    return _digits(row["mean"], row["metric"]) == _digits(row["published"], row["metric"])


def statistics_table(study: Study) -> pd.DataFrame:
    """Table 1 as strings: measured above published above the difference, one group a data set."""
    index, lines = [], []
    found = statistics(study)
    for dataset in dict.fromkeys(row["dataset"] for row in found):
        own = [row for row in found if row["dataset"] == dataset]
        names = {row["metric"]: row for row in own}
        name = own[0]["row"]
        measured = any(row["mean"] is not None for row in own)
        printed = any(row["published"] is not None for row in own)
        status = own[0]["status"] if not measured else ""
        index.append((name, "measured"))
        lines.append([_digits(names[m]["mean"], m) for m in _PRINTED] + [status])
        if printed:
            index.append((name, "published"))
            lines.append([_digits(names[m]["published"], m) for m in _PRINTED] + [""])
        if measured and printed:
            index.append((name, "difference"))
            lines.append(
                [
                    "0"
                    if _agrees(names[m])
                    else _digits(names[m]["mean"] - names[m]["published"], m, signed=True)
                    for m in _PRINTED
                ]
                + [""]
            )
        elif measured:
            lines[-1][-1] = "not in the paper"
    columns = [*(short for _, short in _PRINTED.values()), "status"]
    return pd.DataFrame(
        lines, columns=columns, index=pd.MultiIndex.from_tuples(index, names=["data set", ""])
    )


def statistics_headline(study: Study) -> str:
    """What Table 1 was asked and what was found, in two sentences."""
    asked = "Are these the data that the paper used, after the same filter?"
    both = [r for r in statistics(study) if None not in (r["mean"], r["published"])]
    if not both:
        return f"**Asked.** {asked} **Found.** {PENDING}"
    same = [r for r in both if _agrees(r)]
    sets = list(dict.fromkeys(r["row"] for r in both))
    counts = [r for r in both if r["metric"] in ("users", "items")]
    exact = "all of them" if all(map(_agrees, counts)) else "not all of them"
    off = [r for r in both if not _agrees(r)]
    worst = max((abs(r["mean"] / r["published"] - 1) for r in off), default=0.0)
    return (
        f"**Asked.** {asked} **Found.** For {' and '.join(sets)}, {len(same)} of {len(both)} "
        f"printed statistics come out to the printed digit, the numbers of users and items "
        f"({exact}) among them; the largest relative difference of the others is {worst:.1%}."
    )


def consistency(study: Study) -> pd.DataFrame:
    """Does the printed mean times the printed number of users (items) give the printed count?

    A mean printed to one digit stands for a range of half a digit to either side; the count must
    lie in that range times the number of users or items.
    """
    printed = published_values(study.published)
    lines = []
    for dataset, row in experiments.DATASETS.items():
        place = ("table1", row, dataset)
        count = printed.get((*place, "training examples"))
        if count is None:
            continue
        line = {"data set": row, "printed count": f"{count:,.0f}"}
        for kind in ("user", "item"):
            mean, number = printed[*place, f"ratings per {kind} mean"], printed[*place, f"{kind}s"]
            low, high = (mean - 0.05) * number, (mean + 0.05) * number
            inside = low <= count <= high
            line[f"mean per {kind} × {kind}s"] = f"{low:,.0f} to {high:,.0f}"
            line[f"{kind}s agree"] = "yes" if inside else "NO"
        lines.append(line)
    return pd.DataFrame(lines, dtype=str).set_index("data set")


def contradictions(study: Study) -> str:
    """One sentence on the printed statistics that contradict each other."""
    table = consistency(study)
    bad = [
        f"{name} ({' and '.join(kinds)})"
        for name, kinds in (
            (name, [k for k in ("users", "items") if line[f"{k} agree"] == "NO"])
            for name, line in table.iterrows()
        )
        if kinds
    ]
    if not bad:
        return "The printed means and counts agree with each other for every data set."
    return (
        "The printed mean, multiplied by the printed number of users or items, does not give the "
        f"printed number of training examples for {', '.join(bad)}: the printed values cannot all "
        "be right, whatever was measured here."
    )


# --- Convergence -----------------------------------------------------------------------------

_LABELS = {
    "loss": ("training loss", "mean loss of an epoch (nats)"),
    "HR@10": ("validation HR@10", "HR@10 (share of users)"),
    "NDCG@10": ("validation NDCG@10", "NDCG@10"),
}


def _curves(study: Study, dataset: str, protocol: str) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for cell, runs in cells(study.grid, study.records):
        with_curve = [run for run in runs.values() if run.get("curve", {}).get("epoch")]
        if (cell.dataset, cell.protocol) == (dataset, protocol) and with_curve:
            found[cell.row] = with_curve
    return found


def places(study: Study) -> list[tuple[str, str]]:
    """Data sets and protocols that have training curves, in the order of the grid."""
    every = dict.fromkeys((cell.dataset, cell.protocol) for cell in study.grid)
    return [place for place in every if _curves(study, *place)]


def curves_of(study: Study, dataset: str, protocol: str) -> list[Record]:
    """The runs behind one figure."""
    return [run for runs in _curves(study, dataset, protocol).values() for run in runs]


def curves_figure(study: Study, dataset: str, protocol: str) -> Any:
    """Loss, HR@10 and NDCG@10 by epoch: mean and range over the seeds, one line a model."""
    panels: dict[str, dict[str, figures.Curve]] = {}
    found = _curves(study, dataset, protocol)
    for name, (title, _) in _LABELS.items():
        for row, runs in found.items():
            curve = figures.band([run["curve"][name] for run in runs])
            if curve is not None:
                panels.setdefault(title, {})[row] = curve
    labels = {title: label for title, label in _LABELS.values()}
    return figures.png(figures.curves(panels, labels, "epoch"))


def epochs_table(study: Study) -> pd.DataFrame:
    """Chosen and run epochs, time and size of each model, as strings; mean over the seeds."""
    lines = []
    for dataset, protocol in places(study):
        for row, runs in _curves(study, dataset, protocol).items():
            chosen = [run["epochs"] for run in runs]
            seen = [len(run["curve"]["epoch"]) for run in runs]
            lines.append(
                {
                    "model": row,
                    "data set": dataset,
                    "protocol": protocol,
                    "seeds": str(len(runs)),
                    "epoch chosen": _range(chosen),
                    "epochs run": _range(seen),
                    "parameters": f"{runs[0]['parameters']:,}",
                    "seconds an epoch": f"{np.mean([r['seconds_per_epoch'] for r in runs]):.2g}",
                }
            )
    names = ["model", "data set", "protocol", "seeds", "epoch chosen", "epochs run",
             "parameters", "seconds an epoch"]  # fmt: skip
    return pd.DataFrame(lines, columns=names, dtype=str).set_index("model")


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{np.mean(values):.1f} ({low:g}–{high:g})" if low < high else f"{low:g}"


def convergence_headline(study: Study) -> str:
    """What the curves were asked and what was found, in two sentences."""
    asked = "How fast does each model learn, and does it go on too long?"
    limits, chosen, ends = [], [], []
    for place in places(study):
        for run in curves_of(study, *place):
            most = run["config"]["max_epochs"]
            limits.append(len(run["curve"]["epoch"]) >= most)
            chosen.append(run["epochs"])
            values = run["curve"]["NDCG@10"]
            ends.append(values[-1] - max(values))
    if not chosen:
        return f"**Asked.** {asked} **Found.** {PENDING}"
    return (
        f"**Asked.** {asked} **Found.** Over {len(chosen)} runs the best validation NDCG@10 comes "
        f"after {min(chosen)} to {max(chosen)} epochs (median {np.median(chosen):g}); "
        f"{sum(limits)} runs reached their limit of epochs before they saturated, and by the last "
        f"epoch NDCG@10 has fallen by {-np.mean(ends):.4f} on average from its best."
    )
