"""Folds of ratings: every rating in one test fold, a like share of each user, nothing leaks."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from replication.data import load
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import ReplicationError
from replication.folds import Ratings, bagged, deal, make_folds, make_rating_split


def ratings_of(counts, seed=0):
    """Users with these numbers of ratings, of different items."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.concatenate([rng.permutation(max(counts))[:n] for n in counts])
    order = rng.permutation(len(users))
    frame = pd.DataFrame(
        {"user": users, "item": items, "rating": 1 + rng.integers(5, size=len(users))}
    )
    return from_frame("made up", frame.iloc[order].assign(timestamp=UNKNOWN_TIME))


@pytest.fixture(scope="module")
def data():
    return ratings_of([1, 3, 7, 9, 10, 11, 25, 40] * 30)


@pytest.mark.parametrize("protocol", ["kfold-10", "kfold-5", "kfold-10-plain"])
def test_every_rating_is_in_exactly_one_test_fold(data, protocol):
    n_folds = int(protocol.split("-")[1])
    tested = []
    for fold in range(n_folds):
        split = make_rating_split(data, protocol, fold)
        assert len(split.train) + len(split.test) == len(data)
        tested += list(zip(split.test.users, split.test.items, split.test.values, strict=True))
    assert sorted(tested) == sorted(zip(data.users, data.items, data.ratings, strict=True))


def test_every_user_is_dealt_evenly_and_few_ratings_go_to_different_folds(data):
    folds = make_folds(data, "kfold-10")
    table = np.zeros((data.n_users, 10), dtype=int)
    np.add.at(table, (data.users, folds), 1)
    assert (table.max(1) - table.min(1) <= 1).all()


def test_users_with_few_ratings_do_not_fill_the_first_folds():
    folds = deal(np.arange(20_000), 10, np.random.default_rng(0))  # one rating a user
    share = np.bincount(folds, minlength=10) / 20_000
    # sd of a share: 0.002; without a random start all of them are in fold 0
    assert abs(share - 0.1).max() < 0.01


def test_which_rating_of_a_user_is_tested_is_random(data):
    one, other = (make_folds(data, "kfold-10", split_seed) for split_seed in (0, 1))
    assert np.array_equal(one, make_folds(data, "kfold-10", 0))
    assert 0.05 < (one == other).mean() < 0.15  # 1 in 10 by chance


def test_plain_folds_do_not_know_users(data):
    folds = make_folds(data, "kfold-10-plain")
    table = np.zeros((data.n_users, 10), dtype=int)
    np.add.at(table, (data.users, folds), 1)
    assert (table.max(1) - table.min(1) > 1).any()


def test_the_inner_validation_is_a_tenth_of_training_and_leaves_the_test_alone(data):
    outer = make_rating_split(data, "kfold-10", 3)
    inner = make_rating_split(data, "kfold-10", 3, inner=True)
    assert np.array_equal(inner.test.users, outer.test.users)
    assert np.array_equal(inner.test.items, outer.test.items)
    assert len(inner.train) + len(inner.validation) == len(outer.train)
    assert 0.08 < len(inner.validation) / len(outer.train) < 0.12


def test_bags_share_the_test_and_leave_out_each_training_rating_once(data):
    outer = make_rating_split(data, "kfold-10", 0)
    left_out = []
    for bag in range(10):
        split = bagged(outer, bag)
        assert split.test is outer.test
        left_out += list(zip(split.validation.users, split.validation.items, strict=True))
    assert sorted(left_out) == sorted(zip(outer.train.users, outer.train.items, strict=True))


@pytest.mark.parametrize("into", ["train", "validation"])
def test_a_planted_leak_is_found(data, into):
    split = make_rating_split(data, "kfold-10", 0, inner=True)
    part, test = getattr(split, into), split.test
    columns = zip(
        (part.users, part.items, part.values), (test.users, test.items, test.values), strict=True
    )
    planted = Ratings(*(np.concatenate([a, b[:3]]) for a, b in columns))
    with pytest.raises(ReplicationError, match="3 ratings are in both"):
        dataclasses.replace(split, **{into: planted}).assert_disjoint(len(data))


def test_a_lost_rating_is_found(data):
    split = make_rating_split(data, "kfold-10", 0)
    lost = dataclasses.replace(split, test=split.test.take(np.arange(len(split.test) - 1)))
    with pytest.raises(ReplicationError, match="the split holds"):
        lost.assert_disjoint(len(data))


@pytest.mark.parametrize("protocol", ["kfold-1", "kfold-0", "kfold-x", "loo-last", "kfold-10-"])
def test_other_protocols_are_one_sentence(data, protocol):
    with pytest.raises(ReplicationError, match="unknown protocol"):
        make_folds(data, protocol)


def test_a_fold_that_is_not_there(data):
    with pytest.raises(ReplicationError, match="folds 0 to 9, not 10"):
        make_rating_split(data, "kfold-10", 10)


def test_a_pair_that_is_rated_twice_is_refused(data):
    twice = dataclasses.replace(
        data, items=np.where(np.arange(len(data)) == 1, data.items[0], data.items),
        users=np.where(np.arange(len(data)) == 1, data.users[0], data.users),
    )  # fmt: skip
    with pytest.raises(ReplicationError, match="1 ratings of made up are of a pair"):
        make_folds(twice, "kfold-10")


@pytest.mark.needs_data("cil")
def test_the_folds_of_the_papers_data():
    data = load("cil")
    folds = make_folds(data, "kfold-10")
    counts = np.bincount(data.users)
    assert (counts < 10).sum() == 10  # users who cannot be in all folds
    pairs = np.unique(np.stack([data.users, folds]), axis=1)  # in how many folds each user is
    assert (np.bincount(pairs[0]) == np.minimum(counts, 10)).all()
    sizes = np.bincount(folds)
    assert sizes.sum() == len(data) and sizes.max() - sizes.min() < 0.01 * sizes.mean()


def test_plain_folds_are_those_of_surprise() -> None:
    """Fails if the shuffle, the cut or the order of the ratings differs from the package's."""
    surprise = pytest.importorskip("surprise")
    from surprise.model_selection import KFold

    data = ratings_of([1, 3, 7, 9, 10, 22])
    frame = pd.DataFrame({"user": data.users, "item": data.items, "rating": data.ratings})
    reader = surprise.Reader(rating_scale=(1, 5))
    theirs = KFold(n_splits=5, random_state=0).split(surprise.Dataset.load_from_df(frame, reader))
    folds = make_folds(data, "kfold-5-plain")
    for fold, (_, test) in enumerate(theirs):
        mine = set(zip(data.users[folds == fold], data.items[folds == fold], strict=True))
        assert mine == {(user, item) for user, item, _ in test}
