"""What every test shares: data sets by name, tiny made-up ones, and when a skip is allowed.

A test that needs a data set says ``@pytest.mark.needs_data("ml-1m")``. Where this machine cannot
have that set, the test is skipped and the reason names it. Where the mirror of the data sets is
in place (``REPLICATION_DATA_MIRROR``, or ``shared/data`` beside the checkout) nothing is missing,
so any skip, of whatever kind, is a failure.

A test marked ``cuda`` is deselected, not skipped, where there is no such device; one marked
``peer`` where ``REPLICATION_PEER_PYTHON`` names no interpreter with the package to compare with.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pandas as pd
import pytest

from data_scripts import fetch
from replication import data, paths
from replication.data.interactions import UNKNOWN_TIME, Interactions, from_frame
from replication.errors import DataUnavailable


@cache
def why_missing(name: str) -> str | None:
    """None if a data set can be used here, else the sentence that says what to do."""
    if name in data.DATASETS:
        try:
            data.load(name)
        except DataUnavailable as error:
            return str(error)
        return None
    if any((paths.RAW / name).glob("*")):
        return None
    return f"the data set {name} is not here; get it with `python -m replication data {name}`"


def pytest_configure() -> None:
    """A shell that starts the tests in the background makes them ignore Ctrl-C, and with them the
    commands that they start and interrupt: that is undone here."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = set() if os.environ.get("REPLICATION_PEER_PYTHON") else {"peer"}
    if any(item.get_closest_marker("cuda") for item in items):
        import torch

        absent |= set() if torch.cuda.is_available() else {"cuda"}
    left_out = [item for item in items if any(map(item.get_closest_marker, absent))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs_data"):
        for name in marker.args:
            reason = why_missing(name)
            if reason:
                pytest.skip(f"needs the data set {name}: {reason}")


def _skip_is_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and fetch.find_mirror() is not None:
        reason = report.longrepr
        if isinstance(reason, tuple):
            reason = reason[2]
        report.outcome = "failed"
        report.longrepr = f"skipped although the data mirror is in place: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    report = yield
    _skip_is_failure(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    report = yield
    _skip_is_failure(report)
    return report


def make_interactions(
    n_users: int = 30, n_items: int = 60, per_user: int = 8, tastes: int = 3, seed: int = 0
) -> Interactions:
    """Made-up interactions with structure that a model can learn.

    Users and items belong to ``tastes`` groups in turn; a user consumes items of the own group,
    and one in eight from anywhere. Times rise with the file row and are all different.

    Returns:
        ``n_users * per_user`` interactions (fewer where a group is too small), no pair twice.
    """
    rng = np.random.default_rng(seed)
    users, items = [], []
    for user in range(n_users):
        group = np.flatnonzero(np.arange(n_items) % tastes == user % tastes)
        own = rng.choice(group, size=min(per_user, len(group)), replace=False)
        own[rng.random(len(own)) < 1 / 8] = rng.integers(n_items)
        own = np.unique(own)
        rng.shuffle(own)
        users += [user] * len(own)
        items += own.tolist()
    order = rng.permutation(len(users))
    frame = pd.DataFrame(
        {
            "user": np.asarray(users)[order] + 1,
            "item": np.asarray(items)[order] + 100,
            "rating": rng.integers(1, 6, len(users)).astype(np.float32),
            "timestamp": 1_000_000 + 60 * np.arange(len(users)),
        }
    )
    return from_frame("tiny", frame, source="made up for the tests")


@pytest.fixture
def tiny() -> Interactions:
    """30 users in three groups of taste, 60 items, about 8 interactions a user."""
    return make_interactions()


@pytest.fixture
def tiny_without_times(tiny: Interactions) -> Interactions:
    """The same, with every time unknown."""
    return dataclasses.replace(tiny, timestamps=np.full_like(tiny.timestamps, UNKNOWN_TIME))


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Interactions]:
    """``make_interactions``, for a test that wants other sizes."""
    return make_interactions
