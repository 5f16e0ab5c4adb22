"""How a page shows a table: any data frame as plain, accessible HTML that nothing cuts short.

pandas itself shortens long texts and long tables, gives the names of the index a row of their own
and lets numbers break anywhere. Here every cell is shown whole, an interval never breaks inside,
and the table scrolls in a box of its own where the screen is narrow. ``use`` makes a notebook show
all its frames so.
"""

from __future__ import annotations

import html
import re
from itertools import groupby
from typing import Any

import pandas as pd

EMPTY = "Pending: no runs are recorded yet."
# Where all is there: of an empty text a page shows the name of the object that holds it.
COMPLETE = "Nothing is pending."
# A number with what belongs to it: "0.7 ± 0.01", "[0.1, 0.2]". Spaces inside do not break.
_TOGETHER = re.compile(r"\[[^][]*\d[^][]*\]|[\d.,]+ ± [\d.,]+")
_MINUS = re.compile(r"(?<![\w.,)\]])-(?=\d)")
_NUMERIC = re.compile(r"[\d\s.,+\-−–±<\[\]%()eE]*")
_STATUS = {"pending", "unavailable", "–"}  # stand where a number would
_NAME = re.compile(r"\b[a-z0-9]+(?:-[a-z0-9]+)+\b")  # "ml-latest-small", "loo-random"
_SHORT, _LONG = 18, 40  # characters: shorter texts never break, longer ones get room


def use() -> None:
    """Show data frames by ``to_html`` in the running notebook; nothing outside of one."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    formatters["text/html"].for_type(pd.DataFrame, to_html)
    formatters["text/plain"].for_type(
        pd.DataFrame, lambda frame, printer, cycle: printer.text(to_text(frame))
    )


def to_text(frame: pd.DataFrame) -> str:
    """The whole frame as plain text."""
    return EMPTY if frame.empty else frame.to_string()


def to_html(frame: pd.DataFrame) -> str:
    """The whole frame as one HTML table in a box that scrolls sideways.

    The index becomes row headings, unless it only counts the rows; equal labels that follow each
    other are merged. With an index of several levels the innermost one ("measured", "published",
    ...) is the class of its row, so that the style sheet can tell our numbers from printed ones,
    and never merged. With three levels the outermost is a line of its own above its rows, which
    saves the width of a column. A frame without rows becomes a sentence.
    """
    if frame.empty:
        return f"<p>{EMPTY}</p>"
    plain = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    levels = frame.index.nlevels
    names = [] if plain else [str(name or "") for name in frame.index.names]
    columns = [
        " ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns
    ]
    numeric = [
        _is_numeric([str(value) for value in frame.iloc[:, place]]) for place in range(len(columns))
    ]
    titled = levels > 2
    label = html.escape(f"table of {', '.join(filter(None, [*names, *columns]))}", quote=True)
    out = [
        f'<div class="rep-scroll" role="region" tabindex="0" aria-label="{label}">',
        '<table class="rep-table">',
        "<thead><tr>",
        *(
            f'<th scope="col">{_text(name)}</th>' if name else "<td></td>"
            for name in names[titled:]
        ),
        *(
            f'<th scope="col"{_head(name, right)}>{_text(name)}</th>'
            for name, right in zip(columns, numeric, strict=True)
        ),
        "</tr></thead>",
    ]
    keys = [key if isinstance(key, tuple) else (key,) for key in frame.index]
    values = frame.astype(object).values.tolist()
    place = 0
    for outer, group in groupby(keys, key=lambda key: key[0]):
        members = [key[titled:] for key in group]
        # One body a group: a group stays together and gets a line below it.
        out.append("<tbody>")
        if titled:
            width = levels - 1 + len(columns)
            out.append(f'<tr><th scope="rowgroup" colspan="{width}">{_text(outer)}</th></tr>')
        for heading, same in groupby(members, key=lambda key: key[0]):
            rows = list(same)
            for number, key in enumerate(rows):
                kind = re.sub(r"\W+", "-", str(key[-1])) if levels > 1 else ""
                out.append(f"<tr{_class(f'rep-{kind}' if kind else '')}>")
                if number == 0 and not plain:
                    span = f' rowspan="{len(rows)}"' if len(rows) > 1 else ""
                    out.append(f'<th scope="row"{span}{_size(heading)}>{_text(heading)}</th>')
                out += [
                    f'<th scope="row"{_size(part, "rep-kind")}>{_text(part)}</th>'
                    for part in key[1:]
                ]
                out += [
                    f"<td{_size(value, 'num' if right else '')}>{_text(value)}</td>"
                    for value, right in zip(values[place], numeric, strict=True)
                ]
                out.append("</tr>")
                place += 1
        out.append("</tbody>")
    out.append("</table></div>")
    return "".join(out)


def _is_numeric(texts: list[str]) -> bool:
    """Whether a column holds numbers, and words only where a number is missing."""
    rest = [text for text in texts if text and text not in _STATUS]
    return bool(rest) and all(_NUMERIC.fullmatch(text) for text in rest)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _head(name: str, right: bool) -> str:
    kinds = ["num"] if right else []
    return _class(" ".join([*kinds, "short"] if " " not in name else kinds))


def _text(value: Any) -> str:
    """Escaped, with real minus signs and no break inside a name or a number and its interval."""
    text = "" if value is None else str(value)
    text = _TOGETHER.sub(lambda match: match[0].replace(" ", "\u00a0"), _MINUS.sub("−", text))
    return _NAME.sub(lambda match: f'<span class="short">{match[0]}</span>', html.escape(text))


def _size(value: Any, *more: str) -> str:
    """The class of a cell by the length of its text."""
    length = len(str(value))
    kind = "short" if length <= _SHORT else "long" if length > _LONG else ""
    return _class(" ".join(filter(None, [kind, *more])))
