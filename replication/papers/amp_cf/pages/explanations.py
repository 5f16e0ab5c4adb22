"""Attention and explanations beyond the paper: sentences, tables and figures from the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import questions
from replication.claims import Evidence, arms
from replication.compare import (
    Cell,
    Record,
    bootstrap_interval,
    cells,
    interval,
    least_to_most,
    number,
)
from replication.page import Study, enumeration, opening
from replication.papers.amp_cf import claims, experiments
from replication.papers.amp_cf import explanations as measured
from replication.papers.amp_cf import planted as planting
from replication.papers.amp_cf.pages import table2
from replication.questions import Answer, Question, count, span, tally
from replication.tables import COMPLETE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no attention is measured yet."
CLUSTERS_PENDING = "Pending: no record holds the cluster's arm yet."
PLANTED_PENDING = "Pending: nothing is planted yet."
LOST = {  # by which items of the history are dropped
    "lost/claimed": "claimed",
    "lost/random": "random",
    "lost/shuffled": "shuffled claims",
    "lost/nearest": "nearest",
}
VARIANTS = {  # in words, after the name of a model
    "released": "with the released code's habits",
    "mf-settings": "with MF's rate and decay",
    "mf-settings-no-entropy": "with MF's rate and decay and no entropy terms",
}


# Every comparison of the page; Holm's correction runs over each group and all models and data.
ENTROPY = (
    Question("entropy/negatives", "entropy/test", "negatives minus test positives"),
    Question("entropy/candidates", "entropy/test", "test candidates minus test positives"),
    Question("entropy/negatives", "entropy/training", "negatives minus training positives"),
)
CONDITIONAL = tuple(
    Question(metric, f"{metric}/{arm}", f"{metric}: own minus {arm}")
    for metric in ("HR@10", "NDCG@10", "HR@10/full", "NDCG@10/full")
    for arm in ("shuffled", "mean", "uniform")
)
GENRES = (
    Question("genres/AMI", "genres/AMI shuffled", "genres: minus shuffled"),
    Question("genres/AMI", "genres/AMI K-means", "genres: minus K-means of item vectors"),
)
SEEDS = (Question("seeds/AMI", "seeds/AMI shuffled", "next seed: minus shuffled"),)
FAITHFUL = (
    Question("lost/claimed", "lost/random", "score: claimed minus random"),
    Question("rank/claimed", "rank/random", "log2 rank: claimed minus random"),
    Question("lost/shuffled", "lost/random", "control: shuffled minus random"),
    Question("lost/claimed", "lost/nearest", "score: claimed minus nearest"),
)
# Held apart from the questions above, so that Holm's correction of their answers stays what it was.
CLUSTERS = (
    Question("excess/claimed", "excess/cluster", "claimed minus cluster"),
    Question("lost/cluster", "lost/random for cluster", "cluster minus as many random"),
)
OVERLAP = (Question("overlap/lists", "overlap/other users", "own minus different users'"),)


GROUPS = {
    "entropy": ENTROPY,
    "conditional": CONDITIONAL,
    "genres": GENRES,
    "seeds": SEEDS,
    "faithful": FAITHFUL,
    "clusters": CLUSTERS,
    "overlap": OVERLAP,
}


def _stored(study: Study) -> list[tuple[Cell, dict[int, Record]]]:
    """The cells of the page and of the variants, each with its runs."""
    variants = [cell for name in measured.VARIANTS for cell in measured.grid(name)]
    return cells([*study.grid, *variants], study.records)


def _cells(study: Study) -> list[tuple[Cell, dict[int, Record]]]:
    """The same, where a model with a variant has a row of its own, named in words."""
    return [
        (replace(cell, row=f"{cell.row} {VARIANTS[cell.variant]}") if cell.variant else cell, runs)
        for cell, runs in _stored(study)
    ]


def answer_all(study: Study) -> dict[str, list[Answer]]:
    """The answers of each group of questions."""
    found = _cells(study)
    return {name: questions.answers(found, study.ranks, asked) for name, asked in GROUPS.items()}


def table(some: Sequence[Answer], only: Sequence[str] = ()) -> pd.DataFrame:
    """Differences with intervals; a star says that one is established (``questions.table``)."""
    return questions.table(some, PENDING, only)


def table_by_metric(some: Sequence[Answer], only: Sequence[str] = ()) -> pd.DataFrame:
    """The same, where a question's text begins with its metric: one line a metric."""
    return _by_metric(table(some, only), ": ")


def _by_metric(frame: pd.DataFrame, mark: str) -> pd.DataFrame:
    """One line a metric where a frame has columns "metric, text", parted by ``mark``.

    What has no metric stands in the first of its lines. Without lines the frame says so itself.
    """
    if frame.index.nlevels < 2:
        return frame
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for place, cells_ in zip(frame.index, frame.to_dict("records"), strict=True):
        parted = {str(name): str(name).partition(mark) for name in cells_}
        rest = {name: cells_[name] for name, (_, found, _) in parted.items() if not found}
        for metric in dict.fromkeys(metric for metric, found, _ in parted.values() if found):
            own = {
                text: cells_[n] for n, (m, found, text) in parted.items() if found and m == metric
            }
            lines[(*place, metric)] = own | rest
            rest = dict.fromkeys(rest, "")
    index = pd.MultiIndex.from_tuples(list(lines), names=[*frame.index.names, "metric"])
    return pd.DataFrame(list(lines.values()), index=index, dtype=str)


def headline(study: Study, found: Mapping[str, Sequence[Answer]], planted: Study) -> str:
    """What was asked of the explanations, what was found, and the count of each test."""
    asked = (
        "Does AMP's attention do what the paper says of it, and do its explanations pass tests "
        "that a shuffled assignment fails?"
    )
    entropy, conditional, genres, faithful = (
        _main(found[name]) for name in ("entropy", "conditional", "genres", "faithful")
    )
    if not entropy:
        return opening(asked, PENDING)
    same = collapsed(study)
    which = f", {', '.join(same.names)}" if same.names else ""
    genres, faithful = (_told_apart(some, same.names) for some in (genres, faithful))
    follow, _, rest = tally(genres, GENRES[0])
    better, _, _ = tally(genres, GENRES[1])
    others = (
        f", and of {rest} others with genres {follow} follow these beyond chance, {better} beyond "
        "K-means"
        if rest
        else ""
    )
    higher, sizes = entropy_verdicts(study)
    return opening(
        asked,
        f"In {higher['replicated']} of {same.models} AMP models ({same.where}) attention has at "
        f"least {claims.RELATIVE_MARGIN:g} more entropy on negatives than positives, a user's "
        f"personas are one vector in {len(same.names)}{others}.",
        [
            f"Counted: an AMP of Table 2 on a data set ({same.where}), with the settings that its "
            "search chose; models with the released code's habits stand apart, below.",
            f"One vector for all personas (mean cosine above {measured.COLLAPSED}): in "
            f"{same.share} models{which}.",
            f"Entropy of attention, training's negatives minus training positives, by the rule of "
            f"its claim (established, and at least {claims.RELATIVE_MARGIN:g}): replicated in "
            f"{higher['replicated']}, direction only in {higher['direction only']}, not replicated "
            f"in {higher['not replicated']} ({sizes}); against test positives a difference of any "
            f"size is established in {count(entropy, ENTROPY[0])} ({span(entropy, ENTROPY[0])}).",
            "Attention shuffled over the candidates: HR@10 falls in "
            f"{count(conditional, CONDITIONAL[0])}; with the user's own mean attention for every "
            f"candidate in {count(conditional, CONDITIONAL[1])}.",
            "Genres, in the models whose personas differ: assignments agree with them beyond "
            f"chance in {count(genres, GENRES[0])} but more than K-means of the item vectors in "
            f"{count(genres, GENRES[1])}.",
            "Claimed history items, in the same models: they carry the recommendation more than "
            f"random ones in {count(faithful, FAITHFUL[0])}, and the control, shuffled claims, in "
            f"{count(faithful, FAITHFUL[2])}. The measure is the nearest items, which need no "
            f"personas: claimed ones carry more in {count(faithful, FAITHFUL[3])}.",
            against_clusters(study, found["clusters"]),
            _of_released(study, found),
            _next_seed(_main(found["seeds"])),
            _with_settings_of_mf(study, found),
            table2.conditional(),
            f"Planted tastes: recovered {recovery(planted)}.{planted_counts(planted)}",
        ],
    )


def _main(some: Sequence[Answer]) -> list[Answer]:
    """The answers on the models of Table 2's main cells."""
    return [a for a in some if not a.cell.variant]


def entropy_verdicts(study: Study) -> tuple[Counter[str], str]:
    """How often each verdict is given to the claim that attention settles on positives.

    Of these claims, as the page of verdicts judges them; and their differences.
    """
    rows, values = arms(study.records, study.ranks, claims.ARMS)
    proof = Evidence(study.table, rows, values, study.published)
    judged = [claim.judge(proof) for claim in claims.CLAIMS if claim.family == "entropy"]
    known = [verdict.statistic for verdict in judged if verdict.statistic is not None]
    sizes = f"differences {least_to_most(known)}" if known else "none measured"
    return Counter(verdict.verdict for verdict in judged), sizes


def _of_released(study: Study, found: Mapping[str, Sequence[Answer]]) -> str:
    """The same counts for the models with the released code's habits; empty without any."""
    same = collapsed(study, "released")
    if not same.models:
        return ""
    entropy, conditional, genres = (
        [a for a in found[name] if a.cell.variant == "released"]
        for name in ("entropy", "conditional", "genres")
    )
    return (
        f"With the released code's habits ({same.where}): one vector in {same.share}; of these "
        f"models entropy is higher on negatives than on training positives in "
        f"{count(entropy, ENTROPY[2])} ({span(entropy, ENTROPY[2])}), HR@10 falls with shuffled "
        f"attention in {count(conditional, CONDITIONAL[0])} and with the user's mean attention in "
        f"{count(conditional, CONDITIONAL[1])}, and assignments agree with genres "
        f"beyond chance in {count(genres, GENRES[0])}."
    )


def _next_seed(some: Sequence[Answer]) -> str:
    """Whether two seeds give the same explanation; empty before it is measured."""
    if not some:
        return ""
    return (
        f"Two seeds: their assignments agree beyond shuffled ones in {count(some, SEEDS[0])} "
        f"(AMI {span(some, SEEDS[0])} above these)."
    )


def _with_settings_of_mf(study: Study, found: Mapping[str, Sequence[Answer]]) -> str:
    """Whether personas are one vector with MF's rate and decay too; empty before it is measured."""
    name = "mf-settings"
    cosines = {(c.row, c.dataset, c.variant): v for c, v in _cosines(_stored(study)).items()}
    texts = [
        f"{row} on `{dataset}` {value:.2f} ({cosines[row, dataset, '']:.2f} by its own search)"
        for (row, dataset, variant), value in cosines.items()
        if variant == name and (row, dataset, "") in cosines
    ]
    if not texts:
        return ""
    own = [a for a in found["conditional"] if a.cell.variant == name]
    return (
        f"Mean cosine of a user's personas {VARIANTS[name]}: {', '.join(texts)}. HR@10 then falls "
        f"with shuffled attention in {count(own, CONDITIONAL[0])} "
        f"({span(own, CONDITIONAL[0])})."
    )


def _told_apart(some: Sequence[Answer], one_vector: Sequence[str]) -> list[Answer]:
    """The answers on models whose personas differ: elsewhere no persona claims an item.

    As for the claims (``claims.tells_apart``).
    """
    return [a for a in some if _model(a.cell) not in one_vector]


def _model(cell: Cell) -> str:
    return f"{cell.row} on `{cell.dataset}`"


@dataclass(frozen=True)
class Collapsed:
    """Models whose users have one vector for all personas.

    Attributes:
        names: of these models, each with its data set.
        models: how many were measured.
        datasets: on which data.
    """

    names: list[str]
    models: int
    datasets: list[str]

    @property
    def share(self) -> str:
        """ "2 of 3"."""
        return f"{len(self.names)} of {self.models}"

    @property
    def where(self) -> str:
        """The data sets, for a sentence."""
        return enumeration([f"`{name}`" for name in self.datasets])


def _cosines(found: Sequence[tuple[Cell, Mapping[int, Record]]]) -> dict[Cell, float]:
    """The mean cosine of a user's personas, over the runs of each model that has some."""
    return {
        cell: float(np.mean([run["metrics"]["overlap/cosine"] for run in runs.values()]))
        for cell, runs in found
        if runs
    }


def collapsed(study: Study, variant: str = "") -> Collapsed:
    """Of the models of the main cells, or of a variant: those whose personas are one vector."""
    cosine = {c: value for c, value in _cosines(_cells(study)).items() if c.variant == variant}
    return Collapsed(
        [_model(cell) for cell, value in cosine.items() if value > measured.COLLAPSED],
        len(cosine),
        list(dict.fromkeys(cell.dataset for cell in cosine)),
    )


def with_released(study: Study) -> str:
    """In how many models with the released code's habits they are, as the end of a sentence."""
    found = collapsed(study, "released")
    if not found.models:
        return ""
    return f"; with the released code's habits ({found.where}) they are in {found.share}"


def collapse(study: Study) -> str:
    """What it means that personas are one vector, and where they are."""
    same = collapsed(study)
    if not same.models:
        return PENDING
    which = f": {', '.join(same.names)}" if same.names else ""
    return (
        f"In {same.share} models of Table 2's main cells ({same.where}) the personas of a user are "
        f"one vector (mean cosine above {measured.COLLAPSED}){which}{with_released(study)}. Such a "
        "model is matrix factorisation: its attention "
        "has no effect on a score, and the persona with the highest attention is decided by "
        "differences of no size. The assignments of such a model can agree with genres all the "
        "same: any division of the items by direction puts like with like."
    )


def recovery(planted: Study) -> str:
    """How well planted personas are found, the end of a sentence: where a user has several."""
    texts = [f"{number(value)} ({row})" for row, value in _planted_means(planted, "AMI").items()]
    return f"with an AMI of {', '.join(texts)}" if texts else "(pending)"


def planted_counts(planted: Study) -> str:
    """How many personas a history uses of as many true tastes, and whether one vector does better.

    Sentences after that of ``recovery``; empty without records.
    """
    ami, used = (_planted_means(planted, name) for name in ("AMI", "personas used"))
    divided = planting.DIVIDED
    own = [f"{value:.2f} ({row})" for row, value in used.items() if row != divided]
    text = f" Of {planting.PERSONAS} true tastes a history uses {enumeration(own)}." if own else ""
    others = [value for row, value in ami.items() if row != divided]
    if divided in ami and others and ami[divided] > max(others):
        text += " One vector with K-means, told the number of parts, recovers most."
    return text


def _planted_means(planted: Study, metric: str) -> dict[str, float]:
    """Row -> mean of a metric over the runs, where a user has several tastes."""
    return {
        cell.row: float(np.mean([r["metrics"][metric] for r in runs.values()]))
        for cell, runs in cells(planted.grid, planted.records)
        if planting.TRUE[cell.dataset] > 1
        and runs
        and all(metric in r["metrics"] for r in runs.values())
    }


def entropies(study: Study) -> pd.DataFrame:
    """Mean entropy of attention by kind of item, one line a data set and model."""
    kinds = {
        "entropy/training": "training positives",
        "entropy/test": "test positives",
        "entropy/recommended": "recommended items",
        "entropy/candidates": "test candidates",
        "entropy/negatives": "training's negatives",
    }
    return _means(study, kinds)


def used(study: Study) -> pd.DataFrame:
    """How many personas a history uses, and how alike they are, one line a data set and model."""
    kinds = {
        "personas used": "personas used by a history",
        "overlap/cosine": "cosine of personas",
    }
    return _means(study, kinds)


def accuracy(study: Study) -> pd.DataFrame:
    """HR@10 and NDCG@10 with each attention, one line a data set, model and metric."""
    arms = {"": "own", "/shuffled": "shuffled", "/mean": "user's mean", "/uniform": "uniform"}
    metrics = ("HR@10", "NDCG@10")
    names = {f"{m}{arm}": f"{m}, {text}" for m in metrics for arm, text in arms.items()}
    return _by_metric(_means(study, names), ", ")


def agreement(study: Study) -> pd.DataFrame:
    """AMI with genres and with another seed, one line a data set and model."""
    names = {
        "genres/AMI": "genres",
        "genres/AMI shuffled": "shuffled",
        "genres/AMI commonest": "commonest genre",
        "genres/AMI K-means": "K-means of item vectors",
        "seeds/AMI": "next seed",
        "seeds/AMI shuffled": "next seed, shuffled",
    }
    return _means(study, names)


def losses(study: Study) -> pd.DataFrame:
    """What the recommended item loses, one line a data set and model."""
    names = LOST | {
        "refit/share claimed": "share of the history dropped",
        "refit/correlation": "refit's correlation",
        "refit/still in the top 10": "refit keeps it in the top 10",
    }
    return _means(study, names)


def clusters(study: Study, some: Sequence[Answer]) -> pd.DataFrame:
    """Claimed items against a cluster of item vectors: one line a model with the arm, judged.

    The check is not in the paper. Its rule (``cluster_outcome``) and margin were written before any
    record held the arm of the cluster. Models whose personas are one vector claim no item and are
    not judged, as elsewhere.
    """
    same = [*collapsed(study).names, *collapsed(study, "released").names]
    runs_of = {(cell.dataset, cell.row): runs for cell, runs in _cells(study)}
    lines = []
    for a in some:
        if a.question != CLUSTERS[0]:
            continue
        place = (a.cell.dataset, a.cell.row)
        shares = [
            number(float(np.mean([r["metrics"][name] for r in runs_of[place].values()])))
            for name in ("refit/share claimed", "refit/share in cluster")
        ]
        difference = number(a.test.difference, signed=True)
        lines.append(
            {"data set": place[0], "model": place[1]}
            | {"claimed": number(a.first), "cluster": number(a.second)}
            | {"difference": f"{difference} {interval(a.test.ci_low, a.test.ci_high, signed=True)}"}
            | {"shares dropped": " / ".join(shares)}
            | {"outcome": "one vector" if _model(a.cell) in same else cluster_outcome(a)}
        )
    if not lines:
        return pd.DataFrame({"data set": [CLUSTERS_PENDING]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "model"])


def cluster_outcome(answer: Answer) -> str:
    """Whether claimed items carry a recommendation more than its cluster does.

    By what each loses beyond as many random items, in standard deviations of the user's scores.
    "personas" or "cluster": a difference is established, its interval beyond 0 and Holm's p, over
    all such questions of the page, below 0.05; "alike": none is, and the whole interval lies within
    the margin of the claims on explanations; "open": none of these.
    """
    if answer.direction:
        return "personas" if answer.direction > 0 else "cluster"
    margin = claims.RELATIVE_MARGIN
    return "alike" if -margin < answer.test.ci_low and answer.test.ci_high < margin else "open"


def against_clusters(study: Study, some: Sequence[Answer]) -> str:
    """How often claimed items carry more than the cluster, and where that is not measured."""
    what = "Claimed history items against a cluster of item vectors, which needs no attention: "
    asked = [a for a in _main(some) if a.question == CLUSTERS[0]]
    if not asked:
        return f"{what}pending, as no record holds that arm yet."
    told = _told_apart(asked, collapsed(study).names)
    lacking = sum(bool(runs) and not cell.variant for cell, runs in _cells(study)) - len(asked)
    waiting = f"; pending for {lacking} models, whose records are older" if lacking else ""
    outcomes = Counter(map(cluster_outcome, told))
    return (
        f"{what}of {len(told)} models whose personas differ, the claimed items carry the "
        f"recommendation more in {outcomes['personas']}, the cluster more in "
        f"{outcomes['cluster']}, both alike (within {claims.RELATIVE_MARGIN:g}) in "
        f"{outcomes['alike']}, open in {outcomes['open']}{waiting}."
    )


def _means(study: Study, names: Mapping[str, str]) -> pd.DataFrame:
    return questions.means(_cells(study), names, PENDING)


def gaps(study: Study) -> str:
    """Which cells have no record, or not all seeds: a line a data set, a clause a variant."""
    told: dict[str, dict[str, dict[str, list[str]]]] = {}  # data set -> variant -> seeds -> models
    for cell, runs in _stored(study):
        if len(runs) < cell.seeds_required and not cell.unavailable:
            seeds = f"{len(runs)} of {cell.seeds_required} {cell.repeats}"
            of_variant = told.setdefault(cell.dataset, {}).setdefault(cell.variant, {})
            of_variant.setdefault(seeds, []).append(cell.row)
    if not told:
        return COMPLETE
    lines = []
    for dataset, variants in told.items():
        clauses = [
            f"{enumeration(models)}{f' {VARIANTS[variant]}' if variant else ''} ({seeds})"
            for variant, by_seeds in variants.items()
            for seeds, models in by_seeds.items()
        ]
        lines.append(f"- `{dataset}`: {'; '.join(clauses)}.")
    return "\n".join(["Pending:\n", *lines])


def without_genres() -> str:
    """Where items have no genres, and which models are measured there, in one sentence."""
    places = [name for name in measured.DATASETS if name not in measured.GENRES]
    models = dict.fromkeys(model for place in places for model in measured.MODELS_ON[place])
    return (
        f"On {' and '.join(f'`{name}`' for name in places)} items have no genres: agreement with "
        "them cannot be measured there, and of the models the tests take "
        f"{' and '.join(map(experiments.row_name, models))}."
    )


def planted_settings(planted: Study) -> str:
    """With what the models were trained on planted data, and that it was not searched."""
    configs = {run["row"]: run["config"] for run in planted.records}
    if not configs:
        return PLANTED_PENDING
    weights = [
        f"$\\lambda_p$ = {c['lambda_p']:g} and $\\lambda_n$ = {c['lambda_n']:g} for *{row}*"
        for row, c in configs.items()
        if c["personas"] > 1
    ]
    same = {
        name: " or ".join(dict.fromkeys(f"{c[name]:g}" for c in configs.values()))
        for name in ("max_epochs", "learning_rate", "dimension", "n_negatives", "alpha")
    }
    return (
        f"All models are trained for {same['max_epochs']} epochs at a learning rate of "
        f"{same['learning_rate']}, with d = {same['dimension']}, {same['n_negatives']} negatives "
        f"and $\\alpha$ = {same['alpha']}; the entropy terms weigh {', '.join(weights)}."
        " These values were set by hand and not searched: the rate so that few epochs are enough "
        "for so few pairs, the larger weights to be of the size that the search of Table 2 draws. "
        "What other values would find is not known."
    )


def planted_table(planted: Study) -> pd.DataFrame:
    """Recovery of planted tastes: AMI with the truth and shuffled, mean and interval.

    Only where a user has several: of a single taste there is nothing to recover.
    """
    several = [name for name in planting.DATASETS if planting.TRUE[name] > 1]
    return _of_planted(planted, several, {"AMI": "AMI", "AMI shuffled": "AMI shuffled"})


def planted_used(planted: Study) -> pd.DataFrame:
    """How many personas a model uses beside how many are true, and how alike they are."""
    names = {"personas used": "personas used", "overlap/cosine": "cosine of personas"}
    return _of_planted(planted, planting.DATASETS, names, true=True)


def _of_planted(
    planted: Study, datasets: Sequence[str], names: Mapping[str, str], true: bool = False
) -> pd.DataFrame:
    """Some metrics with their intervals, one line a planted data set and model.

    A dash where a record has none of it, as MF has no personas.
    """
    lines = []
    for cell, runs in cells(planted.grid, planted.records):
        if not runs or cell.dataset not in datasets:
            continue
        line = {"data set": cell.dataset, "model": cell.row}
        if true:
            line["true tastes"] = str(planting.TRUE[cell.dataset])
        for name, text in names.items():
            known = [r["metrics"][name] for r in runs.values() if name in r["metrics"]]
            line[text] = number(float(np.mean(known))) if len(known) == len(runs) else "–"
            values = questions.values_of(planted.ranks, runs, name)
            if values is not None and len(values) > 1:
                line[text] += f" {interval(*bootstrap_interval(values))}"
        lines.append(line | {"seeds": str(len(runs))})
    if not lines:
        return pd.DataFrame({"data set": [PLANTED_PENDING]}).set_index("data set")
    return pd.DataFrame(lines).set_index(["data set", "model"])


def planted_single(planted: Study) -> str:
    """What the models with personas do where a user has one taste, in one sentence a model."""
    texts = []
    for cell, runs in cells(planted.grid, planted.records):
        metrics = [r["metrics"] for r in runs.values()]
        if planting.TRUE[cell.dataset] > 1 or not metrics:
            continue
        if not all("overlap/cosine" in m for m in metrics):
            continue
        used, cosine, ami = (
            float(np.mean([m[name] for m in metrics]))
            for name in ("personas used", "overlap/cosine", "AMI")
        )
        same = "are one vector" if cosine > measured.COLLAPSED else "are not one vector"
        texts.append(
            f"*{cell.row}*: {number(used)} of {planting.PERSONAS} personas are used, a user's "
            f"personas {same} (mean cosine {number(cosine)}), and the AMI with the three "
            f"meaningless names is {number(ami)}."
        )
    return "\n".join(f"- {text}" for text in texts) if texts else PLANTED_PENDING


def dots(study: Study, kinds: Mapping[str, str], xlabel: str) -> Figure | None:
    """Figure: means of some metrics with 95 % intervals, one panel a data set; None if empty."""
    return questions.dots(_cells(study), study.ranks, kinds, xlabel)


def entropy_figure(study: Study) -> Figure | None:
    """Entropy of attention by kind of item."""
    kinds = {
        "entropy/test": "test positives",
        "entropy/training": "training positives",
        "entropy/negatives": "training's negatives",
        "entropy/candidates": "test candidates",
    }
    figure = dots(study, kinds, "entropy of attention (units of log r)")
    for axis in figure.axes if figure else ():
        axis.set_xlim(-0.02, 1.02)  # its whole range: small differences should look small
    return figure


def loss_figure(study: Study) -> Figure | None:
    """What the recommended item loses by which history items are dropped."""
    return dots(study, LOST, "score lost (sd of the user's scores)")
