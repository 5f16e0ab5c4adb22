"""Protocol sensitivity: how far results and the order of models depend on how they are measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from replication import figures
from replication.compare import (
    METRICS,
    Floats,
    PairedTest,
    Record,
    bootstrap_means,
    cells,
    interval,
    number,
    paired_test,
    per_user_values,
    published_values,
    ranks_of,
)
from replication.figures import Interval
from replication.page import Study, effect_table
from replication.papers.amp_cf import claims, experiments
from replication.papers.amp_cf.experiments import VARIANTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no model is recorded under two protocols yet."
DRAWS = 1000
LEARNED = (*claims.PERSONAS, claims.SINGLE)
LEAST = 4  # models whose order is compared; of three, chance alone gives the same order 1 in 6


@dataclass(frozen=True)
class Protocol:
    """One way to measure the same models.

    Attributes:
        name: for tables and figures.
        split: id of the protocol that splits the data.
        select: what chooses the epoch.
        variant: a variant of Table 2.
    """

    name: str
    split: str
    select: str = "validation"
    variant: str = ""


WAYS = (
    Protocol("last item", "loo-last"),
    Protocol("last item, first row of a tie", "loo-last", variant="first-row-ties"),
    Protocol("NCF's items", "loo-ncf"),
    Protocol("NCF's items, none consumed", "loo-ncf", variant="no-consumed-negatives"),
    Protocol("NCF's items, ties won", "loo-ncf", variant="ties-for-the-model"),
    Protocol("NCF's items, ties by index", "loo-ncf", variant="ties-by-index"),
    Protocol("random item", "loo-random"),
    Protocol("random item, no refit", "loo-random", experiments.VALIDATION_NO_REFIT),
    Protocol("random item, redrawn", "loo-random", variant="redraw"),
    Protocol("random item, epoch on test", "loo-random", "test"),
    Protocol("released code", "loo-random", "test", "released"),
)
TEXT, CODE = ("last item", "NCF's items"), "random item"  # what the text says, what the code does
DRAWN = (*TEXT, CODE, "released code")  # in the figure of levels
SPLITS = {way.name: way.split for way in WAYS if way.name in (*TEXT, CODE)}
# What is done to the same model under the same split: (text, arguments of ``Study.effects``).
CHANGES: tuple[tuple[str, dict[str, str]], ...] = (
    ("The epoch chosen on the test items", {"select": "test"}),
    ("No refit on training and validation items", {"select": experiments.VALIDATION_NO_REFIT}),
    ("Held-out items and candidates redrawn for every seed", {"variant": "redraw"}),
    ("The released code's habits", {"variant": "released"}),
    ("The first file row of several at the last time", {"variant": "first-row-ties"}),
    ("Up to 25 epochs in place of 6 (MovieLens 1M) and 10 (Pinterest)", {"variant": "longer"}),
    ("No negatives that the user consumed", {"variant": "no-consumed-negatives"}),
    ("Ties won by the held-out item", {"variant": "ties-for-the-model"}),
    ("Ties won by the larger item index", {"variant": "ties-by-index"}),
)
_WITHIN = (
    ("HR@10", "NDCG@10"),
    ("HR@10", "HR@10/full"),
    ("NDCG@10", "NDCG@10/full"),
    ("HR@10/full", "NDCG@10/full"),
)


@dataclass(frozen=True)
class Measured:
    """One model measured one way: its runs by seed, and the ranks of single users."""

    runs: Mapping[int, Record]
    study: Study

    def values(self, metric: str) -> Floats | None:
        """[S, U] per-user values; None where a run has none."""
        found = [ranks_of(run, self.study.ranks, metric) for run in self.runs.values()]
        known = [array for array in found if array is not None]
        return per_user_values(known, metric) if known and len(known) == len(found) else None

    def mean(self, metric: str) -> float | None:
        """Mean over the runs; None where a run does not have the metric."""
        found = [run["metrics"].get(metric) for run in self.runs.values()]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known and len(known) == len(found) else None

    @cached_property
    def draws(self) -> dict[str, Floats]:
        """[D] resampled means by metric, the same users in every metric, model and protocol."""
        values = {metric: self.values(metric) for metric in METRICS}
        known = {metric: value for metric, value in values.items() if value is not None}
        if not known:
            return {}
        means = bootstrap_means(np.stack(list(known.values())), DRAWS)  # [D, M]
        return dict(zip(known, means.T, strict=True))


Ways = dict[str, dict[str, Measured]]


def ways(study: Study, dataset: str) -> Ways:
    """Protocol -> model -> what was measured, on one data set; only what has runs.

    A model without an epoch to choose (MostPop, EASE^R) is the same whatever chooses the epoch and
    however the others are trained, and stands under those protocols as well.
    """
    found: Ways = {}
    for way in WAYS:
        grid = experiments.grid(way.select, way.variant)
        if way.variant and not _tests_otherwise(way.variant):
            grid += [cell for cell in experiments.grid(way.select) if cell.select == "none"]
        here = [c for c in grid if (c.dataset, c.protocol) == (dataset, way.split)]
        if way.select == experiments.VALIDATION_NO_REFIT:
            here = [c for c in here if c.select != "none"]  # those had the validation items
        filled = [(cell, runs) for cell, runs in cells(here, study.records) if runs]
        if any(c.variant == way.variant and (c.variant or c.select != "none") for c, _ in filled):
            found[way.name] = {cell.row: Measured(runs, study) for cell, runs in filled}
    return found


def _tests_otherwise(variant: str) -> bool:
    """Whether a variant changes the split or the test, and not only how a model is trained."""
    return bool(VARIANTS[variant].split) or VARIANTS[variant].rides_along


def datasets(study: Study) -> dict[str, Ways]:
    """Data set -> its protocols, where a model is recorded that an epoch is chosen for."""
    found = {dataset: ways(study, dataset) for dataset in experiments.RUN_HERE}
    return {dataset: own for dataset, own in found.items() if own}


# --- the order of the models -----------------------------------------------------------------


def tau_b(first: Floats, second: Floats) -> Floats:
    """[...] Kendall's tau-b of two rankings [..., n], over the last axis.

    scipy's ``kendalltau`` takes one ranking at a time; here a thousand draws at once.
    """
    i, j = np.triu_indices(first.shape[-1], 1)
    a = np.sign(first[..., i] - first[..., j])  # [..., n (n - 1) / 2]
    b = np.sign(second[..., i] - second[..., j])
    size = np.sqrt((a != 0).sum(-1) * (b != 0).sum(-1))
    return np.divide((a * b).sum(-1), size, out=np.full(size.shape, np.nan), where=size > 0)


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau between two orders of n models, with its 95 % interval where users allow."""

    tau: float
    low: float | None
    high: float | None
    models: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return _signed(self.tau)
        return f"{_signed(self.tau)} [{_signed(self.low)}, {_signed(self.high)}]"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # never a negative zero


def agreement(
    first: Mapping[str, Measured], second: Mapping[str, Measured], metric: str, other: str
) -> Agreement | None:
    """How far two ways to measure put the models that both have into the same order.

    None with fewer than ``LEAST`` models. Every draw resamples users and seeds of both.
    """
    means = {
        model: (first[model].mean(metric), second[model].mean(other))
        for model in first
        if model in second
    }
    models = [model for model, both in means.items() if None not in both]
    if len(models) < LEAST:
        return None
    tau = float(stats.kendalltau(*np.array([means[model] for model in models]).T).statistic)
    draws = [
        [side[model].draws.get(name) for model in models]
        for side, name in ((first, metric), (second, other))
    ]
    if any(draw is None for side in draws for draw in side):
        return Agreement(tau, None, None, len(models))
    resampled = tau_b(*(np.stack(side, axis=-1) for side in draws))  # type: ignore[arg-type]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Agreement(tau, float(low), float(high), len(models))


def repeated(models: Mapping[str, Measured], metric: str) -> float | None:
    """Mean tau between two drawings of users and seeds under one protocol.

    How well an order agrees with itself: more than this two protocols cannot agree.
    """
    drawn = [m.draws[metric] for m in models.values() if metric in m.draws]
    if len(drawn) < LEAST:
        return None
    both = np.stack(drawn, axis=-1)  # [D, n]
    return float(np.nanmean(tau_b(both[: DRAWS // 2], both[DRAWS // 2 :])))


def between(own: Ways) -> pd.DataFrame:
    """Kendall's tau between protocols, one line a pair, one column a metric.

    The last column leaves out all models but AMP-r and MF: far-off models agree on any protocol.
    """
    lines = []
    pairs: list[tuple[str, str]] = [*combinations(own, 2), *((name, name) for name in own)]
    for a, b in pairs:
        sides = own[a], own[b]
        few = _learned(own[a]), _learned(own[b])
        asked = [(metric, sides, metric) for metric in METRICS]
        asked.append(("NDCG@10", few, "NDCG@10, AMP and MF alone"))
        known: dict[str, str] = {}
        for metric, (first, second), column in asked:
            if a == b:
                again = repeated(first, metric)
                known |= {} if again is None else {column: _signed(again)}
            else:
                found = agreement(first, second, metric, metric)
                known |= {} if found is None else {column: str(found)}
        if known:
            n = len(sides[0].keys() & sides[1].keys())
            other = "itself, redrawn" if a == b else b
            lines.append({"protocol": a, "and": other, "models": str(n)} | known)
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).fillna("–").set_index(["protocol", "and"])


def _learned(models: Mapping[str, Measured]) -> dict[str, Measured]:
    return {model: measured for model, measured in models.items() if model in LEARNED}


def within(own: Ways) -> pd.DataFrame:
    """Kendall's tau between metrics, one line a protocol."""
    lines = []
    for name, models in own.items():
        found = {pair: agreement(models, models, *pair) for pair in _WITHIN}
        known = {f"{a} and {b}": str(x) for (a, b), x in found.items() if x}
        if known:
            n = max(x.models for x in found.values() if x)
            lines.append({"protocol": name, "models": str(n)} | known)
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).fillna("–").set_index("protocol")


# --- levels and differences ------------------------------------------------------------------


def levels(own: Ways, metric: str) -> pd.DataFrame:
    """Mean of one metric by model and protocol, with the range of each line and column."""
    table = _means(own, metric)
    ranges = _ranges(table)
    lines = [
        {"model": model}
        | {name: number(values.get(name)) for name in table}
        | {"range over protocols": number(ranges.models.get(model))}
        for model in _models(table)
        for values in [{name: column.get(model) for name, column in table.items()}]
    ]
    over = {name: number(ranges.protocols.get(name)) for name in table}
    lines.append({"model": "range over models"} | over | {"range over protocols": "–"})
    return pd.DataFrame(lines).set_index("model")


def _means(own: Ways, metric: str) -> dict[str, dict[str, float]]:
    """Protocol -> model -> mean, where there is one."""
    found = {
        name: {model: mean for model, m in models.items() if (mean := m.mean(metric)) is not None}
        for name, models in own.items()
    }
    return {name: column for name, column in found.items() if column}


def _learned_means(own: Ways, metric: str) -> dict[str, dict[str, float]]:
    """The same for AMP and MF alone."""
    found = {
        name: {model: mean for model, mean in column.items() if model in LEARNED}
        for name, column in _means(own, metric).items()
    }
    return {name: column for name, column in found.items() if column}


def _models(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    order = list(experiments.MODELS.values())
    known = dict.fromkeys(model for column in table.values() for model in column)
    return sorted(known, key=lambda model: order.index(model) if model in order else len(order))


@dataclass(frozen=True)
class Ranges:
    """Largest minus smallest mean: of a model over protocols, of a protocol over models."""

    models: dict[str, float]
    protocols: dict[str, float]


def _ranges(table: Mapping[str, Mapping[str, float]]) -> Ranges:
    def width(values: Sequence[float]) -> float | None:
        return max(values) - min(values) if len(values) > 1 else None

    by_model = {
        model: width([column[model] for column in table.values() if model in column])
        for model in _models(table)
    }
    by_protocol = {name: width(list(column.values())) for name, column in table.items()}
    return Ranges(
        {k: v for k, v in by_model.items() if v is not None},
        {k: v for k, v in by_protocol.items() if v is not None},
    )


def _against_single(own: Ways, metric: str) -> dict[tuple[str, str], PairedTest]:
    """(AMP-r, protocol) -> AMP-r minus MF (r=1), paired over users and seeds."""
    found = {}
    for name, models in own.items():
        for row in claims.PERSONAS:
            if row not in models or claims.SINGLE not in models:
                continue
            pair = [models[row], models[claims.SINGLE]]
            seeds = sorted(pair[0].runs.keys() & pair[1].runs.keys())
            both = [Measured({s: m.runs[s] for s in seeds}, m.study).values(metric) for m in pair]
            if both[0] is not None and both[1] is not None:
                found[row, name] = paired_test(both[0], both[1], draws=DRAWS)
    return found


def differences(own: Ways, metric: str) -> pd.DataFrame:
    """Each AMP-r minus MF (r=1) by protocol, with its interval."""
    tests = _against_single(own, metric)
    if not tests:
        return pd.DataFrame({"": [PENDING]})
    lines: dict[str, dict[str, str]] = {}
    for (row, name), test in tests.items():
        text = f"{number(test.difference, signed=True)} {interval(test.ci_low, test.ci_high, True)}"
        lines.setdefault(row, {})[name] = text
    frame = pd.DataFrame.from_dict(lines, orient="index").fillna("–")
    frame.index.name = f"{metric}, minus {claims.SINGLE}"
    return frame


def printed_lead(study: Study, dataset: str, metric: str = "HR@10") -> float | None:
    """The best printed AMP row minus the best other row of the paper's Table 2."""
    found = {
        row: value
        for (table, row, where, name), value in published_values(study.published).items()
        if (table, where, name) == ("table2", dataset, metric)
    }
    ours = [value for row, value in found.items() if row in claims.PRINTED_ROWS]
    others = [value for row, value in found.items() if row not in claims.PRINTED_ROWS]
    return max(ours) - max(others) if ours and others else None


def sizes(study: Study, metric: str = "HR@10") -> pd.DataFrame:
    """How much the protocol alone moves, beside how much the models differ."""
    lines = []
    for dataset, own in datasets(study).items():
        learned = _learned_means(own, metric)
        ranges, tests = _ranges(learned), _against_single(own, metric)
        gaps: dict[str, list[float]] = {}
        for (row, _), test in tests.items():
            gaps.setdefault(row, []).append(test.difference)
        widths = [max(found) - min(found) for found in gaps.values() if len(found) > 1]
        lead = printed_lead(study, dataset, metric)
        lines.append(
            {
                "data set": dataset,
                "protocols": str(len(learned)),
                "one model over protocols": _from_to(ranges.models.values()),
                "AMP-r and MF under one protocol": _from_to(ranges.protocols.values()),
                "AMP-r minus MF over protocols": _from_to(widths),
                "printed lead of the best AMP": "–" if lead is None else number(lead, signed=True),
            }
        )
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).set_index("data set")


def _from_to(values: Iterable[float]) -> str:
    found = sorted(values)
    if not found:
        return "pending"
    low, high = number(found[0]), number(found[-1])
    return low if low == high else f"{low} to {high}"


# --- single choices --------------------------------------------------------------------------


def best_epochs(study: Study) -> pd.DataFrame:
    """What choosing the epoch on the test items adds, and what the best epoch of each metric does.

    ``HR@10/best`` and ``NDCG@10/best`` each take their own best epoch on the test items, which is
    what the released code prints; no single model has both.
    """
    lines = []
    for dataset, own in datasets(study).items():
        plain, tested = own.get("random item", {}), own.get("random item, epoch on test", {})
        for model in _models({"": {name: 0.0 for name in tested}}):
            if "curve" not in tested[model].runs[min(tested[model].runs)] or model not in plain:
                continue
            for metric in METRICS[:2]:
                both = plain[model], tested[model]
                seeds = sorted(both[0].runs.keys() & both[1].runs.keys())
                chosen = [Measured({s: m.runs[s] for s in seeds}, study) for m in both]
                values = [m.values(metric) for m in chosen]
                if not seeds or values[0] is None or values[1] is None:
                    continue
                test = paired_test(values[1], values[0], draws=DRAWS)
                best = chosen[1].mean(f"{metric}/best")
                before = chosen[0].mean(metric)
                gained = None if best is None or before is None else best - before
                lines.append(
                    {
                        "data set": dataset,
                        "model": model,
                        "metric": metric,
                        "by validation": number(before),
                        "epoch on test": number(chosen[1].mean(metric)),
                        "gained [95 %]": f"{number(test.difference, signed=True)} "
                        f"{interval(test.ci_low, test.ci_high, True)}",
                        "best epoch of each metric": number(best),
                        "gained so": number(gained, signed=True),
                        "seeds": str(len(seeds)),
                    }
                )
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).set_index(["data set", "model"])


def change(study: Study, how: Mapping[str, str]) -> pd.DataFrame:
    """What one of ``CHANGES`` does to each model, where both sides are recorded."""
    known = [effect for effect in study.effects(**how) if effect.test is not None]
    return effect_table(known) if known else pd.DataFrame({"": [PENDING]})


def redrawn(study: Study) -> pd.DataFrame:
    """Standard deviation over seeds, with the same held-out items and with redrawn ones."""
    lines = []
    for dataset, own in datasets(study).items():
        for model, again in own.get("random item, redrawn", {}).items():
            plain = own["random item"][model] if model in own.get("random item", {}) else None
            for metric in METRICS[:2]:
                sides = [m and [run["metrics"][metric] for run in m.runs.values()]
                         for m in (plain, again)]  # fmt: skip
                texts = [
                    number(float(np.std(side, ddof=1))) if side and len(side) > 1 else "–"
                    for side in sides
                ]
                line = {"data set": dataset, "model": model, "metric": metric}
                named = dict(zip(("sd, same items", "sd, redrawn"), texts, strict=True))
                lines.append(line | named | {"seeds": str(len(again.runs))})
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).set_index(["data set", "model"])


def missing(study: Study) -> str:
    """Which runs the comparison with the epoch chosen on test items still lacks."""
    rows = {experiments.row_name(model) for model in ("mf", "amp-2", "amp-3", "amp-4")}
    left = []
    for cell, runs in cells(experiments.grid("test"), study.records):
        small = cell.dataset in ("ml-latest-small", "ml-100k") and cell.protocol == "loo-random"
        if small and cell.row in rows and len(runs) < cell.seeds_required:
            lacks = cell.seeds_required - len(runs)
            left.append(f"{cell.row} on {cell.dataset} ({lacks} of {cell.seeds_required} seeds)")
    return f"Pending, the epoch chosen on test items: {', '.join(left)}." if left else ""


# --- sentences and figures -------------------------------------------------------------------


def headline(study: Study) -> str:
    """What was asked and what was found, in two sentences."""
    asked = (
        "How much of a published difference does the protocol make by itself, and does it change "
        "which model is best?"
    )
    sizes = {d: both for d, own in datasets(study).items() if (both := _moved(own))}
    if not sizes:
        return f"**Asked.** {asked} **Found.** {PENDING}"
    moved = {d: number(size) for d, (size, _) in sizes.items()}
    apart = {d: number(size) for d, (_, size) in sizes.items()}
    return (
        f"**Asked.** {asked} **Found.** The protocol moves the HR@10 of one and the same AMP or "
        f"MF by up to {_by_dataset(moved)}, while these models differ by at most "
        f"{_by_dataset(apart)} under any one protocol{_orders(study)}.{_no_other_split(study)}"
    )


def _no_other_split(study: Study) -> str:
    """Where a random held-out item is the only split, and what is compared there; a sentence."""
    found: dict[str, list[str]] = {}
    for dataset, own in datasets(study).items():
        ways = list(_learned_means(own, "HR@10"))
        if len(ways) > 1 and not set(TEXT) & set(ways):
            found.setdefault(" and ".join(ways), []).append(dataset)
    return "".join(
        f" On {' and '.join(places)} no other split was made: there the ways compared are {ways}."
        for ways, places in found.items()
    )


def _by_dataset(texts: Mapping[str, str]) -> str:
    return ", ".join(f"{text} on {dataset}" for dataset, text in texts.items())


def _orders(study: Study) -> str:
    """How the order of the models under the text's and the code's protocol agree; a clause."""
    between, again = {}, {}
    for dataset, own in datasets(study).items():
        pair = _text_and_code(own)
        order = pair and agreement(own[pair[0]], own[pair[1]], "NDCG@10", "NDCG@10")
        redrawn = repeated(own[CODE], "NDCG@10") if order else None
        if order and redrawn is not None:
            between[dataset], again[dataset] = str(order), _signed(redrawn)
    if not between:
        return ""
    return (
        "; Kendall's tau between the orders of the models by NDCG@10 under the text's and the "
        f"code's protocol is {_by_dataset(between)}, and between two drawings of users and seeds "
        f"under the code's alone {_by_dataset(again)}"
    )


def _text_and_code(own: Ways) -> tuple[str, str] | None:
    """The protocols of the paper's text and of its code, where both are recorded."""
    text = [name for name in TEXT if name in own]
    return (text[0], CODE) if text and CODE in own else None


def _moved(own: Ways) -> tuple[float, float] | None:
    """How far the protocol moves a model's HR@10, and how far the models lie apart under one.

    Both are the largest found; None with a single protocol.
    """
    ranges = _ranges(_learned_means(own, "HR@10"))
    if not ranges.models or not ranges.protocols:
        return None
    return max(ranges.models.values()), max(ranges.protocols.values())


def level_figure(study: Study, metric: str = "HR@10") -> Figure:
    """Means with intervals by model, one panel a data set, one mark a protocol."""
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    for dataset, own in datasets(study).items():
        for name, models in own.items():
            for model, measured in models.items():
                mean = measured.mean(metric)
                if mean is None or name not in DRAWN:
                    continue
                draws = measured.draws.get(metric)
                ends = (None, None) if draws is None else np.quantile(draws, [0.025, 0.975])
                # By the name that other figures use, so that a mark means one thing in all.
                series = SPLITS.get(name, name)
                panels.setdefault(dataset, {}).setdefault(series, {})[model] = Interval(mean, *ends)
    shown = {m for series in panels.values() for points in series.values() for m in points}
    printed: dict[str, dict[str, float]] = {}
    for (table, row, dataset, name), value in published_values(study.published).items():
        if (table, name) == ("table2", metric) and dataset in panels and row in shown:
            printed.setdefault(dataset, {})[row] = value
    labels = [model for model in experiments.MODELS.values() if model in shown]
    return figures.intervals(panels, printed, labels, f"{metric} (share of users)")


def order_figure(study: Study) -> Figure:
    """Kendall's tau, one panel a pair of ways to measure, one line a data set."""
    panels: dict[str, dict[str, dict[str, Interval]]] = {}
    for dataset, own in datasets(study).items():
        pairs = {
            "text (last or NCF's item) and random item": _text_and_code(own),
            "epoch by validation and on test": (CODE, "random item, epoch on test"),
            "tuned and the released code's habits": (CODE, "released code"),
            "100 candidates and full catalogue": (CODE, CODE),
        }
        for title, names in pairs.items():
            if names is None or any(name not in own for name in names):
                continue
            for metric in METRICS[:2]:
                other = f"{metric}/full" if names[0] == names[1] else metric
                found = agreement(own[names[0]], own[names[1]], metric, other)
                if found:
                    point = Interval(found.tau, found.low, found.high)
                    panels.setdefault(title, {}).setdefault(metric, {})[dataset] = point
    shown = {d for series in panels.values() for points in series.values() for d in points}
    labels = [dataset for dataset in experiments.RUN_HERE if dataset in shown]
    return figures.intervals(panels, {}, labels, "Kendall's tau of two orders of the models")
