"""Fetching data: order of the sources, resuming, and every way in which a download can go wrong.

All servers are local and all data sets are made up, except for the last part, which reads the real
mirror and is skipped by name where there is none.
"""

import hashlib
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_scripts import fetch as module
from data_scripts.fetch import Altered, fetch, load_manifest, main
from replication.errors import DataUnavailable, ReplicationError

ROOT = Path(__file__).resolve().parents[2]
SETS, DEFAULT = load_manifest()
MIRROR = module.find_mirror()
needs_mirror = pytest.mark.skipif(MIRROR is None, reason="no data mirror on this machine")

RATINGS = b"".join(b"%d\t%d\t5\n" % (k // 10, k % 97) for k in range(40_000))
MOVIES = b"1|Toy Story\n2|GoldenEye\n"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip archive without compression, so that a byte of a member is a byte of the archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as box:
        for name, content in members.items():
            box.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def toml(value) -> str:
    """A value as inline TOML; JSON's strings, numbers and lists are TOML's as well."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def write_manifest(path: Path, sets: dict[str, dict], default: list[str] | None = None) -> Path:
    """A manifest with the given entries; what every entry needs is filled in."""
    lines = [f"default = {toml(default or list(sets))}"]
    for name, entry in sets.items():
        entry = {
            "title": name,
            "page": "https://example.org",
            "licence": "none",
            "citation": "nobody2020",
            "how": "ask nobody",
        } | entry
        lines.append(f"[sets.{json.dumps(name)}]")
        lines += [f"{key} = {toml(value)}" for key, value in entry.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def files(**contents: bytes) -> dict[str, dict]:
    names = {name.replace("_", "."): content for name, content in contents.items()}
    return {n: {"sha256": sha(c), "bytes": len(c)} for n, c in names.items()}


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder except the stamps."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != module.STAMP
    }


# --- a server that can misbehave ------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves `content`; `cuts` holds after how many body bytes the next answers break off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.cuts: list[int | None] = []
        self.ranges = True
        self.kind = "application/octet-stream"
        self.hang: threading.Event | None = None  # set once half of a file is sent; then silence
        self.release = threading.Event()
        self.log: list[tuple[str, str | None]] = []  # path and Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request, client_address) -> None:
        pass  # clients of these tests go away in the middle


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.log.append((self.path, asked))
        body = server.content.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start, status = 0, 200
        if asked and server.ranges:
            start, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(status)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(body) - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        if server.hang is not None:
            self.wfile.write(body[start : len(body) // 2])
            server.hang.set()
            server.release.wait(30)
            cut = 0
        if cut is None:
            self.wfile.write(body[start:])
        else:
            self.wfile.write(body[start : start + cut])
            self.close_connection = True


@pytest.fixture
def server():
    it = Server()
    threading.Thread(target=it.serve_forever, args=(0.01,), daemon=True).start()
    yield it
    it.release.set()
    it.shutdown()
    it.server_close()


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch):
    """No mirror, no proxy, no waiting, unless a test says so."""
    monkeypatch.setenv(module.MIRROR_VARIABLE, "")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "RETRY_WAIT", 0.0)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "u.data").write_bytes(RATINGS)
    (folder / "tiny" / "u.item").write_bytes(MOVIES)
    monkeypatch.setenv(module.MIRROR_VARIABLE, str(folder))
    return folder


@pytest.fixture
def tiny(tmp_path, server):
    """A manifest of one set, from the mirror or from an archive of the server."""
    server.content["/tiny.zip"] = archive = zipped({"t/u.data": RATINGS, "t/u.item": MOVIES})
    official = {
        "kind": "official",
        "url": server.url + "tiny.zip",
        "sha256": sha(archive),
        "bytes": len(archive),
        "members": {"t/u.data": "u.data", "t/u.item": "u.item"},
    }
    entry = {
        "files": files(u_data=RATINGS, u_item=MOVIES),
        "sources": [{"kind": "mirror", "path": "tiny"}, official],
    }
    return write_manifest(tmp_path / "tiny.toml", {"tiny": entry})


PLACED = {"tiny/u.data": RATINGS, "tiny/u.item": MOVIES}


def part(tmp_path: Path) -> Path:
    return tmp_path / "data" / "raw" / ".work" / "tiny" / "tiny.zip.part"


# --- the manifest ---------------------------------------------------------------------------------


def test_every_entry_of_the_manifest_is_complete():
    assert {"yahoo-music", "douban-music", "douban-movie", "douban-graph"} <= {
        s.name for s in SETS.values() if not s.available
    }
    tables = [
        "ml-100k",
        "ml-latest-small",
        "ml-1m",
        "ncf-ml-1m",
        "pinterest",
        "amazon-video-games",
        "cil",
        "ml-1m-omdb",
    ]
    assert DEFAULT == tables
    for item in SETS.values():
        assert item.title and item.licence.endswith(".") and item.citation and item.how, item.name
        assert item.page.startswith("https://"), item.name
        if not item.available:
            assert item.reason and not item.sources, item.name
            continue
        assert item.counts and item.name in module.COUNTERS, item.name
        kinds = [source.kind for source in item.sources]
        assert kinds[0] == "mirror" and kinds == sorted(kinds, key=module.KINDS.index), item.name
        for spec in item.files.values():
            assert re.fullmatch("[0-9a-f]{64}", spec.sha256) and spec.bytes, item.name
        for source in item.sources:
            if source.kind == "official":
                assert (source.url or source.base).startswith("https://"), item.name
                assert not source.url or re.fullmatch("[0-9a-f]{64}", source.sha256), item.name
    assert [s.kind for s in SETS["ml-100k"].sources] == ["mirror", "official", "wheel"]


def test_the_manifest_is_plain_toml_with_the_official_addresses():
    table = tomllib.loads(module.MANIFEST.read_text(encoding="utf-8"))["sets"]
    official = [s for s in table["ml-100k"]["sources"] if s["kind"] == "official"]
    assert official[0]["url"] == "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    assert table["ml-1m"]["counts"]["histogram"] == [56174, 107557, 261197, 348971, 226310]


@pytest.mark.parametrize("name", ["../u.data", "/etc/u.data", "a/../../u.data", "c:u.data", ""])
def test_a_manifest_that_points_outside_the_folder_is_refused(tmp_path, name):
    entry = {"files": {name: {"sha256": sha(b""), "bytes": 0}}}
    path = write_manifest(tmp_path / "m.toml", {"tiny": entry})
    with pytest.raises(ReplicationError, match="is not a plain relative path"):
        load_manifest(path)


def test_a_broken_manifest_is_one_sentence(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text("default = [", encoding="utf-8")
    with pytest.raises(ReplicationError, match=r"m\.toml has a bad entry"):
        load_manifest(path)


def test_a_set_brings_the_sets_that_it_needs(tmp_path, tiny, mirror, capsys):
    sets = tomllib.loads(tiny.read_text(encoding="utf-8"))["sets"]
    more = {"files": files(more=MOVIES), "sources": [{"kind": "mirror", "path": "more"}]}
    (mirror / "more").mkdir()
    (mirror / "more" / "more").write_bytes(MOVIES)
    sets["more"] = more | {"needs": ["tiny"]}
    manifest = write_manifest(tmp_path / "m.toml", sets)
    report = fetch(["more", "tiny"], data=tmp_path / "data", manifest=manifest)
    assert [outcome.name for outcome in report.outcomes] == ["tiny", "more"]
    assert tree(tmp_path / "data" / "raw") == PLACED | {"more/more": MOVIES}
    sets["more"]["needs"] = ["gone"]
    with pytest.raises(ReplicationError, match=r"bad entry: sets are needed .*: \['gone'\]"):
        load_manifest(write_manifest(tmp_path / "m.toml", sets))


# --- the order of the sources ---------------------------------------------------------------------


def test_the_mirror_comes_first(tmp_path, tiny, mirror, server, capsys):
    report = fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == PLACED
    assert server.log == []
    assert report.outcomes[0].source == "the mirror" and report.outcomes[0].fresh
    out = capsys.readouterr().out
    assert out == f"tiny: 2 files from the mirror in {mirror}, verified: SHA-256\n"


def test_what_the_mirror_lacks_comes_from_the_official_host(tmp_path, tiny, mirror, server, capsys):
    (mirror / "tiny" / "u.item").unlink()
    report = fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == PLACED
    assert report.outcomes[0].source == server.url + "tiny.zip"
    err = capsys.readouterr().err
    assert f"tiny: the data mirror {mirror} has no tiny/u.item; trying the next source\n" in err


def test_no_mirror_no_word_about_it(tmp_path, tiny, server, capfd):
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    out, err = capfd.readouterr()
    assert out == f"tiny: 2 files from {server.url}tiny.zip, verified: SHA-256\n"
    assert "mirror" not in err
    assert "tiny/tiny.zip: 100%" in err  # the progress bar
    assert tree(tmp_path / "data" / "raw") == PLACED
    assert not (tmp_path / "data" / "raw" / ".work").exists()


def test_a_mirror_that_is_not_there_is_named(tmp_path, tiny, server, monkeypatch, capsys):
    monkeypatch.setenv(module.MIRROR_VARIABLE, str(tmp_path / "nowhere"))
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert "nowhere (REPLICATION_DATA_MIRROR) is not a folder" in capsys.readouterr().err
    assert tree(tmp_path / "data" / "raw") == PLACED


def test_the_default_mirror_lies_beside_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(module.paths, "ROOT", tmp_path / "checkout")
    monkeypatch.delenv(module.MIRROR_VARIABLE)
    assert module.find_mirror() is None
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert module.find_mirror() == tmp_path / "shared" / "data"
    monkeypatch.setenv(module.MIRROR_VARIABLE, "")
    assert module.find_mirror() is None


def test_a_chosen_source_is_the_only_one_used(tmp_path, tiny, mirror, server):
    report = fetch(["tiny"], data=tmp_path / "data", manifest=tiny, sources=["official"])
    assert report.outcomes[0].source == server.url + "tiny.zip"
    with pytest.raises(DataUnavailable, match="none of the sources asked for gives it"):
        fetch(["tiny"], data=tmp_path / "other", manifest=tiny, sources=["wheel"])


def test_a_fuller_edition_can_be_added_to_the_one_in_place(tmp_path, mirror, server, capsys):
    """As with MovieLens 1M: the mirror gives one file of ratings, the host a better one."""
    server.content["/tiny/u.full"] = RATINGS + b"more"
    entry = {
        "files": files(u_data=RATINGS, u_item=MOVIES, u_full=RATINGS + b"more"),
        "sources": [
            {"kind": "mirror", "path": "tiny", "gives": ["u.data", "u.item"], "note": "in part"},
            {"kind": "official", "base": server.url + "tiny/", "gives": ["u.full"]},
        ],
    }
    manifest = write_manifest(tmp_path / "m.toml", {"tiny": entry})
    fetch(["tiny"], data=tmp_path / "data", manifest=manifest)
    assert "from the mirror" in (line := capsys.readouterr().out) and ", in part, " in line
    report = fetch(["tiny"], data=tmp_path / "data", manifest=manifest, sources=["official"])
    assert report.outcomes[0].files == ("u.full",) and report.outcomes[0].fresh
    assert tree(tmp_path / "data" / "raw") == PLACED | {"tiny/u.full": RATINGS + b"more"}


# --- what is there already ------------------------------------------------------------------------


def test_a_second_call_fetches_nothing(tmp_path, tiny, server, monkeypatch, capsys):
    data = tmp_path / "data"
    fetch(["tiny"], data=data, manifest=tiny)
    before = list(server.log)
    hashed = []
    original = module._sha256
    monkeypatch.setattr(module, "_sha256", lambda p: hashed.append(p.name) or original(p))
    report = fetch(["tiny"], data=data, manifest=tiny)
    assert server.log == before and hashed == []
    assert not report.outcomes[0].fresh and report.outcomes[0].source == server.url + "tiny.zip"
    assert f"tiny: 2 files in place (from {server.url}tiny.zip)" in capsys.readouterr().out
    (data / "raw" / "tiny" / module.STAMP).unlink()
    report = fetch(["tiny"], data=data, manifest=tiny)
    assert server.log == before and hashed == ["u.data", "u.item"]
    assert report.outcomes[0].source == "the data folder"


def test_an_altered_file_in_place_is_found_and_replaced(tmp_path, tiny, server, capsys):
    data = tmp_path / "data"
    fetch(["tiny"], data=data, manifest=tiny)
    bad = RATINGS[:-2] + b"4\n"
    (data / "raw" / "tiny" / "u.data").write_bytes(bad)
    fetch(["tiny"], data=data, manifest=tiny)
    assert tree(data / "raw") == PLACED
    err = capsys.readouterr().err
    assert f"expected SHA-256 {sha(RATINGS)}, found {sha(bad)}" in err


def test_a_missing_file_is_fetched_again(tmp_path, tiny, server):
    data = tmp_path / "data"
    fetch(["tiny"], data=data, manifest=tiny)
    (data / "raw" / "tiny" / "u.item").unlink()
    assert fetch(["tiny"], data=data, manifest=tiny).outcomes[0].fresh
    assert tree(data / "raw") == PLACED


# --- connections that break -----------------------------------------------------------------------


def test_a_cut_connection_is_resumed_where_it_broke(tmp_path, tiny, server):
    cut = 100_000
    server.cuts = [cut]
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert server.log == [("/tiny.zip", None), ("/tiny.zip", f"bytes={cut}-")]
    assert tree(tmp_path / "data" / "raw") == PLACED


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path, tiny, server):
    server.ranges = False
    server.cuts = [100_000]
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert len(server.log) == 2
    assert tree(tmp_path / "data" / "raw") == PLACED


def test_a_few_empty_answers_in_a_row_are_borne(tmp_path, tiny, server):
    server.cuts = [10_000, 0, 0]
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert [asked for _, asked in server.log] == [None] + ["bytes=10000-"] * 3
    assert tree(tmp_path / "data" / "raw") == PLACED


def test_a_connection_that_always_breaks_ends_and_the_next_call_resumes(tmp_path, tiny, server):
    server.cuts = [70_000] + [0] * 20
    with pytest.raises(DataUnavailable, match=r"breaks off after 70,000 of [0-9,]+ bytes"):
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    whole = server.content["/tiny.zip"]
    assert part(tmp_path).read_bytes() == whole[:70_000]
    assert list(tree(tmp_path / "data" / "raw")) == [".work/tiny/tiny.zip.part"]
    server.cuts, server.log = [], []
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert server.log == [("/tiny.zip", "bytes=70000-")]
    assert tree(tmp_path / "data" / "raw") == PLACED


@pytest.mark.parametrize("length", [50_000, 10_000_000, None])
def test_a_stale_part_file_does_not_spoil_the_set(tmp_path, tiny, server, length):
    """Too short, too long and exactly as long as the file; the bytes are of something else."""
    length = length or len(server.content["/tiny.zip"])
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(b"x" * length)
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == PLACED
    assert server.log[-1] == ("/tiny.zip", None)


def test_files_that_lie_one_by_one_are_resumed_as_well(tmp_path, server):
    server.content |= {"/d/u.data": RATINGS, "/d/u.item": MOVIES}
    server.cuts = [30_000]
    entry = {
        "files": files(u_data=RATINGS, u_item=MOVIES),
        "sources": [{"kind": "official", "base": server.url + "d/"}],
    }
    manifest = write_manifest(tmp_path / "m.toml", {"tiny": entry})
    fetch(["tiny"], data=tmp_path / "data", manifest=manifest)
    assert server.log == [
        ("/d/u.data", None),
        ("/d/u.data", "bytes=30000-"),
        ("/d/u.item", None),
    ]
    assert tree(tmp_path / "data" / "raw") == PLACED


# --- hosts that do not give the file --------------------------------------------------------------


def two_sets(tmp_path: Path, base: str) -> Path:
    entry = {
        "files": files(u_data=RATINGS, u_item=MOVIES),
        "sources": [{"kind": "official", "base": base}, {"kind": "mirror", "path": "tiny"}],
    }
    return write_manifest(tmp_path / "m.toml", {"one": entry, "two": entry})


def test_an_unreachable_host_falls_through_and_is_asked_once(tmp_path, mirror, monkeypatch, capsys):
    """A host that accepts the connection and says nothing costs one time limit, not four."""
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        original = module._open
        monkeypatch.setattr(module, "_open", lambda u, s: calls.append(u) or original(u, s))
        report = fetch(None, data=tmp_path / "data", manifest=two_sets(tmp_path, base))
    assert [o.source for o in report.outcomes] == ["the mirror"] * 2
    assert calls == [base + "u.data"]
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2 and all("cannot be reached (timed out)" in n for n in notes)


def test_a_refused_connection_falls_through(tmp_path, mirror, capsys):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        base = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    report = fetch(["one"], data=tmp_path / "data", manifest=two_sets(tmp_path, base))
    assert report.outcomes[0].source == "the mirror"
    assert "cannot be reached" in capsys.readouterr().err


def test_a_missing_file_on_the_host_is_not_a_dead_host(tmp_path, server):
    server.content |= {"/good/u.data": RATINGS, "/good/u.item": MOVIES}
    entries = {
        name: {
            "files": files(u_data=RATINGS, u_item=MOVIES),
            "sources": [{"kind": "official", "base": f"{server.url}{name}/"}],
        }
        for name in ("bad", "good")
    }
    manifest = write_manifest(tmp_path / "m.toml", entries)
    report = fetch(None, data=tmp_path / "data", manifest=manifest, optional_ok=True)
    assert [o.name for o in report.outcomes] == ["good"]
    assert "HTTP 404" in report.missing["bad"]


def test_a_web_page_in_place_of_the_file_is_not_taken_for_it(tmp_path, tiny, server):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(DataUnavailable, match="with a web page"):
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == {}


def test_without_any_source_the_sentence_says_what_to_do(tmp_path, tiny, server):
    server.content = {}
    with pytest.raises(DataUnavailable) as caught:
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    text = str(caught.value)
    for piece in ("there is no data mirror", "HTTP 404", "by hand, ask nobody", "data tiny`."):
        assert piece in text


# --- files that are not what they should be -------------------------------------------------------


def run_main(monkeypatch, manifest: Path, *arguments: str) -> int:
    monkeypatch.setattr(module, "MANIFEST", manifest)
    return main(list(arguments))


@pytest.mark.parametrize("harm", ["truncated", "altered", "not a zip"])
def test_a_bad_archive_is_one_sentence_with_both_checksums(
    tmp_path, tiny, server, monkeypatch, capsys, harm
):
    good = server.content["/tiny.zip"]
    middle = good.index(RATINGS) + len(RATINGS) // 2
    bad = {
        "truncated": good[: len(good) // 2],
        "altered": good[:middle] + b"?" + good[middle + 1 :],
        "not a zip": b"sorry" * 1000,
    }[harm]
    server.content["/tiny.zip"] = bad
    assert run_main(monkeypatch, tiny, "tiny", "--data", str(tmp_path / "data")) == 1
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert out == "" and len(errors) == 1
    assert f"expected SHA-256 {sha(good)}, found {sha(bad)}" in errors[0]
    assert "altered or truncated" in errors[0] and "nothing was placed" in errors[0]
    assert tree(tmp_path / "data" / "raw") == {}


def test_an_archive_with_other_content_is_refused_by_the_checksum_of_the_file(
    tmp_path, tiny, server
):
    other = RATINGS.replace(b"\t5\n", b"\t4\n")
    server.content["/tiny.zip"] = zipped({"t/u.data": other, "t/u.item": MOVIES})
    with pytest.raises(Altered, match=f"expected SHA-256 {sha(RATINGS)}, found {sha(other)}"):
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == {}


def test_an_archive_that_lacks_a_file_is_refused(tmp_path, tiny, server):
    server.content["/tiny.zip"] = zipped({"t/u.data": RATINGS})
    with pytest.raises(Altered, match=r"lacks a file .*t/u\.item"):
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == {}


def test_a_repacked_archive_with_the_right_files_is_taken(tmp_path, tiny, server):
    server.content["/tiny.zip"] = zipped({"t/u.item": MOVIES, "t/u.data": RATINGS, "t/new": b""})
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == PLACED


def test_members_that_climb_out_of_the_archive_are_left_alone(tmp_path, tiny, server):
    evil = {"../evil": b"x", "../../evil": b"x", "/evil": b"x", "t/../../../evil": b"x"}
    server.content["/tiny.zip"] = zipped(evil | {"t/u.data": RATINGS, "t/u.item": MOVIES})
    fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == PLACED
    assert [p.name for p in tmp_path.rglob("*evil*")] == []


@pytest.mark.parametrize("harm", ["truncated", "altered", "longer"])
def test_a_bad_file_of_the_mirror_is_refused_and_nothing_else_is_placed(
    tmp_path, tiny, mirror, server, harm
):
    bad = {
        "truncated": MOVIES[:-5],
        "altered": MOVIES.replace(b"Toy", b"Boy"),
        "longer": MOVIES + b"3|Four Rooms\n",
    }[harm]
    (mirror / "tiny" / "u.item").write_bytes(bad)
    with pytest.raises(Altered) as caught:
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny, optional_ok=True)
    text = str(caught.value)
    assert f"expected SHA-256 {sha(MOVIES)}, found {sha(bad)}" in text
    assert "repair the mirror's copy" in text
    assert (f"({len(MOVIES)} and {len(bad)} bytes)" in text) == (harm != "altered")
    assert tree(tmp_path / "data" / "raw") == {} and server.log == []


def test_a_bad_file_on_the_host_is_refused(tmp_path, server):
    server.content["/d/u.data"] = RATINGS[:-1]
    entry = {
        "files": files(u_data=RATINGS),
        "sources": [{"kind": "official", "base": server.url + "d/"}],
    }
    manifest = write_manifest(tmp_path / "m.toml", {"tiny": entry})
    with pytest.raises(Altered, match=f"found {sha(RATINGS[:-1])}"):
        fetch(["tiny"], data=tmp_path / "data", manifest=manifest)
    assert tree(tmp_path / "data" / "raw") == {}


def test_right_checksums_with_wrong_counts_are_refused(tmp_path, server):
    """A manifest whose counts do not fit its files must not pass."""
    rating, negative = (
        b"0\t25\t5\t978824351\n1\t133\t3\t978300174\n",
        b"(0,25)\t1\t2\n(1,133)\t3\t4\n",
    )
    server.content |= {"/d/ml-1m.test.rating": rating, "/d/ml-1m.test.negative": negative}
    entry = {
        "files": {
            "ml-1m.test.rating": {"sha256": sha(rating)},
            "ml-1m.test.negative": {"sha256": sha(negative)},
        },
        "sources": [{"kind": "official", "base": server.url + "d/"}],
    }
    counts = {"users": 2, "items": 2, "ratings": 2, "negatives": 4}
    for key in (None, *counts):
        wrong = counts if key is None else counts | {key: 3}
        manifest = write_manifest(tmp_path / "m.toml", {"ncf-ml-1m": entry | {"counts": wrong}})
        data = tmp_path / f"data-{key}"
        if key is None:
            assert fetch(None, data=data, manifest=manifest).outcomes[0].counts["negatives"] == 4
        else:
            with pytest.raises(Altered, match=f"expected {key} = 3, found {counts[key]}"):
                fetch(None, data=data, manifest=manifest)
            assert tree(data / "raw") == {}


@pytest.fixture
def posters(tmp_path, mirror):
    """A set whose files are named by a checksum list."""
    pictures = {f"posters/{k}.jpg": b"picture %d" % k for k in range(3)}
    (mirror / "tiny" / "posters").mkdir()
    for name, content in pictures.items():
        (mirror / "tiny" / name).write_bytes(content)

    def manifest(lines: dict[str, bytes] = pictures, count: int = 3) -> Path:
        text = "".join(f"{sha(c)}  {n}\n" for n, c in lines.items()).encode()
        (mirror / "tiny" / "SUMS").write_bytes(text)
        entry = {
            "files": {"SUMS": {"sha256": sha(text), "bytes": len(text)}},
            "listed": {"file": "SUMS", "count": count},
            "sources": [{"kind": "mirror", "path": "tiny"}],
        }
        return write_manifest(tmp_path / "posters.toml", {"tiny": entry})

    return mirror, pictures, manifest


def test_files_of_a_checksum_list_are_fetched_and_verified(tmp_path, posters):
    folder, pictures, manifest = posters
    data, path = tmp_path / "data", manifest()
    assert len(fetch(None, data=data, manifest=path).outcomes[0].files) == 4
    assert {n: c for n, c in tree(data / "raw" / "tiny").items() if n != "SUMS"} == pictures
    assert not fetch(None, data=data, manifest=path).outcomes[0].fresh
    (data / "raw" / "tiny" / "posters" / "1.jpg").unlink()
    assert fetch(None, data=data, manifest=path).outcomes[0].fresh
    (folder / "tiny" / "posters" / "1.jpg").write_bytes(b"another picture")
    with pytest.raises(Altered, match=r"posters/1\.jpg from the mirror"):
        fetch(None, data=tmp_path / "other", manifest=path)
    assert tree(tmp_path / "other" / "raw") == {}


def test_a_checksum_list_cannot_name_files_outside_and_must_be_complete(tmp_path, posters):
    _, pictures, manifest = posters
    with pytest.raises(Altered, match="is not a plain relative path"):
        fetch(None, data=tmp_path / "data", manifest=manifest({"../../evil": b"x"}, 1))
    with pytest.raises(Altered, match="should name 4 files, found 3"):
        fetch(None, data=tmp_path / "data", manifest=manifest(pictures, 4))
    assert tree(tmp_path / "data" / "raw") == {}


# --- names and rights -----------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones(tmp_path, tiny, server, monkeypatch, capsys):
    code = run_main(monkeypatch, tiny, "tiny", "ml-2m", "--data", str(tmp_path / "data"))
    assert code == 1
    assert capsys.readouterr().err == "error: unknown data set 'ml-2m': known are tiny.\n"
    assert server.log == [] and not (tmp_path / "data").exists()


def test_the_real_manifest_knows_its_names(tmp_path, capsys):
    assert main(["ml-10m", "--data", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: unknown data set 'ml-10m': known are ")
    assert all(name in err for name in SETS)
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(f" {name}: " in out for name in SETS)


@pytest.mark.parametrize("name", [s.name for s in SETS.values() if not s.available])
def test_a_set_without_rights_says_why_and_how(tmp_path, name, capsys):
    assert main([name, "--data", str(tmp_path / "data")]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {name} cannot be fetched: ") and err.count("\n") == 1
    assert SETS[name].reason in err and SETS[name].how in err
    assert not (tmp_path / "data").exists()


def test_a_readers_own_copy_counts_but_is_not_called_verified(tmp_path, capsys):
    folder = tmp_path / "data" / "raw" / "yahoo-music"
    folder.mkdir(parents=True)
    (folder / "ydata-ymusic-user-artist-ratings-v1_0.txt").write_text("1\t1000125\t90\n")
    assert main(["yahoo-music", "--data", str(tmp_path / "data")]) == 0
    assert "not verified" in capsys.readouterr().out


def test_optional_sets_are_named_with_the_reason(tmp_path, tiny, server, monkeypatch, capsys):
    sets = tomllib.loads(tiny.read_text(encoding="utf-8"))["sets"]
    gone = {"kind": "official", "base": server.url + "gone/"}
    sets["lost"] = {"files": files(u_data=RATINGS), "sources": [gone]}
    sets["closed"] = {"available": False, "reason": "it is secret", "how": "ask nobody"}
    manifest = write_manifest(tmp_path / "m.toml", sets, ["lost", "closed", "tiny"])
    where = ["--data", str(tmp_path / "data")]
    assert run_main(monkeypatch, manifest, "--optional", *where) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("not fetched: lost cannot be had on this machine: ")
    assert out[1].startswith("not fetched: closed cannot be fetched: it is secret; ")
    assert out[2].startswith("tiny: 2 files from ")
    assert tree(tmp_path / "data" / "raw") == PLACED
    # Without the option the same call fails, after fetching what it can.
    assert run_main(monkeypatch, manifest, "--data", str(tmp_path / "strict")) == 1
    out, err = capsys.readouterr()
    assert out.startswith("tiny: 2 files from ")
    assert "lost cannot be had" in err and "it is secret" in err
    # Nothing at all is a failure even so.
    assert run_main(monkeypatch, manifest, "lost", "--optional", *where) == 1


# --- the wheel ------------------------------------------------------------------------------------


@pytest.fixture
def wheelhouse(tmp_path, monkeypatch):
    """A folder with one small wheel, and a pip that looks nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "demo_ratings-1.0.dist-info"
    wheel = zipped(
        {
            "demo_ratings/data/x.inter": RATINGS,
            "demo_ratings/data/x.item": MOVIES,
            "demo_ratings/__init__.py": b"raise SystemExit('a wheel is never run')\n",
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: demo-ratings\nVersion: 1.0\n",
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        }
    )
    (folder / "demo_ratings-1.0-py3-none-any.whl").write_bytes(wheel)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel_manifest(tmp_path: Path, requirement: str = "demo-ratings==1.0", **more: bytes) -> Path:
    closed = {"kind": "official", "base": "http://127.0.0.1:1/"}
    members = {"demo_ratings/data/x.inter": "x.inter", "demo_ratings/data/x.item": "x.item"}
    wheel = {"kind": "wheel", "requirement": requirement, "members": members}
    contents = {"x_inter": RATINGS, "x_item": MOVIES} | more
    entry = {
        "files": files(u_data=RATINGS, **contents),
        "sources": [
            {"kind": "mirror", "path": "tiny", "gives": ["u.data"]},
            closed | {"gives": ["u.data"]},
            wheel,
        ],
    }
    return write_manifest(tmp_path / "wheel.toml", {"tiny": entry})


def test_the_wheel_comes_last_and_gives_only_the_named_files(tmp_path, wheelhouse, capsys):
    report = fetch(None, data=tmp_path / "data", manifest=wheel_manifest(tmp_path))
    assert tree(tmp_path / "data" / "raw") == {"tiny/x.inter": RATINGS, "tiny/x.item": MOVIES}
    assert report.outcomes[0].source == "the wheel demo-ratings==1.0"
    assert "127.0.0.1:1 cannot be reached" in capsys.readouterr().err
    assert (
        not fetch(None, data=tmp_path / "data", manifest=wheel_manifest(tmp_path)).outcomes[0].fresh
    )


def test_the_wheel_is_not_asked_while_a_mirror_gives_the_set(tmp_path, wheelhouse, mirror):
    report = fetch(None, data=tmp_path / "data", manifest=wheel_manifest(tmp_path))
    assert report.outcomes[0].source == "the mirror"
    assert tree(tmp_path / "data" / "raw") == {"tiny/u.data": RATINGS}


def test_a_wheel_with_other_files_is_refused(tmp_path, wheelhouse):
    manifest = wheel_manifest(tmp_path, x_item=MOVIES + b"3|Four Rooms\n")
    with pytest.raises(Altered, match=f"found {sha(MOVIES)}"):
        fetch(None, data=tmp_path / "data", manifest=manifest)
    assert tree(tmp_path / "data" / "raw") == {}


def test_a_wheel_that_pip_cannot_get_is_one_sentence(tmp_path, wheelhouse):
    manifest = wheel_manifest(tmp_path, requirement="demo-ratings==2.0")
    with pytest.raises(DataUnavailable, match=r"pip cannot get demo-ratings==2\.0 \(ERROR: "):
        fetch(None, data=tmp_path / "data", manifest=manifest)
    assert tree(tmp_path / "data" / "raw") == {}


def test_the_real_wheel_entry_gives_what_the_loader_expects():
    wheel = SETS["ml-100k"].sources[-1]
    assert wheel.requirement == "recbole==1.2.1"
    assert wheel.gives == ("ml-100k.inter", "ml-100k.item", "ml-100k.user")


# --- interrupted, killed, full --------------------------------------------------------------------


def start_fetch(manifest: Path, data: Path, **options) -> subprocess.Popen:
    """The command in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from data_scripts import fetch; "
        f"fetch.MANIFEST = Path({str(manifest)!r}); "
        f"sys.exit(fetch.main(['tiny', '--data', {str(data)!r}]))"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, **options)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_leaves_only_what_the_next_call_resumes(
    tmp_path, tiny, server, how
):
    server.hang = threading.Event()
    data = tmp_path / "data"
    process = start_fetch(tiny, data)
    assert server.hang.wait(60)
    half = server.content["/tiny.zip"][: len(server.content["/tiny.zip"]) // 2]
    end = time.monotonic() + 30
    while time.monotonic() < end and (
        not part(tmp_path).exists() or part(tmp_path).stat().st_size < len(half)
    ):
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert tree(data / "raw") == {".work/tiny/tiny.zip.part": half}
    assert not (data / "raw" / "tiny").exists()
    if how == signal.SIGINT:
        assert "error: interrupted" in err and "Traceback" not in err
        assert [p.name for p in part(tmp_path).parent.iterdir()] == ["tiny.zip.part"]
    server.hang = None
    server.release.set()
    server.log.clear()
    fetch(["tiny"], data=data, manifest=tiny)
    assert server.log == [("/tiny.zip", f"bytes={len(half)}-")]
    assert tree(data / "raw") == PLACED
    assert not (data / "raw" / ".work").exists()


def test_an_interrupt_while_copying_from_the_mirror_leaves_nothing(
    tmp_path, tiny, mirror, monkeypatch
):
    original = module._copy

    def interrupted(item, handle, target, name, spec, where):
        if name == "u.item":
            target.write_bytes(MOVIES[:3])
            raise KeyboardInterrupt
        original(item, handle, target, name, spec, where)

    monkeypatch.setattr(module, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)
    assert tree(tmp_path / "data" / "raw") == {}


def test_files_are_placed_by_renames_so_that_each_is_whole_or_absent(
    tmp_path, tiny, server, monkeypatch
):
    data, original, moved = tmp_path / "data", os.replace, []

    def rename(source, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(Path(target).name)
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", rename)
        with pytest.raises(KeyboardInterrupt):
            fetch(["tiny"], data=data, manifest=tiny)
    assert moved == ["u.data"]
    assert tree(data / "raw" / "tiny") == {"u.data": RATINGS}
    fetch(["tiny"], data=data, manifest=tiny)
    assert tree(data / "raw") == PLACED


@pytest.mark.parametrize("source", ["mirror", "official"])
def test_a_full_disk_is_one_sentence_and_places_nothing(
    tmp_path, tiny, server, monkeypatch, source, request
):
    """The process may write no more than 50,000 bytes to one file."""
    if source == "mirror":
        request.getfixturevalue("mirror")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    data = tmp_path / "data"
    process = start_fetch(tiny, data, preexec_fn=limit)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    errors = [line for line in err.splitlines() if "error: " in line]
    assert len(errors) == 1 and "cannot write" in errors[0] and "make room" in errors[0]
    assert "Traceback" not in err
    left = tree(data / "raw")
    if source == "mirror":
        assert left == {}
    else:
        assert left == {".work/tiny/tiny.zip.part": server.content["/tiny.zip"][:50_000]}


def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path, tiny, server, capsys):
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(ReplicationError, match="tiny: cannot write below"):
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)


def test_several_calls_at_once_do_not_disturb_each_other(tmp_path, tiny, server):
    def call(_: int) -> bool:
        return fetch(["tiny"], data=tmp_path / "data", manifest=tiny, say=None).outcomes[0].fresh

    with ThreadPoolExecutor(6) as pool:
        fresh = list(pool.map(call, range(6)))
    assert sum(fresh) == 1
    assert server.log == [("/tiny.zip", None)]
    assert tree(tmp_path / "data" / "raw") == PLACED


def test_work_folders_come_and_go_under_many_calls(tmp_path, capsys):
    inside = []

    def call(_: int) -> int:
        with module._workspace(tmp_path, "tiny") as work:
            inside.append(1)
            alone = len(inside)
            assert list(work.iterdir()) == [work / "staging"]
            inside.pop()
        return alone

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(400))) == {1}
    assert tree(tmp_path) == {}


def test_a_file_in_the_way_of_the_work_folder_is_named(tmp_path, tiny, server):
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / ".work").write_text("a file, not a folder")
    with pytest.raises(ReplicationError, match="tiny: cannot write below"):
        fetch(["tiny"], data=tmp_path / "data", manifest=tiny)


# --- the command ----------------------------------------------------------------------------------


def test_the_script_runs_from_anywhere(tmp_path):
    script = ROOT / "data_scripts" / "fetch.py"
    run = [sys.executable, str(script)]
    listed = subprocess.run([*run, "--list"], cwd=tmp_path, capture_output=True, text=True)
    assert listed.returncode == 0 and "* ml-100k: MovieLens 100K." in listed.stdout
    wrong = subprocess.run([*run, "--sauce", "x"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2


# --- the real mirror ------------------------------------------------------------------------------


@needs_mirror
@pytest.mark.parametrize("name", [s.name for s in SETS.values() if s.available])
def test_the_mirror_gives_every_set_with_its_counts(tmp_path, monkeypatch, name):
    monkeypatch.setenv(module.MIRROR_VARIABLE, str(MIRROR))
    report = fetch([name], data=tmp_path, sources=["mirror"], say=None)
    outcome = report.outcomes[-1]  # after the sets that it needs
    assert {key: outcome.counts[key] for key in SETS[name].counts} == SETS[name].counts
    assert set(outcome.files) == set(tree(tmp_path / "raw" / name))


@needs_mirror
def test_the_mirror_has_no_set_that_the_manifest_lacks():
    known = {source.path.split("/")[0] for item in SETS.values() for source in item.sources}
    assert {p.name for p in MIRROR.iterdir() if p.is_dir()} <= known


@needs_mirror
def test_the_complete_ratings_of_movielens_1m_are_counted_alike(tmp_path):
    """`ratings.dat` itself is not in the mirror: its lines are rebuilt, but for the times."""
    import pandas as pd

    table = pd.read_parquet(MIRROR / "ml-1m" / "ratings-partial-timestamps.parquet")
    text = table["user_id"].astype(str) + "::" + table["movie_id"].astype(str) + "::"
    text += table["rating"].astype(str) + "::978300760\n"
    (tmp_path / "ratings.dat").write_text("".join(text), encoding="ascii")
    spec = {"ratings.dat": SETS["ml-1m"].files["ratings.dat"]}
    counts = SETS["ml-1m"].counts
    assert module._count_ml_1m(tmp_path, spec) == counts
    lines = "".join(text[1:])  # one rating less
    (tmp_path / "ratings.dat").write_text(lines, encoding="ascii")
    assert module._count_ml_1m(tmp_path, spec) != counts


@needs_mirror
def test_movielens_100k_from_a_host_like_the_official_one(tmp_path, server):
    """The real manifest entry with its archive packed anew and another address."""
    folder = MIRROR / "ml-100k"
    server.content["/ml-100k.zip"] = zipped(
        {f"ml-100k/{p.name}": p.read_bytes() for p in folder.iterdir()}
    )
    text = module.MANIFEST.read_text(encoding="utf-8")
    text = text.replace("https://files.grouplens.org/datasets/movielens/", server.url)
    (tmp_path / "m.toml").write_text(text, encoding="utf-8")
    server.cuts = [1_000_000]
    report = fetch(["ml-100k"], data=tmp_path, manifest=tmp_path / "m.toml")
    assert report.outcomes[0].source == server.url + "ml-100k.zip"
    assert report.outcomes[0].counts["ratings"] == 100_000
    assert len(server.log) == 2
