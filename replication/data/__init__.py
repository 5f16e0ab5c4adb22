"""Data sets: ``load(name)`` gives an ``Interactions``, read once and cached as parquet.

``load_tags`` gives the tags that users gave to items, where a data set has any.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from replication import paths
from replication.data import amazon, cil, douban, movielens, omdb, pinterest, yahoo
from replication.data.interactions import (
    UNKNOWN_TIME,
    Interactions,
    filter_rare,
    read_parquet,
    write_parquet,
)
from replication.errors import ReplicationError

__all__ = ["DATASETS", "NEEDS", "UNKNOWN_TIME", "Interactions", "filter_rare", "load", "load_tags"]

DATASETS: dict[str, Callable[[Path], Interactions]] = {
    "ml-100k": movielens.load_ml_100k,
    "ml-latest-small": movielens.load_ml_latest_small,
    "ml-1m": movielens.load_ml_1m,
    "pinterest": pinterest.load,
    "amazon-video-games": amazon.load,
    "yahoo-music": yahoo.load,
    "cil": cil.load,
    "ml-1m-omdb": omdb.load,
    "douban-graph": douban.load,
}

# The other data sets whose raw files a data set is made from, as in the manifest.
NEEDS: dict[str, tuple[str, ...]] = {"ml-1m-omdb": ("ml-1m",)}

TAGS: dict[str, Callable[[Path, Interactions], pd.DataFrame]] = {
    "ml-latest-small": movielens.tags_latest_small,
}

# What reading a file that is not what it should be can raise.
BROKEN = (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException)


def load(name: str) -> Interactions:
    """All interactions of a data set, unfiltered, in file order.

    Raises:
        ReplicationError: unknown name, missing files or data that nobody has (both
            ``DataUnavailable``), or wrong counts.
    """
    if name not in DATASETS and name in douban.UNPUBLISHED:
        raise douban.unpublished(name)
    if name not in DATASETS:
        raise ReplicationError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    raw, prepared = paths.RAW / name, paths.PREPARED / name
    files = _files(raw)
    made_from = "; ".join(f"{f.name} {f.stat().st_size}" for f in files)
    for other in NEEDS.get(name, ()):
        needed = _files(paths.RAW / other)
        made_from += "".join(f"; {other}/{f.name} {f.stat().st_size}" for f in needed)
        files += needed
    newest = max((f.stat().st_mtime for f in files), default=0.0)
    copy = prepared / "interactions.parquet"
    if files and copy.exists() and copy.stat().st_mtime > newest:
        with contextlib.suppress(*BROKEN):  # the copy is a convenience: it is made anew
            return read_parquet(prepared, made_from)
    try:
        data = DATASETS[name](paths.RAW)
    except BROKEN as error:
        raise _unreadable(name, error) from error
    try:
        write_parquet(data, prepared, made_from)
    except OSError as error:  # without room for the copy the data can be used all the same
        warnings.warn(f"no prepared copy of {name} could be written: {error}", stacklevel=2)
    return data


def load_tags(data: Interactions) -> pd.DataFrame:
    """The tags that users gave to the items of a data set, whole or filtered.

    Returns:
        Columns ``user``, ``item`` (int64 indices of ``data``) and ``tag`` (lower case). What may
        be used of them beside held-out ratings: ``replication.item_features.training_tags``.

    Raises:
        ReplicationError: the data set has no tags, or its files are missing or broken.
    """
    if data.name not in TAGS:
        raise ReplicationError(f"{data.name} has no tags; there are tags of {', '.join(TAGS)}")
    try:
        return TAGS[data.name](paths.RAW, data)
    except BROKEN as error:
        raise _unreadable(data.name, error) from error


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob("*") if f.is_file() and not f.name.startswith("."))


def _unreadable(name: str, error: Exception) -> ReplicationError:
    folders = [str(paths.RAW / folder) for folder in (name, *NEEDS.get(name, ()))]
    what = "that folder" if len(folders) == 1 else "these folders"
    return ReplicationError(
        f"the files of {name} in {' and '.join(folders)} cannot be read ({type(error).__name__}: "
        f"{' '.join(str(error).split())}); delete {what} and run "
        f"`python -m replication data {name}`"
    )
