"""Does attention explain? Sentences, tables and figures from ``attentive_ncf/explanations``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import figures, questions
from replication.compare import Record, bootstrap_interval, cells, number
from replication.errors import ReplicationError
from replication.figures import Interval
from replication.page import MODES, Study, opening
from replication.papers.attentive_ncf import experiments
from replication.papers.attentive_ncf import explanations as measured
from replication.papers.attentive_ncf.pages import table2
from replication.questions import Answer, Filled, Question, count, span, tally
from replication.training import resolve_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "Pending: no attention is measured yet."
HEADLINE = 4  # movies taken away, in the sentence at the top
TITLE = 44  # characters of a title that fit

GENRES = (
    Question("genres/attention", "genres/shuffled", "attention minus shuffled attention"),
    Question("genres/attention", "genres/co-rating", "attention minus co-rating similarity"),
)
OVERLAP = (
    Question("overlap/attention", "overlap/uniform", "attention minus uniform"),
    Question("overlap/attention", "overlap/co-rating", "attention minus co-rating similarity"),
    Question("overlap/shuffled", "overlap/uniform", "control: shuffled minus uniform"),
)
ERROR = (
    Question("squared error/shuffled", "squared error/own", "shuffled minus own"),
    Question("squared error/uniform", "squared error/own", "uniform minus own"),
)
AGAINST = {
    "random": "attended minus random",
    "shuffled": "control: shuffled minus random",
    "nearest": "attended minus nearest embeddings",
    "extreme": "attended minus most extreme ratings",
    "weighted": "attended minus attention x |rating|",
    "co-rated": "attended minus co-rated",
    "same genres": "attended minus same genres",
}
# By how many movies are taken away; Holm's correction runs over all of a group.
FAITHFUL = {
    k: tuple(
        Question(
            f"moved/{'shuffled' if arm == 'shuffled' else 'attended'}/{k}",
            f"moved/{'random' if arm == 'shuffled' else arm}/{k}",
            text,
        )
        for arm, text in AGAINST.items()
    )
    for k in measured.REMOVED
}
GROUPS: dict[str, tuple[Question, ...]] = {
    "genres": GENRES,
    "overlap": OVERLAP,
    "error": ERROR,
    "faithful": tuple(question for some in FAITHFUL.values() for question in some),
}


def found_cells(study: Study) -> Filled:
    """The cells of the page, each with its runs."""
    return cells(study.grid, study.records)


def answer_all(study: Study) -> dict[str, list[Answer]]:
    """The answers of each group of questions."""
    found = found_cells(study)
    return {name: questions.answers(found, study.ranks, asked) for name, asked in GROUPS.items()}


def headline(study: Study, found: Mapping[str, Sequence[Answer]]) -> str:
    """What was asked of the attention, what was found, and the numbers behind it."""
    asked = (
        "Does the attention explain a prediction, as the paper says: does it go to movies like the "
        "target, and does the prediction depend on the movies that get it?"
    )
    genres, _, _, faithful = (found[name] for name in GROUPS)
    if not faithful:
        return opening(asked, PENDING)
    even = [
        float(np.mean([r["metrics"]["evenness"] for r in runs.values()]))
        for _, runs in found_cells(study)
        if runs
    ]
    shares = " to ".join(dict.fromkeys(f"{100 * x:.0f}" for x in (min(even), max(even))))
    removed = dict(zip(AGAINST, FAITHFUL[HEADLINE], strict=True))
    return opening(
        asked,
        "Attention follows genre overlap better than shuffled attention in "
        f"{_often(genres, GENRES[0], ' cases')}, and removing the {HEADLINE} most attended movies "
        f"moves the prediction more than random ones in {_often(faithful, removed['random'])} and "
        f"extreme ratings in {_often(faithful, removed['extreme'])}.",
        [
            "A case is one attentive model on one data set.",
            f"Width of the attention: that of an even one over {shares} % of the context.",
            "Genres: the rank correlation of attention with genre overlap, less that of shuffled "
            f"attention, is {span(genres, GENRES[0])}. It exceeds that of plain co-rating "
            f"similarity in {count(genres, GENRES[1])} cases.",
            f"Movies taken away: how far the prediction moves without the {HEADLINE} most attended "
            f"ones, less how far without {HEADLINE} random ones, is "
            f"{span(faithful, removed['random'])} stars. The control, shuffled attention, moves it "
            f"more than random ones do in {count(faithful, removed['shuffled'])} cases.",
            f"Extreme ratings: which {HEADLINE} movies have the most extreme ones can be told "
            "without attention.",
        ],
    )


def _often(some: Sequence[Answer], question: Question, of: str = "") -> str:
    """As ``questions.count``, in as few words as the sentence at the top has left."""
    above, below, total = tally(some, question)
    return f"{above} of {total}{of}" + (f" (reverse in {below})" if below else "")


def agreement(study: Study) -> pd.DataFrame:
    """Rank correlations, overlap and evenness, one line a model."""
    names = {
        "genres/attention": "genres and attention",
        "genres/shuffled": "genres and shuffled attention",
        "genres/co-rating": "genres and co-rating",
        "co-rating/attention": "co-rating and attention",
        "popularity/attention": "popularity and attention",
        "overlap/attention": "overlap under attention",
        "overlap/uniform": "overlap, uniform",
        "overlap/co-rating": "overlap under co-rating",
        "evenness": "evenness",
    }
    return questions.means(found_cells(study), names, PENDING)


def agreement_figure(study: Study) -> Figure | None:
    """Rank correlation of attention, and of what it is compared with, with genre overlap."""
    kinds = {
        "genres/attention": "attention",
        "genres/shuffled": "shuffled attention",
        "genres/co-rating": "co-rating similarity",
    }
    xlabel = "rank correlation with genre overlap"
    return questions.dots(found_cells(study), study.ranks, kinds, xlabel)


def accuracy(study: Study) -> pd.DataFrame:
    """RMSE with each attention, one line a model."""
    names = {"RMSE/own": "own", "RMSE/shuffled": "shuffled", "RMSE/uniform": "uniform"}
    return questions.means(found_cells(study), names, PENDING)


def moved(study: Study, k: int) -> pd.DataFrame:
    """How far predictions move, in stars, without k movies picked each way; one line a cell."""
    names = {f"moved/{arm}/{k}": arm for arm in measured.ARMS}
    return questions.means(found_cells(study), names, PENDING)


def table(some: Sequence[Answer], group: Sequence[Question]) -> pd.DataFrame:
    """Differences with intervals of some questions; a star says that one is established."""
    return questions.table([a for a in some if a.question in group], PENDING)


def arms() -> pd.DataFrame:
    """How the movies to take away are picked."""
    lines = [{"movies": arm, "those with": text} for arm, text in measured.ARMS.items()]
    return pd.DataFrame(lines).set_index("movies")


def users_left(study: Study) -> str:
    """How many users have a pair with enough context for each number of movies."""
    by_dataset: dict[str, str] = {}
    for cell, runs in found_cells(study):
        counts = []
        for k in measured.REMOVED if runs else ():
            values = questions.values_of(study.ranks, runs, f"moved/attended/{k}")
            if values is not None:
                counts.append(f"{int(np.isfinite(values).all(0).sum())} users for {k}")
        if counts:
            by_dataset.setdefault(cell.dataset, ", ".join(counts))
    if not by_dataset:
        return PENDING
    told = "; ".join(f"{counts} on `{dataset}`" for dataset, counts in by_dataset.items())
    return f"A pair counts where its context holds twice as many: {told}."


def figure(study: Study) -> Figure | None:
    """How far predictions move by the number of movies taken away, one panel a cell."""
    panels: dict[str, dict[str, dict[int, Interval]]] = {}
    for cell, runs in found_cells(study):
        for arm in ("attended", "random", "shuffled", "weighted", "nearest", "extreme"):
            for k in measured.REMOVED:
                values = questions.values_of(study.ranks, runs, f"moved/{arm}/{k}")
                if values is None:
                    continue
                values = values[:, np.isfinite(values).all(0)]
                ends = bootstrap_interval(values) if len(values) > 1 else (None, None)
                panel = f"{cell.row}, {cell.dataset}"
                line = panels.setdefault(panel, {}).setdefault(arm, {})
                line[k] = Interval(float(values.mean()), *ends)
    if not panels:
        return None
    return figures.lines(
        panels, "context movies taken away", "change of the prediction (stars)", columns=3
    )


# --- one pair ---------------------------------------------------------------------------------


def view(
    mode: str,
    dataset: str,
    model: str,
    pair: str,
    user: int | None,
    movie: int | None,
    device: str,
) -> Record | None:
    """The pair of a user and a movie that the page shows; None where there is none yet.

    ``stored`` without a user takes the committed one. A user and a movie, or another mode,
    measures it now, from the model that was kept or one that is trained again.

    Raises:
        ReplicationError: a mode, data set, model, pair, user, movie or device that there is not.
    """
    for kind, value, known in (
        ("mode", mode, MODES),
        ("data set", dataset, measured.DATASETS),
        ("model", model, measured.MODELS),
        ("pair", pair, tuple(measured.QUANTILES)),
    ):
        if value not in known:
            raise ReplicationError(f"unknown {kind} {value!r}; use one of {', '.join(known)}")
    if (user is None) != (movie is None):
        raise ReplicationError("a pair needs a user and a movie, or neither")
    for kind, index in (("user", user), ("movie", movie)):
        if index is not None and type(index) is not int:
            raise ReplicationError(f"{kind} should be a whole number or None, not {index!r}")
    if mode == "stored" and user is None:
        wanted = (experiments.row_name(model), dataset, 0)
        found = [
            r
            for r in measured.Store(measured.TABLE).load()
            if (r["row"], r["dataset"], r["seed"]) == wanted and "examples" in r
        ]
        return found[-1]["examples"].get(pair) if found else None
    where = resolve_device(device)
    job = measured.run_of(dataset, model, 0)
    made = measured.trained(job, where)
    if user is not None and movie is not None:
        return measured.example(job, made, user, movie)
    return measured.measure(job, made, where)[0]["examples"][pair]


def describe(shown: Record | None) -> str:
    """Target, prediction and how much attention the shown movies get."""
    if shown is None:
        return PENDING
    rated = "has not rated it" if shown["rating"] is None else f"gave it {shown['rating']:g}"
    uniform = len(shown["movies"]) / shown["context"]
    return (
        f"Target: *{shown['target']['title']}* ({shown['target']['genres'].replace('|', ', ')}). "
        f"Predicted for user {shown['user']} is {shown['prediction']:.2f}; the user {rated}. The "
        f"{len(shown['movies'])} of {shown['context']} context movies below get "
        f"{100 * shown['shown attention']:.0f} % of the attention; uniform attention would give "
        f"them {100 * uniform:.0f} %."
    )


def rule() -> str:
    """How the pair is picked, in one sentence."""
    return (
        f"The pair is not picked by hand: {measured.RULE}. `pair` low and high show the pairs a "
        "tenth from either end of the same order."
    )


def listed(shown: Record) -> pd.DataFrame:
    """The context movies with the most attention, one line a movie."""
    lines = [
        {
            "place": str(place),
            "title": movie["title"],
            "genres": movie["genres"].replace("|", ", "),
            "rating": f"{movie['rating']:g}",
            "attention": number(movie["attention"]),
            "genre overlap": number(movie["overlap"]),
            "prediction without it": number(movie["change"], signed=True),
        }
        for place, movie in enumerate(shown["movies"], 1)
    ]
    return pd.DataFrame(lines).set_index("place")


def draw(shown: Record) -> Figure:
    """Attention of the context movies as bars, each with its rating; a line for uniform."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    movies = shown["movies"]
    with matplotlib.rc_context(figures.STYLE):  # type: ignore[arg-type]
        made = NewFigure(figsize=(8.2, 0.29 * len(movies) + 1.0), layout="constrained")
        FigureCanvasAgg(made)
        axis = made.add_subplot()
        axis.barh(range(len(movies)), [m["attention"] for m in movies], color=figures.palette()[0])
        uniform = 1 / shown["context"]
        axis.axvline(uniform, color=figures.INK, linestyle="--", linewidth=1.2)
        axis.text(uniform, -0.75, " uniform", fontsize=8, va="center")
        labels = [f"{_short(m['title'])}  ({m['rating']:g})" for m in movies]
        axis.set_yticks(range(len(movies)), labels, fontsize=8)
        axis.set_ylim(len(movies) - 0.4, -1.1)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("attention (share)")
        axis.set_title(f"Target: {_short(shown['target']['title'])}")
    return made


def _short(text: str) -> str:
    return text if len(text) <= TITLE else f"{text[: TITLE - 1].rstrip()}…"


def settings() -> str:
    """Where the models' settings come from."""
    return " ".join(table2.settings(measured.MODELS, dataset) for dataset in measured.DATASETS)


def gaps(study: Study) -> str:
    """Which cells have no record, or not all seeds, or that there are none."""
    return questions.gaps(found_cells(study))
