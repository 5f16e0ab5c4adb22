"""More features, less data, shuffled genres, a refit: variants of Table 2 from the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import figures
from replication.compare import FoldTest, number, published_values
from replication.fold_gaps import MIN_FOLDS, Gap, adjusted, gap_line
from replication.page import (
    PENDING,
    ByFold,
    Runs,
    Study,
    errors,
    larger_share,
    opening,
    over_folds,
    stored_table,
)
from replication.papers.afm import experiments
from replication.papers.afm.experiments import (
    DATASETS,
    FEATURES,
    ORDER,
    PROTOCOL,
    SHARES,
    VARIANTS,
)
from replication.papers.afm.pages.table2 import (
    AFM,
    FIVE,
    MAIN,
    METRIC,
    gap,
    joined,
    mean_text,
    printed_gain,
    runs_of,
)
from replication.papers.afm.rows import ROWS
from replication.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Step -> variant; "" is the main cell of Table 2, with five features and with all ratings.
FEATURE_STEPS: Mapping[int, str] = {
    n: "" if n == len(FEATURES[FIVE]) else f"features-{n}" for n in range(1, len(ORDER) + 1)
}
SHARE_STEPS: Mapping[int, str] = {share: f"train-{share}" for share in SHARES} | {100: ""}
# What five features are set against, both parts of the claim: one of the same features, with the
# settings that were tuned with five, and the main cell with genre alone, tuned as such.
ONE_FEATURE = {"with the settings of five": (FIVE, FEATURE_STEPS[1]), "each tuned": (MAIN, "")}
HEADS = {"one-genre": "one genre"}  # of the column that a variant stands beside
BLIND = ROWS["mf"].name  # the study's model without features
NO_LINE = "Pending: runs of two steps are needed for a line."
PRINTED_STUDIED = tuple(ROWS[model].name for model in ("nfm", "libfm"))
PRINTED_GAINS = ("ml-1m", "douban-movie")  # one feature, and five: the paper has other films there
Steps = Mapping[str, Mapping[int, Mapping[int, float]]]  # row -> step -> fold -> error


def by_step(study: Study, dataset: str, steps: Mapping[int, str]) -> Steps:
    """Errors of the models of a study, of the folds on which all of its steps are run."""
    specs = [VARIANTS[variant] for variant in steps.values() if variant]
    folds = min(spec.folds for spec in specs)
    found: dict[str, dict[int, dict[int, float]]] = {}
    for step, variant in steps.items():
        runs = runs_of(study, dataset, variant)
        for model in specs[0].models:
            row = ROWS[model].name
            own = {fold: e for fold, e in errors(runs.get(row, {})).items() if fold < folds}
            if own:
                found.setdefault(row, {})[step] = own
    return found


def features(study: Study) -> Steps:
    """Errors by the number of features; of MF, which uses none, those of its main cell at each."""
    found = dict(by_step(study, FIVE, FEATURE_STEPS))
    folds = {fold for own in found.values() for errors_ in own.values() for fold in errors_}
    main = errors(runs_of(study, FIVE).get(BLIND, {}))
    own = {fold: error for fold, error in main.items() if fold in folds}
    steps = {step for by in found.values() for step in by}
    return found | {BLIND: dict.fromkeys(sorted(steps), own)} if own else found


def shares(study: Study) -> Steps:
    """Errors by the percentage of the training ratings."""
    return by_step(study, MAIN, SHARE_STEPS)


def gains(found: Steps, row: str) -> dict[int, list[float]]:
    """By how much of its error AFM is below a model, step by step: one value a common fold."""
    own, other = found.get(AFM, {}), found.get(row, {})
    return {
        step: [1 - own[step][fold] / other[step][fold] for fold in sorted(common)]
        for step in own
        if (common := own[step].keys() & other.get(step, {}).keys())
    }


def gain_by_fold(study: Study, row: str, dataset: str = FIVE, variant: str = "") -> ByFold:
    """By how much of a model's error AFM is below it with five features, or elsewhere."""
    runs = runs_of(study, dataset, variant)
    own, other = errors(runs.get(AFM, {})), errors(runs.get(row, {}))
    common = sorted(own.keys() & other.keys())
    return ByFold({f: 1 - own[f] / other[f] for f in common}, larger_share(own, other))


def growth(study: Study) -> pd.DataFrame:
    """AFM's gain with one feature and with five, on all folds of both, beside print; as strings."""
    values = published_values(study.published)
    lines, index = [], []
    for row in PRINTED_STUDIED:
        five = gain_by_fold(study, row)
        for way, place in ONE_FEATURE.items():
            one = gain_by_fold(study, row, *place)
            common = sorted(one.keys() & five.keys())
            test = over_folds(five, one, PROTOCOL) if len(common) >= MIN_FOLDS else None
            means = [
                float(np.mean([by[f] for f in common])) if common else None for by in (one, five)
            ]
            if test is not None:
                ends = f" [{_percent(test.ci_low)}, {_percent(test.ci_high)}]"
            else:
                ends = " (too few folds)" if common else ""
            where = f"{FIVE}, both" if place[0] == FIVE else f"{place[0]} and {FIVE}"
            index.append((row, f"measured, {way}"))
            lines.append(_gain_line(means, where, ends, str(len(common))))
        there = [printed_gain(values, row, dataset) for dataset in PRINTED_GAINS]
        index.append((row, "published"))
        lines.append(_gain_line(there, " and ".join(PRINTED_GAINS), "", "–"))
    names = pd.MultiIndex.from_tuples(index, names=["AFM's gain over", ""])
    return pd.DataFrame(lines, index=names, dtype=str)


def _gain_line(gains: Sequence[float | None], where: str, ends: str, folds: str) -> dict[str, str]:
    one, five = gains
    more = None if one is None or five is None else five - one
    return {
        "one feature": _percent(one),
        "five features": _percent(five),
        "five minus one [95 %]": f"{_percent(more)}{ends}",
        "of": where,
        "folds": folds,
    }


def _percent(share: float | None) -> str:
    """A relative gain, or "pending"."""
    return "pending" if share is None else f"{100 * share + 0.0:+.2f} %"


def step_table(found: Steps, steps: Mapping[int, str], unit: str) -> pd.DataFrame:
    """Means over the folds and AFM's gains, one line a step, as strings; empty before any run."""
    rows = [row for row in found if row != AFM]
    lines = {}
    for step in steps if found else ():
        folds = {fold for own in found.values() for fold in own.get(step, {})}
        line = {row: _mean(own.get(step)) for row, own in found.items()}
        for row in rows:
            values = gains(found, row).get(step)
            line[f"gain over {row}"] = (
                ", ".join(f"{100 * value:+.2f} %" for value in values) if values else "–"
            )
        lines[f"{step}{unit}"] = line | {"folds": str(len(folds))}
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str)


def _mean(by_fold: Mapping[int, float] | None) -> str:
    return number(float(np.mean(list(by_fold.values())))) if by_fold else "pending"


def drawn(found: Steps, xlabel: str) -> Figure | None:
    """Error by step, one line a model; each fold is a dot. None before two steps have runs."""
    if len({step for steps in found.values() for step in steps}) < 2:
        return None
    panel = {
        row: {
            step: figures.Interval(float(np.mean(list(v.values()))), single=list(v.values()))
            for step, v in steps.items()
        }
        for row, steps in found.items()
    }
    return figures.lines({METRIC: panel}, xlabel, "test RMSE (stars)", 1)


# --- sentences -------------------------------------------------------------------------------


def _ends(found: Steps) -> dict[str, list[tuple[int, float]]]:
    """The first step and the last, and AFM's mean gain over each model there; of two or more."""
    every = {row: gains(found, row) for row in found if row != AFM}
    return {
        row: [(step, float(np.mean(values[step]))) for step in (min(values), max(values))]
        for row, values in every.items()
        if len(values) > 1
    }


def _trend(found: Steps, unit: str) -> str:
    """How AFM's gain over each model changes from the first step to the last; "" before it."""
    return ", ".join(
        f"{_percent(first)} at {start}{unit} to {_percent(last)} at {end}{unit} against {row}"
        for row, ((start, first), (end, last)) in _ends(found).items()
    )


def _grown(study: Study) -> dict[str, dict[str, FoldTest]]:
    """AFM's gain with five features minus that with one: way -> model with enough folds."""
    found: dict[str, dict[str, FoldTest]] = {}
    for way, place in ONE_FEATURE.items():
        for row in PRINTED_STUDIED:
            one, five = gain_by_fold(study, row, *place), gain_by_fold(study, row)
            if len(one.keys() & five.keys()) < MIN_FOLDS:
                continue
            test = over_folds(five, one, PROTOCOL)
            assert test is not None
            found.setdefault(way, {})[row] = test
    return found


def headline(study: Study) -> str:
    """What the studies were asked, what was found, and the gains over each model."""
    asked = (
        "Does AFM gain more with more features, as the paper conjectures, and with less data; and "
        "what do genres do that are dealt to the wrong films?"
    )
    by_feature, by_share, grown = features(study), shares(study), _grown(study)
    own = next((g for g in effects(study, "shuffled-genres") if g.name == AFM), None)
    details = []
    for way, tests in grown.items():
        each = " and ".join(
            f"{_percent(test.difference)} [{_percent(test.ci_low)}, {_percent(test.ci_high)}] "
            f"over {row}"
            for row, test in tests.items()
        )
        details.append(
            f"Five features against one, {way}: AFM's gain with five minus that with one is {each}."
        )
    if by_feature_text := _trend(by_feature, ""):
        details.append(
            "By number of features, on the folds of all steps: AFM's RMSE is below the others' by "
            f"{by_feature_text}."
        )
    if by_share_text := _trend(by_share, " %"):
        details.append(
            f"By share of the training ratings: AFM's RMSE is below the others' by {by_share_text}."
        )
    if own:
        details.append(
            f"Shuffled genres: they move AFM's RMSE by {number(own.difference, signed=True)} "
            f"({own.outcome})."
        )
    if harmed := effects(study, "shuffled-genres", "one-genre"):
        # AFM's own loss is small as well where true genres are worth little.
        each = ", ".join(
            f"{g.name} {number(g.difference, signed=True)} ({g.outcome})" for g in harmed
        )
        details.append(
            f"Shuffled genres against one genre for all films: they move RMSE by {each}."
        )
    if not details:
        return opening(asked, PENDING)
    return opening(asked, _answer(by_feature, by_share, grown, own), details)


def _answer(
    by_feature: Steps,
    by_share: Steps,
    grown: Mapping[str, Mapping[str, FoldTest]],
    own: Gap | None,
) -> str:
    """The three questions in one sentence; what has no answer yet is named at its end."""
    more = [last - first for (_, first), (_, last) in _ends(by_feature).values()]
    less = [first - last for (_, first), (_, last) in _ends(by_share).values()]
    known, pending = [], []
    if grown:
        tests = [test for by_row in grown.values() for test in by_row.values()]
        known.append(
            "five features instead of one change AFM's gain by "
            f"{_span(test.difference for test in tests)} "
            f"({sum(not t.ci_low <= 0 <= t.ci_high for t in tests)} of {len(tests)} intervals "
            "exclude zero)"
        )
    elif more:
        known.append(f"more features change AFM's gain by {_span(more)} (untested)")
    else:
        pending.append("more features")
    if less:
        what = "it" if known else "AFM's gain"
        known.append(f"less data changes {what} by {_span(less)} (untested)")
    else:
        pending.append("less data")
    if own:
        sure = "established" if own.outcome in ("better", "worse") else "not established"
        known.append(
            f"shuffled genres change AFM's RMSE by {number(own.difference, signed=True)} ({sure})"
        )
    else:
        pending.append("shuffled genres")
    waiting = f", with {' and '.join(pending)} still pending" if pending else ""
    return f"{joined(known)}{waiting}."


def _span(gains: Iterable[float]) -> str:
    """The least and the most of some gains; the one where both look alike."""
    found = list(gains)
    return " to ".join(dict.fromkeys(_percent(end) for end in (min(found), max(found))))


def no_test(variant: str) -> str:
    """Whether a study has enough folds for a test, in one sentence."""
    folds = VARIANTS[variant].folds
    if folds >= MIN_FOLDS:
        return (
            f"This study is run on {folds} folds, and differences are tested with the correction "
            "for overlapping folds."
        )
    return (
        f"This study is run on {folds} folds: each fold is shown by itself, and nothing is tested, "
        "since of two folds a difference would have to be a dozen times its standard error."
    )


def tuned_on() -> str:
    """Whose configuration a study's steps have, in one sentence."""
    return (
        f"Nothing was searched for a step: each has the configuration that was tuned with all "
        f"features ({len(FEATURES[FIVE])} on {DATASETS[FIVE]}, {len(FEATURES[MAIN])} on "
        f"{DATASETS[MAIN]}) and with all training ratings, so that the steps far from these may "
        "look worse than they would with a search of their own."
    )


# --- variants with one step ------------------------------------------------------------------


def with_alternatives(study: Study) -> Study:
    """The study with the alternatives to AFM, which some variants have too."""
    other = stored_table(experiments.ALTERNATIVES)
    return replace(study, grid=[*study.grid, *other.grid], records=[*study.records, *other.records])


def effects(study: Study, variant: str, against: str = "") -> list[Gap]:
    """A variant minus another (the main cell), for each of its models that has a common fold."""
    spec = VARIANTS[variant]
    main, changed = runs_of(study, spec.dataset, against), runs_of(study, spec.dataset, variant)
    names = [ROWS[model].name for model in spec.models]
    found = [gap(row, changed.get(row, {}), main.get(row, {})) for row in names]
    return adjusted([g for g in found if g is not None])


def effect_table(study: Study, variant: str, against: str = "") -> pd.DataFrame:
    """``effects`` as strings, with the models that are still to be run."""
    there = {g.name: g for g in effects(study, variant, against)}
    spec = VARIANTS[variant]
    main = {  # on the folds of the variant, as it is once the variant has run
        row: {fold: run for fold, run in runs.items() if fold < spec.folds}
        for row, runs in runs_of(study, spec.dataset, against).items()
    }
    head = HEADS.get(against, "main")
    lines = {}
    for model in spec.models:
        row = ROWS[model].name
        found = there.get(row)
        lines[row] = (
            {head: number(found.before), "variant": number(found.after)} | gap_line(found)
            if found
            else {head: mean_text(main.get(row, {})), "variant": "pending"}
        )
    return pd.DataFrame.from_dict(lines, orient="index", dtype=str).fillna("–").rename_axis("model")


def sentence(study: Study, variant: str) -> str:
    """The effect of a variant on each model, for a sentence elsewhere in the book."""
    texts = [
        f"{g.name} {number(g.difference, signed=True)} ({g.outcome}; {g.folds} "
        f"{'fold' if g.folds == 1 else 'folds'})"
        for g in effects(study, variant)
    ]
    return f"RMSE: {', '.join(texts)}" if texts else "pending"


def runs(study: Study) -> list[Record]:
    """The records behind the page: those of the variants and the main cells beside them."""
    parts: list[Mapping[str, Runs]] = [
        runs_of(study, spec.dataset, variant) for variant, spec in VARIANTS.items()
    ]
    names = {ROWS[model].name for spec in VARIANTS.values() for model in spec.models}
    for dataset in (FIVE, MAIN):
        found = runs_of(study, dataset)
        parts.append({row: runs for row, runs in found.items() if row in names})
    return [dict(record) for part in parts for found in part.values() for record in found.values()]


def which(steps: Sequence[str] = ORDER) -> str:
    """The order in which the features are added."""
    own = FEATURES[FIVE]
    return ", ".join(f"{n} {name}" for n, name in enumerate(steps, 1)) + (
        f"; the main cell of {DATASETS[FIVE]} has the first {len(own)}"
    )
