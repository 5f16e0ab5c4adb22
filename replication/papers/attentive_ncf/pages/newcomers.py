"""New users without retraining: sentences, tables and the figure from its records.

An error is the root of the mean squared error over the new users of whom all 64 ratings are known
and over the seeds: the same users and the same ratings for every number of known ones.
Shapes: S seeds, V users, D bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from replication import figures, questions
from replication.claims import ALPHA
from replication.compare import (
    Cell,
    Record,
    bootstrap_means,
    cells,
    holm,
    interval,
    number,
    paired_test,
)
from replication.figures import Interval
from replication.page import Study, enumeration, opening
from replication.papers.attentive_ncf import newcomers as measured
from replication.papers.attentive_ncf.claims import KNOWN as JUDGED
from replication.papers.attentive_ncf.experiments import DATASETS, RUN_HERE
from replication.papers.attentive_ncf.newcomers import KNOWN, METHODS, MOST
from replication.papers.attentive_ncf.pages import table2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no new users are measured yet."
TUNED = "simple-tuned-mlp2"
DRAWN = (
    "attentive",
    "attentive-default",
    "autoencoder",
    *(f"simple-{steps}" for steps in measured.STEPS),
    TUNED,
    "bias",
)
# What is compared at every n, first minus second; Holm's correction runs over all of it.
AGAINST = (
    ("attentive", "bias"),
    ("attentive", "item-linear"),
    ("attentive", "als"),
    ("attentive", "autoencoder"),
    *(("attentive", f"simple-{steps}") for steps in measured.STEPS),
    ("attentive", TUNED),
    ("autoencoder", "simple-tuned-mlp1"),
    ("autoencoder", "bias"),
    ("autoencoder", "autoencoder-kept"),
)
DEFAULT = ("attentive-default", "attentive")
FINE_TUNED = f"simple-{measured.STEPS[0]}"
WITHOUT_NETWORK = {
    "bias": "movie means with the user's bias",
    "item-linear": "an item-based linear model",
    "als": "ALS with biases",
}
OPPONENTS = {  # of the attentive user, at the top of the page
    "autoencoder": "the autoencoder",
    FINE_TUNED: f"look-ups with {measured.STEPS[0]} steps of fine-tuning",
    TUNED: "tuned look-ups",
    **WITHOUT_NETWORK,
}


@dataclass(frozen=True)
class Errors:
    """The squared errors of one method on one data set.

    Attributes:
        by_known: n -> [S, V] each complete user's mean squared error.
        enough: n -> [S, V'] the same of all users of whom n are known.
        seeds: numbers of the runs.
    """

    cell: Cell
    by_known: Mapping[int, np.ndarray]
    enough: Mapping[int, np.ndarray]
    seeds: tuple[int, ...]


def errors(study: Study) -> dict[tuple[str, str], Errors]:
    """What is measured, by data set and method."""
    names = {spec.name: method for method, spec in METHODS.items()}
    found = {}
    for cell, runs in cells(study.grid, study.records):
        values = {n: questions.values_of(study.ranks, runs, f"squared error/{n}") for n in KNOWN}
        known = {n: v for n, v in values.items() if v is not None}
        if len(known) < len(KNOWN):
            continue
        complete = np.isfinite(known[MOST]).all(0)  # [V]
        found[cell.dataset, names[cell.row]] = Errors(
            cell,
            {n: v[:, complete] for n, v in known.items()},
            {n: v[:, np.isfinite(v).all(0)] for n, v in known.items()},
            tuple(runs),
        )
    return found


def rmse(values: np.ndarray) -> Interval:
    """Root of the mean of squared errors [S, V], with a 95 % interval over users and seeds."""
    low, high = np.quantile(np.sqrt(bootstrap_means(values)), [0.025, 0.975])
    return Interval(float(np.sqrt(values.mean())), float(low), float(high))


class Comparison(NamedTuple):
    """Two methods at one number of known ratings: RMSE of the first minus that of the second."""

    dataset: str
    first: str
    second: str
    n: int
    difference: float
    low: float
    high: float
    pvalue: float  # after Holm

    @property
    def direction(self) -> int:
        """-1 where the first is established to err less, +1 where more, else 0."""
        if self.pvalue >= ALPHA or self.low <= 0 <= self.high:
            return 0
        return 1 if self.difference > 0 else -1


def comparisons(found: Mapping[tuple[str, str], Errors]) -> list[Comparison]:
    """Every comparison of the page that can be made, paired over users and seeds."""
    made = []
    asked = [(*DEFAULT, 0), *((a, b, n) for a, b in AGAINST for n in KNOWN)]
    for dataset in measured.DATASETS:
        for a, b, n in asked:
            one, other = found.get((dataset, a)), found.get((dataset, b))
            if one is None or other is None:
                continue
            first, second = _paired(one, other, n)
            if first is None or second is None:
                continue
            pvalue = paired_test(first, second).pvalue
            roots = np.sqrt(bootstrap_means(np.stack([first, second])))  # [D, 2]
            low, high = np.quantile(roots[:, 0] - roots[:, 1], [0.025, 0.975])
            gap = float(np.sqrt(first.mean()) - np.sqrt(second.mean()))
            made.append((dataset, a, b, n, gap, float(low), float(high), pvalue))
    adjusted = holm([entry[-1] for entry in made])
    return [Comparison(*entry[:-1], float(p)) for entry, p in zip(made, adjusted, strict=True)]


def _paired(one: Errors, other: Errors, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """[S, V] twice, of the seeds that both have; a method without seeds stands beside each."""
    first, second = one.by_known[n], other.by_known[n]
    if other.cell.select == "none":
        return first, np.broadcast_to(second, first.shape)
    both = [seed for seed in one.seeds if seed in other.seeds]
    if not both:
        return None, None
    return (
        first[[one.seeds.index(seed) for seed in both]],
        second[[other.seeds.index(seed) for seed in both]],
    )


def headline(found: Mapping[tuple[str, str], Errors], made: Sequence[Comparison]) -> str:
    """What was asked of new users, what was found, and the numbers of each data set."""
    asked = (
        "Can new users be served without retraining, as the paper says of attention and "
        "autoencoder, and does that beat what needs no network?"
    )
    details = [text for dataset in measured.DATASETS for text in _on(found, made, dataset)]
    if not details:
        return opening(asked, PENDING)
    return opening(asked, answer(made), [_over_all(made), *details])


def _all_there(made: Sequence[Comparison]) -> bool:
    """Whether attention is compared with tuned look-ups and with every model without a network."""
    return {c.second for c in made if c.first == "attentive"} >= {TUNED, *WITHOUT_NETWORK}


def _over_all(made: Sequence[Comparison]) -> str:
    """Where attention errs less than all of these rivals; empty while one is lacking."""
    if not _all_there(made):
        return ""
    less = _where(made, -1, all, {TUNED, *WITHOUT_NETWORK})
    return (
        f"Attention errs less than tuned look-ups and all {len(WITHOUT_NETWORK)} models without a "
        f"network {less or 'nowhere, as far as can be told'}."
    )


def answer(made: Sequence[Comparison]) -> str:
    """Whether attention without retraining errs more than its rivals, in one sentence."""
    if not _all_there(made):
        return (
            "Attention without retraining is measured, but not yet tuned look-ups and every model "
            "without a network."
        )
    clauses = [
        f"errs more than {than} {places}" if places else f"is nowhere shown to err more than {than}"
        for than, places in (
            ("tuned look-ups", _where(made, 1, any, {TUNED})),
            ("some model without a network", _where(made, 1, any, WITHOUT_NETWORK)),
        )
    ]
    return f"Attention without retraining {', and '.join(clauses)}."


def front_page(made: Sequence[Comparison]) -> str:
    """The same sentence with the data sets' names in place of their ids."""
    text = answer(made)
    for dataset in measured.DATASETS:
        text = text.replace(f"`{dataset}`", DATASETS[dataset])
    return text


def _where(
    made: Sequence[Comparison],
    direction: int,
    of: Callable[[Iterable[bool]], bool],
    rivals: Collection[str],
) -> str:
    """With how many known ratings a direction is established against any or all of some rivals.

    "with 0 to 16 known ratings on `cil` and 0 to 8 on `ml-100k`", or "".
    """
    places: list[str] = []
    for dataset in measured.DATASETS:
        beside = [
            [
                c.direction == direction
                for c in made
                if (c.dataset, c.first, c.n) == (dataset, "attentive", n) and c.second in rivals
            ]
            for n in KNOWN
        ]
        chosen = [place for place, own in enumerate(beside) if own and of(own)]
        if chosen:
            what = "" if places else " known ratings"
            places.append(f"{_named(chosen, KNOWN)}{what} on `{dataset}`")
    return f"with {enumeration(places)}" if places else ""


def _against(
    made: Sequence[Comparison], dataset: str, method: str, first: str = "attentive"
) -> list[Comparison]:
    """Attention, or another, against a method on a data set, at every number of known ratings."""
    return [c for c in made if (c.dataset, c.first, c.second) == (dataset, first, method)]


def _on(
    found: Mapping[tuple[str, str], Errors], made: Sequence[Comparison], dataset: str
) -> list[str]:
    """The findings on one data set; none while the attentive model is not measured there."""
    own = found.get((dataset, "attentive"))
    if own is None:
        return []
    points = [f"{number(rmse(own.by_known[n]).mean)} with {n}" for n in (0, 1, 8, MOST)]
    texts = [
        f"On `{dataset}`: the RMSE of attention is {', '.join(points)} known ratings; with 0 "
        "it has a default user that was not trained."
    ]
    for method, name in OPPONENTS.items():
        rows = _against(made, dataset, method)
        if rows:
            texts.append(f"On `{dataset}` against {name}: attention errs {_errs(rows)}.")
    rows = _against(made, dataset, "simple-tuned-mlp1", "autoencoder")
    if rows:
        texts.append(
            f"On `{dataset}` against tuned look-ups with the same predictor: the autoencoder errs "
            f"{_errs(rows)}."
        )
    return texts


def _errs(some: Sequence[Comparison]) -> str:
    """How attention errs beside a rival: "more with 0 to 8 known ratings and less with 64"."""
    told = ((word, _numbers(some, sign)) for word, sign in (("more", 1), ("less", -1)))
    texts = [f"{word} with {numbers}" for word, numbers in told if numbers]
    if not texts:
        return "neither more nor less (as far as can be told)"
    texts[0] += " known ratings"
    return " and ".join(texts)


def _numbers(some: Sequence[Comparison], direction: int) -> str:
    """For which n a direction is established: "0 and 64", "8 to 64", "any number of" or ""."""
    chosen = [place for place, c in enumerate(some) if c.direction == direction]
    return "any number of" if len(chosen) == len(some) else _named(chosen, [c.n for c in some])


def _named(chosen: Sequence[int], numbers: Sequence[int]) -> str:
    """The numbers at some places: "0 and 64", or "8 to 64" where they follow each other."""
    if len(chosen) > 2 and chosen[-1] - chosen[0] == len(chosen) - 1:
        return f"{numbers[chosen[0]]} to {numbers[chosen[-1]]}"
    return enumeration([str(numbers[place]) for place in chosen])


def table(
    found: Mapping[tuple[str, str], Errors], dataset: str, enough: bool = False
) -> pd.DataFrame:
    """RMSE and half of its interval by the number of known ratings, two lines a method.

    ``enough``: over all new users of whom so many are known, not only over the complete ones.
    """
    lines, index = [], []
    for method, spec in METHODS.items():
        own = found.get((dataset, method))
        if own is None:
            index.append((spec.name, "RMSE"))
            lines.append(dict.fromkeys(map(str, KNOWN), "pending"))
            continue
        values = own.enough if enough else own.by_known
        points = {n: rmse(values[n]) for n in KNOWN}
        index += [(spec.name, "RMSE"), (spec.name, "95 %")]
        lines.append({str(n): number(p.mean) for n, p in points.items()})
        lines.append(
            {str(n): f"±{number(_half(p.mean, p.low, p.high))}" for n, p in points.items()}
        )
    names = ["known ratings", ""]
    return pd.DataFrame(lines, index=pd.MultiIndex.from_tuples(index, names=names))


def _half(middle: float, low: float | None, high: float | None) -> float:
    """The longer side of an interval: eight whole ones would not fit a line."""
    assert low is not None and high is not None
    return max(high - middle, middle - low)


def differences(made: Sequence[Comparison], dataset: str) -> pd.DataFrame:
    """RMSE of the first minus that of the second by the number of known ratings, two lines each."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for c in made:
        if c.dataset == dataset and (c.first, c.second) != DEFAULT:
            name = f"{METHODS[c.first].name} minus {METHODS[c.second].name}"
            # Three digits: with four, eight columns and two methods' names would not fit the page.
            text = f"{round(c.difference, 3) + 0.0:+.3f}{'*' if c.direction else ''}"
            lines.setdefault((name, "RMSE"), {})[str(c.n)] = text
            half = f"±{_half(c.difference, c.low, c.high):.3f}"
            lines.setdefault((name, "95 %"), {})[str(c.n)] = half
    if not lines:
        return pd.DataFrame({"comparison": [PENDING]}).set_index("comparison")
    index = pd.MultiIndex.from_tuples(list(lines), names=["known ratings", ""])
    return pd.DataFrame(list(lines.values()), index=index)


def tuned_look_up(made: Sequence[Comparison]) -> str:
    """At which of all numbers of known ratings attention errs more or less than tuned look-ups."""
    judged = ", ".join(map(str, JUDGED[:-1])) + f" and {JUDGED[-1]}"
    texts = []
    for dataset in measured.DATASETS:
        rows = _against(made, dataset, TUNED)
        texts.append(f"On `{dataset}` attention errs {_errs(rows)}." if rows else "")
    told = " ".join(
        text or f"`{d}`: pending." for d, text in zip(measured.DATASETS, texts, strict=True)
    )
    return (
        f"Against tuned look-ups, at all {len(KNOWN)} numbers of known ratings: "
        f"{told} The verdicts are of {judged} alone."
    )


def default_user(made: Sequence[Comparison], found: Mapping[tuple[str, str], Errors]) -> str:
    """Trained against untrained default user where nothing is known, a sentence a data set."""
    texts = []
    for c in made:
        if (c.first, c.second) != DEFAULT:
            continue
        trained, plain = (rmse(found[c.dataset, m].by_known[0]).mean for m in DEFAULT)
        sure = {-1: "lower", 1: "higher", 0: "no difference established"}[c.direction]
        texts.append(
            f"On `{c.dataset}` the RMSE without any known rating is {number(trained)} with the "
            f"trained default user and {number(plain)} with the untrained one "
            f"({number(c.difference, True)} {interval(c.low, c.high, True)}: {sure})."
        )
    return "  \n".join(texts) or PENDING


def methods() -> pd.DataFrame:
    """What each method does."""
    lines = [{"method": spec.name, "for a new user": spec.text} for spec in METHODS.values()]
    return pd.DataFrame(lines).set_index("method")


def who(records: Sequence[Record]) -> str:
    """How many users are new on each data set, and of how many all ratings are known."""
    newest = {r["dataset"]: r for r in records}
    texts = [
        f"`{dataset}`: {newest[dataset]['new users']:,} new users are asked, and of "
        f"{newest[dataset]['new users with all']:,} all {MOST} ratings are known"
        for dataset in measured.DATASETS
        if dataset in newest
    ]
    return f"{'; '.join(texts)}." if texts else PENDING


def settings() -> str:
    """Where the models' settings come from."""
    models = dict.fromkeys(method.model for method in METHODS.values())
    own = " ".join(table2.settings(models, d) for d in measured.DATASETS if d not in RUN_HERE)
    here = " and ".join(f"`{dataset}`" for dataset in RUN_HERE)
    return f"The settings on {here} are those of Tables I and II. {own}"


def tuning(study: Study) -> str:
    """What *tuned steps* chose from, and how often the strongest pull, in one sentence."""
    chosen = [
        settings
        for _, runs in cells(study.grid, study.records)
        for run in runs.values()
        for settings in run.get("chosen", {}).values()
    ]
    if not chosen:
        return PENDING
    grid = len(measured.RATES) * len(measured.MARKS) * len(measured.PULLS)
    most = max(measured.PULLS)
    strongest = sum(settings["pull"] == most for settings in chosen)
    return (
        f"The choice is among {grid} settings on at most {measured.PRACTICE} users who stayed, and "
        f"on fewer where more ratings are known ({measured.PRACTICE_RATINGS // MOST} with {MOST}). "
        f"In {strongest} of {len(chosen)} choices it was the strongest pull that was offered: a "
        "stronger one might serve the look-ups better still."
    )


def gaps(study: Study) -> str:
    """Which cells have no record, or not all seeds, or that there are none."""
    return questions.gaps(cells(study.grid, study.records))


def figure(found: Mapping[tuple[str, str], Errors]) -> Figure | None:
    """RMSE by the number of known ratings, one panel a data set."""
    panels: dict[str, dict[str, dict[int, Interval]]] = {}
    for dataset in measured.DATASETS:
        for method in DRAWN:
            own = found.get((dataset, method))
            if own is not None:
                line = {n: rmse(own.by_known[n]) for n in KNOWN}
                panels.setdefault(dataset, {})[METHODS[method].name] = line
    return figures.lines(panels, "known ratings", "RMSE (stars)") if panels else None
