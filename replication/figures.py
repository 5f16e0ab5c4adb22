"""The plotting style of the book: one palette, labelled axes, PNG that reads on light and dark.

Figures are drawn without pyplot and without a display, and come back as a PNG with a white
background of its own, so that they look the same in every theme of the book. The colours are
seaborn's ``colorblind`` palette; no figure relies on colour alone (markers or line styles differ
as well). The functions take plain numbers and know nothing of records or papers.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
PIXELS_PER_INCH = 100  # of the page: a text of 10 points is 14 pixels high there
LETTERS = 28  # of a row's label beside panels that stand side by side
WIDTH, MOST_COLUMNS = 6.4, 2  # inches of one column of panels; more than two would be too small
INK, MUTED, GRID = "#1f2328", "#59636e", "#d8dee4"
MARKERS = ("o", "s", "^", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
PROTOCOLS = ("loo-random", "loo-last", "loo-ncf")  # the series of many figures
STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same on every machine
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Interval:
    """A measured value with the ends of its interval, or with none; and the values behind it."""

    mean: float
    low: float | None = None
    high: float | None = None
    single: Sequence[float] = ()


@dataclass(frozen=True)
class Curve:
    """The mean over seeds by epoch, up to the epoch that all reached [E], and each seed's own."""

    mean: Sequence[float]
    seeds: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Box:
    """A box of a drawing with an arrow from each of its parents.

    Attributes:
        name: by which children refer to it.
        title, note: the two lines in it.
        x, y: its lower left corner, the drawing being 1 wide and 1 high.
        kind: "learned" (solid frame), "computed" or "result" (dashed frames).
        parents: names of other boxes.
    """

    name: str
    title: str
    note: str
    x: float
    y: float
    kind: str = "computed"
    parents: tuple[str, ...] = ()


def palette() -> list[tuple[float, float, float]]:
    """Ten colours that colour-blind readers can tell apart, as RGB triples in 0..1."""
    import seaborn

    return [tuple(colour) for colour in seaborn.color_palette("colorblind")]


def intervals(
    panels: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    published: Mapping[str, Mapping[str, float]],
    labels: Sequence[str],
    xlabel: str,
    columns: int = 2,
) -> Figure:
    """Measured means with intervals beside published values, one panel a data set.

    Args:
        panels: panel title -> series name -> row label -> value. Rows without a value are left
            out of their panel's series.
        published: panel title -> row label -> published value, drawn as an open diamond.
        labels: row labels from top to bottom.
        xlabel: the metric and its unit, shared by all panels.
        columns: panels side by side at the most.

    Returns:
        The figure; ``png`` turns it into a picture.
    """
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    if any(name in PROTOCOLS for name in names):  # each looks alike in all figures
        names = [*PROTOCOLS, *(name for name in names if name not in PROTOCOLS)]
    drawn = {name for series in panels.values() for name in series}
    colours = palette()
    with _style():
        figure, axes = _grid(len(panels), columns, height=0.42 * len(labels) + 1.1)
        # A long label would leave no room for panels side by side; two lines fit the row's height.
        broken = [textwrap.fill(label, LETTERS, break_on_hyphens=False) for label in labels]
        beside = labels if columns == 1 else broken
        for axis, (title, series) in zip(axes, panels.items(), strict=True):
            for number, label in enumerate(labels):
                value = published.get(title, {}).get(label)
                if value is not None:
                    axis.scatter(
                        value, number, marker="D", s=46, facecolor="none", edgecolor=INK,
                        linewidth=1.4, zorder=4,
                    )  # fmt: skip
            for rank, (name, points) in enumerate(series.items()):
                place, shift = names.index(name), 0.3 * (rank - (len(series) - 1) / 2)
                for number, label in enumerate(labels):
                    point = points.get(label)
                    if point is None:
                        continue
                    colour = colours[place % len(colours)]
                    if point.low is not None and point.high is not None:
                        axis.hlines(number + shift, point.low, point.high, colour, linewidth=2)
                    axis.scatter(
                        point.mean, number + shift, color=[colour], s=34, zorder=3,
                        marker=MARKERS[place % len(MARKERS)],
                    )  # fmt: skip
            axis.set_yticks(range(len(labels)), beside)
            axis.set_ylim(len(labels) - 0.4, -0.6)
            axis.grid(axis="y", visible=False)
            axis.xaxis.set_major_locator(MaxNLocator(3))  # more run into each other
            axis.set_title(title)
            axis.set_xlabel(xlabel)
        handles = [
            _handle(name, colours[place % len(colours)], MARKERS[place % len(MARKERS)])
            for place, name in enumerate(names)
            if name in drawn
        ]
        if any(published.get(title) for title in panels):
            handles.append(_handle("published", INK, "D", hollow=True))
        _legend(figure, handles)
    return figure


def lines(
    panels: Mapping[str, Mapping[str, Mapping[int, Interval]]],
    xlabel: str,
    ylabel: str,
    columns: int = 2,
) -> Figure:
    """Measured values with intervals along steps of a number, one panel a data set or model.

    The single values behind a mean are small dots without a line.

    Args:
        panels: panel title -> line name -> step -> value. The steps of all lines stand at equal
            distances, in ascending order.
        xlabel: quantity and unit of the steps.
        ylabel: quantity and unit of the values, shared by all panels.
        columns: panels side by side at the most.
    """
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    colours = palette()
    with _style():
        figure, axes = _grid(len(panels), columns, height=3.1)
        for axis, (title, series) in zip(axes, panels.items(), strict=True):
            steps = sorted({step for points in series.values() for step in points})
            for rank, (name, points) in enumerate(series.items()):
                place = names.index(name)
                colour = colours[place % len(colours)]
                shift = 0.3 * (rank / max(1, len(series) - 1) - 0.5)  # intervals stay apart
                xs = [steps.index(step) + shift for step in points]
                axis.plot(
                    xs, [p.mean for p in points.values()], color=colour, linewidth=1.4,
                    linestyle=DASHES[place % len(DASHES)], marker=MARKERS[place % len(MARKERS)],
                    markersize=5,
                )  # fmt: skip
                for x, point in zip(xs, points.values(), strict=True):
                    if point.low is not None and point.high is not None:
                        axis.vlines(x, point.low, point.high, colour, linewidth=1.4)
                    if point.single:
                        axis.scatter([x] * len(point.single), point.single, color=[colour], s=9)
            axis.set_xticks(range(len(steps)), [str(step) for step in steps])
            axis.set_title(title)
            axis.set_xlabel(xlabel)
            axis.set_ylabel(ylabel)
        handles = [
            _handle(
                name, colours[place % len(colours)], MARKERS[place % len(MARKERS)],
                DASHES[place % len(DASHES)],
            )
            for place, name in enumerate(names)
        ]  # fmt: skip
        # So many columns as the longest name leaves room for, at 0.085 inches a letter.
        room = 0.085 * max(map(len, names), default=0) + 0.7
        _legend(figure, handles, max(1, int(figure.get_figwidth() / room)))
    return figure


def curves(
    panels: Mapping[str, Mapping[str, Curve]],
    ylabels: Mapping[str, str],
    xlabel: str = "epoch",
    columns: int = 2,
    tops: Mapping[str, float] | None = None,
) -> Figure:
    """Means over epochs as thick lines, each seed as a thin one, one panel a quantity.

    Args:
        panels: panel title -> line name -> curve.
        ylabels: panel title -> quantity and unit of its vertical axis.
        xlabel: quantity and unit of the horizontal axis.
        columns: panels side by side at the most.
        tops: panel title -> where its vertical axis ends, for curves that begin far above.
    """
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colours = palette()
    with _style():
        figure, axes = _grid(len(panels), columns, height=2.7)
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for name, curve in lines.items():
                place = names.index(name)
                colour = colours[place % len(colours)]
                for seed in curve.seeds:
                    axis.plot(
                        range(1, len(seed) + 1), seed, color=colour, linewidth=0.7, alpha=0.4,
                        linestyle=DASHES[place % len(DASHES)],
                    )  # fmt: skip
                axis.plot(
                    range(1, len(curve.mean) + 1), curve.mean, color=colour, linewidth=2.0,
                    linestyle=DASHES[place % len(DASHES)],
                )  # fmt: skip
            axis.set_title(title)
            axis.set_xlabel(xlabel)
            axis.set_ylabel(ylabels.get(title, ""))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            if tops and title in tops:
                axis.set_ylim(top=tops[title])
        handles = [
            _handle(name, colours[place % len(colours)], None, DASHES[place % len(DASHES)])
            for place, name in enumerate(names)
        ]
        _legend(figure, handles)
    return figure


def bars(
    panels: Mapping[str, Mapping[str, float]], even: Mapping[str, float], xlabel: str
) -> Figure:
    """Horizontal bars, one panel a title, with a dashed line where all bars would be as long.

    Args:
        panels: panel title -> label -> length.
        even: panel title -> place of its line.
        xlabel: quantity and unit of the lengths, shared by all panels.
    """
    most = max((value for bars in panels.values() for value in bars.values()), default=1.0)
    tallest = max(map(len, panels.values()), default=1)
    with _style():
        figure, axes = _grid(len(panels), 2, height=0.36 * tallest + 0.9)
        for axis, (title, lengths) in zip(axes, panels.items(), strict=True):
            axis.barh(range(len(lengths)), list(lengths.values()), color=palette()[0], height=0.66)
            axis.axvline(even[title], color=INK, linestyle="--", linewidth=1.2)
            axis.set_yticks(range(len(lengths)), list(lengths))
            axis.set_ylim(len(lengths) - 0.4, -0.6)
            axis.set_xlim(0, 1.05 * max(most, *even.values()))
            axis.grid(axis="y", visible=False)
            axis.set_title(title)
            axis.set_xlabel(xlabel)
        _legend(figure, [_handle("the same on all", INK, None, "--")])
    return figure


def heat(rows: Mapping[str, Sequence[float]], columns: Sequence[str], label: str) -> Figure:
    """Rows of cells that are the deeper in colour the greater their values.

    Args:
        rows: title above the row -> its values [N].
        columns: [N] names of the columns, below the last row.
        label: quantity and unit of the values, beside the scale of colours.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    most = max((max(values) for values in rows.values()), default=1.0)
    with _style():
        figure = Figure(figsize=(8.2, 0.85 * len(rows) + 1.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = [figure.add_subplot(len(rows), 1, place + 1) for place in range(len(rows))]
        for axis, (title, values) in zip(axes, rows.items(), strict=True):
            # One hue from light to dark: it reads without colour vision and in grey.
            drawn = axis.imshow(
                np.asarray([values]), cmap="Blues", vmin=0.0, vmax=most, aspect="auto"
            )
            axis.set_title(title)
            axis.grid(visible=False)
            axis.set_yticks([])
            axis.set_xticks(range(len(columns)), [])
            axis.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
            axis.grid(which="minor", color="white", linewidth=1.5)
            axis.tick_params(which="both", length=0)
        axes[-1].set_xticks(range(len(columns)), columns, rotation=50, ha="right", fontsize=8.5)
        figure.colorbar(drawn, ax=axes, label=label, aspect=12, pad=0.01)
    return figure


def boxes(
    drawn: Sequence[Box], width: float = 0.255, height: float = 0.13, size: Any = (8.6, 4.6)
) -> Figure:
    """Boxes of one size, with arrows from the right edge of each parent to the left edge.

    Args:
        drawn: the boxes.
        width, height: of a box, in parts of the drawing.
        size: of the figure, in inches.
    """
    from matplotlib import patches
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = dict(zip(("learned", "computed", "result"), palette(), strict=False))
    place = {box.name: (box.x, box.y) for box in drawn}
    with _style():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.add_subplot()
        axis.set_axis_off()
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        for box in drawn:
            colour = colours[box.kind]
            axis.add_patch(
                patches.FancyBboxPatch(
                    (box.x, box.y), width, height, boxstyle="round,pad=0,rounding_size=0.015",
                    facecolor=(*colour, 0.16), edgecolor=colour, zorder=2,
                    linestyle="-" if box.kind == "learned" else "--",
                )
            )  # fmt: skip
            middle = box.x + width / 2
            axis.text(
                middle, box.y + 0.68 * height, box.title, ha="center", va="center", fontsize=8.5
            )
            axis.text(
                middle, box.y + 0.25 * height, box.note, ha="center", va="center", fontsize=7.5,
                color=MUTED, family="DejaVu Sans Mono",
            )  # fmt: skip
            for parent in box.parents:
                px, py = place[parent]
                axis.annotate(
                    "", (box.x, box.y + height / 2), (px + width, py + height / 2), zorder=1,
                    arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 1.1},
                )  # fmt: skip
    return figure


def png(figure: Figure) -> Any:
    """The figure as an image that a notebook shows.

    The PNG names no software and no time. Its width on the page is given, so that the text of all
    figures has about the size of the text around them; a wide one is shrunk to the column.
    """
    from IPython.display import Image

    fit_labels(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    width = round(figure.get_figwidth() * PIXELS_PER_INCH)
    return Image(data=buffer.getvalue(), format="png", width=width)


def fit_labels(figure: Figure) -> None:
    """Break panel titles and labels of horizontal axes that are wider than their panel.

    The layout leaves room for the height of these texts and not for their width: a long one would
    run over the edge of the picture or into the next panel.
    """
    from matplotlib.text import Text

    figure.draw_without_rendering()  # before that, neither panels nor texts have their sizes
    for axis in figure.axes:
        room = axis.get_window_extent().width
        broken = {axis.get_title(loc="left"), axis.get_xlabel()} - {""}
        for text in axis.findobj(Text):
            assert isinstance(text, Text)
            width = text.get_window_extent().width
            if text.get_text() in broken and width > room:
                letters = int(len(text.get_text()) * room / width)
                text.set_text(textwrap.fill(text.get_text(), letters, break_on_hyphens=False))


def over_seeds(values: Sequence[Sequence[float]]) -> Curve | None:
    """The mean of curves of different lengths E_s, epoch by epoch, and the curves themselves.

    The mean ends where the first curve ends, so that it never jumps because one ended. None if
    there is nothing to draw.
    """
    usable = [list(map(float, line)) for line in values if len(line)]
    if not usable:
        return None
    shortest = min(map(len, usable))
    mean = np.mean([line[:shortest] for line in usable], axis=0)  # [E]
    return Curve(mean.tolist(), usable if len(usable) > 1 else ())


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)  # type: ignore[arg-type]


def _grid(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each of ``count``, and room for a legend above."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(1, min(columns, count, MOST_COLUMNS))
    rows = max(1, math.ceil(count / columns))
    width = WIDTH if columns == 1 else 3.9 * columns + 0.3
    figure = Figure(figsize=(width, height * rows + 0.55), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, axes


def _handle(
    name: str, colour: Any, marker: str | None, dash: Any = "none", hollow: bool = False
) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=colour, marker=marker, linestyle=dash, label=name, markersize=6.5,
        markerfacecolor="none" if hollow else colour, markeredgewidth=1.4 if hollow else 0,
    )  # fmt: skip


def _legend(figure: Figure, handles: list[Any], columns: int = 5) -> None:
    if handles:
        figure.legend(
            handles=handles, loc="outside upper left", ncols=min(len(handles), columns),
            handletextpad=0.5, columnspacing=1.4,
        )  # fmt: skip
