"""Protocol sensitivity: how far results and the order of models depend on how they are measured."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import figures, orders
from replication.compare import (
    METRICS,
    Cell,
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
from replication.page import Study, effect_table, enumeration, opening
from replication.papers.amp_cf import claims, experiments
from replication.papers.amp_cf.experiments import VARIANTS
from replication.papers.amp_cf.rows import ROWS
from replication.tables import COMPLETE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no model is recorded under two protocols yet."
DRAWS = 1000
LEARNED = (*claims.PERSONAS, claims.SINGLE)
LEAST = 4  # models whose order is compared; of three, chance alone gives the same order 1 in 6
# Models without epochs, sampled negatives or attention: how the others are trained, and what
# chooses their epoch, is nothing to them. (DiRec re-ranks a model that is trained.)
UNTRAINED = {known.name for known in ROWS.values() if not known.trained and known.base is None}


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


RANDOM = "random item"
RELEASED = "the released code's habits"
ON_TEST, NO_REFIT = f"{RANDOM}, epoch on test", f"{RANDOM}, no refit"
# The second is the last item too, as the authors of NCF drew it, with their candidates.
LAST = ("last item", "last item, NCF's split")
WAYS = (
    Protocol(LAST[0], "loo-last"),
    Protocol(f"{LAST[0]}, first row of a tie", "loo-last", variant="first-row-ties"),
    Protocol(LAST[1], "loo-ncf"),
    Protocol(f"{LAST[1]}, none consumed", "loo-ncf", variant="no-consumed-negatives"),
    Protocol(f"{LAST[1]}, ties won", "loo-ncf", variant="ties-for-the-model"),
    Protocol(f"{LAST[1]}, ties by index", "loo-ncf", variant="ties-by-index"),
    Protocol(RANDOM, "loo-random"),
    Protocol(NO_REFIT, "loo-random", experiments.VALIDATION_NO_REFIT),
    Protocol(f"{RANDOM}, redrawn", "loo-random", variant="redraw"),
    Protocol(ON_TEST, "loo-random", "test"),
    Protocol(RELEASED, "loo-random", "test", "released"),
)
MAIN = (*LAST, RANDOM, RELEASED)  # in the figure of levels, and asked for the best model
FULL = "full ranking"
SPLITS = {way.name: way.split for way in WAYS if way.name in (*LAST, RANDOM)}
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

    A model that is not trained over epochs (``UNTRAINED``) is the same whatever chooses the epoch
    and however the others are trained, and stands under those protocols as well.
    """
    found: Ways = {}
    known: dict[Cell, Measured] = {}
    for way in WAYS:
        grid = experiments.grid(way.select, way.variant)
        if not (way.variant and _tests_otherwise(way.variant)):
            grid = [cell for cell in grid if cell.row not in UNTRAINED]
            if way.select != experiments.VALIDATION_NO_REFIT:  # those had the validation items
                grid += [cell for cell in experiments.grid() if cell.row in UNTRAINED]
        here = [c for c in grid if (c.dataset, c.protocol) == (dataset, way.split)]
        filled = [(cell, runs) for cell, runs in cells(here, study.records) if runs]
        if any(
            c.variant == way.variant and (c.variant or c.row not in UNTRAINED) for c, _ in filled
        ):
            found[way.name] = {
                cell.row: known.setdefault(cell, Measured(runs, study)) for cell, runs in filled
            }
    return found


def _tests_otherwise(variant: str) -> bool:
    """Whether a variant changes the split or the test, and not only how a model is trained."""
    return bool(VARIANTS[variant].split) or VARIANTS[variant].rides_along


def datasets(study: Study) -> dict[str, Ways]:
    """Data set -> its protocols, where a model is recorded that an epoch is chosen for."""
    found = {dataset: ways(study, dataset) for dataset in experiments.RUN_HERE}
    return {dataset: own for dataset, own in found.items() if own}


# --- the order of the models -----------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau between two orders of n models, with its interval where users allow."""

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


Side = tuple[Mapping[str, Measured], str]  # the models measured one way, and a metric


def _common(sides: Sequence[Side]) -> list[str]:
    """The models that have a mean on every side, in the order of the first."""
    return [
        model
        for model in sides[0][0]
        if all(model in own and own[model].mean(metric) is not None for own, metric in sides)
    ]


def _means_of(sides: Sequence[Side], models: Sequence[str]) -> Floats:
    """[W, n] means of n models on W sides."""
    return np.array([[own[model].mean(metric) for model in models] for own, metric in sides])


def _draws_of(sides: Sequence[Side], models: Sequence[str]) -> Floats | None:
    """[D, W, n] their resampled means, of the same users; None where a model has no ranks."""
    found = [[own[model].draws.get(metric) for model in models] for own, metric in sides]
    if any(draws is None for side in found for draws in side):
        return None
    return np.moveaxis(np.array(found), -1, 0)


def agreement(
    first: Mapping[str, Measured], second: Mapping[str, Measured], metric: str, other: str
) -> Agreement | None:
    """How far two ways to measure put the models that both have into the same order.

    None with fewer than ``LEAST`` models, and where one way has no order (all are the same).
    """
    sides = [(first, metric), (second, other)]
    models = _common(sides)
    if len(models) < LEAST:
        return None
    means, draws = _means_of(sides, models), _draws_of(sides, models)
    tau = float(orders.tau_b(*means))
    if np.isnan(tau):
        return None
    if draws is None:
        return Agreement(tau, None, None, len(models))
    _, low, high = orders.agreement(means, draws)
    return Agreement(tau, low, high, len(models))


REDRAWN = "itself, users and seeds redrawn"


def repeated(models: Mapping[str, Measured], metric: str) -> float | None:
    """Mean tau between two drawings of users and seeds under one protocol.

    How well an order agrees with itself: more than this two protocols cannot agree.
    """
    drawn = [m.draws[metric] for m in models.values() if metric in m.draws]
    if len(drawn) < LEAST:
        return None
    both = np.stack(drawn, axis=-1)  # [D, n]
    return float(np.nanmean(orders.tau_b(both[: DRAWS // 2], both[DRAWS // 2 :])))


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
            n, full = (len(_common([(side, metric) for side in sides])) for metric in METRICS[1::2])
            models = str(n) if full in (0, n) else f"{n}, {full} in full ranking"
            other = REDRAWN if a == b else b
            lines.append({"protocol": a, "and": other, "models": models} | known)
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
            sizes = sorted({x.models for x in found.values() if x}, reverse=True)
            lines.append({"protocol": name, "models": " or ".join(map(str, sizes))} | known)
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    return pd.DataFrame(lines).fillna("–").set_index("protocol")


# --- the best model ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Best:
    """The best model of one way to measure, and those that are not established to be worse."""

    model: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.model} (or {', '.join(self.others)})" if self.others else self.model


def best(sides: Mapping[str, Side]) -> dict[str, Best]:
    """Side -> its best model, of the models that all sides have; {} with fewer than two.

    All differences on all sides are tested at once, so that with 95 % every side's true best is
    its ``model`` or one of its ``others``. Where a model has no ranks every model is one.
    """
    models = _common(list(sides.values())) if sides else []
    if len(models) < 2:
        return {}
    means, draws = _means_of([*sides.values()], models), _draws_of([*sides.values()], models)
    left = np.ones(means.shape, dtype=bool)
    if draws is not None:
        left = orders.may_be_best(orders.established(means, draws), len(models))
    found = {}
    for name, row, possible in zip(sides, means, left, strict=True):
        order = np.argsort(-row, kind="stable")
        others = tuple(models[i] for i in order[1:] if possible[i])
        found[name] = Best(models[order[0]], others)
    return found


def _main(own: Ways, few: bool = False) -> Ways:
    """The main protocols of a data set; with ``few``, their AMP-r and MF alone."""
    return {name: _learned(own[name]) if few else own[name] for name in MAIN if name in own}


def _same_models(own: Ways) -> Ways:
    """Every protocol, with no other models than those that all main protocols have."""
    main = list(_main(own).values())
    same = [model for model in main[0] if all(model in way for way in main)] if main else []
    return {name: {m: way[m] for m in same if m in way} for name, way in own.items()}


def _sides(ways: Ways) -> dict[str, Side]:
    """Every protocol with every metric that two of its models have."""
    return {
        f"{name}/{metric}": (models, metric)
        for name, models in ways.items()
        for metric in METRICS
        if len(_common([(models, metric)])) > 1
    }


def best_models(own: Ways, few: bool = False) -> pd.DataFrame:
    """The best model by protocol and metric, of those that all of these protocols have.

    The lines of a metric compare the protocols; those of two metrics compare the rankings.
    """
    ways = _main(own, few)
    sides = _sides(ways)
    found = best(sides)
    if not found:
        return pd.DataFrame({"": [PENDING]})
    lines = {(m, name): str(found.get(f"{name}/{m}", "–")) for m in METRICS for name in ways}
    index = pd.MultiIndex.from_tuples(lines, names=["metric", "protocol"])
    title = f"best of {len(_common(list(sides.values())))} models"
    return pd.DataFrame({title: list(lines.values())}, index=index)


def asked_for_best(own: Ways, metric: str) -> dict[str, Best]:
    """What the opening compares: the main protocols, and the random item in the full ranking."""
    every = best(_sides(_main(own)))
    asked = {name: f"{name}/{metric}" for name in MAIN} | {FULL: f"{RANDOM}/{metric}/full"}
    return {name: every[key] for name, key in asked.items() if key in every}


@dataclass(frozen=True)
class Bests:
    """Whether the protocol changes which model is best on one data set.

    Attributes:
        text: the best models by NDCG@10, each with its protocols.
        changes: whether they are several.
        established: whether no one model may be the best under all protocols.
        by_hits: whether the best by HR@10 are several.
    """

    text: str
    changes: bool
    established: bool
    by_hits: bool


def _bests(study: Study) -> dict[str, Bests]:
    """Data set -> its best models, where two ways to measure can be compared."""
    told = {}
    for dataset, own in datasets(study).items():
        found = asked_for_best(own, "NDCG@10")
        if len(found) < 2:
            continue
        by_model: dict[str, list[str]] = {}
        for name, one in found.items():
            by_model.setdefault(one.model, []).append(name)
        possible = set.intersection(*({one.model, *one.others} for one in found.values()))
        by_hits = {one.model for one in asked_for_best(own, "HR@10").values()}
        if len(by_model) == 1:
            text = f"it stays the same, {next(iter(by_model))}"
        else:
            sure = "established"
            if possible:
                sure = f"not established: {enumeration(sorted(possible))} may be best in all"
            texts = [f"{model} by {enumeration(names)}" for model, names in by_model.items()]
            text = f"{', '.join(texts)} ({sure})"
        told[dataset] = Bests(text, len(by_model) > 1, not possible, len(by_hits) > 1)
    return told


# --- levels and differences ------------------------------------------------------------------


def levels(own: Ways, metric: str) -> pd.DataFrame:
    """Mean of one metric by model and protocol, with the range of each line and column.

    Each range says over how many it is: not every model is run under every protocol.
    """
    table = _means(own, metric)
    ranges = _ranges(table)
    lines = [
        {"model": model}
        | {name: number(values.get(name)) for name in table}
        | {"range over protocols": _of_n(ranges.models.get(model), len(values))}
        for model in _models(table)
        for values in [{name: means[model] for name, means in table.items() if model in means}]
    ]
    over = {name: _of_n(ranges.protocols.get(name), len(table[name])) for name in table}
    lines.append({"model": "range over models"} | over | {"range over protocols": "–"})
    return pd.DataFrame(lines).set_index("model")


def _of_n(value: float | None, n: int) -> str:
    """A range, and over how many means it is."""
    return number(value) if value is None else f"{number(value)} (n = {n})"


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
    """Each AMP-r minus MF (r=1), a column each, by protocol, with its interval."""
    tests = _against_single(own, metric)
    if not tests:
        return pd.DataFrame({"": [PENDING]})
    lines: dict[str, dict[str, str]] = {}
    for (row, name), test in tests.items():
        text = f"{number(test.difference, signed=True)} {interval(test.ci_low, test.ci_high, True)}"
        lines.setdefault(name, {})[row] = text
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
    """How much the main protocols alone move, beside how much the models differ."""
    lines = []
    for dataset, every in datasets(study).items():
        own = _same_models(_main(every))
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
                "main protocols": str(len(learned)),
                "AMP and MF in all of them": str(len(_models(learned))),
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
        return "–"
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
        plain, tested = own.get(RANDOM, {}), own.get(ON_TEST, {})
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
        for model, again in own.get(f"{RANDOM}, redrawn", {}).items():
            plain = own[RANDOM][model] if model in own.get(RANDOM, {}) else None
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


def missing(study: Study, select: str = "test", variant: str = "") -> str:
    """Which runs of AMP and MF a way to train still lacks on the small data sets."""
    rows = {experiments.row_name(model) for model in VARIANTS["released"].models}
    places = VARIANTS["released"].cells
    left = []
    for cell, runs in cells(experiments.grid(select, variant), study.records):
        lacks = cell.seeds_required - len(runs)
        if cell.row in rows and (cell.dataset, cell.protocol) in places and lacks > 0:
            left.append(f"{cell.row} on {cell.dataset} ({lacks} of {cell.seeds_required} seeds)")
    what = RELEASED if variant == "released" else "the epoch chosen on test items"
    return f"Pending, {what}: {', '.join(left)}." if left else COMPLETE


# --- sentences and figures -------------------------------------------------------------------


def headline(study: Study) -> str:
    """What was asked, what was found, and the numbers of each data set."""
    asked = (
        "How much of a published difference does the protocol make by itself, and does it change "
        "which model is best?"
    )
    sizes = {d: both for d, own in datasets(study).items() if (both := _moved(own))}
    if not sizes:
        return opening(asked, PENDING)
    moved, apart = ([size[side] for size in sizes.values()] for side in (0, 1))
    more = sum(own > other for own, other in sizes.values())
    bests = _bests(study)
    changed = [d for d, own in bests.items() if own.changes]
    by_hits = [d for d, own in bests.items() if own.by_hits]
    sure = sum(bests[dataset].established for dataset in changed)
    best_changes = (
        f", and by NDCG@10 changes the best model on {len(changed)} of {len(bests)}"
        f"{f', established on {sure}' if changed else ''}"
        if bests
        else ""
    )
    return opening(
        asked,
        f"The protocol moves the HR@10 of an AMP or MF by up to {number(max(moved))}, on {more} "
        f"of {len(sizes)} data sets with several main protocols by more than these models "
        f"differ{best_changes}.",
        [
            "One and the same AMP or MF: the main protocols (last item, random item, the released "
            "code's habits) move its HR@10 by up to "
            f"{_by_dataset(dict(zip(sizes, map(number, moved), strict=True)))}.",
            "AMP and MF under any one of these protocols: they differ by at most "
            f"{_by_dataset(dict(zip(sizes, map(number, apart), strict=True)))}.",
            *(f"Best model by NDCG@10 on {dataset}: {own.text}." for dataset, own in bests.items()),
            f"Best model by HR@10: it changes on {enumeration(by_hits) or 'no data set'}."
            if bests
            else "",
        ],
    )


def one_split(study: Study) -> str:
    """Where there is one main protocol and nothing can move, and what is compared there instead."""
    found: dict[str, list[str]] = {}
    for dataset, own in datasets(study).items():
        ways = _learned_means(own, "HR@10")
        if len(ways) > 1 and len(set(MAIN) & set(ways)) == 1:
            found.setdefault(" and ".join(ways), []).append(dataset)
    return " ".join(
        f"On {enumeration(places)} there is one main protocol, so that the ranges over protocols "
        f"have nothing to say and the opening does not count them; measured there are {ways}."
        for ways, places in found.items()
    )


def _by_dataset(texts: Mapping[str, str]) -> str:
    return ", ".join(f"{text} on {dataset}" for dataset, text in texts.items())


def _pairs(own: Ways) -> dict[str, tuple[Side, Side]]:
    """The pairs of ways whose rankings of models by NDCG@10 are compared; only what is recorded."""
    found: dict[str, tuple[Side, Side]] = {}
    last = next((name for name in LAST if name in own), "")
    for title, a, b in (
        (f"last item and {RANDOM}", last, RANDOM),
        (f"last item and {RELEASED}", last, RELEASED),
        (f"{RANDOM} and {RELEASED}", RANDOM, RELEASED),
        (f"{RANDOM}, epoch by validation and on test", RANDOM, ON_TEST),
    ):
        if a in own and b in own:
            found[title] = (own[a], ""), (own[b], "")
    if RANDOM in own:
        found[f"{RANDOM}, 100 candidates and {FULL}"] = (own[RANDOM], ""), (own[RANDOM], "/full")
    return found


def main_orders(study: Study, metric: str = "NDCG@10") -> pd.DataFrame:
    """Kendall's tau of the main pairs of ways to measure: a line a pair and data set.

    Of the models that all main protocols of a data set have, so that the lines can be compared; and
    of AMP-r and MF alone: models that are far apart keep their order anyway, and one that is not
    trained is the same under the code's habits.
    """
    lines: dict[tuple[str, str], dict[str, str]] = {}
    shown = {dataset: _same_models(own) for dataset, own in datasets(study).items()}
    for dataset, own in shown.items():
        for title, ((first, a), (second, b)) in _pairs(own).items():
            few = _learned(first), _learned(second)
            for which, sides in (("all", (first, second)), ("AMP-r and MF", few)):
                found = agreement(*sides, metric + a, metric + b)
                if found:
                    text = f"{found}, n = {found.models}"
                    lines.setdefault((title, dataset), {})[which] = text
    for dataset, own in shown.items():
        known = own.get(RANDOM, {})
        for which, models in (("all", known), ("AMP-r and MF", _learned(known))):
            again = repeated(models, metric)
            if again is not None and lines:
                lines.setdefault((f"{RANDOM} and {REDRAWN}", dataset), {})[which] = _signed(again)
    if not lines:
        return pd.DataFrame({"": [PENDING]})
    titles = list(dict.fromkeys(title for title, _ in lines))
    order = sorted(lines, key=lambda place: titles.index(place[0]))  # a pair's data sets together
    index = pd.MultiIndex.from_tuples(order, names=[f"tau by {metric}", "data set"])
    return pd.DataFrame([lines[place] for place in order], index=index).fillna("–")


def _moved(own: Ways) -> tuple[float, float] | None:
    """How far the protocol moves a model's HR@10, and how far the models lie apart under one.

    Both are the largest found, over the main protocols and the AMP and MF that all of these have:
    other ways, such as leaving out the refit, are no other protocol. None with a single one.
    """
    ranges = _ranges(_learned_means(_same_models(_main(own)), "HR@10"))
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
                if mean is None or name not in MAIN:
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
        for title, ((first, a), (second, b)) in _pairs(own).items():
            for metric in METRICS[:2]:
                found = agreement(first, second, metric + a, metric + b)
                if found:
                    point = Interval(found.tau, found.low, found.high)
                    panel = panels.setdefault(textwrap.fill(title, 26), {})  # as wide as a panel
                    panel.setdefault(metric, {})[dataset] = point
    shown = {d for series in panels.values() for points in series.values() for d in points}
    labels = [dataset for dataset in experiments.RUN_HERE if dataset in shown]
    figure = figures.intervals(panels, {}, labels, "Kendall's tau of two orders")
    for axis in figure.axes:
        axis.set_xlim(-1.05, 1.05)  # the same for all: bars are compared across panels
    return figure
