"""What each choice that the paper leaves open does: alternatives to AFM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from replication import figures
from replication.compare import number
from replication.fold_gaps import MIN_FOLDS, Gap, adjusted, gap_line
from replication.page import (
    PENDING,
    Runs,
    Study,
    difference_text,
    errors,
    mean_sd,
    opening,
    over_folds,
    stored_table,
)
from replication.papers.afm import experiments
from replication.papers.afm.experiments import (
    ALTERNATIVE_FOLDS,
    DATASETS,
    GAP,
    PROTOCOL,
    tries,
    with_gap,
)
from replication.papers.afm.pages.table2 import (
    AFM,
    METRIC,
    gap,
    mean_text,
    runs_of,
)
from replication.papers.afm.rows import BEST, ROWS
from replication.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What changes two choices at once stands beside what changes the other one alone: AFM would say
# what both do together.
TWINS: Mapping[str, str] = {
    "afm-product-biases": "afm-product",
    "afm-inner-biases": "afm-inner-mean",  # Eq. 4 alone has no mean
    "afm-bounded-biases": "afm-bounded",
} | {
    model: model.removesuffix("-no-mean")
    for model in ROWS
    if model.endswith("-no-mean") and model != "afm-no-mean"
}
# In the order of the page: what is varied, and the models that vary it.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "interaction": ("afm-product", "afm-inner-mean", "afm-inner"),
    "biases": ("afm-biases", "afm-product-biases", "afm-inner-biases", "afm-bounded-biases"),
    "mean": tuple(m for m in ROWS if m.endswith("-no-mean")),
    "output": ("afm-bounded",),
    "optimiser": ("afm-adam",),
    "integration": ("afm-free", "afm-mean", "afm-concat"),
    "values": ("afm-sum", "afm-slots", "afm-first", "afm-whole", "afm-actors"),
    "missing": ("afm-lost",),
}
# Heads of the two columns of errors, of groups that stand beside the same model otherwise.
HEADS = {"biases": ("without", "with"), "mean": ("with", "without")}

OWN, SHARED = "afm-free", "shared map"


def main_cells() -> Study:
    """The committed records of Table 2: an alternative stands beside AFM's main cell."""
    return stored_table(experiments.TABLE2)


def gaps(study: Study, main: Study) -> dict[str, dict[str, Gap]]:
    """Data set -> model -> the alternative minus AFM, or its twin, where both have a common fold.

    p-values are adjusted over all of a data set. With fewer than three folds nothing is tested.
    """
    found: dict[str, dict[str, Gap]] = {}
    for dataset in ALTERNATIVE_FOLDS:
        runs = runs_of(study, dataset)
        there = {
            model: one
            for model, known in ROWS.items()
            if (
                one := gap(
                    known.name, runs.get(known.name, {}), _beside(model, runs, main, dataset)
                )
            )
        }
        found[dataset] = dict(zip(there, adjusted(list(there.values())), strict=True))
    return found


def _beside(model: str, runs: Mapping[str, Runs], main: Study, dataset: str) -> Runs:
    """The runs that an alternative is compared with: its twin's, or AFM's main cell."""
    if model in TWINS:
        return runs.get(ROWS[TWINS[model]].name, {})
    return runs_of(main, dataset).get(AFM, {})


def headline(study: Study, main: Study) -> str:
    """What was asked, what was found over all data sets, and what on each."""
    asked = "Which choices that the paper leaves open move AFM's RMSE, and to which side?"
    found = {dataset: list(by.values()) for dataset, by in gaps(study, main).items() if by}
    if not found:
        return opening(asked, PENDING)
    return opening(asked, _moved(found), [_moved_on(name, own) for name, own in found.items()])


def _moved(found: Mapping[str, Sequence[Gap]]) -> str:
    """How many alternatives are better and worse, and the ends; of those tested where any is."""
    every = [(f"{short(g.name)}, `{name}`", g) for name, own in found.items() for g in own]
    tested = [(name, g) for name, g in every if g.test is not None]
    outcomes = [g.outcome for _, g in tested]
    text = (
        f"An alternative is established as better in {outcomes.count('better')} of {len(tested)} "
        f"tested comparisons and as worse in {outcomes.count('worse')}"
        if tested
        else "No alternative has run on enough folds for a test yet"
    )
    return f"{text}, and the RMSE changes by {_ends(tested or every)}."


def _moved_on(dataset: str, found: Sequence[Gap]) -> str:
    """The same of all alternatives on one data set, tested or not."""
    outcomes = [g.outcome for g in found]
    few = outcomes.count("too few folds")
    texts = [f"{few} with too few folds for a test"] if few else []
    if few < len(found):
        texts.append(
            f"{outcomes.count('better')} established as better, {outcomes.count('worse')} as worse "
            f"and {outcomes.count('neither')} as neither"
        )
    return (
        f"On `{dataset}`, of {len(found)} {'alternative' if len(found) == 1 else 'alternatives'}: "
        f"{', '.join(texts)}. The RMSE changes by {_ends([(short(g.name), g) for g in found])}."
    )


def _ends(found: Sequence[tuple[str, Gap]]) -> str:
    """The lowest and the highest difference with what they are of; the only one alone."""
    by_size = sorted(found, key=lambda one: one[1].difference)
    texts = [f"{number(g.difference, True)} ({name})" for name, g in (by_size[0], by_size[-1])]
    return " to ".join(dict.fromkeys(texts))


def short(name: str) -> str:
    """An alternative without the name of the model: "AFM, with biases" -> "with biases"."""
    return name.removeprefix(f"{AFM}, ")


def table(study: Study, main: Study, group: str) -> pd.DataFrame:
    """The alternatives of one group beside AFM, one line a data set and alternative.

    Those of ``TWINS`` stand beside these: a table of what biases do is of nothing else.
    """
    found = gaps(study, main)
    before, after = HEADS.get(group, ("AFM", "alternative"))
    lines, index = [], []
    for dataset in ALTERNATIVE_FOLDS:
        runs = runs_of(study, dataset)
        for model in GROUPS[group]:
            if not tries(model, dataset):
                continue
            one = found[dataset].get(model)
            index.append((DATASETS[dataset], short(ROWS[model].name)))
            lines.append(
                {before: number(one.before), after: number(one.after)} | gap_line(one)
                if one
                else {
                    before: mean_text(_beside(model, runs, main, dataset)),
                    after: mean_text(runs.get(ROWS[model].name, {})),
                }
            )
    places = pd.MultiIndex.from_tuples(index, names=["data set", "alternative"])
    columns = [before, after, "difference [95 %]", "relative", "p", "outcome", "folds"]
    return pd.DataFrame(lines, index=places, columns=columns, dtype=str).fillna("–")


def overfitting(study: Study, main: Study) -> pd.DataFrame:
    """Training and validation errors at the chosen epoch of shared and of own attention."""
    lines, index = [], []
    for dataset in ALTERNATIVE_FOLDS:
        if not tries(OWN, dataset):
            continue
        found = {
            SHARED: _with_gaps(main, dataset, AFM),
            "attention of each user's own": _with_gaps(study, dataset, ROWS[OWN].name),
        }
        first = errors(found[SHARED], GAP)
        for name, runs in found.items():
            own = errors(runs, GAP)
            trained = {fold: run["train_errors"][METRIC] for fold, run in runs.items()}
            common = own.keys() & first.keys()
            test = over_folds(own, first, PROTOCOL) if len(common) >= MIN_FOLDS else None
            more = "too few folds" if common and test is None else difference_text(test)
            if name == SHARED:
                more = "–"
            index.append((DATASETS[dataset], name))
            lines.append(
                {
                    "training RMSE": mean_sd(list(trained.values())),
                    "validation RMSE": mean_sd([trained[f] + own[f] for f in trained]),
                    "validation minus training": mean_sd(list(own.values())),
                    "minus that of the shared map [95 %]": more,
                    "folds": str(len(own)),
                }
            )
    names = pd.MultiIndex.from_tuples(index, names=["data set", "attention"])
    return pd.DataFrame(lines, index=names, dtype=str)


def _with_gaps(study: Study, dataset: str, row: str) -> dict[int, Record]:
    """A row's runs that know their training errors, with how much they overfit."""
    found = {
        fold: with_gap(dict(run)) for fold, run in runs_of(study, dataset).get(row, {}).items()
    }
    return {fold: run for fold, run in found.items() if GAP in run["metrics"]}


def sentence(study: Study, main: Study, model: str) -> str:
    """The effect of one alternative on the RMSE, for a sentence elsewhere in the book."""
    texts = [
        f"{number(one.difference, signed=True)} on {dataset} ({one.outcome}; {one.folds} "
        f"{'fold' if one.folds == 1 else 'folds'})"
        for dataset, found in gaps(study, main).items()
        if (one := found.get(model)) is not None
    ]
    return f"RMSE {', '.join(texts)}" if texts else "pending"


def runs(study: Study, main: Study) -> list[Record]:
    """The records behind the page."""
    parts = [study.runs()] + [
        [*runs_of(main, dataset).get(AFM, {}).values()] for dataset in ALTERNATIVE_FOLDS
    ]
    return [dict(record) for part in parts for record in part]


def configurations(study: Study, main: Study) -> pd.DataFrame:
    """The settings of each alternative on each data set, whose trials chose them, and its size."""
    key_of = {known.name: model for model, known in ROWS.items()}
    lines = {}
    for dataset in ALTERNATIVE_FOLDS:
        for row, found in (runs_of(main, dataset) | runs_of(study, dataset)).items():
            if not row.startswith(AFM) or not found:
                continue
            run = next(iter(found.values()))
            whose = "its reading's" if key_of[row] == BEST else "its own"
            taken = key_of[row] in taken_over().get(dataset, ())
            lines[DATASETS[dataset], short(row)] = {
                "trials": "AFM's" if taken else whose,
                "learning rate": f"{run['config']['learning_rate']:g}",
                "penalty": f"{run['config']['weight_decay']:g}",
                "epochs": ", ".join(str(one["epochs"]) for one in found.values()),
                "parameters": f"{run['parameters']:,}",
            }
    places = pd.MultiIndex.from_tuples(list(lines), names=["data set", "model"]) if lines else None
    return pd.DataFrame(list(lines.values()), index=places, dtype=str)


def taken_over() -> dict[str, list[str]]:
    """Data set -> the alternatives that have AFM's trial in the place of a search of their own."""
    found = {
        dataset: [
            model
            for models in GROUPS.values()
            for model in models
            if tries(model, dataset) and experiments.searched(model, dataset) != model
        ]
        for dataset in ALTERNATIVE_FOLDS
    }
    return {dataset: models for dataset, models in found.items() if models}


def not_searched() -> str:
    """Which alternatives were not searched, and what that means, in sentences."""
    return " ".join(
        f"On `{dataset}` {len(models)} alternatives have no search of their own: "
        f"{'; '.join(short(ROWS[model].name) for model in models)}. Each has the settings of AFM's "
        f"own best trial, drawn for it as they were for AFM, so that it "
        "differs from AFM in its one choice alone; with a search of its own it may be better than "
        "it is here."
        for dataset, models in taken_over().items()
    )


def figure(study: Study, main: Study) -> Figure | None:
    """Differences to AFM or a twin, with intervals where there are any; None before the first."""
    panels = {
        DATASETS[dataset]: {
            METRIC: {
                short(one.name): figures.Interval(
                    one.difference,
                    one.test.ci_low if one.test else None,
                    one.test.ci_high if one.test else None,
                )
                for one in found.values()
            }
        }
        for dataset, found in gaps(study, main).items()
        if found
    }
    if not panels:
        return None
    names = [short(ROWS[model].name) for models in GROUPS.values() for model in models]
    labels = [n for n in names if any(n in panel[METRIC] for panel in panels.values())]
    return figures.intervals(panels, {}, labels, "change of RMSE (stars)", 1)
