"""Amazon Video Games (He and McAuley 2016) as the authors of AMP-CF released it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from replication.data.interactions import UNKNOWN_TIME, Interactions, from_frame
from replication.data.movielens import COLUMNS, _checked, _missing
from replication.errors import ReplicationError

NAME = "amazon-video-games"
FILE = "amazon_Video_Games_data.csv"  # without a header


def load(raw: Path) -> Interactions:
    """Amazon Video Games: 7,884 users, 22,251 items, 115,828 ratings, all of them 4 or 5.

    The AMP-CF paper (Section 4.1) says that every rating counts as positive; the released file
    holds none below 4, which is the threshold of the released code. There are no timestamps and
    no titles.

    ``filter_rare`` leaves 7,876 users and 12,839 items; Table 1 prints 7,868 and 12,802. Those
    are reached exactly when users with two ratings go as well, the test items are those that the
    released code draws with its seed 123, and only items of the training set are counted; 99.9 %
    of the examples are then the printed 98,421. ``amp_cf/draws`` measures it.

    Raises:
        DataUnavailable: the file is not there.
        ReplicationError: it holds other counts, or a rating that is neither 4 nor 5.
    """
    folder = raw / NAME
    if not (folder / FILE).exists():
        raise _missing(NAME, folder)
    frame = pd.read_csv(folder / FILE, names=COLUMNS[:3], dtype={"user": str, "item": str})
    frame["timestamp"] = UNKNOWN_TIME
    _checked(NAME, frame, 115_828, 7_884, 22_251)
    other = int((~frame["rating"].isin((4.0, 5.0))).sum())
    if other:
        raise ReplicationError(
            f"{NAME} should hold ratings of 4 and 5 only, but {other} are missing or others; "
            f"delete its folder under data/raw and run `python -m replication data {NAME}`"
        )
    return from_frame(NAME, frame, source=f"{FILE}, as the authors of AMP-CF released it")
