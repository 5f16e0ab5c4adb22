"""Table 1 over other draws: planted data, the released code's draw, and what is stored."""

import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from replication import paths
from replication.data import Interactions, pinterest
from replication.errors import ReplicationError
from replication.papers.amp_cf import draws, experiments
from replication.papers.amp_cf.tables import TABLES
from replication.records import Store


def interactions(pairs, name="ml-latest-small"):
    """Pairs of a user and an item, indices as they are, in file order."""
    users, items = np.array(pairs).T
    return Interactions(
        name,
        users,
        items,
        np.ones(len(users), dtype=np.float32),
        np.arange(len(users)),
        np.arange(users.max() + 1),
        np.arange(items.max() + 1),
        pd.DataFrame(index=range(items.max() + 1)),
        "made up",
    )


# 12 users of two to five of 8 items each; every item has several users.
PAIRS = [(u, (u + 2 * k) % 8) for u in range(12) for k in range(2 + u % 3)]


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """The made-up data in place of every data set, and a store of its own."""
    data = interactions(PAIRS)
    monkeypatch.setattr(draws, "load", lambda name: data)
    monkeypatch.setattr(experiments, "load", lambda name: data)
    monkeypatch.setattr(pinterest, "load", lambda raw, seed=0: data)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    caches = (experiments.data_for, experiments.split_for, draws._filtered)
    for cache in caches:
        cache.cache_clear()
    yield data
    for cache in caches:
        cache.cache_clear()


def test_the_released_draw_is_pythons_own():
    """User by user in the order of the file, items in the order in which the file shows them."""
    pairs = [(1, 4), (0, 2), (1, 2), (0, 3), (1, 3), (0, 4)]  # file order; items appear as 4, 2, 3
    rows = draws.released_tests(interactions(pairs), 123)
    generator = random.Random(123)
    expected = [(1, generator.sample([4, 2, 3], k=1)[0]), (0, generator.sample([4, 2, 3], k=1)[0])]
    assert [pairs[row] for row in rows] == expected


def test_the_released_draw_takes_one_item_a_user():
    data = interactions(PAIRS)
    drawn = [draws.released_tests(data, seed) for seed in range(5)]
    for rows in drawn:
        assert sorted(data.users[rows].tolist()) == list(range(12))
    assert len({tuple(rows.tolist()) for rows in drawn}) > 1


def test_only_training_items_are_counted_as_the_released_code_does(planted, monkeypatch):
    # Item 3 has two users, and both lose it to the test: it is left in the catalogue of the study
    # and gone from the released code's.
    pairs = [(u, i) for u in range(3) for i in range(3)] + [(0, 3), (1, 3)]
    data = interactions(pairs)
    monkeypatch.setattr(draws, "load", lambda name: data)
    last = np.array([9, 10, 8])
    monkeypatch.setattr(draws, "released_tests", lambda data, seed: last)
    *_, n_users, n_items = draws.examples("ml-1m", draws.READINGS[draws.RELEASED], 0)
    assert (n_users, n_items) == (3, 3)
    draws._filtered.cache_clear()
    *_, n_users, n_items = draws.examples("ml-1m", draws.READINGS[draws.TESTS], 0)
    assert (n_users, n_items) == (3, 4)


def test_the_first_seed_is_the_row_of_table_1(planted):
    ours = experiments.statistics("ml-latest-small")["metrics"]
    found = draws.measure(draws.TESTS, "ml-latest-small", 0)["metrics"]
    assert found == {name: ours[name] for name in draws.METRICS}
    assert draws.measure(draws.USERS, "pinterest", 0)["metrics"] == found


def test_a_share_of_the_examples_keeps_the_catalogue(planted):
    half = replace(draws.READINGS[draws.TESTS], share=0.5)
    whole = draws.examples("ml-1m", draws.READINGS[draws.TESTS], 3)
    kept = draws.examples("ml-1m", half, 3)
    assert len(kept[0]) == int(0.5 * len(whole[0])) and kept[2:] == whole[2:]
    pairs = set(zip(whole[0].tolist(), whole[1].tolist(), strict=True))
    assert set(zip(kept[0].tolist(), kept[1].tolist(), strict=True)) < pairs


def test_users_of_two_ratings_can_go(planted):
    two = draws.examples("amazon-video-games", draws.READINGS[draws.RELEASED], 0)
    three = draws.examples("amazon-video-games", draws.READINGS[draws.THREE], 0)
    assert (two[2], three[2]) == (12, 8)  # every third user has two


def test_what_is_stored_is_not_counted_again(planted, monkeypatch):
    jobs = list(draws.run(["pinterest"], None, 2, "cpu"))
    readings = [name for name, reading in draws.READINGS.items() if "pinterest" in reading.seeds]
    expected = [
        f"{name}, pinterest, seed {seed}"
        for name in readings
        for seed in range(min(2, draws.READINGS[name].seeds["pinterest"]))
    ]
    assert [label for label, _, _ in jobs] == expected and all(new for _, _, new in jobs)
    monkeypatch.setattr(draws, "measure", lambda *_: pytest.fail("counted again"))
    again = list(draws.run(["pinterest"], None, 2, "cpu"))
    assert [record for _, record, _ in again] == Store(draws.TABLE).load()
    assert not any(new for _, _, new in again)


def test_a_stored_record_comes_out_again(planted):
    (_, record, _), *_ = draws.run(["ml-1m"], None, 1, "cpu")
    again, ranks = TABLES[draws.TABLE].rerun(record, None)
    assert again["metrics"] == record["metrics"] and again["config"] == record["config"]
    assert ranks is None


def test_what_the_table_has_not(planted):
    with pytest.raises(ReplicationError, match=r"^amp_cf/draws has no 'ml-100k'; it has ml-late"):
        list(draws.run(["ml-100k"], None, None, "cpu"))
    with pytest.raises(ReplicationError, match="takes no --model"):
        list(draws.run(None, ["mf"], None, "cpu"))


@pytest.mark.needs_data("amazon-video-games")
def test_the_readings_of_amazon_reach_the_printed_counts():
    found = draws.measure(draws.THREE_KEPT, "amazon-video-games", 0)["metrics"]
    counts = ("users", "items", "training examples")
    assert [found[name] for name in counts] == [7_868, 12_802, 98_421]
