"""The ablation studies: sentences, tables and the figure from the records of Table 2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import figures
from replication.claims import ALPHA, Comparison, Evidence, NoEvidence, variant_row
from replication.compare import (
    Cell,
    PairedTest,
    Record,
    bootstrap_interval,
    cells,
    interval,
    number,
)
from replication.page import Study, opening
from replication.papers.amp_cf.ablations import LEVELS, PROTOCOL, SMALL, STUDIES, Line
from replication.papers.amp_cf.claims import GAIN_MARGIN, METRICS
from replication.papers.amp_cf.experiments import TABLE2, row_name
from replication.papers.amp_cf.pages import personas
from replication.papers.amp_cf.rows import row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no runs are recorded yet."


@dataclass(frozen=True)
class Results:
    """What the studies found: the comparisons, and the runs of each (model, level, data set).

    ``kinds``: whether the personas of a model are several or one vector.
    """

    evidence: Evidence
    runs: Mapping[tuple[str, str, str], Mapping[int, Record]]
    kinds: personas.Kinds = field(default_factory=dict)


@dataclass(frozen=True)
class Effect:
    """One line against the one that it is compared with; ``pvalue`` is Holm's, in its study."""

    line: Line
    dataset: str
    metric: str
    test: PairedTest
    pvalue: float

    @property
    def outcome(self) -> str:
        """ "loss" or "gain" where one is established, else "neither"."""
        if self.pvalue >= ALPHA or self.test.ci_low <= 0 <= self.test.ci_high:
            return "neither"
        return "loss" if self.test.difference < 0 else "gain"


def grid() -> dict[tuple[str, str, str], Cell]:
    """The cells of all studies by (model, level, data set)."""
    found = {}
    for study in STUDIES.values():
        for line in study.lines:
            seeds = LEVELS[line.level].seeds if line.level else row(line.model).seeds
            for dataset in line.datasets:
                place = (row_name(line.model), dataset, PROTOCOL, "validation", line.level)
                found[line.model, line.level, dataset] = Cell(TABLE2, *place, seeds_required=seeds)
    return found


def results(study: Study, kinds: personas.Kinds = personas.NONE_KNOWN) -> Results:
    """The part of Table 2's records that the studies use."""
    wanted = grid()
    filled = cells(wanted.values(), study.records)
    return Results(
        Evidence(TABLE2, study.records, study.ranks, study.published, wanted.values()),
        {place: runs for place, (_, runs) in zip(wanted, filled, strict=True)},
        kinds,
    )


def records(found: Results) -> list[Record]:
    """The records behind all studies, each once."""
    return [run for runs in found.runs.values() for run in runs.values()]


def _questions(name: str) -> Iterator[tuple[Line, Comparison]]:
    """What is compared in a study: the family of its Holm correction."""
    for line in STUDIES[name].lines:
        if line.against:
            model, level = line.against
            pair = (
                variant_row(row_name(line.model), line.level),
                variant_row(row_name(model), level),
            )
            for dataset in line.datasets:
                for metric in METRICS:
                    yield line, Comparison(*pair, dataset, PROTOCOL, metric)


def effects(found: Results, name: str) -> list[Effect]:
    """The comparisons of a study that the records allow."""
    family = [question for _, question in _questions(name)]
    adjusted = found.evidence.adjusted(family)
    return [
        Effect(line, asked.dataset, asked.metric, found.evidence.test(asked), adjusted[asked])
        for line, asked in _questions(name)
        if asked in adjusted
    ]


# --- sentences -------------------------------------------------------------------------------


def headline(found: Results) -> str:
    """What was asked, what was found, and what becomes of the paper's own sentences."""
    asked = (
        "Which choices of AMP-CF does its accuracy rest on, and do the records bear out what the "
        "paper says of more negatives and of other similarity functions?"
    )
    by_study = {name: effects(found, name) for name in STUDIES}
    every = [effect for some in by_study.values() for effect in some]
    if not every:
        return opening(asked, PENDING)
    own = {n: some for n, some in by_study.items() if some and not STUDIES[n].of_baseline}
    losing = [STUDIES[name].inner_title for name, some in own.items() if _count(some)[0]]
    where = f", under {', '.join(losing)}" if losing else ""
    n = sum(len(some) for some in own.values())
    loss, gain, neither = _count([effect for some in own.values() for effect in some])
    late = sum(len(list(_questions(x))) for x in STUDIES if not STUDIES[x].of_baseline) - n
    judged = {x: _judged(found, x) for x, some in by_study.items() if some and STUDIES[x].claim}
    claims = " and on ".join(
        f"the {STUDIES[name].inner_title} is {judgement}"
        for name, (judgement, _) in judged.items()
        if name in own
    )
    told = f", and the paper's claim on {claims}" if claims else ""
    against_one = _by_personas(found, every)
    return opening(
        asked,
        f"A loss of accuracy is established in {loss} of {n} comparisons ({len(losing)} of "
        f"{len(own)} choices) and a gain in {gain}{told}."
        if own
        else "Pending: no choice of AMP or MF is compared yet.",
        [
            f"AMP and MF on two small data sets: of {n} paired comparisons, {loss} with an "
            f"established loss{where}; {gain} with a gain and {neither} with neither"
            f"{f' (pending: {late} more)' if late else ''}."
            if own
            else "",
            f"An AMP against one vector a user. {personas.BECOME}: {against_one}."
            if against_one
            else "",
            *(
                f"{STUDIES[name].title}: of {len(some)} comparisons of that baseline with itself, "
                f"{_count(some)[0]} with an established loss and {_count(some)[1]} with a gain."
                for name, some in by_study.items()
                if some and STUDIES[name].of_baseline
            ),
            *(
                f"{STUDIES[name].title}: the paper says that {STUDIES[name].claim}. This is "
                f"{''.join(judgement)}."
                for name, judgement in judged.items()
            ),
        ],
    )


def verdict(found: Results, name: str) -> str:
    """What the comparisons of a study establish, and whether the paper's claim holds."""
    some, planned = effects(found, name), len(list(_questions(name)))
    if not some:
        return PENDING
    loss, gain, neither = _count(some)
    late = planned - len(some)
    text = (
        f"Of {len(some)} comparisons, {loss} establish a loss, {gain} a gain and {neither} neither"
        f"{f'; {late} more are pending' if late else ''}."
    )
    against_one = _by_personas(found, some)
    text += f" {personas.BECOME}: {against_one}." if against_one else ""
    claim = STUDIES[name].claim
    return (
        f"{text} The paper says that {claim}: {''.join(_judged(found, name))}." if claim else text
    )


def _kind(found: Results, line: Line, dataset: str) -> str:
    """What the personas of a line are: several, one vector or not known."""
    row_ = variant_row(row_name(line.model), line.level)
    return personas.kind(found.kinds, row_, dataset, PROTOCOL)


def _by_personas(found: Results, some: Iterable[Effect]) -> str:
    """Losses and gains of AMPs against one vector by what their personas are; "" without any."""
    own = [effect for effect in some if effect.line.of_personas]
    losses, gains = (
        personas.split(
            own,
            lambda effect: _kind(found, effect.line, effect.dataset),
            lambda effect: effect.outcome,
            word,
        )
        for word in ("loss", "gain")
    )
    return f"a loss in {losses}; a gain in {gains}" if own else ""


def _count(some: list[Effect]) -> tuple[int, int, int]:
    outcomes = [effect.outcome for effect in some]
    return outcomes.count("loss"), outcomes.count("gain"), outcomes.count("neither")


def _judged(found: Results, name: str) -> tuple[str, str]:
    """Whether the records support the paper's claim, and the rest of the sentence: the counts."""
    some = effects(found, name)
    loss, gain, _ = _count(some)
    n = len(some)
    if STUDIES[name].others == "worse":
        if loss == n:
            return "supported", f", in all {n} comparisons"
        if loss and not gain:
            return "supported in part", f", the loss is established in {loss} of {n} comparisons"
        if gain == n:
            return "contradicted", f", a gain is established in all {n} comparisons"
        if gain and not loss:
            return (
                "contradicted in part",
                f", a gain is established in {gain} of {n} comparisons and a loss in none",
            )
        if gain:
            return "divided", f", {loss} of {n} comparisons establish a loss and {gain} a gain"
        return "not supported", f", none of {n} comparisons establishes a difference"
    open_ = sum(effect.test.ci_high >= GAIN_MARGIN for effect in some)
    if gain:
        verdict, rest = "contradicted", f", {gain} of {n} comparisons establish a gain"
    elif open_:
        verdict, rest = (
            "not contradicted",
            f", but a gain of {GAIN_MARGIN:g} is not excluded in {open_} of {n} comparisons",
        )
    else:
        places = " and ".join(dict.fromkeys(f"`{effect.dataset}`" for effect in some))
        verdict, rest = (
            f"supported on {places}",
            " with the settings of the dot products, which were not searched anew: a gain of "
            f"{GAIN_MARGIN:g} is excluded in all {n} comparisons, and a loss is established in "
            f"{loss}",
        )
    slower = _slower(found, name)
    if not slower:
        return verdict, rest
    longer = "longer" if min(slower) > 1 else "not always longer"
    return (
        verdict,
        f"{rest}; training is {longer}, an epoch takes {min(slower):.1f} to {max(slower):.1f} "
        "times the seconds",
    )


def _slower(found: Results, name: str) -> list[float]:
    """Seconds an epoch over those of the line that is compared with, by line, data set, seed.

    Only runs on the same kind of machine and device count.
    """
    ratios = []
    for line in STUDIES[name].lines:
        for dataset in line.datasets if line.against else ():
            own = found.runs[line.model, line.level, dataset]
            other = found.runs[(*line.against, dataset)] if line.against else {}
            for seed in own.keys() & other.keys():
                a, b = own[seed], other[seed]
                if (a["machine"], a["device"]) == (b["machine"], b["device"]):
                    ratios.append(a["seconds_per_epoch"] / b["seconds_per_epoch"])
    return ratios


def settings(found: Results, models: tuple[str, ...]) -> str:
    """The tuned weights of Eq. 2 in the main cells that levels depart from."""
    texts = []
    for model in models:
        for dataset in SMALL:
            for run in list(found.runs[model, "", dataset].values())[:1]:
                c = run["config"]
                texts.append(
                    f"{run['row']} on `{dataset}` $\\alpha$ = {c['alpha']:g}, $\\lambda_p$ = "
                    f"{c['lambda_p']:g}, $\\lambda_n$ = {c['lambda_n']:g}"
                )
    return f"As tuned: {'; '.join(texts)}." if texts else PENDING


# --- table and figure --------------------------------------------------------------------------


def table(found: Results, name: str) -> pd.DataFrame:
    """A study's lines as strings: one block a data set, one row a metric."""
    by_place = {(e.line, e.dataset, e.metric): e for e in effects(found, name)}
    of_personas = any(line.of_personas for line in STUDIES[name].lines)
    index, lines = [], []
    for dataset in SMALL:
        for line in STUDIES[name].lines:
            if dataset not in line.datasets:
                continue
            runs = found.runs[line.model, line.level, dataset]
            wanted = LEVELS[line.level].seeds if line.level else row(line.model).seeds
            cost = {
                "s/epoch": _mean(runs, "seconds_per_epoch", "{:.2f}"),
                "parameters": _mean(runs, "parameters", "{:,.0f}"),
                "seeds": str(len(runs)) if len(runs) == wanted else f"{len(runs)} of {wanted}",
            }
            for metric in reversed(METRICS):  # by NDCG@10 epochs are chosen: it comes first
                effect = by_place.get((line, dataset, metric))
                shown = {
                    "mean [95 %]": _measured(found, line, dataset, metric, runs),
                    "difference [95 %]": _difference(line, effect),
                    "p": _pvalue(line, effect),
                }
                if of_personas:
                    mark = _kind(found, line, dataset) if line.of_personas else "–"
                    shown = {personas.HEAD: mark} | shown
                index.append((dataset, line.label, metric))
                lines.append(shown | cost)
                cost = dict.fromkeys(cost, "")
    names = ["data set", STUDIES[name].inner_title, "metric"]
    frame = pd.DataFrame(lines, index=pd.MultiIndex.from_tuples(index, names=names), dtype=str)
    counts = frame["parameters"][~frame["parameters"].isin(["", "–"])]
    same = (counts.groupby("data set").nunique() < 2).all()  # then they are no part of the study
    return frame.drop(columns="parameters") if same else frame


def overview(found: Results) -> pd.DataFrame:
    """One line a study: how many comparisons establish what."""
    lines = {}
    for name, study in STUDIES.items():
        some = effects(found, name)
        counts = [str(count) for count in _count(some)] if some else ["pending"] * 3
        compared = f"{len(some)} of {len(list(_questions(name)))}"
        lines[study.title] = [compared, *counts]
    columns = ["comparisons", "losses", "gains", "neither"]
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=columns, dtype=str)
    frame.index.name = "study"
    return frame


def _measured(
    found: Results, line: Line, dataset: str, metric: str, runs: Mapping[int, Record]
) -> str:
    """The mean over seeds, with its interval where there are seeds enough."""
    if not runs:
        return "pending"
    mean = number(float(np.mean([run["metrics"][metric] for run in runs.values()])))
    try:
        values = found.evidence.values(
            variant_row(row_name(line.model), line.level), dataset, PROTOCOL, metric
        )
    except NoEvidence:
        return mean
    return f"{mean} {interval(*bootstrap_interval(values))}"


def _difference(line: Line, effect: Effect | None) -> str:
    if effect is None:
        return "pending" if line.against else "–"
    low, high = effect.test.ci_low, effect.test.ci_high
    return f"{number(effect.test.difference, signed=True)} {interval(low, high, signed=True)}"


def _pvalue(line: Line, effect: Effect | None) -> str:
    if effect is None:
        return "pending" if line.against else "–"
    return "< 0.001" if effect.pvalue < 0.001 else f"{effect.pvalue:.3f}"


def _mean(runs: Mapping[int, Record], field: str, form: str) -> str:
    values = [run[field] for run in runs.values() if field in run]  # no epochs, no time of one
    return form.format(float(np.mean(values))) if values else "–"


def figure(found: Results, metric: str = "NDCG@10") -> Figure | None:
    """Small multiples, one panel a study: differences with intervals; None without any."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = {
        name: [e for e in effects(found, name) if e.metric == metric] for name in STUDIES
    }  # fmt: skip
    panels = {name: some for name, some in panels.items() if some}
    if not panels:
        return None
    labels = {name: list(dict.fromkeys(e.line.label for e in p)) for name, p in panels.items()}
    reach = 1.05 * max(abs(x) for p in panels.values() for e in p for x in
                       (e.test.ci_low, e.test.ci_high))  # fmt: skip
    colours = figures.palette()
    look = {dataset: (colours[n], figures.MARKERS[n]) for n, dataset in enumerate(SMALL)}
    with matplotlib.rc_context(figures.STYLE):  # type: ignore[arg-type]
        heights = [len(labels[name]) + 2.2 for name in panels]
        drawn = Figure(figsize=(8.1, 0.27 * sum(heights) + 0.8), layout="constrained")
        FigureCanvasAgg(drawn)
        axes = drawn.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axis, (name, some) in zip(axes, panels.items(), strict=True):
            axis.axvline(0, color=figures.INK, linewidth=1)
            for effect in some:
                colour, marker = look[effect.dataset]
                shift = 0.32 * (SMALL.index(effect.dataset) - 0.5)
                y = labels[name].index(effect.line.label) + shift
                axis.hlines(y, effect.test.ci_low, effect.test.ci_high, colour, linewidth=2)
                hollow = effect.outcome == "neither"
                axis.scatter(
                    effect.test.difference, y, s=34, marker=marker, edgecolor=[colour],
                    facecolor="white" if hollow else [colour], linewidth=1.5, zorder=3,
                )  # fmt: skip
            axis.set_yticks(range(len(labels[name])), labels[name])
            axis.set_ylim(len(labels[name]) - 0.4, -0.6)
            axis.set_xlim(-reach, reach)
            axis.grid(axis="y", visible=False)
            axis.set_title(STUDIES[name].title)
        axes[-1].set_xlabel(f"difference in {metric}")
        handles = [
            Line2D([], [], color=colour, marker=marker, label=dataset, markersize=6.5)
            for dataset, (colour, marker) in look.items()
        ]
        drawn.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return drawn
