"""Pinterest (Geng et al. 2015; made a ranking data set by He et al. 2017, Section 4.1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from replication.data.interactions import UNKNOWN_TIME, Interactions, from_frame
from replication.data.movielens import _checked, _missing
from replication.errors import ReplicationError

NAME = "pinterest"
FILES = ("train.txt", "test.txt")
MIN_PINS = 20  # AMP-CF, Section 4.1
ELIGIBLE_USERS = 37_326  # with MIN_PINS entries in the two files together
SAMPLED_USERS = 15_001  # AMP-CF, Table 1, which does not say how they were chosen
SAMPLE_SEED = 0


def load(raw: Path, sample_seed: int | None = SAMPLE_SEED) -> Interactions:
    """15,001 users of Pinterest, drawn with a fixed seed from the 37,326 with at least 20 pins.

    Another ``sample_seed`` draws others, and None takes those with the lowest ids.

    Reads ``train.txt`` and ``test.txt``, whose lines are ``user item item ...``; a user's items
    of both are his interactions, with rating 1 and no time. The 20 pins are counted as they are
    listed: 25,555 of the 1,025,709 entries repeat a pair, some of them once in each file. A
    repeat is dropped (else the same item could be in training and be held out), after which
    35,523 of the 37,326 users have 20 different items.

    Raises:
        DataUnavailable: a file is not there.
        ReplicationError: the files hold other counts, or one is cut short.
    """
    folder = raw / NAME
    if not all((folder / file).exists() for file in FILES):
        raise _missing(NAME, folder)
    frame = pd.concat([_read(folder / file) for file in FILES], ignore_index=True)
    _checked(NAME, frame, 1_025_709, 37_501, 9_836)
    pins = frame["user"].value_counts()
    eligible = np.sort(pins.index[pins >= MIN_PINS])
    if len(eligible) != ELIGIBLE_USERS:
        raise ReplicationError(
            f"{NAME} should hold {ELIGIBLE_USERS} users with at least {MIN_PINS} pins, but "
            f"{len(eligible)} were found; "
            f"delete its folder under data/raw and run `python -m replication data {NAME}`"
        )
    if sample_seed is None:
        drawn, how = eligible[:SAMPLED_USERS], "with the lowest ids"
    else:
        rng = np.random.default_rng(sample_seed)
        drawn = rng.choice(eligible, SAMPLED_USERS, replace=False)
        how = f"drawn with seed {sample_seed}"
    frame = frame[frame["user"].isin(drawn)].drop_duplicates(["user", "item"])
    source = (
        f"{SAMPLED_USERS} users {how} from the {ELIGIBLE_USERS} with at "
        f"least {MIN_PINS} pins in train.txt and test.txt"
    )
    return from_frame(NAME, frame, source=source)


def _read(file: Path) -> pd.DataFrame:
    """One row a pin. A last line without its end may have lost digits of its last item."""
    text = file.read_text(encoding="ascii")
    if not text.endswith("\n"):
        raise ReplicationError(
            f"{NAME} should hold a {file.name} whose last line is complete, but it is cut short; "
            f"delete its folder under data/raw and run `python -m replication data {NAME}`"
        )
    lines = [line.split() for line in text.splitlines()]
    users = np.array([line[0] for line in lines], dtype=np.int64)
    items = np.array([item for line in lines for item in line[1:]], dtype=np.int64)
    return pd.DataFrame(
        {
            "user": np.repeat(users, [len(line) - 1 for line in lines]),
            "item": items,
            "rating": 1.0,
            "timestamp": UNKNOWN_TIME,
        }
    )
