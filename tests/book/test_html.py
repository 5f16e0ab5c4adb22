"""The book builds with warnings as errors, and what it builds stands on its own feet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"

# Elements that make a browser load something, and the attribute that says what. (The `link`s are
# those of style sheets, icons and preloads: `rel=next` and the like load nothing.)
LOADS = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "embed": "src",
    "video": "src", "audio": "src", "object": "data", "link": "href",
}  # fmt: skip
NO_LOAD = {"next", "prev", "index", "search", "author", "canonical"}


def build(book: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """What `make test` runs, with a folder of its own for the result."""
    program = Path(sys.executable).with_name("jupyter-book")
    return subprocess.run(
        [str(program), "build", str(book), "-W", "-n", "--keep-going", "--path-output", str(out)],
        cwd=book.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


class Page(HTMLParser):
    """What one page loads, links to, defines and shows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict[str, str]] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.cells: list[str] = []  # text of the cells of tables
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if "id" in found:
            self.ids.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if LOADS.get(tag) in found and not set(found.get("rel", "").split()) & NO_LOAD:
            self.loads.append(found[LOADS[tag]])
        if tag == "img":
            self.images.append(found)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag in ("td", "th", "style", "script"):
            self._open.append(tag)
        self.styles.append(found.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.styles.append(data)
        elif self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open:
            self.cells[-1] += data.replace("\u00a0", " ")


@cache
def read(path: Path) -> Page:
    return Page(path)


def elsewhere(address: str) -> bool:
    return bool(re.match(r"\s*([a-z]+:)?//", address, re.IGNORECASE))


# ---------------------------------------------------------------------------------------------
# The study's book
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("book")
    done = build(BOOK, out)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    yield out / "_build" / "html"
    shutil.rmtree(out)


def names() -> list[str]:
    """The book's pages, from its table of contents."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))

    def files(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield value
                else:
                    yield from files(value)
        elif isinstance(node, list):
            for value in node:
                yield from files(value)

    return list(files(toc))


def test_every_page_is_built(html: Path) -> None:
    assert {"index", "protocol", "verdicts", "amp_cf/table1", "amp_cf/table2"} <= set(names())
    assert [name for name in names() if not (html / f"{name}.html").is_file()] == []


def test_nothing_is_loaded_from_another_host(html: Path) -> None:
    pages = [read(path) for path in html.rglob("*.html")]
    assert any("mathjax/tex-svg.js" in load for page in pages for load in page.loads)
    outside = {load for page in pages for load in page.loads if elsewhere(load)}
    sheets = [path.read_text(encoding="utf-8") for path in html.rglob("*.css")]
    sheets += [style for page in pages for style in page.styles]
    for text in sheets:
        called = re.findall(r"""(?:url\(|@import)\s*['"]?([^'")\s;]+)""", text)
        outside |= {address for address in called if elsewhere(address)}
    for page in pages:
        for script in page.scripts:
            outside |= set(re.findall(r"https?://[^\s\"'`]+\.(?:m?js|css|woff2?)", script))
    assert outside == set()


def test_what_a_page_loads_is_there(html: Path) -> None:
    for name in names():
        path = html / f"{name}.html"
        for load in read(path).loads:
            if not load.startswith("data:"):
                target = unquote(load.split("?")[0].split("#")[0])
                assert (path.parent / target).is_file(), f"{path.name} loads {load}"


def test_every_link_within_the_book_has_a_target(html: Path) -> None:
    for name in names():
        page = read(html / f"{name}.html")
        for link in page.links:
            address, anchor = urldefrag(link)
            if elsewhere(link) or link.startswith(("mailto:", "javascript:")):
                continue
            target = (page.path.parent / unquote(address)).resolve() if address else page.path
            assert target.is_file(), f"{name} links to {link}"
            if anchor and target.suffix == ".html":
                assert unquote(anchor) in read(target).ids, f"{name} links to {link}"


def test_every_image_says_what_it_shows(html: Path) -> None:
    shown = [(name, image) for name in names() for image in read(html / f"{name}.html").images]
    assert shown, "the book has figures"
    for name, image in shown:
        text = image.get("alt", "").strip()
        # Without one, Sphinx puts the file's name there.
        assert text and Path(text).suffix not in (".png", ".svg"), f"{name}: {image.get('src')}"


def test_no_cell_of_a_table_holds_a_hole(html: Path) -> None:
    for name in names():
        cells = [cell.strip() for cell in read(html / f"{name}.html").cells]
        found = [cell for cell in cells if re.search(r"\bnan\b|\bNone\b|\binf\b|NaN", cell)]
        assert not found, f"{name}: {found}"


def test_no_page_shows_the_name_of_an_object(html: Path) -> None:
    """An empty `Markdown("")` comes out so, and whatever a cell returns that has no other form."""
    shown = re.compile(r"(?:&lt;|<)[\w.]+ object(?: at 0x[0-9a-f]+)?(?:&gt;|>)")
    for text in ("<IPython.core.display.Markdown object>", "&lt;a.B object at 0x7f00&gt;"):
        assert shown.search(text)
    for name in names():
        found = shown.findall((html / f"{name}.html").read_text(encoding="utf-8"))
        assert not found, f"{name}: {found}"


def test_the_book_shows_the_cells_of_table_2(html: Path) -> None:
    cells = read(html / "amp_cf/table2.html").cells
    models = {"AMP-2", "AMP-3", "AMP-4", "AMP-8", "MF (r=1)", "MostPop", "DeepICF+a", "AISP-4"}
    assert models <= {cell.strip() for cell in cells}
    number = r"0\.\d{4}"
    measured = re.compile(rf"{number} ± {number} \[{number}, {number}\]")
    assert any(measured.fullmatch(cell.strip()) for cell in cells)
    assert any("0.7376" in cell for cell in cells), "the published value of AMP-2 is on the page"


# ---------------------------------------------------------------------------------------------
# A small book that goes wrong
# ---------------------------------------------------------------------------------------------


def small_book(folder: Path, text: str) -> Path:
    """The study's configuration around one page."""
    shutil.copy(ROOT / "_config.yml", folder)
    book = folder / "book"
    shutil.copytree(BOOK / "_ext", book / "_ext", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(BOOK / "_static", book / "_static")
    shutil.copy(BOOK / "references.bib", book)
    (book / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    (book / "index.md").write_text(text, encoding="utf-8")
    return book


def test_a_small_book_builds(tmp_path: Path) -> None:
    book = small_book(tmp_path, "# One page\n\nSee [the section](here).\n\n(here)=\n## A section\n")
    done = build(book, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "_build/html/index.html").is_file()


def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    book = small_book(
        tmp_path,
        "# One page\n\n[no page](no-such-page.md), [no section](no-such-section), "
        "{cite:p}`nobody1900`, {glue:text}`nothing`.\n",
    )
    (book / "orphan.md").write_text("# In no table of contents\n", encoding="utf-8")
    done = build(book, tmp_path)
    assert done.returncode != 0
    for word in ("no-such-page", "no-such-section", "nobody1900", "nothing", "orphan"):
        assert word in done.stderr, f"nothing is said about {word}"
