"""Sphinx extension: a built book that asks no other host for anything.

MathJax comes out of the installed package sphinx-mathjax-offline, which carries MathJax
3.2.2 (Apache License 2.0) as one file per configuration. Only the one that the book uses, TeX in
and SVG out, with its fonts inside, is copied into the built book; so math works with no network,
and the repository holds no copy of MathJax. The scripts of sphinx-thebe, which Jupyter Book always
loads and which name a CDN even when its button is off, are left out of every page.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

PACKAGE = "sphinx-mathjax-offline"
FILE = "tex-svg.js"
NOTICE = """\
tex-svg.js is part of MathJax 3.2.2, copyright The MathJax Consortium,
licensed under the Apache License, Version 2.0 (https://www.apache.org/licenses/LICENSE-2.0).
Source: https://github.com/mathjax/MathJax. Copied unchanged from the Python package
sphinx-mathjax-offline.
"""


def place_mathjax(app: Sphinx) -> None:
    """Put MathJax and its notice into ``_static/mathjax`` of an HTML build."""
    if app.builder.format != "html":
        return
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        raise ExtensionError(
            f"the book needs the package {PACKAGE} for its math; install the extra with "
            f"`pip install -c requirements.lock -e '.[book]'`"
        ) from None
    found = [file for file in files if file.name == FILE and file.parent.name == "mathjax"]
    if not found:
        raise ExtensionError(f"the package {PACKAGE} holds no mathjax/{FILE}; reinstall it")
    folder = Path(app.outdir) / "_static" / "mathjax"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(Path(str(found[0].locate())).read_bytes())
    (folder / "NOTICE.txt").write_text(NOTICE, encoding="utf-8")


def leave_out_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Drop the scripts and styles of sphinx-thebe from a page."""
    for kind in ("script_files", "css_files"):
        context[kind] = [
            file
            for file in context.get(kind, [])
            if "thebe" not in f"{file} {getattr(file, 'attributes', {})}".lower()
        ]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", place_mathjax)
    app.connect("html-page-context", leave_out_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
