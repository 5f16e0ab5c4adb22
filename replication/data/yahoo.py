"""Yahoo! Music: users' ratings of artists, Webscope data set R1, which is given by application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from replication.data.interactions import UNKNOWN_TIME, Interactions, from_frame
from replication.errors import DataUnavailable, ReplicationError

NAME = "yahoo-music"
FILE = "ydata-ymusic-user-artist-ratings-v1_0.txt"
PAGE = "https://webscope.sandbox.yahoo.com/catalog.php?datatype=r"
NEVER_AGAIN = 255  # "never play again"; other ratings are 0..100
# Table 1 of AMP-CF has 14,990 users and the output in the released notebook 14,999 "users" after
# the filter: a sample of 15,000. Neither says how it was drawn.
SAMPLED_USERS = 15_000
SAMPLE_SEED = 0
CHUNK = 4_000_000  # rows at a time: the whole file would take gigabytes


def load(raw: Path) -> Interactions:
    """15,000 users of Yahoo! Music R1, drawn with a fixed seed from those with two ratings or more.

    Each line of the file is ``user artist rating``, tab separated, the rating 0 to 100 or 255 for
    "never play again". All are interactions, 255 too: the AMP-CF paper (Section 4.1) prepares this
    set like MovieLens, where every item is positive. (The released code takes 85 and more as
    positive, and 255 with them.) In ``ratings``, where more is better, 255 becomes 0. There are no
    timestamps.

    No number of lines is asserted: R1's description says 11,557,943 ratings, but people who read
    the file count 115,579,440.

    Raises:
        DataUnavailable: the file is not there.
        ReplicationError: a rating is out of range, or there are too few users.
    """
    file = raw / NAME / FILE
    if not file.exists():
        raise DataUnavailable(
            f"Yahoo! Music is given out by application only and is not in {raw / NAME}; apply for "
            f"R1 at {PAGE}, put its {FILE} there and run `python -m replication data {NAME}` first"
        )
    counted = []
    for chunk in _chunks(file):
        if not (chunk["rating"].between(0, 100) | (chunk["rating"] == NEVER_AGAIN)).all():
            raise ReplicationError(
                f"{NAME} should hold ratings from 0 to 100 or {NEVER_AGAIN}, but {FILE} has "
                f"others; put the file of Webscope R1 into {raw / NAME} once more"
            )
        counted.append(chunk["user"].value_counts())
    counts = pd.concat(counted).groupby(level=0).sum()  # sorted by user
    eligible = counts.index[counts >= 2].to_numpy()
    if len(eligible) < SAMPLED_USERS:
        raise ReplicationError(
            f"{NAME} should hold at least {SAMPLED_USERS} users with two ratings, but {FILE} has "
            f"{len(eligible)}; put the file of Webscope R1 into {raw / NAME} once more"
        )
    drawn = np.random.default_rng(SAMPLE_SEED).choice(eligible, SAMPLED_USERS, replace=False)
    frame = pd.concat([chunk[chunk["user"].isin(drawn)] for chunk in _chunks(file)])
    frame = frame.drop_duplicates(["user", "item"])  # no item both in training and held out
    frame["rating"] = frame["rating"].where(frame["rating"] != NEVER_AGAIN, 0)
    frame["timestamp"] = UNKNOWN_TIME
    source = (
        f"{SAMPLED_USERS} users drawn with seed {SAMPLE_SEED} from the {len(eligible)} with two "
        f"ratings or more in {FILE}"
    )
    return from_frame(NAME, frame, source=source)


def _chunks(file: Path) -> Iterator[pd.DataFrame]:
    columns = {"user": np.int32, "item": np.int32, "rating": np.int16}
    with pd.read_csv(file, sep="\t", names=list(columns), dtype=columns, chunksize=CHUNK) as reader:
        yield from reader
