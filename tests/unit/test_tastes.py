"""Minority tastes: what is planted is found, and what is not there is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import pdist
from scipy.stats import entropy, spearmanr

from replication import cli, data, paths
from replication.metrics.lists import genre_shares
from replication.metrics.ranking import NO_RANK
from replication.page import Study
from replication.papers.amp_cf import experiments, lists, minority, tastes, users
from replication.papers.amp_cf.pages import tastes as page
from replication.records import Store

SEEDS, USERS = 5, 900
AMP, MF = "AMP-2", "MF (r=1)"


def record(row: str, seed: int, table: str = experiments.TABLE2, **changes):
    return {
        "key": f"{table}/{row}/{seed}",
        "table": table,
        "row": row,
        "dataset": "ml-100k",
        "protocol": "loo-random",
        "variant": "",
        "select": "validation",
        "data_hash": "0",
        "config": {},
        "seed": seed,
        "metrics": {},
    } | changes


def facts(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Users with a planted diversity, and a test item whose taste is unrelated to it."""
    return {
        "genre entropy": rng.random(USERS),
        "taste distance": rng.random(USERS),
        "history length": rng.integers(5, 200, USERS).astype(float),
        "held-out/popularity": rng.integers(1, 300, USERS).astype(float),
        "genre/held-out": rng.choice([0.0, 0.05, 0.4], USERS, p=[0.1, 0.4, 0.5]),
        "cluster/held-out": rng.choice([0.0, 0.02, 0.4], USERS, p=[0.1, 0.4, 0.5]),
        "genre/minority": np.full(USERS, 0.5),
        "cluster/minority": np.full(USERS, 0.4),
    }


def pairs(gain: np.ndarray, own: dict[str, np.ndarray]) -> list[page.Pair]:
    """AMP-2 and MF on the same users; AMP hits more often by ``gain`` (a probability)."""
    rng = np.random.default_rng(3)
    records, ranks = [], {}
    for row, chance in ((AMP, 0.4 + gain), (MF, np.full(USERS, 0.4))):
        for seed in range(SEEDS):
            made = record(row, seed)
            hit = rng.random(USERS) < chance
            sampled = np.where(hit, 0, 50).astype(np.uint16)
            sampled[:3] = NO_RANK  # users without a test item
            records.append(made)
            ranks[made["key"]] = (sampled, sampled)
    study = Study(experiments.TABLE2, "stored", "validation", records, ranks, None, [])
    return page.Users({("ml-100k", "loo-random"): own}).pairs(study)


def test_a_gain_that_grows_with_diversity_is_found_and_shuffled_diversity_is_not() -> None:
    """Fails if gains and users are out of step, or if the control shares the users' order."""
    own = facts(np.random.default_rng(0))
    (pair,) = pairs(0.5 * (own["genre entropy"] - 0.5), own)
    assert pair.gain("NDCG@10").shape == (SEEDS, USERS - 3)
    found = page.findings([pair], {})
    grown = {f.place[3:]: f.direction for f in found if f.question == "diversity"}
    assert grown["genre entropy", "NDCG@10"] == grown["genre entropy", "NDCG@10/full"] == 1
    assert grown["taste distance", "NDCG@10"] == 0
    assert all(f.direction == 0 for f in found if f.question == "held-out")
    *_, last = page.quarter_gains(pair, "genre entropy", "HR@10")
    assert last.low > 0 and last.low < 0.375 < last.high  # planted: 0.5 times 3 / 4
    low, high, share = page.shuffled(pair.gain("NDCG@10"), pair.facts["genre entropy"])
    assert low < 0 < high and share < 0.12
    assert "2 are established above zero and 0 below" in page.headline(found)
    assert "for several personas is established in 2 of 8 comparisons" in page.headline(found)
    assert "one vector a user, against them in 0.\n" in page.headline(found)
    known = {(AMP, "ml-100k", "loo-random"): "one vector"}
    split = "for it 2 of 8 where they are one vector; against it 0 of 8 where they are one vector."
    assert split in page.headline(found, known)
    assert "for it 2 of 8 where it is not measured which; against" in page.headline(found)
    assert page.headline(found).count("(one vector: mean cosine above 0.99)") == 1
    assert set(page.established(found, known)["personas"]) == {"one vector"}
    here = page.kinds_here(known, "ml-100k")
    assert here.endswith(f"one vector of {AMP}, not known of AMP-3, AMP-4 and AMP-8.")
    (other,) = pairs(-0.5 * (own["genre entropy"] - 0.5), own)
    against = page.findings([other], {})
    assert {f.direction for f in against if f.place[3] == "genre entropy"} == {-1}
    assert "in 0 of 8 comparisons" in page.headline(against)
    assert "one vector a user, against them in 2.\n" in page.headline(against)
    grown = page.growth_table([other], "ml-100k").xs("genre entropy", level="diversity")
    assert list(grown.columns) == ["100 candidates", "full catalogue"]
    assert grown.index.names == ["gain of", "metric"] and len(grown) == len(page.GAINS)
    assert grown.apply(lambda column: column.str.startswith("-0.")).all(axis=None)
    assert page.held_out_table([other], "ml-100k").index.names == ["gain of", "taste", "metric"]


def test_a_gain_for_all_users_alike_is_no_growth() -> None:
    """Fails if a mere gain, of all, is taken for one of the diverse or of minority items."""
    own = facts(np.random.default_rng(1))
    (pair,) = pairs(np.full(USERS, 0.2), own)
    assert pair.gain("HR@10").mean() > 0.15
    found = page.findings([pair], {})
    assert len(found) == 8 and {f.direction for f in found} == {0}
    assert page.established(found).iloc[0, 0] == "None of the comparisons is established."


def test_a_gain_on_minority_items_is_found_and_popularity_is_told_apart() -> None:
    own = facts(np.random.default_rng(2))
    small = own["genre/held-out"] == 0.05
    (pair,) = pairs(np.where(small, 0.2, 0.0), own)
    held = page.held_out_gain(pair, "genre", "HR@10")
    assert held.difference.low > 0.1 and held.matched.low > 0.1
    found = {(f.question, f.place[3]): f.direction for f in page.findings([pair], {})}
    assert found["held-out", "genre"] == 1 and found["held-out", "cluster"] == 0
    # A gain on unpopular items, most of them of minority tastes, is not one on minority tastes.
    rare = np.where(np.random.default_rng(3).random(USERS) < 0.8, small, ~small)
    own["held-out/popularity"] = np.where(rare, 1.0, 1000.0) + np.arange(USERS) / USERS
    (pair,) = pairs(np.where(rare, 0.4, 0.0), own)
    held = page.held_out_gain(pair, "genre", "HR@10")
    assert held.difference.low > 0.1 and held.matched.low < 0 < held.matched.high


def test_what_goes_with_the_length_of_the_history_alone_vanishes_when_it_is_held_fixed() -> None:
    rng = np.random.default_rng(4)
    length = rng.random(USERS)
    x = length + 0.3 * rng.random(USERS)
    gain = length + rng.normal(0, 0.3, (SEEDS, USERS))
    found = page.growth(gain, x, length)
    assert found.low > 0.3 and found.given_low < 0 < found.given_high
    one_seed = page.growth(gain[:1], x, length)
    assert one_seed.r == pytest.approx(spearmanr(x, gain[0]).statistic)
    assert one_seed.p == pytest.approx(spearmanr(x, gain[0]).pvalue)
    assert page.growth(np.zeros((2, USERS)), x, length) is None


def test_intervals_of_the_correlation_cover() -> None:
    """Of unrelated users and gains about 95 % of the intervals hold zero."""
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(40):
        user = rng.normal(size=150)  # what a user adds to every seed's gain
        gain = user + rng.normal(size=(SEEDS, 150))
        g = page.growth(gain, rng.random(150), rng.random(150))
        inside += g.low <= 0 <= g.high
    assert 34 <= inside <= 40


def test_the_share_of_minority_tastes_on_lists() -> None:
    rng = np.random.default_rng(6)
    own, records, values = facts(rng), [], {}
    for row, share in ((MF, 0.30), (AMP, 0.36)):
        for seed in range(SEEDS):
            made = record(row, seed, lists.TABLE3, metrics={"genre/new": 0.1, "cluster/new": 0.1})
            records.append(made)
            each = np.clip(share + rng.normal(0, 0.1, USERS), 0, 1)
            values[made["key"]] = {"genre/minority": each, "cluster/minority": each * 0 + 0.3}
            values[made["key"]]["genre/minority"][0] = np.nan  # an empty list
    study = Study(lists.TABLE3, "stored", "validation", records, values, None, [])
    shares = page.listed_shares(study, page.Users({("ml-100k", "loo-random"): own}))
    amp = shares["ml-100k", AMP, "genre"]
    assert amp.history == pytest.approx(0.5) and amp.calibration.high < 0
    assert page.crowded_out(shares, ()) == (2, 2)
    assert page.crowded_out(shares, {("ml-100k", "genre")}) == (1, 1)
    told = page.headline(page.findings([], shares), shares=shares)
    assert "less of the list than of the history in 2 of 2 cases, and what speaks" in told
    assert amp.against.low < 0.06 < amp.against.high and amp.against.low > 0.04
    assert amp.nearer.low < 0.05 < amp.nearer.high and amp.nearer.low > 0.03
    found = {f.place[3]: f.direction for f in page.findings([], shares)}
    assert found == {"genre": 1, "cluster": 0}
    assert {f.place[3] for f in page.findings([], shares, untold={("ml-100k", "genre")})} == {
        "cluster"
    }
    untold = {("ml-100k", "genre"): "it is one", ("ml-1m", "cluster"): "there are two"}
    marked = page.list_table(shares, "ml-100k", untold)[f"nearer than {MF} by [95 %]"]
    assert marked[AMP, "genre"].endswith("] (not counted)")
    assert marked[AMP, "cluster"].endswith("]") and marked[MF, "genre"] == "–"
    assert page.not_counted(untold, "ml-100k") == "Not counted: for genres, it is one."
    assert page.not_counted({}, "ml-100k") == ""
    # Where the history has less of them than either list, more of the list is further away.
    own["genre/minority"] = np.full(USERS, 0.1)
    shares = page.listed_shares(study, page.Users({("ml-100k", "loo-random"): own}))
    amp = shares["ml-100k", AMP, "genre"]
    assert amp.against.low > 0 > amp.nearer.high
    assert page.crowded_out(shares, ()) == (1, 2)  # of the clusters alone
    found = {f.place[3]: f.direction for f in page.findings([], shares)}
    assert found == {"genre": -1, "cluster": 0}


def test_where_minority_tastes_cannot_be_told_is_said() -> None:
    own = facts(np.random.default_rng(9)) | {"history length": np.full(USERS, 15.0)}
    of = record("Users", 0, users.TABLE, metrics={"cluster/largest": 0.52, "genre/largest": 0.1})
    found = page.Users({("ml-100k", "loo-random"): own}, [of]).untold()
    assert set(found) == {("ml-100k", "cluster")}  # 15 items are enough for a tenth
    text = page.left_out(found)
    assert "one cluster makes up 52 % of all interactions" in text
    assert "only 0 % of the users have more than 20 items" in text
    assert f"of {USERS} test items" in text
    long = own | {"history length": np.full(USERS, 50.0)}
    of["metrics"]["cluster/largest"] = 0.1
    assert page.left_out(page.Users({("ml-100k", "loo-random"): long}, [of]).untold()) == ""


def test_nothing_recorded_says_pending() -> None:
    study = Study(experiments.TABLE2, "stored", "validation", [], {}, None, [])
    nobody = page.Users({})
    assert nobody.pairs(study) == [] and page.listed_shares(study, nobody) == {}
    assert "Pending" in page.headline([]) and "Pending" in page.equal_parameters([])
    for frame in (
        page.growth_table([], "ml-100k"),
        page.control_table([], "ml-100k"),
        page.quarter_table([], "ml-100k"),
        page.held_out_table([], "ml-100k"),
        page.list_table({}, "ml-100k"),
        page.established([]),
    ):
        assert frame.iloc[0, 0].startswith("Pending")
    page.gain_figure([])


# --- what is measured of users ---------------------------------------------------------------


def test_shares_and_parts_by_hand() -> None:
    label = np.array([0, 0, 1, 2, -1])
    items = sparse.csr_matrix(np.array([[1, 1, 1, 0, 1], [0, 0, 0, 0, 1], [0, 0, 1, 1, 0]], float))
    history = tastes.shares(items, label)
    np.testing.assert_allclose(history[0], [2 / 3, 1 / 3, 0])
    assert np.isnan(history[1]).all()
    listed = np.array([[0.2, 0.3, 0.5]] * 3)
    found = tastes.parts(history, listed, 0.4)
    np.testing.assert_allclose(found["minority"], [0.3, np.nan, 0])
    np.testing.assert_allclose(found["new"], [0.5, np.nan, 0.2])


def test_a_taste_at_the_limit_is_of_the_majority() -> None:
    history, listed = np.array([[0.25, 0.125, 0.625, 0.0]]), np.array([[0.4, 0.3, 0.2, 0.1]])
    assert tastes.parts(history, listed, 0.25)["minority"] == pytest.approx([0.3])
    assert tastes.parts(history, listed, 0.125)["minority"] == pytest.approx([0.0])
    groups = minority.held_out_groups(history[0], 0.25)
    np.testing.assert_array_equal(groups, [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def test_diversity_of_a_history_is_that_of_its_items() -> None:
    rng = np.random.default_rng(7)
    items = sparse.csr_matrix((rng.random((6, 12)) < 0.4).astype(float))
    vectors, genres = rng.normal(size=(12, 4)), rng.dirichlet(np.ones(3), 12)
    distances, spread = tastes.mean_distance(items, vectors), tastes.entropy(items, genres)
    for user in range(6):
        own = items[[user]].indices
        assert distances[user] == pytest.approx(pdist(vectors[own], "cosine").mean())
        assert spread[user] == pytest.approx(entropy(genres[own].mean(0)))
    empty = sparse.csr_matrix((1, 12))
    assert np.isnan(tastes.entropy(empty, genres)) and np.isnan(
        tastes.mean_distance(empty, vectors)
    )


@pytest.fixture
def tiny(tmp_path, monkeypatch, make_tiny):
    """ml-100k in small, with a genre for each third of the items."""

    def forget() -> None:
        for cached in (experiments.data_for, experiments.split_for, lists.space_for):
            cached.cache_clear()

    for name in ("results", "raw", "prepared", "checkpoints", "models"):
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    made = replace(make_tiny(n_users=40, n_items=150, per_user=14), name="ml-100k")
    made.item_features["genres"] = pd.Series(np.array(["A", "A|B", "C"])[made.item_ids % 3])
    monkeypatch.setitem(data.DATASETS, "ml-100k", lambda raw: made)
    forget()
    yield made
    forget()


def test_a_record_of_users_never_sees_the_test_item_and_comes_out_again(tiny) -> None:
    """Fails if the test item counts in the history that it is compared with."""
    place = ("ml-100k", "loo-random")
    ((_, made, new),) = users.measure_and_store([place])
    ((_, again, twice),) = users.measure_and_store([place])
    assert new and not twice and again["metrics"] == made["metrics"]
    store = Store(users.TABLE)
    stored = store.load()[0]
    values = store.ranks([stored["key"]])[stored["key"]]
    split = experiments.split_for(*place)
    np.testing.assert_array_equal(
        values["history length"], np.bincount(split.train_users, minlength=split.n_users) + 1
    )
    genre = genre_shares(experiments.data_for(*place).item_features["genres"])
    assert genre.shape[1] == 3
    main = np.array([row.argmax() if row.max() == 1 else 1 for row in genre])
    for user in range(split.n_users):
        own = [*split.train_items[split.train_users == user], split.validation[user]]
        same = (main[own] == main[split.test[user]]).mean()
        assert values["genre/held-out"][user] == pytest.approx(same, abs=1e-3)
    assert cli.audit_record(stored, store)[0]


def test_lists_say_what_minority_tastes_get(tiny) -> None:
    """A model that recommends one taste alone gives a minority all of the list, or nothing."""
    job = experiments.Run("ml-100k", "loo-random", "mostpop", 0)

    class OneTaste:
        def score_all(self, of):
            genres = experiments.data_for("ml-100k", "loo-random").item_features["genres"]
            return torch.from_numpy((genres == "C").to_numpy(np.float32)).repeat(len(of), 1)

    found, values = lists.measure(job, OneTaste(), torch.device("cpu"))
    assert set(np.unique(values["genre/minority"] + values["genre/new"])) <= {0.0, 1.0}
    assert found["metrics"]["cluster/minority"] == pytest.approx(values["cluster/minority"].mean())


def test_the_command_takes_no_model(tiny, capsys) -> None:
    assert cli.main(["run", users.TABLE, "--model", "mf"]) == 1
    assert "takes no --model" in capsys.readouterr().err
