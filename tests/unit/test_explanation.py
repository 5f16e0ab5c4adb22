"""Measures of explanations: against scikit-learn, on planted cases, and at their ends."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import adjusted_mutual_info_score

from replication.metrics import explanation as measures
from replication.protocols import ABSENT


def test_agreement_is_that_of_scikit_learn_user_by_user():
    """Fails if the expected information, the normaliser or the grouping by user is wrong."""
    rng = np.random.default_rng(0)
    users = rng.permutation(np.repeat(np.arange(40), rng.integers(5, 60, 40)))
    first = rng.integers(0, 4, len(users))
    second = np.where(rng.random(len(users)) < 0.5, first, rng.integers(0, 7, len(users)))
    found = measures.adjusted_mutual_information(users, first, second, 41)
    for user in range(40):
        mine = users == user
        expected = adjusted_mutual_info_score(first[mine], second[mine])
        assert found.per_user[user] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(found.per_user[40])  # a user without items
    assert 0 < found.pooled < 1


def test_agreement_of_one_user_does_not_change_with_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    users, a, b = rng.integers(0, 30, 2000), rng.integers(0, 5, 2000), rng.integers(0, 6, 2000)
    whole = measures.adjusted_mutual_information(users, a, b, 30)
    monkeypatch.setattr(measures, "_BLOCK", 50)
    small = measures.adjusted_mutual_information(users, a, b, 30)
    np.testing.assert_allclose(small.per_user, whole.per_user, atol=1e-12)


def test_the_ends_of_agreement():
    users = np.zeros(6, dtype=int)
    split = np.array([0, 0, 0, 1, 1, 1])

    def of(first, second):
        return measures.adjusted_mutual_information(users, first, second, 1).per_user[0]

    assert of(split, 1 - split) == pytest.approx(1)  # names of labels do not matter
    assert of(split, np.zeros(6, dtype=int)) == 0  # one label tells nothing apart
    assert of(np.zeros(6, dtype=int), np.zeros(6, dtype=int)) == 0
    assert of(np.arange(6), np.arange(6)) == 0  # every permutation agrees as well
    absent = np.array([0, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT])
    assert np.isnan(of(split, absent))  # one item is left


def test_shuffled_assignments_agree_by_chance_and_stay_with_their_user():
    rng = np.random.default_rng(2)
    users = rng.permutation(np.repeat(np.arange(300), 20))
    truth = rng.integers(0, 3, len(users))
    shuffled = measures.shuffled_within(users, truth, rng)
    for label in range(3):
        np.testing.assert_array_equal(
            np.bincount(users[shuffled == label], minlength=300),
            np.bincount(users[truth == label], minlength=300),
        )
    control = measures.adjusted_mutual_information(users, shuffled, truth, 300)
    assert abs(control.pooled) < 0.02
    assert measures.adjusted_mutual_information(users, truth, truth, 300).pooled > 0.999


def test_an_item_counts_under_its_rarest_genre():
    genres = pd.Series(["Drama", "Drama|Horror", "Drama|Comedy", "Comedy", "", "unknown", None])
    names = ["Comedy", "Drama", "Horror"]
    rarest = [names[g] if g != ABSENT else "" for g in measures.main_genre(genres)]
    assert rarest == ["Drama", "Horror", "Comedy", "Comedy", "", "", ""]
    common = [names[g] if g != ABSENT else "" for g in measures.main_genre(genres, rarest=False)]
    assert common == ["Drama", "Drama", "Drama", "Comedy", "", "", ""]


def test_entropy_is_in_units_of_its_largest_value():
    attention = torch.tensor([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    expected = torch.tensor([0.0, 1.0, 0.5])
    torch.testing.assert_close(measures.attention_entropy(attention), expected)


def test_overlap_of_lists_and_vectors():
    lists = np.array([[[1, 2, 3, 4], [3, 4, 5, 6], [7, 8, ABSENT, ABSENT]]])
    np.testing.assert_allclose(measures.list_overlap(lists), [[2 / 6, 0, 0]])
    assert measures.jaccard(lists[0, 2], lists[0, 2]) == 1
    assert np.isnan(measures.jaccard(np.array([ABSENT]), np.array([ABSENT])))
    personas = np.array([[[1.0, 0], [2, 0], [0, 3], [0, 0]]])
    np.testing.assert_allclose(measures.vector_cosine(personas), [[1, 0, 0, 0, 0, 0]])


def test_effective_number_of_personas():
    users, personas = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 2, 2])
    found = measures.effective_personas(users, personas, 3, 4)
    np.testing.assert_allclose(found, [4, 1, np.nan])


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, (6, 9)).astype(np.float32)  # with many ties
    second = first + rng.integers(0, 6, (6, 9))
    count = np.array([9, 7, 5, 3, 2, 1])
    first[4, :2] = 1.0  # constant
    valid = np.arange(9) < count[:, None]
    found = measures.rank_correlation(*map(torch.from_numpy, (first, second, valid))).numpy()
    for row in range(4):
        one, other = first[row, : count[row]], second[row, : count[row]]
        assert found[row] == pytest.approx(stats.spearmanr(one, other).statistic)
    assert np.isnan(found[4:]).all()


def test_ranks_of_places_that_do_not_count_are_zero():
    values = torch.tensor([[3.0, 1.0, 3.0, 0.0]])
    valid = torch.tensor([[True, True, True, False]])
    assert measures.average_ranks(values, valid).tolist() == [[2.5, 1.0, 2.5, 0.0]]


def test_genre_overlap_and_co_rating_by_hand():
    overlap = measures.genre_overlap(pd.Series(["A|B", "B|C|D", None, "(no genres listed)"]))
    assert overlap[0, 1] == pytest.approx(1 / 4) and overlap[0, 0] == 1
    assert (overlap[2:] == 0).all()
    users, items = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0])
    rated = measures.co_rating(users, items, 3, 3)
    assert rated[0, 1] == pytest.approx(2 / np.sqrt(3 * 2)) and rated[1, 1] == pytest.approx(1)
    assert (rated[2] == 0).all()


def test_a_mean_by_user_leaves_nan_out():
    users, values = np.array([0, 0, 2, 2, 3]), np.array([1.0, 3.0, np.nan, 5.0, np.nan])
    found = measures.mean_by_user(users, values, 4)
    np.testing.assert_array_equal(found, [2.0, np.nan, 5.0, np.nan])
