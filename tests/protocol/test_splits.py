"""Splits: what is held out, that nothing leaks, and the oracle of MovieLens 1M."""

import dataclasses

import numpy as np
import pytest
import torch

from replication.baselines.popularity import MostPop
from replication.data import Interactions, filter_rare, load
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.protocols import ABSENT, NCF_CONSUMED_NEGATIVES, make_split, read_ncf_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return load("ml-1m")


@pytest.fixture(scope="module")
def split(data):
    return make_split(data, "loo-ncf")


PROTOCOLS = ["loo-random", "loo-last"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_interaction_is_in_one_place(tiny, protocol):
    split = make_split(tiny, protocol)
    places = list(zip(split.train_users, split.train_items, strict=True))
    for held in (split.validation, split.test):
        users = np.flatnonzero(held != ABSENT)
        places += list(zip(users, held[users], strict=True))
    everything = zip(tiny.users, tiny.items, strict=True)
    assert sorted(places) == sorted(everything)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_candidates_are_new_to_the_user_and_distinct(make_tiny, protocol):
    data = make_tiny(n_items=200)
    split = make_split(data, protocol)
    for user in range(data.n_users):
        consumed = set(data.items[data.users == user])
        for negatives in (split.test_negatives[user], split.validation_negatives[user]):
            assert len(set(negatives)) == 99 and not consumed & set(negatives)


def test_a_catalogue_of_fewer_than_99_new_items_leaves_places_empty(tiny):
    split = make_split(tiny, "loo-random")
    new = tiny.n_items - np.bincount(tiny.users)
    assert ((split.test_negatives != ABSENT).sum(1) == new).all()


def test_loo_last_holds_out_the_latest_then_the_one_before(tiny):
    split = make_split(tiny, "loo-last")
    for user in range(tiny.n_users):
        mine = np.flatnonzero(tiny.users == user)
        latest = mine[np.argsort(tiny.timestamps[mine])]
        assert split.test[user] == tiny.items[latest[-1]]
        assert split.validation[user] == tiny.items[latest[-2]]


def test_ties_at_the_last_time_go_to_the_last_or_the_first_row(tiny):
    same = dataclasses.replace(tiny, timestamps=np.zeros_like(tiny.timestamps))
    last, first = (make_split(same, "loo-last", ties=ties).test for ties in ("last", "first"))
    for user in range(same.n_users):
        mine = np.flatnonzero(same.users == user)
        assert last[user] == same.items[mine[-1]]
        assert first[user] == same.items[mine[0]]


def test_loo_last_needs_times(tiny_without_times):
    with pytest.raises(ReplicationError, match="loo-last needs every timestamp"):
        make_split(tiny_without_times, "loo-last")


def test_unknown_protocol(tiny):
    with pytest.raises(ReplicationError, match=r"unknown protocol 'loo'.*loo-random"):
        make_split(tiny, "loo")


def test_split_seed_decides(tiny):
    one, again, other = (make_split(tiny, "loo-random", seed) for seed in (0, 0, 1))
    assert (one.test == again.test).all() and (one.test_negatives == again.test_negatives).all()
    assert (one.test != other.test).any()


def test_users_with_few_interactions():
    """One interaction: nothing is held out. Two: a test item. Three: a validation item too."""
    users = np.array([0, 1, 1, 2, 2, 2])
    data = Interactions(
        "few",
        users,
        np.array([0, 0, 1, 0, 1, 2]),
        np.ones(6, np.float32),
        np.arange(6),
        np.arange(3),
        np.arange(3),
    )
    split = make_split(data, "loo-last")
    assert split.test.tolist() == [ABSENT, 1, 2]
    assert split.validation.tolist() == [ABSENT, ABSENT, 1]


@pytest.mark.parametrize("held", ["validation", "test"])
def test_a_planted_leak_is_found(tiny, held):
    split = make_split(tiny, "loo-random")
    leaky = dataclasses.replace(
        split,
        train_users=np.append(split.train_users, 3),
        train_items=np.append(split.train_items, getattr(split, held)[3]),
    )
    with pytest.raises(ReplicationError, match=f"1 {held} items are in the training set"):
        leaky.assert_disjoint()


def test_a_consumed_candidate_is_found(tiny):
    split = make_split(tiny, "loo-random")
    split.test_negatives[3, 0] = split.train_items[split.train_users == 3][0]
    with pytest.raises(ReplicationError, match="1 test negatives"):
        split.assert_disjoint()


def test_refit_moves_validation_into_training(tiny):
    split = make_split(tiny, "loo-random")
    refit = split.refit()
    assert len(refit.train_users) == len(split.train_users) + (split.validation != ABSENT).sum()
    assert (refit.validation == ABSENT).all() and (refit.test == split.test).all()
    refit.assert_disjoint()


@pytest.mark.needs_data("ml-latest-small")
def test_latest_small_ties():
    """96 of 610 users share their last time among several ratings."""
    data = filter_rare(load("ml-latest-small"))
    last = np.zeros(data.n_users, dtype=np.int64)
    np.maximum.at(last, data.users, data.timestamps)
    at_last = np.bincount(data.users[data.timestamps == last[data.users]])
    assert (data.n_users, int((at_last > 1).sum())) == (610, 96)


@pytest.mark.needs_data("ml-latest-small", "ml-1m")
@pytest.mark.parametrize(
    ("name", "users", "items"), [("ml-latest-small", 610, 6278), ("ml-1m", 6040, 3592)]
)
def test_filtering_reaches_table_1(name, users, items):
    data = filter_rare(load(name))
    assert (data.n_users, data.n_items) == (users, items)


@pytest.mark.needs_data("ml-1m", "ncf-ml-1m")
class TestNCFSplit:
    """The published split of MovieLens 1M."""

    def test_consumed_negatives(self, data, split):
        consumed = np.zeros((data.n_users, data.n_items), dtype=bool)
        consumed[data.users, data.items] = True
        rated = consumed[np.arange(data.n_users)[:, None], split.test_negatives]
        assert rated.sum() == NCF_CONSUMED_NEGATIVES == 156
        own = split.test_negatives == split.test[:, None]
        assert (own == rated).all()  # each is the very item that is held out
        clean = make_split(data, "loo-ncf", clean=True)
        assert (clean.test_negatives == ABSENT).sum() == 156

    def test_most_pop_is_the_published_baseline_up_to_ties(self, data, split):
        """Published for this split: HR@10 0.4535, NDCG@10 0.2543 (Rendle et al. 2020, Table 1).

        556 of 6,040 users have a candidate with the very popularity of their test item, 156 of
        them that item itself. Against the model these give less than the published numbers, for
        the model more; won by the item with the larger index they give the published numbers to
        the last digit.
        """
        refit = split.refit()
        held = held_out(refit, "test", CPU)
        model = MostPop(refit, CPU)
        against = summary(rank_candidates(model, held))
        scores = model.score_candidates(held.users, held.items)  # [U, 100]
        ahead = (scores > scores[:, :1]).sum(1)
        tied = scores[:, 1:] == scores[:, :1]
        assert int(tied.any(1).sum()) == 556
        larger = tied & (held.items[:, 1:] > held.items[:, :1])
        best, by_index = (summary(r.numpy()) for r in (ahead, ahead + larger.sum(1)))
        assert against["HR@10"] < 0.4535 < best["HR@10"]
        assert round(by_index["HR@10"], 4) == 0.4535
        assert round(by_index["NDCG@10"], 4) == 0.2543

    def test_other_data_are_refused(self, tiny):
        with pytest.raises(ReplicationError, match="unfiltered ml-1m"):
            read_ncf_split(tiny)
