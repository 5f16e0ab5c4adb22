"""Figure 2, the personas of one user: the record behind it, sentences and the drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replication import figures
from replication.compare import Record, least_to_most, number
from replication.errors import ReplicationError
from replication.page import MODES, Study, enumeration, opening
from replication.papers.amp_cf import experiments, explanations, figure2
from replication.records import Store
from replication.training import resolve_device

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PENDING = "Pending: no user's personas are recorded yet."
NONE_APART = "No committed record of this model has attention that tells items apart."
QUICK_DATASET = "ml-100k"
UNIFORM = 0.001  # attention that is no further above an equal share tells nothing apart
TITLE, GENRES = 34, 20  # characters of a title and of its genres that fit


def view(mode: str, dataset: str, user: int | None, device: str) -> Record | None:
    """The record that the page shows; None where there is none yet.

    ``stored`` without a user takes the committed one, of the user that the rule picked. A user, or
    another mode, measures it now, from the kept model of the run or one that is trained again;
    ``quick`` does so on ml-100k.

    Raises:
        ReplicationError: a mode, data set, user or device that there is not.
    """
    if mode not in MODES:
        raise ReplicationError(f"unknown mode {mode!r}; use one of {', '.join(MODES)}")
    if user is not None and type(user) is not int:
        raise ReplicationError(f"user should be a whole number or None, not {user!r}")
    job = figure2.run_of(QUICK_DATASET if mode == "quick" else dataset)
    if mode == "stored" and user is None:
        found = [r for r in Store(figure2.TABLE).load() if r["dataset"] == dataset]
        return found[-1] if found else None
    where = resolve_device(device)
    return figure2.measure(job, experiments.trained(job, where), where, user)


def with_attention() -> Record | None:
    """The first committed record, in the order of data sets, whose attention tells items apart.

    Where attention has collapsed the figure cannot show what the paper's shows.
    """
    stored = {r["dataset"]: r for r in Store(figure2.TABLE).load()}
    known = (stored[name] for name in explanations.GENRES if name in stored)
    return next((record for record in known if not _collapsed(record)), None)


def headline(record: Record | None, study: Study) -> str:
    """What the figure was asked, what was found, and the numbers behind it."""
    asked = (
        "Do the four personas of a user stand for tastes that can be told apart, and do they "
        "explain the recommended list?"
    )
    if record is None:
        return opening(asked, PENDING)
    found, details = _found(record, study)
    return opening(asked, found, details)


def reading(record: Record, study: Study) -> str:
    """What a figure beside the first one shows: the same sentences, as text below it."""
    found, details = _found(record, study)
    return "  \n".join([found, *filter(None, details)])


def _found(record: Record, study: Study) -> tuple[str, list[str]]:
    """What the figure of a user shows, in one sentence, and the numbers behind it."""
    shown, metrics = record["figure"], record["metrics"]
    count, whole = len(shown["claimed"]), f"{metrics['history']:.0f}"
    used = sum(claims > 0 for claims in shown["claimed"])
    behind = len({item["persona"] for item in shown["final"]})
    over = overlap_of_all(study, record["dataset"])
    told, attention = _told_apart(record)
    return (
        f"For the user shown, of `{record['dataset']}`, {told}, the personas' own lists of ten "
        f"overlap by {number(metrics['overlap'])} (Jaccard), and the items they claim agree with "
        f"genres by an AMI of {number(metrics['AMI'])} (0 is chance).",
        [
            attention,
            f"History of the user shown: its {whole} items are claimed by "
            f"{used} of {count} personas, {_counts(shown['claimed'])} of them.",
            f"Recommended list: {behind} of {count} personas {'is' if behind == 1 else 'are'} "
            "responsible for the ten items.",
            ""
            if over is None
            else f"Over all users: the mean overlap is {number(over['overlap/lists'])}, against "
            f"{number(over['overlap/other users'])} between the personas of different users.",
        ],
    )


def _told_apart(record: Record) -> tuple[str, str]:
    """Whether attention tells the shown items apart: a part of a sentence, and a detail."""
    largest = _largest(record)
    size, equal = least_to_most(largest, signed=False), f"1/{_personas(record)} is uniform"
    of_all = f"Attention: over all items shown, the persona responsible for one has {size} of it"
    if _collapsed(record):
        return (
            "all attentions are equal (collapsed) and tell no item from another",
            f"{of_all}. All are equal, an equal share for each persona: the attention of this "
            "model has collapsed, and the number and colour of an item are decided by differences "
            "of no size.",
        )
    return f"an item's persona has {size} of its attention ({equal})", f"{of_all} ({equal})."


def _collapsed(record: Record) -> bool:
    """Whether every item shown has an equal share of attention for each persona."""
    return max(_largest(record)) < 1 / _personas(record) + UNIFORM


def _largest(record: Record) -> list[float]:
    """Of each item shown the attention on the persona that is responsible for it."""
    shown = record["figure"]
    return [item["attention"] for item in (*shown["history"], *shown["final"])]


def _personas(record: Record) -> int:
    return len(record["figure"]["personas"])


def _counts(claimed: Sequence[int]) -> str:
    return enumeration([str(count) for count in claimed if count])


def overlap_of_all(study: Study, dataset: str) -> dict[str, float] | None:
    """Means over seeds and users of the figure's model, from ``amp_cf/explanations``."""
    name = experiments.row_name(figure2.MODEL)
    runs = [r for r in study.runs() if (r["row"], r["dataset"]) == (name, dataset)]
    if not runs:
        return None
    names = [m for m in runs[0]["metrics"] if m.startswith("overlap/")]
    return {m: float(np.mean([r["metrics"][m] for r in runs])) for m in names}


def overlaps(study: Study) -> pd.DataFrame:
    """Pairwise overlap of personas over all users, one line a data set and model."""
    columns = {
        "overlap/lists": "own lists, mean of all pairs",
        "overlap/largest": "own lists, closest pair",
        "overlap/other users": "of different users",
        "overlap/no bias": "without item bias",
        "overlap/cosine": "cosine of vectors",
        "overlap/on a list": "final list on a persona's list",
    }
    lines: dict[tuple[str, str], list[Record]] = {}
    for run in study.runs():
        lines.setdefault((run["dataset"], run["row"]), []).append(run)
    if not lines:
        return pd.DataFrame({"data set": [PENDING]}).set_index("data set")
    frame = pd.DataFrame(
        [
            {"data set": dataset, "model": row}
            | {
                text: number(float(np.mean([r["metrics"][name] for r in runs])))
                for name, text in columns.items()
            }
            for (dataset, row), runs in lines.items()
        ]
    )
    return frame.set_index(["data set", "model"])


def shown(record: Record) -> str:
    """Of which model and data the figure is, and whether its attention tells items apart."""
    told, _ = _told_apart(record)
    return (
        f"Shown is a user of `{record['dataset']}` and *{record['row']}*, the model that was "
        f"trained on these data: {told}."
    )


def rule() -> str:
    """How the user is picked, in one sentence."""
    return f"Unless the parameter `user` names one, a rule picks the user: {figure2.RULE}."


def draw(record: Record) -> Figure:
    """History, final list and each persona's list, a colour and a number for each persona."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    shown = record["figure"]
    count, length = len(shown["personas"]), explanations.LENGTH
    half = -(-count // 2)
    with matplotlib.rc_context(figures.STYLE):  # type: ignore[arg-type]
        figure = NewFigure(figsize=(7.2, 4.6 + 2.2 * half), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"{record['row']} on {record['dataset']}, one user", fontsize=9.4)
        grid = figure.add_gridspec(2 + half, 2, height_ratios=[1] * (2 + half))
        history = figure.add_subplot(grid[:2, 0])
        items = len(shown["history"])
        total = int(record["metrics"]["history"])
        _list(history, f"History: {items} of {total} items", shown["history"], 2 * length + 1.6)
        final = figure.add_subplot(grid[0, 1])
        _list(final, "Recommended, by y", shown["final"], length)
        key = figure.add_subplot(grid[1, 1])
        _key(key, shown["claimed"])
        for rank, listed in enumerate(shown["personas"]):
            axis = figure.add_subplot(grid[2 + rank // 2, rank % 2])
            _list(axis, f"Persona {rank + 1} alone, by its own score", listed, length)
    return figure


def _list(axis: Axes, title: str, items: Sequence[Record], places: float) -> None:
    """Items from top to bottom, each with the number and colour of the persona behind it."""
    _frame(axis, title, places)
    for place, item in enumerate(items):
        _mark(axis, place, item["persona"])
        axis.text(0.05, place, _short(item["title"], TITLE), va="center", fontsize=7.2)
        axis.text(
            1, place, _short(item["genres"].replace("|", ", "), GENRES), va="center", ha="right",
            fontsize=6.4, color=figures.MUTED,
        )  # fmt: skip


def _key(axis: Axes, claimed: Sequence[int]) -> None:
    _frame(axis, "A mark is the persona with the most attention", 10)
    for place, count in enumerate(claimed):
        _mark(axis, place, place + 1)
        text = f"persona {place + 1}: claims {count} of the history's items"
        axis.text(0.05, place, text, va="center", fontsize=7.6)


def _frame(axis: Axes, title: str, places: float) -> None:
    axis.set_axis_off()
    axis.set_xlim(0, 1)
    axis.set_ylim(places - 0.4, -0.6)
    axis.set_title(title, fontsize=8.8)


def _mark(axis: Axes, place: int, persona: int) -> None:
    colours = figures.palette()
    axis.text(
        0.012, place, str(persona), va="center", ha="center", fontsize=6.6, color="white",
        fontweight="bold",
        bbox={"boxstyle": "square,pad=0.22", "facecolor": _dark(colours[(persona - 1) % 10]),
              "edgecolor": "none"},
    )  # fmt: skip


def _dark(colour: tuple[float, ...]) -> tuple[float, ...]:
    """Dark enough for a white number on it."""
    return tuple(0.72 * part for part in colour)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def table(record: Record) -> pd.DataFrame:
    """What the figure shows, as text: one line an item."""
    shown = record["figure"]
    blocks: list[tuple[str, list[dict[str, Any]]]] = [
        ("history", shown["history"]),
        ("recommended", shown["final"]),
        *((f"persona {k} alone", listed) for k, listed in enumerate(shown["personas"], 1)),
    ]
    lines = [
        {
            "list": name,
            "place": str(place),
            "title": item["title"],
            "genres": item["genres"].replace("|", ", "),
            "persona": str(item["persona"]),
            "its attention": number(item["attention"]),
        }
        for name, items in blocks
        for place, item in enumerate(items, 1)
    ]
    return pd.DataFrame(lines).set_index(["list", "place"])


def how_many(record: Record) -> str:
    """How much of the history the figure and the table show."""
    shown, whole = len(record["figure"]["history"]), round(record["metrics"]["history"])
    if shown == whole:
        return "The history is whole."
    return f"Of {whole} items of the history {shown} are shown, drawn at random."
