"""How a page shows a table: any data frame as plain, accessible HTML that nothing cuts short.

pandas itself shortens long texts and long tables, gives the names of the index a row of their own
and lets numbers break anywhere. Here every cell is shown whole, an interval never breaks inside,
equal labels of the outer index are merged, and the table scrolls in a box of its own where the
screen is narrow. ``use`` makes a notebook show all its frames so.
"""

from __future__ import annotations

import html
import re
from itertools import groupby
from typing import Any

import pandas as pd

# A number with what belongs to it: "0.7 ± 0.01", "[0.1, 0.2]". Spaces inside do not break.
_TOGETHER = re.compile(r"\[[^][]*\d[^][]*\]|[\d.,]+ ± [\d.,]+")
_MINUS = re.compile(r"(?<![\w.,)\]])-(?=\d)")
_NUMERIC = re.compile(r"[\d\s.,+\-−–±\[\]%()eE]*")


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
    return frame.to_string() if len(frame) else "no rows"


def to_html(frame: pd.DataFrame) -> str:
    """The whole frame as one HTML table in a box that scrolls sideways.

    The index becomes row headings. With an index of two levels, equal labels of the outer one are
    merged, and the inner one ("measured", "published", ...) is the class of its row, so that the
    style sheet can tell our numbers from printed ones.
    """
    levels = frame.index.nlevels
    names = [str(name or "") for name in frame.index.names]
    columns = [
        " ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns
    ]
    numeric = [
        all(_NUMERIC.fullmatch(str(value)) for value in frame.iloc[:, place])
        for place in range(len(columns))
    ]
    label = html.escape(f"table of {', '.join(filter(None, [*names, *columns]))}", quote=True)
    out = [
        f'<div class="rep-scroll" role="region" tabindex="0" aria-label="{label}">',
        '<table class="rep-table">',
        "<thead><tr>",
        *(f'<th scope="col">{_text(name)}</th>' if name else "<td></td>" for name in names),
        *(
            f'<th scope="col"{_class("num" if right else "")}>{_text(name)}</th>'
            for name, right in zip(columns, numeric, strict=True)
        ),
        "</tr></thead>",
    ]
    keys = [key if isinstance(key, tuple) else (key,) for key in frame.index]
    values = frame.astype(object).values.tolist()
    place = 0
    for outer, group in groupby(keys, key=lambda key: key[0]):
        members = list(group)
        # One body a group: a group stays together and gets a line below it.
        out.append("<tbody>")
        for number, key in enumerate(members):
            kind = re.sub(r"\W+", "-", str(key[-1])) if levels > 1 else ""
            out.append(f"<tr{_class(f'rep-{kind}' if kind else '')}>")
            if levels == 1 or number == 0:
                span = f' rowspan="{len(members)}"' if levels > 1 and len(members) > 1 else ""
                text = outer if levels > 1 else key[0]
                out.append(f'<th scope="row"{span}>{_text(text)}</th>')
            out += [f'<th scope="row" class="rep-kind">{_text(part)}</th>' for part in key[1:]]
            out += [
                f"<td{_class('num' if right else '')}>{_text(value)}</td>"
                for value, right in zip(values[place], numeric, strict=True)
            ]
            out.append("</tr>")
            place += 1
        out.append("</tbody>")
    out.append("</table></div>")
    return "".join(out)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _text(value: Any) -> str:
    """Escaped, with real minus signs and no break inside a number and its interval."""
    text = "" if value is None else str(value)
    text = _TOGETHER.sub(lambda match: match[0].replace(" ", "\u00a0"), _MINUS.sub("−", text))
    return html.escape(text)
