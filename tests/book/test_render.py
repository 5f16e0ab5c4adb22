"""Text notebooks become pages: the same twice, whole or not at all, and only when they are old."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from replication import notebooks, paths
from replication.errors import ReplicationError
from replication.notebooks import Source, main, render, sources
from replication.papers.afm.experiments import SPEED as AFM_SPEED
from replication.papers.amp_cf import experiments as amp_cf
from replication.papers.attentive_ncf.experiments import SPEED
from replication.papers.registry import PAPERS, TABLES, page_module

HEADER = """\
---
replication:
  papers: [amp_cf]
  records: [tiny/table]
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
TINY = (
    HEADER
    + """\
# A tiny page

```{code-cell}
:tags: [parameters]

size = 2
```

```{code-cell}
:tags: [hide-input, tiny-sum]

from IPython.display import Markdown

Markdown(f"the sum is {sum(range(size + 1))}")
```
"""
)
CHECKED = (
    HEADER
    + """\
```{code-cell}
:tags: [parameters]

size = 2
```

```{code-cell}
from replication import page

page.check_names(globals(), known=["size"])
size
```
"""
)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty book with results of its own, in place of the study's."""
    (tmp_path / "book" / "sources").mkdir(parents=True)
    monkeypatch.setattr(notebooks, "BOOK", tmp_path / "book")
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    return tmp_path / "book"


def write(book: Path, text: str, name: str = "tiny") -> Source:
    path = book / "sources" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return sources()[name]


def shown(page: Path, tag: str) -> list[str]:
    return notebooks._outputs(json.loads(page.read_text(encoding="utf-8")), tag, "text/markdown")


# ---------------------------------------------------------------------------------------------
# Rendering
# ---------------------------------------------------------------------------------------------


def test_two_renderings_are_the_same_to_the_byte(book: Path) -> None:
    source = write(book, TINY)
    render(source)
    first = source.page.read_bytes()
    source.page.unlink()
    render(source)
    assert source.page.read_bytes() == first
    assert shown(source.page, "tiny-sum") == ["the sum is 3"]
    for trace in (b"papermill", b"2026-", b"timestamp", str(book).encode()):
        assert trace not in first, f"a page should not hold {trace!r}"
    assert sorted(path.name for path in book.iterdir()) == ["sources", "tiny.ipynb"]


def test_a_known_parameter_reaches_the_page_and_an_unknown_one_is_an_error(book: Path) -> None:
    source = write(book, CHECKED)
    done = render(source, parameters={"size": 3})
    assert done.cells[-1].outputs[0].data["text/plain"] == "3"
    injected = [c for c in done.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert len(injected) == 1 and "hide-input" in injected[0].metadata["tags"]

    before = source.page.read_bytes()
    with pytest.raises(ReplicationError, match="unknown parameter sise; this notebook takes size"):
        render(source, parameters={"sise": 3})
    assert source.page.read_bytes() == before


def test_a_failed_cell_leaves_the_old_page(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(book, TINY)
    source.page.write_text("the old page", encoding="utf-8")
    write(book, TINY.replace("size = 2", 'size = "two"'))
    with pytest.raises(ReplicationError) as caught:
        render(source)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "tiny: cell" in sentence and "TypeError" in sentence and "tiny.md" in sentence
    assert source.page.read_text(encoding="utf-8") == "the old page"
    assert sorted(path.name for path in book.iterdir()) == ["sources", "tiny.ipynb"]

    assert main(["tiny"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: tiny: cell") and error.count("\n") == 1


def test_a_source_without_a_header_is_an_error(book: Path) -> None:
    for text in ("# No header\n", "---\nkernelspec: {}\n---\n", "---\nreplication: [\n---\n"):
        with pytest.raises(ReplicationError, match=r"bad\.md should begin with a header"):
            write(book, text, "bad")


# ---------------------------------------------------------------------------------------------
# What is out of date
# ---------------------------------------------------------------------------------------------


def fake_render(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a page there without executing anything; the list names what was asked for."""
    asked: list[str] = []

    def work(source: Source, *arguments: Any, **more: Any) -> None:
        asked.append(source.name)
        stamp = {"metadata": {notebooks.STAMP: notebooks.stamp(source)}, "cells": []}
        source.page.parent.mkdir(parents=True, exist_ok=True)
        source.page.write_text(json.dumps(stamp), encoding="utf-8")

    monkeypatch.setattr(notebooks, "render", work)
    return asked


def test_check_names_what_is_stale(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = fake_render(monkeypatch)
    source = write(book, TINY)
    write(book, TINY, "paper/other")

    assert main(["--check", "tiny", "paper/other"]) == 1
    said = capsys.readouterr().out
    assert "stale: tiny" in said and "stale: paper/other" in said and "0 of 2 pages" in said
    assert asked == [], "a check renders nothing"

    assert main(["tiny", "paper/other"]) == 0
    assert asked == ["tiny", "paper/other"]
    assert main(["--check", "tiny", "paper/other"]) == 0
    assert "2 of 2 pages are up to date" in capsys.readouterr().out
    assert main(["tiny", "paper/other"]) == 0
    assert asked == ["tiny", "paper/other"], "what is up to date is not rendered again"
    assert main(["--force", "tiny"]) == 0
    assert asked == ["tiny", "paper/other", "tiny"]

    # Line ends do not count; a word of the source does; so does a new record, and a broken page.
    source.path.write_bytes(TINY.replace("\n", "\r\n").encode())
    assert main(["--check", "tiny"]) == 0
    write(book, TINY.replace("tiny page", "small page"))
    assert main(["--check", "tiny"]) == 1
    write(book, TINY)
    assert main(["--check", "tiny"]) == 0
    table = paths.RESULTS / "tiny" / "table.jsonl"
    table.parent.mkdir(parents=True)
    table.write_text("{}\n", encoding="utf-8")
    assert main(["--check", "tiny"]) == 1
    table.unlink()
    assert main(["--check", "tiny"]) == 0
    source.page.write_text("{", encoding="utf-8")
    assert main(["--check", "tiny"]) == 1


def test_the_code_that_makes_tables_is_part_of_the_stamp(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(book, TINY)
    package = tmp_path / "replication"
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (package / "papers" / "amp_cf").mkdir(parents=True)
    stamps = {notebooks.stamp(source)}
    for name in ("compare.py", "page.py", "papers/amp_cf/claims.py", "papers/amp_cf/published.csv"):
        (package / name).write_text("changed", encoding="utf-8")
        stamps.add(notebooks.stamp(source))
    assert len(stamps) == 5
    (package / "training.py").write_text("changed", encoding="utf-8")
    assert notebooks.stamp(source) in stamps, "training does not change how records are shown"
    assert notebooks.stamp(source, live=True) not in stamps


def test_the_front_page_has_the_results_of_every_paper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    lines = ["before", notebooks.README_BEGIN, "old", notebooks.README_END, "after"]
    readme.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(notebooks, "README", readme)
    for paper in PAPERS.values():
        text = f"results by {paper.FRONT}"
        monkeypatch.setattr(page_module(paper.FRONT), "summary_markdown", lambda text=text: text)
    found = notebooks.readme_text()
    assert found.startswith("before\n") and found.endswith("\nafter") and "old" not in found
    places = []
    for paper in PAPERS.values():
        title = page_module(paper.VERDICTS).BOOK.title
        places += [found.index(f"### {title}\n\n"), found.index(f"results by {paper.FRONT}")]
    assert places == sorted(places) and len(places) == 2 * len(PAPERS)
    readme.write_text("no block", encoding="utf-8")
    with pytest.raises(ReplicationError, match="should hold one line"):
        notebooks.readme_text()


def test_an_unknown_page_is_one_sentence(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(book, TINY)
    assert main(["tinny"]) == 1
    assert capsys.readouterr().err == "error: unknown page 'tinny'; the pages are tiny\n"


# What scripts measure of one machine.
MACHINE = (amp_cf.MEMORY, amp_cf.SPEED, amp_cf.PARITY)


def test_every_source_of_the_study_has_its_page() -> None:
    found = sources()
    tables = {"table1", "table2", "table3", "figure1", "figure2", "convergence", "live"}
    beyond = {"ablations", "explanations", "protocols", "tastes", "cost"}
    attentive = {"table1", "table2", "figures", "convergence", "variants", "ensemble", "verdicts",
                 "explanations", "newcomers"}  # fmt: skip
    afm = {"table1", "table2", "figures", "convergence", "alternatives", "studies", "attention",
           "verdicts"}  # fmt: skip
    assert set(found) == (
        {"verdicts"}
        | {f"afm/{n}" for n in afm}
        | {f"amp_cf/{n}" for n in tables}
        | {f"attentive_ncf/{n}" for n in attentive}
        | {f"beyond/{n}" for n in beyond}
    )
    for name, source in found.items():
        assert source.page == notebooks.BOOK / f"{name}.ipynb"
        assert source.page.is_file(), f"run `python -m replication.notebooks {name}`"
        for table in source.records:  # a table without any run yet is known by its id
            known = table in {*TABLES, *MACHINE, SPEED, AFM_SPEED}
            known |= (paths.RESULTS / f"{table}.jsonl").is_file()
            assert known, f"{name} wants records of {table}"


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_page_opens_with_what_was_asked_and_what_was_found(name: str) -> None:
    """One question and one sentence that can be read aloud; the numbers behind them come after."""
    page = json.loads((notebooks.BOOK / f"{name}.ipynb").read_text(encoding="utf-8"))
    texts = [
        "".join(output["data"]["text/markdown"])
        for cell in page["cells"]
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    asked, found = next(t for t in texts if t.startswith("**Asked.**")).split("\n\n")[:2]
    assert asked.count("?") == 1 and asked.endswith("?") and len(asked.split()) <= 41
    assert found.startswith("**Found.**") and found.endswith(".") and len(found.split()) <= 46
    assert not re.search(r"[.!?;] ", found.removeprefix("**Found.** ").replace("Pending: ", ""))


# ---------------------------------------------------------------------------------------------
# The live case
# ---------------------------------------------------------------------------------------------


def live_page(verdict: str | None) -> dict[str, Any]:
    """The study's live page, with another verdict."""
    page = json.loads((notebooks.BOOK / f"{notebooks.LIVE_PAGE}.ipynb").read_text(encoding="utf-8"))
    page["metadata"][notebooks.STAMP] = "stamp True"
    changed = 0
    for cell in page["cells"]:
        if "live-verdict" in cell["metadata"].get("tags", []):
            (output,) = cell["outputs"]
            assert output["data"]["text/markdown"][0].startswith(("not retrained", "OUTSIDE"))
            output["data"]["text/markdown"] = [verdict]
            cell["outputs"] = [] if verdict is None else [output]
            changed += 1
    assert changed == 1
    return page


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("within the 99.9 % prediction interval of the committed seeds", 0),
        ("OUTSIDE the 99.9 % prediction interval of the committed seeds: HR@10", 1),
        (None, 1),
    ],
)
def test_the_live_case_fails_outside_the_spread(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verdict: str | None,
    code: int,
) -> None:
    source = sources()[notebooks.LIVE_PAGE]
    monkeypatch.setattr(notebooks, "sources", lambda: {notebooks.LIVE_PAGE: source})
    monkeypatch.setattr(notebooks, "stamp", lambda source, live=False: f"stamp {live}")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    asked = []

    def work(source: Source, target: Path, parameters: dict[str, Any], live: bool) -> None:
        asked.append(parameters)
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(live_page(verdict)), encoding="utf-8")

    monkeypatch.setattr(notebooks, "render", work)
    assert main(["--live"]) == code
    assert main(["--live"]) == code
    assert asked == [{"mode": "quick"}], "what is up to date is not trained again"
    said = capsys.readouterr().out
    assert "MostPop" in said and (verdict or "states no verdict") in said
