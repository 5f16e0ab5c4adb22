"""Render the book's text notebooks: ``python -m replication.notebooks [--check] [--live]``.

The only notebooks edited by hand are the text files ``book/sources/**/*.md`` (MyST, read by
jupytext). Each is executed by papermill in the folder of its page and written beside the other
pages as ``book/**/*.ipynb``, which is committed: the book shows it and nbval executes it again.

A rendering carries a stamp, a hash of everything it is made from: the source text, the records
the page uses, and the code that turns records into tables. A page whose stamp is current is not
executed again, so that a fresh clone renders nothing and stays clean. Two renderings of the same
inputs are byte-identical: cell ids are fixed, and what an execution leaves behind (times, the
kernel's version, papermill's log) is dropped.

What a page is made from stands in the header of its source::

    replication:
      papers: [amp_cf]                # package folders: experiments, claims, published numbers
      records: [amp_cf/table2]        # tables of results/, named in the order of the page

This module is the only one that needs the ``book`` extra (jupytext, papermill).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication import paths
from replication.errors import ReplicationError

BOOK = paths.ROOT / "book"
README = paths.ROOT / "README.md"
README_BEGIN, README_END = "<!-- results:begin -->", "<!-- results:end -->"
LIVE_PAGE = "amp_cf/live"
PROGRESS = "REPLICATION_PROGRESS"  # environment variable: file to which a kernel writes progress
STAMP = "replication_stamp"  # key in the metadata of a rendered notebook
FORMAT = 1  # part of every stamp; raise it when the form of the rendering changes

# What turns records into a page, whatever the paper.
_CODE = (
    "claims.py",
    "compare.py",
    "figures.py",
    "fold_claims.py",
    "page.py",
    "questions.py",
    "tables.py",
    "verdicts.py",
)
# What a live training depends on, beside that.
_TRAINING = (
    "training.py",
    "evaluation.py",
    "protocols.py",
    "records.py",
    "metrics",
    "data",
    "baselines",
)


@dataclass(frozen=True)
class Source:
    """A text notebook and the page it becomes.

    Attributes:
        name: ``<paper>/<page>``, the path below ``book/sources`` without its suffix.
        path: the text notebook.
        page: the executed notebook.
        papers, records: what the page is made from (see the module's text).
    """

    name: str
    path: Path
    page: Path
    papers: tuple[str, ...]
    records: tuple[str, ...]


def sources(book: Path | None = None) -> dict[str, Source]:
    """Every text notebook of the book by its name.

    Raises:
        ReplicationError: a source without a readable header.
    """
    book = book or BOOK
    found = {}
    for path in sorted((book / "sources").rglob("*.md")):
        name = path.relative_to(book / "sources").with_suffix("").as_posix()
        header = _header(path)
        found[name] = Source(
            name,
            path,
            book / f"{name}.ipynb",
            tuple(header.get("papers") or ()),
            tuple(header.get("records") or ()),
        )
    return found


def stamp(source: Source, live: bool = False) -> str:
    """16 hex digits: a hash of all that the rendering of a page is made from.

    Line ends do not count, file names and places of the page's own inputs do. ``live`` adds what
    a training run depends on.
    """
    files: list[tuple[str, Path]] = [("source", source.path)]
    package = paths.ROOT / "replication"
    wanted = [package / name for name in _CODE]
    wanted += [package / "papers" / paper for paper in source.papers]
    if live:
        wanted += [package / name for name in _TRAINING]
    for path in wanted:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [
            (file.relative_to(package).as_posix(), file)
            for file in inside
            if file.suffix in (".py", ".csv")
        ]
    for table in source.records:
        files += [
            (f"{table}{suffix}", paths.RESULTS / f"{table}{suffix}")
            for suffix in (".jsonl", "-ranks.parquet", "-values.parquet")
        ]
    digest = hashlib.sha256(f"format {FORMAT}\n".encode())
    for name, path in files:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""  # no records yet: the page says "pending"
        if path.suffix != ".parquet":
            content = content.replace(b"\r\n", b"\n")
        digest.update(f"{name} {len(content)}\n".encode() + content)
    if live:
        import numpy
        import torch

        digest.update(f"{sys.version} {numpy.__version__} {torch.__version__}".encode())
    return digest.hexdigest()[:16]


def stale(found: dict[str, Source]) -> list[str]:
    """Names of the pages that are missing or not rendered from what is there now."""
    return [name for name, source in found.items() if _stamp_of(source.page) != stamp(source)]


def render(
    source: Source,
    target: Path | None = None,
    parameters: dict[str, Any] | None = None,
    live: bool = False,
) -> Any:
    """Execute a text notebook and write the page, whole or not at all.

    Args:
        source: the text notebook.
        target: where to write; the page's own place if None.
        parameters: values for names of its ``parameters`` cell.
        live: see ``stamp``.

    Returns:
        The executed notebook (``nbformat.NotebookNode``).

    Raises:
        ReplicationError: a package is missing, or a cell failed; the old page then stays.
    """
    jupytext, papermill, nbformat = _tools()
    target = target or source.page
    # Before the execution: an input that changes in between makes the page stale again.
    key = stamp(source, live)
    notebook = jupytext.read(source.path, fmt="md:myst")
    with tempfile.TemporaryDirectory(prefix="replication-") as folder:
        there, done = Path(folder) / "in.ipynb", Path(folder) / "out.ipynb"
        nbformat.write(_clean(notebook, key), there)
        source.page.parent.mkdir(parents=True, exist_ok=True)
        with _environment(TQDM_DISABLE="1", PYTHONHASHSEED="0"):
            try:
                papermill.execute_notebook(
                    str(there),
                    str(done),
                    parameters=parameters or {},
                    kernel_name="python3",
                    cwd=str(source.page.parent),
                    progress_bar=False,
                    request_save_on_cell_execute=False,
                    # no word about how the kernel is spoken to
                    extra_arguments=["--IPKernelApp.log_level=40"],
                )
            except papermill.PapermillExecutionError as error:
                raise ReplicationError(
                    f"{source.name}: cell {error.cell_index} failed with "
                    f"{error.ename}: {_one_line(error.evalue)}; {source.path.name} is the place "
                    f"to mend it, and the page that was there is unchanged"
                ) from error
        executed = nbformat.read(done, as_version=4)
    text = nbformat.writes(_clean(executed, key)) + "\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return executed


def _clean(notebook: Any, key: str) -> Any:
    """Drop what differs between two executions and give every cell a fixed id."""
    notebook.metadata = type(notebook.metadata)(
        kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"},
        language_info={"name": "python"},
    )
    notebook.metadata[STAMP] = key
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        for name in ("papermill", "execution", "lines_to_next_cell"):
            cell.metadata.pop(name, None)
        tags = list(cell.metadata.get("tags", []))
        if "injected-parameters" in tags and "hide-input" not in tags:
            tags.append("hide-input")
        cell.metadata.pop("tags", None)
        if tags:
            cell.metadata["tags"] = tags
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # the first with cell ids
    return notebook


def render_live(force: bool = False) -> int:
    """Retrain the live case (``mode=quick``), print its comparison, and judge it.

    The page goes to ``_build/live/live.ipynb``, which git ignores. Nothing is repeated while its
    stamp is current.

    Returns:
        0 if every number lies within the range that the page states, else 1.
    """
    source = sources()[LIVE_PAGE]
    target = paths.ROOT / "_build" / "live" / "live.ipynb"
    if force or _stamp_of(target) != stamp(source, live=True):
        print("live: training AMP-2, MF (r=1) and MostPop on MovieLens 100K", flush=True)
        with _heartbeat("live"):
            render(source, target, {"mode": "quick"}, live=True)
    else:
        print(f"live: up to date ({_show(target)})")
    notebook = json.loads(target.read_text(encoding="utf-8"))
    for text in _outputs(notebook, "live-table", "text/plain"):
        print(f"\n{text}\n")
    verdicts = _outputs(notebook, "live-verdict", "text/markdown")
    print(verdicts[0] if verdicts else "live: the page states no verdict")
    passed = bool(verdicts) and verdicts[0].startswith("within")
    return 0 if passed else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0 if all is current or was rendered, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m replication.notebooks",
        description="Render the book's text notebooks; those that are up to date are left alone.",
    )
    parser.add_argument("names", nargs="*", help="pages such as amp_cf/table2 (default: all)")
    parser.add_argument("--force", action="store_true", help="render also what is up to date")
    parser.add_argument(
        "--check", action="store_true", help="render nothing; name stale pages and exit 1"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="retrain the live case into _build/live and compare it with the committed records",
    )
    asked = parser.parse_args(argv)
    try:
        if asked.live:
            return render_live(asked.force)
        return _render_all(asked.names, asked.force, asked.check)
    except ReplicationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; pages that were there are unchanged", file=sys.stderr)
        return 130


def _render_all(names: Sequence[str], force: bool, check: bool) -> int:
    found = sources()
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ReplicationError(
            f"unknown page {unknown[0]!r}; the pages are {', '.join(found) or 'none'}"
        )
    chosen = {name: found[name] for name in names} if names else found
    old = stale(chosen)
    text = "" if names else readme_text()
    readme_is_old = bool(text) and text != README.read_text(encoding="utf-8")
    if check:
        if readme_is_old:
            print("stale: README.md (run `python -m replication.notebooks`)")
        for name in old:
            print(f"stale: {name} (run `python -m replication.notebooks {name}`)")
        print(f"{len(chosen) - len(old)} of {len(chosen)} pages are up to date")
        return 1 if old or readme_is_old else 0
    if readme_is_old:
        README.write_text(text, encoding="utf-8")
        print("README.md: results brought up to date", flush=True)
    for name, source in chosen.items():
        if name not in old and not force:
            print(f"{name}: up to date")
            continue
        start = time.monotonic()
        with _heartbeat(name):
            render(source)
        print(f"{name}: rendered in {time.monotonic() - start:.0f} s", flush=True)
    return 0


def readme_text() -> str:
    """README.md with its block of results as the committed records have them now.

    Raises:
        ReplicationError: the two comment lines around the block are not there.
    """
    from replication.papers.registry import PAPERS, page_module

    text = README.read_text(encoding="utf-8")
    if text.count(README_BEGIN) != 1 or text.count(README_END) != 1:
        raise ReplicationError(
            f"README.md should hold one line {README_BEGIN} and one line {README_END}"
        )
    before, rest = text.split(README_BEGIN)
    after = rest.split(README_END)[1]
    parts = [
        f"### {page_module(paper.VERDICTS).BOOK.title}\n\n"
        f"{page_module(paper.FRONT).summary_markdown()}"
        for paper in PAPERS.values()
    ]
    results = "\n\n".join(parts)
    return f"{before}{README_BEGIN}\n{results}\n{README_END}{after}"


def _header(path: Path) -> dict[str, Any]:
    """The ``replication`` part of a source's YAML header."""
    import yaml

    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        end = lines.index("---", 1)
        header = yaml.safe_load("\n".join(lines[1:end]))["replication"]
    except (ValueError, KeyError, TypeError, yaml.YAMLError):
        raise ReplicationError(
            f"{path.name} should begin with a header between two lines of three hyphens that "
            f"says under `replication:` which papers and records the page uses"
        ) from None
    return dict(header or {})


def _stamp_of(page: Path) -> str | None:
    """The stamp in a rendered page; None if there is none or the file cannot be read."""
    try:
        return json.loads(page.read_text(encoding="utf-8"))["metadata"].get(STAMP)
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _outputs(notebook: dict[str, Any], tag: str, kind: str) -> list[str]:
    """Outputs of one kind of the cells with a tag."""
    texts = []
    for cell in notebook["cells"]:
        if tag in cell["metadata"].get("tags", []):
            for output in cell.get("outputs", []):
                data = output.get("data", {}).get(kind)
                if data is not None:
                    texts.append("".join(data))
    return texts


def _tools() -> tuple[Any, Any, Any]:
    try:
        import jupytext
        import nbformat
        import papermill
    except ImportError as error:
        raise ReplicationError(
            f"rendering needs the package {error.name}; install the extra with "
            f"`pip install -c requirements.lock -e '.[book]'`"
        ) from None
    return jupytext, papermill, nbformat


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables that the kernel inherits; the old values come back."""
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _heartbeat(name: str, seconds: float = 5.0) -> Iterator[None]:
    """Show that a page is being executed, and the last line that its kernel reported."""
    with tempfile.TemporaryDirectory(prefix="replication-") as folder:
        report = Path(folder) / "progress"
        start, over = time.monotonic(), threading.Event()

        def beat() -> None:
            while not over.wait(seconds):
                with contextlib.suppress(OSError, IndexError):
                    last = report.read_text(encoding="utf-8").strip().splitlines()[-1]
                    print(f"{name}: {time.monotonic() - start:4.0f} s  {last}", flush=True)
                    continue
                print(f"{name}: {time.monotonic() - start:4.0f} s", flush=True)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            with _environment(**{PROGRESS: str(report)}):
                yield
        finally:
            over.set()
            thread.join()


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def _show(path: Path) -> str:
    return path.relative_to(paths.ROOT).as_posix() if paths.ROOT in path.parents else str(path)


if __name__ == "__main__":
    sys.exit(main())
