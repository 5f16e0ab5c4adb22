"""HR@k and NDCG@k: cases worked by hand, and scikit-learn as the second implementation."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score, top_k_accuracy_score

from replication.metrics.ranking import NO_RANK, hit_rate, ndcg, rank_of_target, summary


def test_ranks_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.5, 0.9, 0.1]])
    first = torch.zeros(3, dtype=torch.long)
    assert rank_of_target(scores, first).tolist() == [0, 2, 1]


def test_ties_count_against_the_model():
    scores = torch.tensor([[0.5, 0.5, 0.5, 0.1]])
    assert rank_of_target(scores, torch.tensor([0])).tolist() == [2]


@pytest.mark.parametrize("place", [0, 1])
def test_nan_counts_against_the_model(place):
    scores = torch.tensor([[0.5, 0.4, 0.3]])
    scores[0, place] = torch.nan
    expected = 2 if place == 0 else 1  # a model that gives NaN for the target loses to all
    assert rank_of_target(scores, torch.tensor([0])).tolist() == [expected]


def test_absent_candidates_take_no_part():
    scores = torch.tensor([[0.5, 0.9, 0.9]])
    valid = torch.tensor([[True, True, False]])
    assert rank_of_target(scores, torch.tensor([0]), valid).tolist() == [1]


def test_metrics_by_hand():
    ranks = np.array([0, 1, 2, 9, 10])
    assert hit_rate(ranks).tolist() == [1, 1, 1, 1, 0]
    expected = [1, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0]
    np.testing.assert_allclose(ndcg(ranks), expected, rtol=1e-12)
    assert hit_rate(ranks, k=2).tolist() == [1, 1, 0, 0, 0]


def test_summary_leaves_out_users_without_a_held_out_item():
    found = summary(np.array([0, NO_RANK, 10], dtype=np.uint16))
    assert found == {"HR@10": 0.5, "NDCG@10": 0.5}


@pytest.mark.parametrize("k", [1, 5, 10])
def test_agrees_with_scikit_learn(k):
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(200, 100))  # no ties: scikit-learn treats them in another way
    target = rng.integers(100, size=200)
    relevance = np.eye(100)[target]
    ranks = rank_of_target(torch.from_numpy(scores), torch.from_numpy(target)).numpy()
    assert hit_rate(ranks, k).mean() == pytest.approx(
        top_k_accuracy_score(target, scores, k=k, labels=range(100)), abs=1e-12
    )
    assert ndcg(ranks, k).mean() == pytest.approx(ndcg_score(relevance, scores, k=k), abs=1e-12)
