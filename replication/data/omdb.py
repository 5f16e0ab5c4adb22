"""MovieLens 1M with features of its movies from OMDb, which the authors of MeLU collected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from replication.data import movielens
from replication.data.interactions import Interactions
from replication.data.movielens import _missing
from replication.errors import ReplicationError

NAME = "ml-1m-omdb"
FILE = "movies_extrainfos.dat"
MOVIES = 3_881  # of the 3,883 that MovieLens 1M lists; 860 and 1795 lack
FIELDS = "id title year certificate released genres director writer actors plot poster".split()
UNKNOWN = "N/A"


def load(raw: Path) -> Interactions:
    """The ratings of MovieLens 1M; 3,704 of its 3,706 rated movies have a line in OMDb's file.

    ``item_features`` has the columns ``title`` (MovieLens' own) and, as texts with several values
    separated by ``|`` and empty where OMDb has "N/A":

    ``genres``       OMDb's, which are others than MovieLens' 18.
    ``director``     all that are credited; the remark "(co-director)" is dropped.
    ``writer``       each person once: the bracketed roles, "(screenplay)", are dropped.
    ``actors``       the up to four that OMDb names, in its order; ``actor`` is the first of them.
    ``certificate``  R, PG, ...; UNRATED is a value here, since the file does not tell movies
                     without a certificate from those whose certificate is not known.
    ``year``         of the release.

    A movie that the file lacks (860 and 1795, both rated) has empty features; its id is all that a
    model knows of it. Fields of the file that are no categories (plot, poster) are not read.

    Raises:
        DataUnavailable: the file, or MovieLens 1M, is not there.
        ReplicationError: a line with another number of fields, a movie that MovieLens 1M does not
            have or that is there twice, a year that is none, or another number of movies.
    """
    file = raw / NAME / FILE
    if not file.exists():
        raise _missing(NAME, file.parent)
    ratings = movielens.load_ml_1m(raw)
    movies = _read(file, movielens.movies_1m(raw / "ml-1m"))
    features = pd.DataFrame(
        {
            "genres": _values(movies["genres"]),
            "director": _values(movies["director"]),
            "writer": _values(movies["writer"]),
            "actor": _values(movies["actors"]).str.replace(r"\|.*", "", regex=True),
            "certificate": _values(movies["certificate"]),
            "year": _values(movies["year"]),
            "actors": _values(movies["actors"]),
        }
    )
    features = features.reindex(ratings.item_ids).fillna("").reset_index(drop=True)
    features.insert(0, "title", ratings.item_features["title"])
    source = f"{ratings.source}; features from {FILE}, OMDb's as the authors of MeLU took them"
    return replace(ratings, name=NAME, item_features=features, source=source)


def _read(file: Path, known: pd.DataFrame) -> pd.DataFrame:
    """The file's fields by movie id, every line checked; ``known`` has the ids that may occur."""
    lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
    rows = [line.split("::") for line in lines]
    again = f"delete its folder under data/raw and run `python -m replication data {NAME}`"
    ids: set[int] = set()
    for number, row in enumerate(rows, 1):
        wrong = _wrong(row, known.index, ids)
        if wrong:
            raise ReplicationError(f"{NAME} {wrong} in line {number} of {FILE}; {again}")
        ids.add(int(row[0]))
    if len(rows) != MOVIES:  # cut between two lines, the file has nothing else that tells
        raise ReplicationError(
            f"{NAME} should hold features of {MOVIES} movies, but {FILE} has {len(rows)}; {again}"
        )
    table = pd.DataFrame(rows, columns=FIELDS)
    return table.set_index(table.pop("id").astype(int))


def _wrong(row: list[str], known: pd.Index, seen: set[int]) -> str:
    """What is wrong with a line, in words; empty if nothing is."""
    if len(row) != len(FIELDS):
        return f"should hold {len(FIELDS)} fields a line, but there are {len(row)}"
    movie, year = row[0], row[FIELDS.index("year")]
    if not movie.isdecimal() or int(movie) not in known:
        return f"should hold movies of MovieLens 1M only, but there is {movie!r}"
    if int(movie) in seen:
        return f"should hold each movie once, but {movie} is there again"
    if year != UNKNOWN and not (year.isdecimal() and len(year) == 4):
        return f"should hold years of four digits, but there is {year!r}"
    return ""


def _values(texts: pd.Series) -> pd.Series:
    """``A (role), B, A (other role)`` as ``A|B``; what OMDb does not know as the empty text."""
    plain = texts.str.replace(r"\([^()]*\)", "", regex=True)  # first: a role may hold commas
    parts = plain.str.split(",").explode().str.strip()
    parts = parts[~parts.isin(("", UNKNOWN))]
    pairs = pd.DataFrame({"id": parts.index, "value": parts.to_numpy()}).drop_duplicates()
    return pairs.groupby("id")["value"].agg("|".join).reindex(texts.index, fill_value="")
