"""What the book says about the data sets and the training curves of AMP-CF, from the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from replication import figures, page
from replication.compare import Record, cells, percent, published_values, rows
from replication.data import pinterest
from replication.page import (
    PENDING,
    Study,
    agrees,
    cut_to,
    opening,
    range_text,
    two_digits,
    with_digits,
)
from replication.papers.amp_cf import draws, experiments

# How Table 1 prints each statistic: digits after the point.
_DIGITS = {
    "users": 0,
    "items": 0,
    "training examples": 0,
    "sparsity": 3,
    "ratings per user mean": 1,
    "ratings per user std": 1,
    "ratings per user median": 0,
    "ratings per item mean": 1,
    "ratings per item std": 1,
    "ratings per item median": 0,
}


# --- Table 1 ---------------------------------------------------------------------------------


def statistics(study: Study) -> list[dict[str, Any]]:
    """The rows of Table 1: one object a data set and statistic."""
    return rows(study.grid, study.records, {}, study.published, experiments.STATISTICS)


def _agrees(row: dict[str, Any], cut: bool = True) -> bool:
    """Whether the measured value, cut (or rounded) to the printed digits, is the printed one."""
    return agrees(row, _DIGITS[row["metric"]], cut)


def _both(study: Study) -> list[dict[str, Any]]:
    """The statistics that are measured and printed."""
    return [r for r in statistics(study) if None not in (r["mean"], r["published"])]


def statistics_table(study: Study) -> pd.DataFrame:
    """Table 1 as strings, one column a data set; measured digits are cut, as the printed ones."""
    return page.statistics_table(statistics(study), _DIGITS, experiments.DATASETS, cut=True)


def digits_found(study: Study) -> str:
    """Are the printed digits cut or rounded? One sentence, with how often each fits."""
    both = _both(study)
    if not both:
        return PENDING
    fits = [(_agrees(r), _agrees(r, cut=False)) for r in both]
    only_cut = [r for r, (cut, rounded) in zip(both, fits, strict=True) if cut and not rounded]
    only_rounded = [r for r, (cut, rounded) in zip(both, fits, strict=True) if rounded and not cut]

    def named(some: Sequence[dict[str, Any]]) -> str:
        parts = []
        for r in some:
            more = _DIGITS[r["metric"]] + 2  # enough to see what cutting and rounding do
            printed = _shown(r["published"], r["metric"])
            parts.append(f"{_name(r)}: {with_digits(r['mean'], more)}, printed {printed}")
        return f" ({'; '.join(parts)})" if parts else ""

    better = "cut" if len(only_cut) > len(only_rounded) else "rounded"
    if len(only_cut) == len(only_rounded):
        verdict = "which leaves open which of the two the paper does"
    else:
        verdict = f"so the paper's digits are taken to be {better}"
    return (
        f"Of the {len(both)} statistics that are measured and printed, "
        f"{sum(cut for cut, _ in fits)} are the printed ones when the measured digits are cut "
        f"after the printed ones, and {sum(rounded for _, rounded in fits)} when they are "
        f"rounded: {len(only_cut)} fit only when cut{named(only_cut)} and {len(only_rounded)} only "
        f"when rounded{named(only_rounded)}, {verdict}. The table cuts."
    )


def _name(row: dict[str, Any]) -> str:
    return f"{row['row']}, {row['metric']}"


def _shown(value: float, metric: str) -> str:
    """A statistic with the digits of the table, cut."""
    return with_digits(cut_to(value, _DIGITS[metric]), _DIGITS[metric])


def _range_of(values: Sequence[float], metric: str) -> str:
    low, high = _shown(min(values), metric), _shown(max(values), metric)
    return low if low == high else f"{low} to {high}"


# --- Table 1 over draws ------------------------------------------------------------------------

UNEXPLAINED = "unexplained"


def _readings(over: Study, dataset: str, metric: str) -> dict[str, list[float]]:
    """Reading -> its values, one a seed, in the order of ``draws.READINGS``."""
    return {
        cell.row: [run["metrics"][metric] for run in runs.values()]
        for cell, runs in cells(over.grid, over.records)
        if cell.dataset == dataset and runs
    }


def _reached(values: Sequence[float], row: dict[str, Any]) -> bool:
    """Whether the printed value lies in the range of the measured ones, all cut alike."""
    places = _DIGITS[row["metric"]]
    return cut_to(min(values), places) <= row["published"] <= cut_to(max(values), places)


def _reason(over: Study, row: dict[str, Any]) -> str:
    """What reaches a printed number: rounding, or the first such reading; else ``UNEXPLAINED``."""
    if _agrees(row, cut=False):
        places = _DIGITS[row["metric"]]
        return f"the measured value, rounded ({with_digits(row['mean'], places)})"
    found = _readings(over, row["dataset"], row["metric"])
    for reading, values in found.items():
        if _reached(values, row):
            return f"{reading} ({_range_of(values, row['metric'])})"
    needed = {c.row: c.seeds_required for c in over.grid if c.dataset == row["dataset"]}
    all_there = all(len(found.get(reading, ())) == seeds for reading, seeds in needed.items())
    return UNEXPLAINED if all_there else PENDING


def differences(study: Study, over: Study) -> pd.DataFrame:
    """Each statistic that is not the printed one, with its reason, as strings.

    Args:
        study: ``amp_cf/table1``.
        over: ``amp_cf/draws``.
    """
    lines = []
    for row in _both(study):
        if _agrees(row):
            continue
        found = _readings(over, row["dataset"], row["metric"])
        drawn = found.get(draws.TESTS, []) + found.get(draws.USERS, [])
        spread = f"{_range_of(drawn, row['metric'])} ({len(drawn)})" if drawn else "pending"
        lines.append(
            {
                "data set": row["row"],
                "statistic": row["metric"],
                "measured": _shown(row["mean"], row["metric"]),
                "printed": _shown(row["published"], row["metric"]),
                "over draws (how many)": spread,
                "reached by": _reason(over, row),
            }
        )
    if not _both(study):
        lines = [{"data set": PENDING}]
    columns = ["statistic", "measured", "printed", "over draws (how many)", "reached by"]
    return (
        pd.DataFrame(lines, columns=["data set", *columns], dtype=str)
        .fillna("")
        .set_index("data set")
    )


def differences_found(study: Study, over: Study) -> str:
    """How many of the differing statistics have a reason, and which have none, in one sentence."""
    both = _both(study)
    off = [r for r in both if not _agrees(r)]
    reasons = [_reason(over, r) for r in off]
    if not both or PENDING in reasons:
        return PENDING
    without = [r for r, reason in zip(off, reasons, strict=True) if reason == UNEXPLAINED]
    listed = "; ".join(
        f"{_name(r)} ({_shown(r['mean'], r['metric'])}, printed "
        f"{_shown(r['published'], r['metric'])})"
        for r in without
    )
    verb = "is" if len(without) == 1 else "are"
    rest = f"{len(without)} {verb} {UNEXPLAINED}: {listed}" if without else "none is unexplained"
    return (
        f"{len(off)} of the {len(both)} statistics differ; {len(off) - len(without)} of them are "
        f"reached by rounding or by a reading that the paper leaves open, and {rest}."
    )


def pinterest_draws(study: Study, over: Study) -> str:
    """Does the draw of Pinterest's users explain its statistics? Computed from both tables."""
    both = [r for r in _both(study) if r["dataset"] == pinterest.NAME]
    off = [r for r in both if not _agrees(r)]
    lines: list[str] = []
    inside: list[str] = []
    outside: list[str] = []
    nearer = count = 0
    for row in off:
        found = _readings(over, row["dataset"], row["metric"])
        if draws.USERS not in found or draws.LOWEST not in found:
            return PENDING
        drawn, lowest = found[draws.USERS], found[draws.LOWEST]
        count = len(drawn)
        off_by = [abs(value - row["published"]) for value in drawn]
        nearer += abs(lowest[0] - row["published"]) < min(off_by)
        (inside if _reached(drawn, row) else outside).append(row["metric"])
        low = _range_of(lowest, row["metric"])
        lines.append(
            f"{row['metric']} {_range_of(drawn, row['metric'])} (printed "
            f"{_shown(row['published'], row['metric'])}, lowest ids {low})"
        )
    if not off:
        return "Every statistic is the printed one." if both else PENDING
    verdict = []
    if outside:
        verdict.append(f"the draw does not explain the printed {', '.join(outside)}")
    if inside:
        verdict.append(f"the draw may explain the printed {', '.join(inside)}")
    return (
        f"Over {count} draws of the users and of their test items: {'; '.join(lines)}. So "
        f"{' and '.join(verdict)}{'; what does is not known' if outside else ''}. The "
        f"{pinterest.SAMPLED_USERS:,} lowest ids come nearer than every draw to {nearer} of the "
        f"{len(off)}."
    )


def amazon_draws(study: Study, over: Study) -> str:
    """How the printed counts of Amazon are reached, from both tables, in two sentences."""
    printed = {r["metric"]: r for r in _both(study) if r["dataset"] == "amazon-video-games"}
    counts = ("users", "items", "training examples")
    found = {metric: _readings(over, "amazon-video-games", metric) for metric in counts}
    needed = (draws.RELEASED, draws.THREE, draws.THREE_KEPT, draws.OTHER_SEEDS)
    if not printed or any(reading not in found["items"] for reading in needed):
        return PENDING

    def at(reading: str, metric: str) -> str:
        return _range_of(found[metric][reading], metric)

    kept = [
        metric for metric in counts if _reached(found[metric][draws.THREE_KEPT], printed[metric])
    ]
    others = found["items"][draws.OTHER_SEEDS]
    hits = sum(value == printed["items"]["published"] for value in others)
    reached = (
        "all three are the printed ones"
        if len(kept) == len(counts)
        else f"the printed ones are {', '.join(kept) or 'none of them'}"
    )
    return (
        f"With the test items that the released code draws (seed {draws.RELEASED_SEED}), counting "
        f"only what occurs in training, there are {at(draws.RELEASED, 'users')} users and "
        f"{at(draws.RELEASED, 'items')} items. If users of two ratings go as well, "
        f"{at(draws.THREE, 'users')} users, {at(draws.THREE, 'items')} items and, of "
        f"{at(draws.THREE, 'training examples')} training examples, 99.9 % or "
        f"{at(draws.THREE_KEPT, 'training examples')} remain: {reached}; of {len(others)} other "
        f"seeds, which give {_range_of(others, 'items')} items, "
        f"{hits or 'none'} give{'s' if hits < 2 else ''} the printed items."
    )


def statistics_gaps(study: Study) -> str:
    """Why some data sets have no measured statistics, a line a reason."""
    return page.statistics_gaps(statistics(study))


def statistics_headline(study: Study) -> str:
    """What Table 1 was asked, what was found, and what was compared."""
    asked = "Are these the data that the paper used, after the same filter?"
    both = _both(study)
    if not both:
        return opening(asked, PENDING)
    same = [r for r in both if _agrees(r)]
    sets = list(dict.fromkeys(r["row"] for r in both))
    exact = [
        name
        for name in sets
        if all(_agrees(r) for r in both if r["row"] == name and r["metric"] in ("users", "items"))
    ]
    off = [r for r in both if not _agrees(r)]
    found = (
        f"The measured value is the printed one to the last digit for {len(same)} of {len(both)} "
        f"statistics, and for both users and items on {len(exact)} of {len(sets)} data sets"
    )
    if off:
        worst = max(abs(r["mean"] / r["published"] - 1) for r in off)
        found += f", while the largest relative difference of a statistic is {percent(worst)}"
    return opening(
        asked,
        f"{found}.",
        [
            f"Compared: the statistics of {', '.join(sets)}, digits cut as in print.",
            f"Data sets whose users and items are the printed ones: {', '.join(exact) or 'none'}.",
        ],
    )


def consistency(study: Study) -> pd.DataFrame:
    """Does the printed mean times the printed number of users (items) give the printed count?

    A mean printed to one digit may have been rounded or cut: it stands for what lies up to half a
    digit below and a whole one above. The count must lie in that range times the number of users
    or items.
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
            low, high = (mean - 0.05) * number, (mean + 0.1) * number
            inside = low <= count <= high
            line[f"mean per {kind} × {kind}s"] = f"{low:,.0f} to {high:,.0f}"
            line[f"{kind}s agree"] = "yes" if inside else "NO"
        lines.append(line)
    return pd.DataFrame(lines, dtype=str).set_index("data set")


def contradictions(study: Study) -> str:
    """One sentence on the printed statistics that contradict each other, with the products."""
    table = consistency(study)
    printed = published_values(study.published)
    names = {row: dataset for dataset, row in experiments.DATASETS.items()}
    bad = []
    for row, line in table.iterrows():
        place = ("table1", str(row), names[str(row)])
        for kind in ("user", "item"):
            if line[f"{kind}s agree"] == "NO":
                number, mean = (
                    printed[*place, f"{kind}s"],
                    printed[*place, f"ratings per {kind} mean"],
                )
                bad.append(
                    f"{row}: {number:,.0f} {kind}s × {mean:.1f} = {number * mean:,.0f}, printed "
                    f"{printed[*place, 'training examples']:,.0f}"
                )
    if not bad:
        return "The printed means and counts agree with each other for every data set."
    return (
        "Not everywhere. The printed mean times the printed number of users or items is not the "
        f"printed number of training examples, whether the mean was rounded or cut, for "
        f"{'; '.join(bad)}. The next section says why they can all be right."
    )


def held_back(study: Study) -> pd.DataFrame:
    """Is the printed number of training examples 99.9 % of all, and is the mean that of all?

    The printed means times users give more examples than are printed. Both are explained if the
    means are those of all n examples, cut to one digit, and the printed count is that of a
    training part: 0.999 n, cut to a whole number.
    """
    printed = published_values(study.published)
    lines = []
    for row in statistics(study):
        if row["metric"] != "training examples":
            continue
        place = ("table1", row["row"], row["dataset"])
        number, mean = (
            printed.get((*place, "users")),
            printed.get((*place, "ratings per user mean")),
        )
        if number is None or mean is None or row["published"] is None:
            continue
        n = row["mean"]
        low, high = int(np.ceil(mean * number)), int((mean + 0.1) * number)
        lines.append(
            {
                "data set": row["row"],
                "all, from the printed mean": f"{low:,} to {high:,}",
                "all, measured": "–" if n is None else f"{n:,.0f}",
                "99.9 % of the measured": "–" if n is None else f"{int(0.999 * n):,}",
                "printed": f"{row['published']:,.0f}",
                "the same": "–" if n is None else _yes(int(0.999 * n) == row["published"]),
                "fits the mean": _yes(int(0.999 * low) <= row["published"] <= int(0.999 * high)),
            }
        )
    return pd.DataFrame(lines, dtype=str).set_index("data set")


def _yes(true: bool) -> str:
    return "yes" if true else "NO"


def held_back_found(study: Study) -> str:
    """One sentence on ``held_back``."""
    table = held_back(study)
    measured = table[table["the same"] != "–"]
    same = list(measured.index[measured["the same"] == "yes"])
    fits = list(table.index[table["fits the mean"] == "yes"])
    return (
        f"99.9 % of the measured examples, cut to a whole number, is the printed count to the last "
        f"digit for {' and '.join(same) or 'none'} of the {len(measured)} measured data sets, and "
        f"it agrees with the printed mean, cut to one digit, for {len(fits)} of all {len(table)}: "
        "the paper's means are those of all examples but the test items, and its count leaves out "
        "one in a thousand more. What that thousandth was held back for is not said."
    )


# --- Convergence -----------------------------------------------------------------------------

_LABELS = {
    "loss": ("training loss", "change since epoch 1 (nats)"),
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
    """Loss, HR@10 and NDCG@10 by epoch: mean over the seeds and each seed, by model."""
    from IPython.display import Markdown

    panels: dict[str, dict[str, figures.Curve]] = {}
    found = _curves(study, dataset, protocol)
    if not found:
        return Markdown(PENDING)
    for name, (title, _) in _LABELS.items():
        for row, runs in found.items():
            lines = [np.asarray(run["curve"][name]) for run in runs]
            if name == "loss":  # the models' losses have different terms and weights
                lines = [line - line[0] for line in lines]
            curve = figures.over_seeds([line.tolist() for line in lines])
            if curve is not None:
                panels.setdefault(title, {})[row] = curve
    labels = {title: label for title, label in _LABELS.values()}
    return figures.png(figures.curves(panels, labels, "epoch"))


def epochs_table(study: Study) -> pd.DataFrame:
    """Chosen and run epochs, time and size of each model, as strings; mean over the seeds."""
    index, lines = [], []
    for dataset, protocol in places(study):
        for row, runs in _curves(study, dataset, protocol).items():
            index.append((f"{dataset}, {protocol}", row))
            lines.append(
                {
                    "seeds": str(len(runs)),
                    "epoch chosen": _range([run["epochs"] for run in runs]),
                    "epochs run": _range([len(run["curve"]["epoch"]) for run in runs]),
                    "parameters": f"{runs[0]['parameters']:,}",
                    "seconds an epoch": two_digits(np.mean([r["seconds_per_epoch"] for r in runs])),
                }
            )
    names = ["data set, protocol", "model"]
    if not lines:
        index = [(PENDING, "")]
        lines = [{}]
    return pd.DataFrame(lines, index=pd.MultiIndex.from_tuples(index, names=names), dtype=str)


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{np.mean(values):.1f} ({low:g}–{high:g})" if low < high else f"{low:g}"


def convergence_headline(study: Study) -> str:
    """What the curves were asked and what was found."""
    asked = "How fast does each model learn, and does it go on too long?"
    limits, chosen, falls = [], [], []
    for place in places(study):
        for run in curves_of(study, *place):
            most = run["config"]["max_epochs"]
            limits.append(len(run["curve"]["epoch"]) >= most)
            chosen.append(run["epochs"])
            values = run["curve"]["NDCG@10"]
            falls.append(max(values) - values[-1])
    if not chosen:
        return opening(asked, PENDING)
    return opening(
        asked,
        f"Validation NDCG@10 is best at epoch {range_text(chosen)} of a run (median "
        f"{np.median(chosen):g}), by the last epoch it has fallen by {np.mean(falls):.4f} on "
        f"average, and the limit of epochs came before saturation in {sum(limits)} of "
        f"{len(chosen)} runs.",
    )
