"""Douban Movie as a public graph of users, movies, directors, actors and types (Shi et al.).

This is not the crawl of the AFM paper (15,989 users, 10,604 items, 1,061,850 ratings), which was
never published: the publishers of this one state 13,367 users, 12,677 movies and 1,068,278
ratings. It has three of that paper's five features; scriptwriter and country are not in it, and
the links say nothing of an actor's place in the credits. For readers who have the files, under a
name of its own: its numbers are not those of the paper's cells.

For Douban Music there is no loader: we know of no public data with the ratings and the genres.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from replication.data.interactions import UNKNOWN_TIME, Interactions, from_frame
from replication.errors import DataUnavailable, ReplicationError

NAME = "douban-graph"
MUSIC, MOVIE = "douban-music", "douban-movie"
# Why the AFM paper's own data cannot be had.
UNPUBLISHED = {
    MUSIC: "the AFM paper's crawl of Douban Music was never published",
    MOVIE: "the AFM paper's crawl of Douban Movie was never published",
}
RATINGS = "user_movie.dat"
LINKS = {"director": "movie_director.dat", "actor": "movie_actor.dat", "genres": "movie_type.dat"}
PAGE = "https://github.com/librahu/HIN-Datasets-for-Recommendation-and-Network-Embedding"


def unpublished(name: str) -> DataUnavailable:
    """Why a data set of ``UNPUBLISHED`` cannot be had, and what a reader may have in its place."""
    instead = f"; another crawl, a public graph, can be loaded as {NAME}" if name == MOVIE else ""
    return DataUnavailable(UNPUBLISHED[name] + instead)


def load(raw: Path) -> Interactions:
    """The ratings of the graph, 1 to 5, with director, actor and genres of each movie.

    Lines are tab separated without a header: ``user movie rating`` in ``user_movie.dat``, with a
    timestamp as a fourth field or without, and ``movie value weight`` in the files of the links,
    whose weight is not used. The values are numbers without names. A pair that is rated again is
    dropped, as it could be in training and in the test; a movie without links has empty features,
    and links of movies that nobody rated are not used. No counts are asserted, as we could not
    count the published files.

    Raises:
        DataUnavailable: a file is not there.
        ReplicationError: a file of another layout, or a rating that is not one of 1 to 5.
    """
    folder = raw / NAME
    files = (RATINGS, *LINKS.values())
    if not all((folder / file).exists() for file in files):
        raise DataUnavailable(
            f"{NAME}, the public graph of Douban Movie, is not in {folder}; put "
            f"{', '.join(files)} of {PAGE} there and run `python -m replication data {NAME}` first"
        )
    frame = _table(folder / RATINGS, (3, 4))
    frame.columns = pd.Index(["user", "item", "rating", "timestamp"][: frame.shape[1]])
    other = int((~frame["rating"].isin(range(1, 6))).sum())
    if other:
        raise ReplicationError(
            f"{NAME} should hold ratings 1 to 5, but {RATINGS} has {other} others; put the files "
            f"of {PAGE} into {folder} once more"
        )
    if "timestamp" not in frame:
        frame["timestamp"] = UNKNOWN_TIME
    repeated = int(frame.duplicated(["user", "item"]).sum())
    frame = frame.drop_duplicates(["user", "item"])
    features = pd.DataFrame(
        {name: _values(_table(folder / file, (3,))) for name, file in LINKS.items()}
    )
    features = features.reindex(frame["item"].unique()).fillna("")
    source = f"{RATINGS} of the public graph data, {repeated} repeated ratings dropped"
    return from_frame(NAME, frame, features, source)


def _table(file: Path, widths: tuple[int, ...]) -> pd.DataFrame:
    """Whole numbers, at least one line of them, in so many columns."""
    table = pd.read_csv(file, sep="\t", header=None)
    if table.shape[1] not in widths or not all(kind.kind == "i" for kind in table.dtypes):
        raise ReplicationError(
            f"{NAME} should hold {' or '.join(map(str, widths))} whole numbers a line, but "
            f"{file.name} has something else; put the files of {PAGE} into {file.parent} once more"
        )
    return table


def _values(links: pd.DataFrame) -> pd.Series:
    """The linked values of each movie, separated by ``|``, in the order of the file."""
    pairs = links[[0, 1]].drop_duplicates()
    return pairs[1].astype(str).groupby(pairs[0]).agg("|".join)
