"""Data sets: ``load(name)`` gives an ``Interactions``, read once and cached as parquet."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from replication import paths
from replication.data import amazon, cil, movielens, pinterest, yahoo
from replication.data.interactions import (
    UNKNOWN_TIME,
    Interactions,
    filter_rare,
    read_parquet,
    write_parquet,
)
from replication.errors import ReplicationError

__all__ = ["DATASETS", "UNKNOWN_TIME", "Interactions", "filter_rare", "load"]

DATASETS: dict[str, Callable[[Path], Interactions]] = {
    "ml-100k": movielens.load_ml_100k,
    "ml-latest-small": movielens.load_ml_latest_small,
    "ml-1m": movielens.load_ml_1m,
    "pinterest": pinterest.load,
    "amazon-video-games": amazon.load,
    "yahoo-music": yahoo.load,
    "cil": cil.load,
}

# What reading a file that is not what it should be can raise.
BROKEN = (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException)


def load(name: str) -> Interactions:
    """All interactions of a data set, unfiltered, in file order.

    Raises:
        ReplicationError: unknown name, missing files (``DataUnavailable``) or wrong counts.
    """
    if name not in DATASETS:
        raise ReplicationError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    raw, prepared = paths.RAW / name, paths.PREPARED / name
    files = sorted(f for f in raw.glob("*") if f.is_file() and not f.name.startswith("."))
    made_from = "; ".join(f"{f.name} {f.stat().st_size}" for f in files)
    newest = max((f.stat().st_mtime for f in files), default=0.0)
    copy = prepared / "interactions.parquet"
    if files and copy.exists() and copy.stat().st_mtime > newest:
        with contextlib.suppress(*BROKEN):  # the copy is a convenience: it is made anew
            return read_parquet(prepared, made_from)
    try:
        data = DATASETS[name](paths.RAW)
    except BROKEN as error:
        raise ReplicationError(
            f"the files of {name} in {raw} cannot be read ({type(error).__name__}: "
            f"{' '.join(str(error).split())}); delete that folder and run "
            f"`python -m replication data {name}`"
        ) from error
    try:
        write_parquet(data, prepared, made_from)
    except OSError as error:  # without room for the copy the data can be used all the same
        warnings.warn(f"no prepared copy of {name} could be written: {error}", stacklevel=2)
    return data
