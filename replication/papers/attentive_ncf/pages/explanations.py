"""Does attention explain? Sentences, tables and figures from ``attentive_ncf/explanations``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replication import figures, questions
from replication.compare import Record, bootstrap_interval, cells, number, percent
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
    Question("genres/attention", "genres/other target", "attention minus that for another target"),
)
OVERLAP = (
    Question("overlap/attention", "overlap/uniform", "mean overlap, attention minus uniform"),
    Question("overlap/attention", "overlap/co-rating", "mean overlap, attention minus co-rating"),
    Question("overlap/shuffled", "overlap/uniform", "mean overlap, shuffled minus uniform"),
)
ERROR = (
    Question("squared error/shuffled", "squared error/own", "shuffled minus own"),
    Question("squared error/uniform", "squared error/own", "uniform minus own"),
)
# The two ways to pick movies, or to predict, whose difference is tested.
AGAINST = {
    "random": ("attended", "random", "attended minus random"),
    "uniform": (
        "attended, uniform",
        "random, uniform",
        "attended minus random, all movies weighing the same",
    ),
    "shuffled": ("attended", "shuffled", "attended minus shuffled attention's own"),
    "nearest": ("attended", "nearest", "attended minus nearest embeddings"),
    "extreme": ("attended", "extreme", "attended minus most extreme ratings"),
    "weighted": ("attended", "weighted", "attended minus attention x |rating|"),
    "co-rated": ("attended", "co-rated", "attended minus co-rated"),
    "same genres": ("attended", "same genres", "attended minus same genres"),
}
# By how many movies are taken away; Holm's correction runs over all of a group.
FAITHFUL = {
    k: tuple(
        Question(f"moved/{first}/{k}", f"moved/{second}/{k}", text)
        for first, second, text in AGAINST.values()
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
    genres, _, error, faithful = (found[name] for name in GROUPS)
    if not faithful:
        return opening(asked, PENDING)
    taken = {k: dict(zip(AGAINST, asked_of, strict=True)) for k, asked_of in FAITHFUL.items()}
    removed = taken[HEADLINE]
    even = _ends(study, "evenness", 3)
    return opening(
        asked,
        f"Attention of evenness {even} (1: uniform) follows genres in "
        f"{_often(genres, GENRES[0])} cases, beyond co-rating in {tally(genres, GENRES[1])[0]}, "
        f"and predictions move more without its top {HEADLINE} than random movies in "
        f"{_often(faithful, removed['random'])}, with {_share_left(faithful, removed)} of this "
        "left at uniform weights.",
        [
            "A case is one attentive model on one data set.",
            f"Width of the attention: the {HEADLINE} most attended movies get "
            f"{_ends(study, f'times uniform/{HEADLINE}', 2)} times what {HEADLINE} would get if "
            f"all weighed the same, and an attention of that entropy would be even over {even} of "
            "the context.",
            "Genres: the rank correlation of attention with genre overlap, less that of shuffled "
            f"attention, is {span(genres, GENRES[0])}; less that of plain co-rating similarity, "
            f"{span(genres, GENRES[1])} (more in {count(genres, GENRES[1])}).",
            f"Uniform attention in the place of the model's own: the squared error changes by "
            f"{span(error, ERROR[1])} (more in {count(error, ERROR[1])}).",
            f"Movies taken away: how far the prediction moves without the {HEADLINE} most attended "
            f"ones, less how far without {HEADLINE} random ones, is "
            f"{span(faithful, removed['random'])} stars; {_share_left(faithful, removed)} of this "
            "remains where all movies weigh the same: to that extent these are movies on which the "
            "prediction depends, however much attention they get.",
            "The control, attention shuffled in the model: what it attends to most moves the "
            f"prediction less than what the model's own does in "
            f"{count(faithful, removed['shuffled'])} cases.",
            *(
                f"With {k} {'movie' if k == 1 else 'movies'} taken away: more than without random "
                f"ones in {count(faithful, some['random'])}, than in the control in "
                f"{count(faithful, some['shuffled'])}."
                for k, some in taken.items()
                if k != HEADLINE
            ),
            f"Without the model's attention: the {HEADLINE} movies with the most extreme ratings "
            "move the prediction less than the attended ones in "
            f"{count(faithful, removed['extreme'])} cases, those with the nearest embeddings in "
            f"{count(faithful, removed['nearest'])}.",
        ],
    )


def _ends(study: Study, metric: str, digits: int) -> str:
    """The least and the largest mean of a metric over the cells, as "0.978 to 0.999"."""
    means = [
        float(np.mean([r["metrics"][metric] for r in runs.values()]))
        for _, runs in found_cells(study)
        if runs
    ]
    ends = (f"{end:.{digits}f}" for end in (min(means), max(means)))
    return " to ".join(dict.fromkeys(ends))


def _share_left(some: Sequence[Answer], removed: Mapping[str, Question]) -> str:
    """How much of the excess over random movies remains under uniform weights, over the cells."""
    whole, alike = (
        {a.cell: a.test.difference for a in some if a.question == removed[name]}
        for name in ("random", "uniform")
    )
    shares = [alike[cell] / whole[cell] for cell in whole if whole[cell] > 0 and cell in alike]
    if not shares:
        return "none"
    ends = dict.fromkeys(f"{100 * end:.0f}" for end in (min(shares), max(shares)))
    return f"{' to '.join(ends)} %"


def _often(some: Sequence[Answer], question: Question) -> str:
    """As ``questions.count``, in as few words as the sentence at the top has left."""
    above, below, total = tally(some, question)
    return f"{above} of {total}" + (f" (reverse in {below})" if below else "")


def agreement(study: Study) -> pd.DataFrame:
    """Rank correlations, overlap and evenness, one line a measure."""
    names = {
        "genres/attention": "genres and attention",
        "genres/shuffled": "genres and shuffled attention",
        "genres/other target": "genres and attention for another target",
        "genres/co-rating": "genres and co-rating",
        "co-rating/attention": "co-rating and attention",
        "popularity/attention": "popularity and attention",
        "overlap/attention": "mean overlap under attention",
        "overlap/uniform": "mean overlap, uniform",
        "overlap/co-rating": "mean overlap under co-rating",
        "evenness": "evenness (1: uniform)",
    } | {f"times uniform/{k}": f"attention on the top {k}, times uniform" for k in measured.REMOVED}
    return _models_beside(questions.means(found_cells(study), names, PENDING))


def _models_beside(frame: pd.DataFrame) -> pd.DataFrame:
    """One line a data set and measure and one column a model, where these had a line each."""
    if frame.index.nlevels < 2:
        return frame  # nothing is measured
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for (dataset, model), line in zip(frame.index, frame.to_dict("records"), strict=True):
        for measure, text in line.items():
            lines.setdefault((dataset, str(measure)), {})[model] = text
    index = pd.MultiIndex.from_tuples(list(lines), names=["data set", ""])
    return pd.DataFrame(list(lines.values()), index=index, dtype=str).fillna("–")


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
    """How far predictions move, in stars, without k movies picked each way; one line a way."""
    names = {f"moved/{arm}/{k}": arm for arm in measured.ARMS}
    return _models_beside(questions.means(found_cells(study), names, PENDING))


def table(some: Sequence[Answer], group: Sequence[Question]) -> pd.DataFrame:
    """Differences with intervals of some questions; a star says that one is established."""
    return _models_beside(questions.table([a for a in some if a.question in group], PENDING))


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
    made = figures.lines(
        panels, "context movies taken away", "change of the prediction (stars)", columns=3
    )
    highest = max(axis.get_ylim()[1] for axis in made.axes)
    for axis in made.axes:
        axis.set_ylim(0, highest)  # panels that are compared by height
    return made


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
    alike = sum(movie["overlap"] > 0.5 for movie in shown["movies"])
    return (
        f"Target: *{shown['target']['title']}* ({shown['target']['genres'].replace('|', ', ')}). "
        f"Predicted for user {shown['user']} is {shown['prediction']:.2f}; the user {rated}. The "
        f"{len(shown['movies'])} of {shown['context']} context movies below get "
        f"{percent(shown['shown attention'])} of the attention; uniform attention would give "
        f"them {percent(uniform)}. The first gets {_times(shown, shown['movies'][0]):.2f} times "
        f"a uniform share, and {alike} of them have a genre overlap with the target above one half."
    )


def rule(dataset: str) -> str:
    """Where the pair is from and how it is picked."""
    return (
        f"A pair of `{dataset}`, not picked by hand: {measured.RULE}. `pair` low and high "
        "show the pairs a tenth from either end of the same order. The model is that of seed 0."
    )


def listed(shown: Record) -> pd.DataFrame:
    """The context movies with the most attention, one line a movie."""
    lines = [
        {
            "place": str(place),
            "title": movie["title"],
            "genres": movie["genres"].replace("|", ", "),
            "rating": f"{movie['rating']:g}",
            "attention, times uniform": f"{_times(shown, movie):.2f}",
            "genre overlap": number(movie["overlap"]),
            "prediction without it": number(movie["change"], signed=True),
        }
        for place, movie in enumerate(shown["movies"], 1)
    ]
    return pd.DataFrame(lines).set_index("place")


def _times(shown: Record, movie: Record) -> float:
    """A movie's attention in units of what each would get if all weighed the same."""
    return float(movie["attention"] * shown["context"])


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
        times = [_times(shown, movie) for movie in movies]
        axis.barh(range(len(movies)), times, color=figures.palette()[0])
        axis.axvline(1, color=figures.INK, linestyle="--", linewidth=1.2)
        axis.text(1, -0.75, " uniform", fontsize=8, va="center")
        labels = [f"{_short(m['title'])}  ({m['rating']:g})" for m in movies]
        axis.set_yticks(range(len(movies)), labels, fontsize=8)
        axis.set_ylim(len(movies) - 0.4, -1.1)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("attention (times a uniform share)")
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
