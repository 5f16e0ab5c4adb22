"""Table I, the baselines: sentences and tables from the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from replication.compare import Record, cells, interval, least_to_most, number
from replication.page import (
    PENDING,
    Study,
    difference_text,
    dots,
    enumeration,
    errors,
    mean_sd,
    opening,
    over_folds,
)
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf.claims import (
    BASELINES,
    CLAIMS,
    DATASET,
    HONEST,
    METRIC,
    NUMBER_MARGIN,
    PROTOCOL,
    SELECT,
    SIMPLE,
    WINNER,
    evidence,
)
from replication.papers.attentive_ncf.pages.table2 import by_row, is_reached
from replication.papers.attentive_ncf.rows import ROWS
from replication.records import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN = f"{PROTOCOL}-plain"
OUTSIDE = ("NormalPredictor-Surprise", "constant")  # too far from the others for one axis


def _main(study: Study) -> dict[str, dict[str, Any]]:
    """The rows with a measured RMSE under the paper's protocol."""
    return {
        r["row"]: r
        for r in study.rows()
        if r["metric"] == METRIC and r["protocol"] == PROTOCOL and r["n"]
    }


def headline(study: Study) -> str:
    """What Table I was asked, what was found, and the numbers behind it."""
    asked = (
        "Do the RMSEs of the paper's twelve baselines come out again with today's version of the "
        "package, and what do simple models with care reach on the same folds?"
    )
    rows = _main(study)
    printed = {name: r for name, r in rows.items() if name in BASELINES}
    if not printed:
        return opening(asked, PENDING)
    near = [name for name, r in printed.items() if is_reached(r)]
    far = max(printed, key=lambda name: abs(printed[name]["mean"] - printed[name]["published"]))
    gap = printed[far]["mean"] - printed[far]["published"]
    so_far = "" if len(printed) == len(BASELINES) else f" measured so far (of {len(BASELINES)})"
    reached, best = _simple(rows)
    return opening(
        asked,
        f"The RMSE comes out within {NUMBER_MARGIN:g} of print, interval included, for {len(near)} "
        f"of {len(printed)} baselines{so_far}, and {reached}.",
        [
            f"Farthest from print: {far}, measured minus printed {number(gap, True)}.",
            _order(printed),
            best,
        ],
    )


def _order(printed: dict[str, dict[str, Any]]) -> str:
    """How well the order of the baselines agrees with print, in one sentence; "" for a few."""
    if len(printed) < 3:
        return ""
    pairs = [(r["mean"], r["published"]) for r in printed.values()]
    tau = float(stats.kendalltau(*zip(*pairs, strict=True)).statistic)
    return f"Order: that of these {len(pairs)} agrees with print at Kendall's tau {tau:.2f}."


def _simple(rows: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """What the best simple model reaches, and that beside the best baseline and the paper's best.

    The first is half a sentence, the second a whole one, empty where there is no simple model yet.
    """
    ours = {name: r["mean"] for name, r in rows.items() if name in SIMPLE}
    theirs = {name: r["mean"] for name, r in rows.items() if name in BASELINES}
    if not ours:
        return "no simple model is measured yet", ""
    best, baseline = min(ours, key=ours.__getitem__), min(theirs, key=theirs.__getitem__)
    reached, there = number(ours[best]), number(theirs[baseline])
    winner = _winner()
    also = f" and {WINNER}, as the paper selects, {number(winner)}" if winner else ""
    return (
        f"the best simple model, {best}, reaches {reached} where the best measured baseline has "
        f"{there}",
        f"Simple models, which the paper does not have: {best} is best with {reached}, where the "
        f"best baseline, {baseline}, has {there}{also}.",
    )


def _winner() -> float | None:
    """The measured mean of the paper's best combination; None before its first run."""
    found = [
        record["metrics"][METRIC]
        for record in experiments.derived(Store(experiments.TABLE2).load())
        if (record["row"], record["select"], record["variant"], record["protocol"])
        == (WINNER, experiments.SELECTS[0], "", PROTOCOL)
    ]
    return float(np.mean(found)) if found else None


def chosen_epochs(study: Study) -> str:
    """Which rows report an epoch that the test ratings chose, and what an honest one gives."""
    theirs, honest = (by_row(study, select) for select in (SELECT, HONEST))
    texts = []
    for row in (known.name for known in ROWS.values() if known.table == "table1" and known.trained):
        runs = theirs.get(row, {})
        if not runs:
            continue
        epoch = next(iter(runs.values()))["epochs"]
        found = errors(honest.get(row, {}))
        test = over_folds(found, errors(runs), PROTOCOL)
        other = "an honest choice has no runs yet"
        if found:
            mean = number(float(np.mean(list(found.values()))))
            over = f"over {len(found)} {'fold' if len(found) == 1 else 'folds'}"
            other = f"at the epoch that an inner validation chooses it has {mean} {over}"
            other += f", {difference_text(test)} against the above on these" if test else ""
        texts.append(
            f"{row} is trained over epochs, and its numbers above are of epoch {epoch}, chosen as "
            f"the paper chooses, by the error on the very folds that are tested on: {other}."
        )
    return " ".join(texts)


def constant(study: Study) -> str:
    """What the text prints of a constant, and the verdict on it."""
    (claim,) = [claim for claim in CLAIMS if claim.id == "number/constant"]
    proof = evidence(study.records, [], [], study.published)
    printed = proof.printed("constant", DATASET, METRIC)
    found = claim.judge(proof)
    return (
        f"For a constant the text prints {printed:g} ({claim.where.partition(':')[0]}), which "
        f"Table I has not: *{found.verdict}*, {found.sentence}"
    )


def figure(study: Study) -> Figure | None:
    """Measured RMSEs of both ways to deal the folds beside the published ones."""
    rows = [r for r in study.rows() if r["row"] not in OUTSIDE and r["n"]]
    return dots(rows, METRIC) if rows else None


def dealing(study: Study) -> pd.DataFrame:
    """Surprise's algorithms on folds within users and on plain random folds.

    The two dealings are independent of each other: the variance of the difference is the sum.
    """
    by_place = {(r["row"], r["protocol"]): r for r in study.rows() if r["metric"] == METRIC}
    lines = {}
    for row in BASELINES:
        within, plain = (by_place.get((row, protocol)) for protocol in (PROTOCOL, PLAIN))
        if plain is None or within is None:
            continue
        gap = None
        if within["n"] and plain["n"]:
            gap = plain["mean"] - within["mean"]
        lines[row] = {
            "within users": number(within["mean"]) if within["n"] else "pending",
            "plain": number(plain["mean"]) if plain["n"] else "pending",
            "plain minus within": "–" if gap is None else number(gap, True),
            "95 % interval": "–" if gap is None else _around(gap, within, plain),
            "published": number(within["published"]),
            "folds": f"{within['n']}, {plain['n']}",
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")


def _around(gap: float, *measured: Mapping[str, Any]) -> str:
    """The interval of a difference of independent means, each of which has its own."""
    if any(row["ci_low"] is None for row in measured):
        return "–"
    half = float(np.hypot(*(row["ci_high"] - row["mean"] for row in measured)))
    return interval(gap - half, gap + half, signed=True)


def dealing_sentence(study: Study) -> str:
    """The largest effect of how the folds are dealt."""
    frame = dealing(study)
    gaps = [
        float(text) for text in frame.get("plain minus within", pd.Series(dtype=str)) if text != "–"
    ]
    if not gaps:
        return "pending"
    return (
        f"plain random folds in the place of folds within users move the RMSE by "
        f"{least_to_most(gaps)} (measured for {len(gaps)} of "
        f"{len(frame)} algorithms)"
    )


def versions(study: Study) -> str:
    """Which version of the packages made the numbers, and which of them are not the printed."""
    runs = [r for r in study.runs() if r["row"] in BASELINES]
    known = dict.fromkeys(_version(r) for r in runs if _version(r))
    if not known:
        return PENDING
    return (
        f"Made with scikit-surprise {' and '.join(known)} and its default parameters; the paper "
        f"cites the package of 2017 and names no version. {_not_reached(study)}"
    )


def _not_reached(study: Study) -> str:
    """The baselines whose interval is not within NUMBER_MARGIN of print, and by how many folds' sd.

    The paper does not say of how many folds Table I is: one fold of ours may have the printed
    number where their mean has not.
    """
    far = {
        name: r
        for name, r in _main(study).items()
        if name in BASELINES and r["n"] > 1 and not is_reached(r)
    }
    if not far:
        return f"None is outside {NUMBER_MARGIN:g} of the printed number."
    gaps = {name: r["mean"] - r["published"] for name, r in far.items()}
    away = {name: abs(gap) / far[name]["sd"] for name, gap in gaps.items()}
    texts = [f"{name} ({number(gap, True)}, {away[name]:.1f} sd)" for name, gap in gaps.items()]
    single = [name for name in far if away[name] < 2]
    told = (
        f" A single fold may well have the printed number of {enumeration(single)}: it is less "
        "than 2 sd away."
        if single
        else ""
    )
    return (
        f"Not within {NUMBER_MARGIN:g} of print, interval included: {', '.join(texts)}; sd is that "
        f"of single folds.{told}"
    )


NMF = "NMF-Surprise"


_DEFAULTS = "15 factors, 50 epochs, no biases: the defaults"


def _nmf(study: Study) -> tuple[float, dict[str, list[float]]]:
    """The printed RMSE of NMF, and those measured on fold 0 by what was changed."""
    frame = study.published
    (printed,) = frame[(frame["table"] == "table1") & (frame["row"] == NMF)]["value"]
    main = by_row(study, study.select).get(NMF, {})
    found = {_DEFAULTS: [run["metrics"][METRIC] for fold, run in main.items() if fold == 0]}
    for variant, spec in experiments.VARIANTS.items():
        if variant.startswith("nmf-"):
            ((_, runs),) = cells(experiments.grid(study.table, variant=variant), study.records)
            found[spec.text] = [run["metrics"][METRIC] for run in runs.values()]
    return float(printed), found


def nmf(study: Study) -> pd.DataFrame:
    """RMSE of NMF on fold 0 with other random starts, biases, epochs and factors, as strings."""
    printed, found = _nmf(study)
    lines = {
        text: {
            "RMSE": mean_sd(values),
            "minus printed": number(float(np.mean(values)) - printed, True) if values else "–",
            "runs": str(len(values)) if values else "pending",
        }
        for text, values in found.items()
    }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("on fold 0")


def nmf_sentence(study: Study) -> str:
    """Which of these come near the printed number of NMF, in one sentence."""
    printed, found = _nmf(study)
    gaps = {
        text: float(np.mean(values)) - printed
        for text, values in found.items()
        if values and text != _DEFAULTS
    }
    if not gaps:
        return PENDING
    reached = [text for text, gap in gaps.items() if abs(gap) < NUMBER_MARGIN]
    if reached:
        return f"Within {NUMBER_MARGIN:g} of the printed number: {', '.join(reached)}."
    near = min(gaps, key=lambda text: abs(gaps[text]))
    return (
        f"None of these comes within {NUMBER_MARGIN:g} of the printed number; nearest is {near}, "
        f"{number(gaps[near], True)} from it."
    )


def _version(record: Record) -> str:
    return record["config"].get("package_version", "")


def tuned(study: Study) -> pd.DataFrame:
    """What was tuned of the models that have something to tune."""
    lines = {}
    for row, runs in by_row(study, study.select).items():
        known = next(iter(runs.values()), None)
        if known is None or row.endswith("-Surprise") or row == "constant":
            continue
        config = {k: v for k, v in known["config"].items() if k != "package_version"}
        lines[row] = {
            "configuration": ", ".join(f"{k} {v}" for k, v in config.items()),
            "sd over folds": f"{np.std(list(errors(runs).values()), ddof=1):.4f}"
            if len(runs) > 1
            else "–",
        }
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).rename_axis("model")
