"""Lists and what is measured on them, by hand and against plain loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from replication.metrics import lists
from replication.metrics.taste_distance import membership
from replication.protocols import ABSENT, Split

CPU = torch.device("cpu")


class Fixed:
    """Scores that are given."""

    def __init__(self, scores):
        self.scores = torch.tensor(scores, dtype=torch.float32)

    def score_all(self, users):
        return self.scores[users].clone()


def split_of(consumed):
    consumed = np.asarray(consumed)
    users, items = np.nonzero(consumed)
    none, few = np.full(len(consumed), ABSENT), np.full((len(consumed), 99), ABSENT)
    return Split("made up", *consumed.shape, users, items, none, none, few, few)


def test_lists_leave_out_the_history_and_break_ties_by_index():
    scores = [[5, 4, 4, 1], [1, 2, np.nan, 3], [0, 0, 0, 0]]
    split = split_of([[1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0]])
    found = lists.top_lists(Fixed(scores), split, 3, CPU)
    assert found.tolist() == [[1, 2, 3], [1, 0, ABSENT], [3, ABSENT, ABSENT]]


def test_lists_longer_than_the_catalogue_and_many_blocks():
    rng = np.random.default_rng(0)
    consumed = rng.random((300, 20)) < 0.3
    scores = rng.random((300, 20))
    found = lists.top_lists(Fixed(scores), split_of(consumed), 30, CPU)
    for user in range(300):
        order = [i for i in np.argsort(-scores[user]) if not consumed[user, i]]
        assert found[user].tolist() == order + [ABSENT] * (30 - len(order))


def test_coverage():
    assert lists.coverage(np.array([[0, 1], [1, ABSENT]]), 8) == 0.25


def test_diversity_is_the_mean_cosine_distance_of_pairs():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, 5))
    some = np.array([rng.permutation(40)[:6] for _ in range(9)])
    some[0, 3:] = ABSENT
    some[1, 1:] = ABSENT
    found = lists.intra_list_diversity(vectors, some)
    for own, value in zip(some, found, strict=True):
        items = own[own != ABSENT]
        if len(items) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(pdist(vectors[items], "cosine").mean())


def test_genre_shares():
    names = pd.Series(["Comedy|Drama", "Drama", "(no genres listed)", None])
    assert lists.genre_shares(names).tolist() == [[0.5, 0.5], [0, 1], [0, 0], [0, 0]]


def test_miscalibration_is_zero_for_the_same_mixture_and_as_by_hand_else():
    genres = np.array([[1, 0], [0, 1], [0.5, 0.5], [0, 0]])
    histories = membership(np.array([[0, 1], [0, 1], [0, 1], [3, ABSENT]]), 4)
    recommended = membership(np.array([[2, 2], [0, 0], [2, 3], [0, 1]]), 4)
    found = lists.miscalibration(genres, histories, recommended)
    assert found[0] == pytest.approx(0) and found[2] == pytest.approx(0)
    # History half and half, list all of the first genre.
    assert found[1] == pytest.approx(entropy([0.5, 0.5], [0.995, 0.005]))
    assert np.isnan(found[3])


def test_a_user_with_nothing_left_has_an_empty_list_and_no_value():
    """Not one that counts as a perfect or a worst list; and the other users keep theirs."""
    consumed = [[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]]
    split = split_of(consumed)
    found = lists.top_lists(Fixed(np.ones((3, 4))), split, 30, CPU)
    assert (found[0] == ABSENT).all() and (found[2, 1:] == ABSENT).all()
    assert lists.coverage(found, 4) == 0.75 and lists.coverage(found[:1], 4) == 0
    vectors, genres = np.eye(4), np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    histories = membership(np.array([[0, 1, 2, 3]] * 3), 4)
    diversity = lists.intra_list_diversity(vectors, found)
    calibration = lists.miscalibration(genres, histories, membership(found, 4))
    assert np.isnan(diversity).tolist() == [True, False, True]  # one item is no pair
    assert np.isnan(calibration).tolist() == [True, False, False]
