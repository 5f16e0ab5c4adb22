"""Data sets: ``load(name)`` gives an ``Interactions``, read once and cached as parquet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from replication import paths
from replication.data import movielens
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
}


def load(name: str) -> Interactions:
    """All interactions of a data set, unfiltered, in file order.

    Raises:
        ReplicationError: unknown name, missing files (``DataUnavailable``) or wrong counts.
    """
    if name not in DATASETS:
        raise ReplicationError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    raw, prepared = paths.RAW / name, paths.PREPARED / name
    cached = prepared / "interactions.parquet"
    newest = max((f.stat().st_mtime for f in raw.glob("*")), default=0.0)
    if cached.exists() and cached.stat().st_mtime > newest > 0:
        return read_parquet(prepared)
    data = DATASETS[name](paths.RAW)
    write_parquet(data, prepared)
    return data
