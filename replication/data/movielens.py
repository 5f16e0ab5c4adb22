"""MovieLens 100K, latest-small and 1M (Harper and Konstan 2015), from their published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from replication.data.interactions import UNKNOWN_TIME, Interactions, from_frame
from replication.errors import DataUnavailable, ReplicationError

COLUMNS = ["user", "item", "rating", "timestamp"]
FIRST_TIME = 789_000_000  # the beginning of 1995: a time that lost a digit lies long before
GENRES_100K = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()


def _missing(name: str, folder: Path) -> DataUnavailable:
    return DataUnavailable(
        f"the data set {name} is not in {folder}; run `python -m replication data {name}` first"
    )


def _checked(name: str, frame: pd.DataFrame, ratings: int, users: int, items: int) -> pd.DataFrame:
    found = (len(frame), frame["user"].nunique(), frame["item"].nunique())
    if found != (ratings, users, items):
        raise ReplicationError(
            f"{name} should hold {ratings} ratings of {users} users and {items} items, but "
            f"{found[0]}, {found[1]} and {found[2]} were found; "
            f"delete its folder under data/raw and run `python -m replication data {name}`"
        )
    times = frame["timestamp"]
    wrong = times.isna() | ((times < FIRST_TIME) & (times != UNKNOWN_TIME))
    if wrong.any():  # a file that was cut inside its last line has all the counts
        raise ReplicationError(
            f"{name} should hold times since 1995, but {wrong.sum()} are missing or earlier; "
            f"delete its folder under data/raw and run `python -m replication data {name}`"
        )
    return frame


def load_ml_100k(raw: Path) -> Interactions:
    """MovieLens 100K: 943 users, 1,682 movies, 100,000 ratings 1 to 5.

    Reads the original ``u.data``/``u.item``, or RecBole's ``ml-100k.inter``/``ml-100k.item``,
    which hold the same ratings in the same order. The titles are the same too, but for movie 267,
    whose title is "unknown" in the original and "unkonwn (unkonwn)" from RecBole's file.
    """
    folder = raw / "ml-100k"
    if (folder / "u.data").exists():
        frame = pd.read_csv(folder / "u.data", sep="\t", names=COLUMNS)
        flags = pd.read_csv(folder / "u.item", sep="|", encoding="latin-1", header=None)
        genres = ["|".join(np.asarray(GENRES_100K)[row == 1]) for row in flags.iloc[:, 5:].values]
        titles = pd.DataFrame(
            {"title": flags[1].str.strip().values, "genres": genres}, index=flags[0].values
        )
        source = "u.data, the original file"
    elif (folder / "ml-100k.inter").exists():
        frame = pd.read_csv(folder / "ml-100k.inter", sep="\t", skiprows=1, names=COLUMNS)
        movies = pd.read_csv(
            folder / "ml-100k.item",
            sep="\t",
            skiprows=1,
            names=["item", "title", "year", "genres"],
            dtype={"year": str},
        )
        year = movies["year"].fillna("")
        titles = pd.DataFrame(
            {
                "title": (movies["title"].fillna("") + " (" + year + ")").values,
                "genres": movies["genres"].fillna("").str.replace(" ", "|").values,
            },
            index=movies["item"].values,
        )
        source = "ml-100k.inter, RecBole's copy of u.data"
    else:
        raise _missing("ml-100k", folder)
    return from_frame("ml-100k", _checked("ml-100k", frame, 100_000, 943, 1_682), titles, source)


def load_ml_latest_small(raw: Path) -> Interactions:
    """MovieLens latest-small (2018): 610 users, 9,724 rated movies, 100,836 ratings 0.5 to 5.

    This is what the AMP-CF paper calls ML100K.
    """
    folder = raw / "ml-latest-small"
    if not (folder / "ratings.csv").exists():
        raise _missing("ml-latest-small", folder)
    frame = pd.read_csv(folder / "ratings.csv").set_axis(COLUMNS, axis=1)
    movies = pd.read_csv(folder / "movies.csv").set_index("movieId")[["title", "genres"]]
    _checked("ml-latest-small", frame, 100_836, 610, 9_724)
    return from_frame("ml-latest-small", frame, movies, "ratings.csv, the original file")


def load_ml_1m(raw: Path) -> Interactions:
    """MovieLens 1M: 6,040 users, 3,706 rated movies, 1,000,209 ratings 1 to 5.

    Prefers the original ``ratings.dat``; else ``ratings-partial-timestamps.parquet``, the same
    ratings in the same order with about half of the timestamps, whose gaps become
    ``UNKNOWN_TIME``. ``source`` says which was read.
    """
    folder = raw / "ml-1m"
    if (folder / "ratings.dat").exists():
        frame = pd.read_csv(folder / "ratings.dat", sep="::", engine="python", names=COLUMNS)
        source = "ratings.dat, the original file"
    elif (folder / "ratings-partial-timestamps.parquet").exists():
        frame = pd.read_parquet(folder / "ratings-partial-timestamps.parquet")
        frame = frame.set_axis(COLUMNS, axis=1)
        unknown = frame["timestamp"].isna()
        frame["timestamp"] = frame["timestamp"].fillna(UNKNOWN_TIME).astype(np.int64)
        source = f"a copy of ratings.dat without {unknown.sum()} of its timestamps"
    else:
        raise _missing("ml-1m", folder)
    _checked("ml-1m", frame, 1_000_209, 6_040, 3_706)
    return from_frame("ml-1m", frame, movies_1m(folder), source)


def movies_1m(folder: Path) -> pd.DataFrame:
    """Title and genres of all 3,883 movies that MovieLens 1M lists, rated or not, by their id."""
    return pd.read_csv(
        folder / "movies.dat",
        sep="::",
        engine="python",
        names=["item", "title", "genres"],
        encoding="latin-1",
    ).set_index("item")


def tags_latest_small(raw: Path, data: Interactions) -> pd.DataFrame:
    """The tags of MovieLens latest-small, in the numbering of its interactions.

    Args:
        raw: folder of the raw data sets.
        data: the interactions, whole or filtered.

    Returns:
        Columns ``user``, ``item`` (int64 indices of ``data``) and ``tag``, in lower case, without
        blanks around it, and with ``/`` for ``|``, which separates the values of a feature. A tag
        that a user gives an item twice is there once. Tags of users and items that ``data`` lacks
        are left out: nobody rated 18 of the listed movies.

    Raises:
        DataUnavailable: the file is not there.
    """
    file = raw / "ml-latest-small" / "tags.csv"
    if not file.exists():
        raise _missing("ml-latest-small", file.parent)
    table = pd.read_csv(file, dtype={"tag": str}, keep_default_na=False)
    tags = pd.DataFrame(
        {
            "user": pd.Index(data.user_ids).get_indexer(table["userId"]),
            "item": pd.Index(data.item_ids).get_indexer(table["movieId"]),
            "tag": table["tag"].str.strip().str.lower().str.replace("|", "/"),
        }
    )
    tags = tags[(tags["user"] >= 0) & (tags["item"] >= 0) & (tags["tag"] != "")]
    return tags.drop_duplicates(ignore_index=True)
