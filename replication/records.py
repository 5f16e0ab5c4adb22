"""The store of run records: content-addressed, records are only added, all or nothing.

A record is one run of one cell with one seed, a JSON object on a line of
``results/<paper>/<table>.jsonl``. Its key is a hash of the cell, the full configuration, the
data's content and the seed, so that a run that is already there is not repeated. The hash of the
code is recorded as provenance and is not part of the key: whether a change of the code changed a
number is what ``audit`` finds out by running it again. What single users got lies beside it in one
parquet file a table: ranks where the metrics follow from ranks, else the metrics' values.

A record is added by renaming a new version of the file over the old one: a kernel may cut a write
short when it kills the writer, so that appending in place could leave half a line.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from replication import paths
from replication.errors import ReplicationError

if TYPE_CHECKING:
    from replication.data.interactions import Interactions

Record = dict[str, Any]

ADDRESS = ("table", "row", "dataset", "data_hash", "protocol", "variant", "select", "config")
REQUIRED = (*ADDRESS, "key", "seed", "metrics")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Columns of the two files beside the records.
RANKS = ("key", "ranks", "ranks_full")
VALUES = ("key", "metric", "values")
VERSIONED = ("numpy", "scipy", "pandas", "torch")


def record_address(
    table: str,
    row: str,
    data: Interactions,
    protocol: str,
    config: Record,
    *,
    variant: str = "",
    select: str = "none",
    seed: int = 0,
) -> Record:
    """The head of a record: what its key is made of, and where the data came from.

    Args:
        table: where it is stored.
        row: the model's printed name, or what was measured.
        data: what it is measured on.
        protocol: how the data are split.
        config: everything else that the numbers depend on.
        variant: a named departure from the main cell.
        select: how the epoch is chosen; "none" where there is nothing to choose.
        seed: of the run, or the number of its fold.
    """
    return {
        "table": table,
        "row": row,
        "dataset": data.name,
        "data_hash": data.content_hash,
        "data_source": data.source,
        "protocol": protocol,
        "variant": variant,
        "select": select,
        "config": config,
        "seed": seed,
    }


def record_key(record: Record) -> str:
    """16 hex digits: the address of a record, over the cell, configuration, data and seed."""
    address = {name: record[name] for name in (*ADDRESS, "seed")}
    text = json.dumps(address, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def source_hash() -> str:
    """12 hex digits over the code that computes numbers; comments and docstrings do not count."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    files = [
        package / f"{name}.py"
        for name in (
            *("protocols", "folds", "item_features", "evaluation"),
            *("training", "rating_training", "row_sgd"),
        )
    ]
    for folder in ("data", "metrics", "baselines"):
        files += sorted((package / folder).glob("*.py"))
    # A paper's folder but for what judges and shows its records (claims.py, pages/).
    papers = package / "papers"
    files += sorted(papers.glob("*.py"))
    files += [f for f in sorted(papers.glob("*/*.py")) if f.name != "claims.py"]
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
                    body[0].value.value = ""
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


@cache
def processor() -> str:
    """The processor and what torch uses of it: on another one, sums round in another way."""
    known = {}
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        known = {
            name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
    name = known.get("model name") or platform.processor() or platform.machine()
    family = [known[k] for k in ("cpu family", "model") if k in known]
    # A virtual machine may hide the name; family and model it cannot.
    kind = [name, *([f"family {' model '.join(family)}"] if family else [])]
    return ", ".join([*kind, torch.backends.cpu.get_cpu_capability()])


def provenance() -> Record:
    """What made a record: versions, machine, code, time."""
    return {
        "versions": {"python": platform.python_version()} | {n: version(n) for n in VERSIONED},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "source": source_hash(),
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


class Store:
    """The records of one table.

    Args:
        table: ``"<paper>/<table>"``, for instance ``"amp_cf/table2"``.
        root: folder of all results.
    """

    def __init__(self, table: str, root: Path | None = None) -> None:
        self.table = table
        root = root or paths.RESULTS
        self.path = root / f"{table}.jsonl"
        self.ranks_path = root / f"{table}-ranks.parquet"
        self.values_path = root / f"{table}-values.parquet"

    def load(self) -> list[Record]:
        """All records, in the order in which they were written.

        Raises:
            ReplicationError: a line is not a whole record; names the file and the line.
        """
        records = []
        for number, line in enumerate(self._content().splitlines(), 1):
            try:
                record = json.loads(line.decode(), parse_constant=_no_number)
                absent = [name for name in REQUIRED if name not in record]
            except (ValueError, TypeError):  # not UTF-8, not JSON, NaN, no object
                raise ReplicationError(
                    f"line {number} of {self.path} is not a JSON object; "
                    "restore the file from git or delete that line"
                ) from None
            if absent:
                raise ReplicationError(
                    f"the record in line {number} of {self.path} lacks {', '.join(absent)}; "
                    "restore the file from git or delete that line"
                )
            records.append(record)
        return records

    def keys(self) -> set[str]:
        """Keys of the records that are there."""
        return {record["key"] for record in self.load()}

    def append(
        self,
        record: Record,
        ranks: np.ndarray | None = None,
        ranks_full: np.ndarray | None = None,
        values: Mapping[str, np.ndarray] | None = None,
    ) -> bool:
        """Add one record and what single users got; False if its key was already there.

        Args:
            record: everything but ``key``, which is computed here.
            ranks, ranks_full: [U] uint16, or None.
            values: metric -> [U] values, NaN where a user has none; kept to three digits (float16).

        Raises:
            ReplicationError: a metric is not a number, or the disk refused; then nothing changed.
        """
        record = {"key": record_key(record)} | {k: v for k, v in record.items() if k != "key"}
        what = f"the record of {record['row']} on {record['dataset']}"
        for name, value in record["metrics"].items():
            if not math.isfinite(value):
                raise ReplicationError(f"the metric {name} of a run is {value}; it is not stored")
        try:
            line = json.dumps(record, allow_nan=False).encode() + b"\n"
        except ValueError:
            raise ReplicationError(f"{what} holds NaN or infinity; it is not stored") from None
        try:
            with self._locked():
                if record["key"] in self.keys():
                    return False
                new = {}
                if ranks is not None:  # first: ranks without a record are harmless
                    new[self.ranks_path] = self._with_ranks(record["key"], ranks, ranks_full)
                if values is not None:
                    new[self.values_path] = self._with_values(record["key"], values)
                old = self._content()
                new[self.path] = old + (b"\n" if old and not old.endswith(b"\n") else b"") + line
                _replace(new)
        except OSError as error:
            remedy = "free some space" if error.errno in NO_SPACE else "make it writable"
            raise ReplicationError(
                f"{what} could not be written to {self.path} "
                f"({error.strerror or error}); {remedy} and run it again"
            ) from error
        return True

    def merge(self, other: Store) -> int:
        """Add the records of another store of this table that are not here; their number.

        Raises:
            ReplicationError: a record there was altered: its key does not fit its content.
        """
        here, added = self.keys(), 0
        new = [record for record in other.load() if record["key"] not in here]
        for record in new:
            if record["key"] != record_key(record):
                raise ReplicationError(
                    f"the record {record['key']} in {other.path} was altered: its key does not "
                    "fit its content; nothing was merged"
                )
        every = other.ranks(record["key"] for record in new) if new else {}
        for record in new:
            known = every.get(record["key"], (None, None))
            if isinstance(known, dict):
                added += self.append(record, values=known)
            else:
                added += self.append(record, *known)
        return added

    def ranks(
        self, keys: Iterable[str]
    ) -> dict[str, tuple[np.ndarray, np.ndarray | None] | dict[str, np.ndarray]]:
        """What single users got in the runs asked for.

        Returns:
            By key: ranks and full-catalogue ranks ([U] uint16 each), or metric -> values [U].

        Raises:
            ReplicationError: the file that holds them is broken.
        """
        wanted = [("key", "in", list(keys))]
        found: dict[str, Any] = {}
        if self.ranks_path.exists():
            for row in self._read(self.ranks_path, filters=wanted).to_batches():
                for key, ranks, full in zip(*(row[name] for name in RANKS), strict=True):
                    found[key.as_py()] = (
                        ranks.values.to_numpy(),
                        full.values.to_numpy() if full.is_valid else None,
                    )
        if self.values_path.exists():
            for row in self._read(self.values_path, filters=wanted).to_batches():
                for key, metric, values in zip(*(row[name] for name in VALUES), strict=True):
                    metrics = found.setdefault(key.as_py(), {})
                    metrics[metric.as_py()] = values.values.to_numpy(zero_copy_only=False)
        return found

    def _content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    @staticmethod
    def _read(path: Path, **arguments: Any) -> pa.Table:
        try:
            return pq.read_table(path, **arguments)
        except (pa.ArrowException, OSError):
            raise ReplicationError(
                f"{path} is not a whole parquet file; restore it from git"
            ) from None

    def _with_ranks(self, key: str, ranks: np.ndarray, full: np.ndarray | None) -> bytes:
        """The content of the ranks' file with one record more."""
        kind = pa.list_(pa.uint16())
        columns = (
            [key],
            pa.array([ranks.astype(np.uint16)], kind),
            pa.array([None if full is None else full.astype(np.uint16)], kind),
        )
        return self._with(self.ranks_path, key, dict(zip(RANKS, columns, strict=True)))

    def _with_values(self, key: str, values: Mapping[str, np.ndarray]) -> bytes:
        """The content of the values' file with one record more."""
        halves = [v.astype(np.float16) for v in values.values()]
        columns = (
            [key] * len(values),
            list(values),
            pa.array(halves, pa.list_(pa.float16())),
        )
        return self._with(self.values_path, key, dict(zip(VALUES, columns, strict=True)))

    def _with(self, path: Path, key: str, columns: dict[str, Any]) -> bytes:
        new = pa.table(columns)
        if path.exists():
            old = self._read(path)
            keep = [k.as_py() != key for k in old["key"]]
            new = pa.concat_tables([old.filter(pa.array(keep, pa.bool_())), new])
        content = pa.BufferOutputStream()
        pq.write_table(new, content, compression="zstd", compression_level=9)
        return content.getvalue().to_pybytes()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, also among processes; the lock goes with the process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.parent / f".{self.path.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _replace(contents: dict[Path, bytes]) -> None:
    """Put new versions of files in place, in this order, once all are safely on the disk."""
    partials = {path: path.with_name(f".{path.name}.part") for path in contents}
    try:
        for path, content in contents.items():
            with open(partials[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, partial in partials.items():
            os.replace(partial, path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
