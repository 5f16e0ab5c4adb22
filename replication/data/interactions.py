"""The one type that every data set becomes: who consumed what, when, and how it was rated."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

UNKNOWN_TIME = -1  # stands for a timestamp that this copy of the data lacks


@dataclass(frozen=True)
class Interactions:
    """Users' interactions with items, in the file order of the source.

    Attributes:
        name: data set identifier, for instance ``"ml-1m"``.
        users: [n] int64, user index 0..n_users-1.
        items: [n] int64, item index 0..n_items-1.
        ratings: [n] float32, in the data set's own scale (1.0 where there are none).
        timestamps: [n] int64, seconds since 1970; ``UNKNOWN_TIME`` where not known.
        user_ids: [n_users] the source's user ids.
        item_ids: [n_items] the source's item ids.
        item_features: one row an item (index = item index), for instance title and genres.
        source: which files these are, in words.
    """

    name: str
    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    timestamps: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    item_features: pd.DataFrame = field(default_factory=pd.DataFrame)
    source: str = ""

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @property
    def content_hash(self) -> str:
        """12 hex digits over everything that a split or a model can see."""
        digest = hashlib.sha256()
        for column in (self.users, self.items, self.timestamps):
            digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.ratings, dtype="<f4").tobytes())
        return digest.hexdigest()[:12]


def from_frame(
    name: str, frame: pd.DataFrame, item_features: pd.DataFrame | None = None, source: str = ""
) -> Interactions:
    """Index a table with columns ``user, item, rating, timestamp`` (raw ids, file order).

    Users and items are numbered in the order of their first appearance, which for MovieLens 1M
    is the numbering of the NCF authors' split.
    """
    users, user_ids = pd.factorize(frame["user"])
    items, item_ids = pd.factorize(frame["item"])
    features = pd.DataFrame(index=range(len(item_ids)))
    if item_features is not None:
        features = item_features.reindex(np.asarray(item_ids)).reset_index(drop=True)
    return Interactions(
        name=name,
        users=users.astype(np.int64),
        items=items.astype(np.int64),
        ratings=frame["rating"].to_numpy(np.float32),
        timestamps=frame["timestamp"].to_numpy(np.int64),
        user_ids=np.asarray(user_ids),
        item_ids=np.asarray(item_ids),
        item_features=features,
        source=source,
    )


def filter_rare(
    data: Interactions, min_count: int = 2, passes: int = 3, min_of_user: int | None = None
) -> Interactions:
    """Drop users and items with fewer than ``min_count`` interactions, ``passes`` times over.

    ``min_of_user`` asks another number of users.

    The AMP-CF paper's text (Section 4.1) drops users only; its Table 1 is reached when items go
    as well, in three passes, as the authors' code does. Indices are renumbered without gaps, in
    the old order.
    """
    keep = np.ones(len(data), dtype=bool)
    for _ in range(passes):
        user_counts = np.bincount(data.users[keep], minlength=data.n_users)
        keep &= user_counts[data.users] >= (min_count if min_of_user is None else min_of_user)
        item_counts = np.bincount(data.items[keep], minlength=data.n_items)
        keep &= item_counts[data.items] >= min_count
    old_users, users = np.unique(data.users[keep], return_inverse=True)
    old_items, items = np.unique(data.items[keep], return_inverse=True)
    return replace(
        data,
        users=users.astype(np.int64),
        items=items.astype(np.int64),
        ratings=data.ratings[keep],
        timestamps=data.timestamps[keep],
        user_ids=data.user_ids[old_users],
        item_ids=data.item_ids[old_items],
        item_features=data.item_features.iloc[old_items].reset_index(drop=True),
    )


def write_parquet(data: Interactions, folder: Path, made_from: str = "") -> None:
    """Write the prepared form, each file put in place whole, and what it was made from."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = {
        b"replication": json.dumps(
            {
                "name": data.name,
                "source": data.source,
                "made_from": made_from,
                "user_ids": data.user_ids.tolist(),
                "item_ids": data.item_ids.tolist(),
            }
        ).encode()
    }
    table = pa.table(
        {
            "user": data.users.astype(np.int32),
            "item": data.items.astype(np.int32),
            "rating": data.ratings,
            "timestamp": data.timestamps,
        }
    ).replace_schema_metadata(meta)
    for file, write in (
        ("item_features.parquet", lambda to: data.item_features.to_parquet(to)),
        ("interactions.parquet", lambda to: pq.write_table(table, to)),  # last: marks completeness
    ):
        partial = folder / f".{file}.{os.getpid()}"
        try:
            write(partial)
            os.replace(partial, folder / file)
        finally:
            partial.unlink(missing_ok=True)


def read_parquet(folder: Path, made_from: str = "") -> Interactions:
    """Read what ``write_parquet`` wrote.

    Raises:
        ValueError: it was made from something else, or its two files do not belong together.
    """
    table = pq.read_table(folder / "interactions.parquet")
    meta = json.loads(table.schema.metadata[b"replication"])
    features = pd.read_parquet(folder / "item_features.parquet")
    if features.columns.empty:  # parquet keeps no rows without a column
        features = pd.DataFrame(index=range(len(meta["item_ids"])))
    if meta["made_from"] != made_from or len(features) != len(meta["item_ids"]):
        raise ValueError(f"{folder} was made from something else")
    return Interactions(
        name=meta["name"],
        users=table["user"].to_numpy().astype(np.int64),
        items=table["item"].to_numpy().astype(np.int64),
        ratings=table["rating"].to_numpy(),
        timestamps=table["timestamp"].to_numpy(),
        user_ids=np.asarray(meta["user_ids"]),
        item_ids=np.asarray(meta["item_ids"]),
        item_features=features,
        source=meta["source"],
    )
