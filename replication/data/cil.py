"""The ratings of the ETH lab course "Computational Intelligence Lab", the data of Attentive NCF."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from replication.data.interactions import UNKNOWN_TIME, Interactions, from_frame
from replication.data.movielens import _checked, _missing
from replication.errors import ReplicationError

NAME = "cil"
FILE = "data_train.csv"
LOWEST, HIGHEST = 1, 5
# Ratings of 1, 2, ... 5 in the file: a file with altered values can have all the other counts.
HISTOGRAM = (43_508, 99_180, 274_327, 324_700, 435_237)


def load(raw: Path) -> Interactions:
    """The lab's ratings: 10,000 users, 1,000 movies, 1,176,952 ratings 1 to 5.

    Each line of the file is ``r<user>_c<movie>,<rating>``. There are no timestamps and no titles.

    Raises:
        DataUnavailable: the file is not there.
        ReplicationError: an ``Id`` that does not parse, a rating that is not one of 1 to 5, a
            pair that is rated twice, or other counts.
    """
    folder = raw / NAME
    if not (folder / FILE).exists():
        raise _missing(NAME, folder)
    table = pd.read_csv(folder / FILE, dtype=str, keep_default_na=False)
    again = f"delete its folder under data/raw and run `python -m replication data {NAME}`"
    if list(table.columns) != ["Id", "Prediction"]:
        raise ReplicationError(
            f"{NAME} should hold the columns Id and Prediction, but {FILE} has "
            f"{', '.join(table.columns)}; {again}"
        )
    ids = table["Id"].str.extract(r"^r(\d+)_c(\d+)$")  # NaN where it is something else
    _all(ids[0].notna(), table["Id"], "should hold Ids such as r44_c1", again)
    allowed = [str(rating) for rating in range(LOWEST, HIGHEST + 1)]
    values = table["Prediction"]
    _all(values.isin(allowed), values, f"should hold ratings {LOWEST} to {HIGHEST}", again)
    _all(~table["Id"].duplicated(), table["Id"], "should hold each Id once", again)
    frame = pd.DataFrame(
        {
            "user": ids[0].astype(int),
            "item": ids[1].astype(int),
            "rating": values.astype(int),
            "timestamp": UNKNOWN_TIME,
        }
    )
    _checked(NAME, frame, 1_176_952, 10_000, 1_000)
    found = tuple(int((frame["rating"] == int(rating)).sum()) for rating in allowed)
    if found != HISTOGRAM:
        raise ReplicationError(
            f"{NAME} should hold {HISTOGRAM} ratings of {LOWEST} to {HIGHEST}, but {found} were "
            f"found; {again}"
        )
    return from_frame(NAME, frame, source=f"{FILE} of the course's Kaggle competition")


def _all(good: pd.Series, values: pd.Series, wanted: str, remedy: str) -> None:
    """Refuse the file at its first value that is not good."""
    if not good.all():
        row = int((~good).to_numpy().argmax())
        raise ReplicationError(
            f"{NAME} {wanted}, but line {row + 2} of {FILE} has {values.iloc[row]!r}; {remedy}"
        )
