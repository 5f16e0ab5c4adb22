"""ItemKNN, EASE^R and iALS: small cases by hand, what they learn, and what they do at the edges.

iALS against a second solution of its equations is in tests/parity/test_ials.py.
"""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from replication.baselines.ease import EASE, EASEConfig
from replication.baselines.ials import IALS, IALSConfig
from replication.baselines.item_knn import BLOCK, ItemKNN, ItemKNNConfig, nearest
from replication.baselines.popularity import MostPop
from replication.data import filter_rare, load
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates, rank_catalogue
from replication.metrics.ranking import summary
from replication.protocols import ABSENT, Split, make_split

CPU = torch.device("cpu")


def split_of(consumed: np.ndarray, test: np.ndarray | None = None, negatives=None) -> Split:
    """A split whose training pairs are the non-zeros of consumed [U, I]."""
    n_users, n_items = consumed.shape
    users, items = np.nonzero(consumed)
    none, no_negatives = np.full(n_users, ABSENT), np.full((n_users, 99), ABSENT)
    return Split(
        "made up",
        n_users,
        n_items,
        users,
        items,
        validation=none,
        test=none if test is None else test,
        validation_negatives=no_negatives,
        test_negatives=no_negatives if negatives is None else negatives,
    )


def item_knn(split: Split, seed: int = 0) -> ItemKNN:
    return ItemKNN(split, ItemKNNConfig(shrink=10), CPU, seed)


def ease(split: Split, seed: int = 0) -> EASE:
    return EASE(split, EASEConfig(l2=50), CPU, seed)


def ials(split: Split, seed: int = 0) -> IALS:
    pytest.importorskip("implicit")
    return IALS(split, IALSConfig(factors=8, iterations=4, regularization=0.03), CPU, seed)


every_model = pytest.mark.parametrize("build", [item_knn, ease, ials])
Build = Callable[..., ItemKNN | EASE | IALS]

# Item 3 was consumed by nobody, user 3 consumed one item, user 4 none.
SMALL = np.array(
    [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]
)


# --- by hand ----------------------------------------------------------------------------------


def test_item_knn_similarity_by_hand():
    """Breaks where the shrinkage is not added to the norms, or an item is its own neighbour."""
    model = ItemKNN(split_of(SMALL), ItemKNNConfig(neighbours=3, shrink=1.0), CPU)
    near = 2 / (np.sqrt(4 * 2) + 1)  # items 0 and 1: two common users of four and two
    far = 1 / (np.sqrt(4 * 1) + 1)  # items 0 and 2
    expected = [
        [near, near, far, 0],  # consumed 0 and 1
        [near, near, far, 0],
        [far, near, far, 0],  # consumed 0 and 2
        [0, near, far, 0],  # consumed 0
        [0, 0, 0, 0],
    ]
    scores = model.score_all(torch.arange(5))
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float32))


def test_the_neighbours_are_those_of_the_scored_item():
    """With k = 1 item 0 is scored from item 1 alone, while item 2 is still scored from item 0.

    Breaks where the neighbours of the consumed item are taken, the transpose of what is meant.
    """
    model = ItemKNN(split_of(SMALL), ItemKNNConfig(neighbours=1, shrink=0.0), CPU)
    assert model.weights[1, 0] > 0 and model.weights[2, 0] == 0
    assert model.weights[0, 2] == pytest.approx(1 / np.sqrt(4))


def test_of_equal_similarities_the_first_item_is_kept():
    rows = np.array([[0.5, 0.2, 0.5, 0.5], [0.0, 0.1, 0.0, 0.3]], dtype=np.float32)
    expected = np.array([[0.5, 0, 0.5, 0], [0, 0.1, 0, 0.3]], dtype=np.float32)
    np.testing.assert_array_equal(nearest(rows, 2), expected)
    np.testing.assert_array_equal(nearest(rows, 4), rows)


def test_ease_of_two_items_by_hand():
    """For two items B_ij = G_ij / (G_ii + lambda): from the consumed item i to the scored j.

    Breaks where B is transposed.
    """
    consumed = np.array([[1, 0], [1, 1], [1, 1], [0, 1]])
    model = EASE(split_of(consumed), EASEConfig(l2=1.0), CPU)
    expected = torch.tensor([[0, 2 / 4], [2 / 4, 0]])
    torch.testing.assert_close(model.weights, expected)
    consumed = np.array([[1, 0], [1, 1], [1, 1]])
    model = EASE(split_of(consumed), EASEConfig(l2=1.0), CPU)
    scores = model.score_all(torch.tensor([0, 1]))  # consumed 0; consumed both
    torch.testing.assert_close(scores, torch.tensor([[0, 2 / 4], [2 / 3, 2 / 4]]))


def random_consumed(n_users: int, n_items: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.random((n_users, n_items)) < rng.random(n_items) * 0.3


def test_ease_is_the_closed_form_in_double_precision():
    """Over several blocks of items; breaks where a triangle of the inverse is left unfilled."""
    consumed = random_consumed(800, 2 * BLOCK + 77)
    x = consumed.astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + 20.0 * np.eye(x.shape[1]))
    expected = -inverse / np.diag(inverse)  # Steck (2019), Eq. 8
    np.fill_diagonal(expected, 0.0)
    model = EASE(split_of(consumed), EASEConfig(l2=20.0), CPU)
    np.testing.assert_allclose(model.weights.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(model.score_all(torch.arange(800)).numpy(), x @ expected, atol=1e-4)


def test_item_knn_is_the_dense_computation():
    """Over several blocks of items; breaks where a block lands in the wrong rows or columns."""
    consumed = random_consumed(300, BLOCK + 88)
    x = consumed.astype(np.float64)
    counts = x.sum(0)
    similarity = (x.T @ x) / (np.sqrt(np.outer(counts, counts)) + 3.0)
    np.fill_diagonal(similarity, 0.0)
    order = np.argsort(-similarity, axis=1, kind="stable")  # ties: the smaller index
    kept = np.zeros_like(similarity)
    np.put_along_axis(kept, order[:, :7], np.take_along_axis(similarity, order[:, :7], 1), 1)
    model = ItemKNN(split_of(consumed), ItemKNNConfig(neighbours=7, shrink=3.0), CPU)
    np.testing.assert_allclose(model.weights.numpy(), kept.T, rtol=1e-6)


# --- what they learn --------------------------------------------------------------------------


@every_model
def test_planted_groups_are_learned(build: Build):
    """Two groups of users, two of items; the other group's items are the candidates.

    Nearly every held-out item must be in the first 10 of 100, where popularity finds a tenth.
    Breaks where users, items or the two sides of the weights are mixed up.
    """
    rng = np.random.default_rng(0)
    n_users, group_size = 120, 99
    consumed = np.zeros((n_users, 2 * group_size), dtype=bool)
    test, negatives = np.empty(n_users, dtype=np.int64), np.empty((n_users, 99), dtype=np.int64)
    for user in range(n_users):
        own = np.arange(group_size) * 2 + user % 2
        chosen = rng.choice(own, size=31, replace=False)
        consumed[user, chosen[1:]] = True
        test[user], negatives[user] = chosen[0], np.arange(group_size) * 2 + 1 - user % 2
    split = split_of(consumed, test, negatives)
    held = held_out(split, "test", CPU)
    popular = summary(rank_candidates(MostPop(split, CPU), held))
    learned = summary(rank_candidates(build(split), held))
    assert popular["HR@10"] < 0.25
    assert learned["HR@10"] > 0.95


@pytest.mark.needs_data("ml-100k")
@pytest.mark.parametrize(("build", "margin"), [(item_knn, 0.17), (ease, 0.22), (ials, 0.16)])
def test_each_is_far_above_popularity_on_movielens(build: Build, margin: float):
    """Measured differences of NDCG@10 were 0.21, 0.25 and 0.19; most of each must be there."""
    split = make_split(filter_rare(load("ml-100k")), "loo-random").refit()
    held = held_out(split, "test", CPU)
    popular = summary(rank_candidates(MostPop(split, CPU), held))
    learned = summary(rank_candidates(build(split), held))
    assert learned["NDCG@10"] > popular["NDCG@10"] + margin


# --- the edges --------------------------------------------------------------------------------


@every_model
def test_item_and_user_without_interactions_score_zero(build: Build):
    """Not NaN, which would rank as best; and a user without history inside a batch shifts none."""
    model = build(split_of(SMALL))
    scores = model.score_all(torch.tensor([4, 3, 4, 0, 3]))
    assert scores.isfinite().all()
    assert (scores[[0, 2]] == 0).all()  # the user without training items
    assert (scores[:, 3] == 0).all()  # the item that nobody consumed
    torch.testing.assert_close(scores[1], scores[4])
    assert scores[1, 1] > 0  # the user with one item gets what others consumed with it


@every_model
def test_candidates_are_scored_as_in_the_catalogue(build: Build):
    """More users than one block holds, repeated users and items."""
    consumed = random_consumed(40, 30)
    consumed[7] = False
    model = build(split_of(consumed))
    rng = np.random.default_rng(0)
    users = torch.from_numpy(rng.integers(40, size=BLOCK + 30))
    items = torch.from_numpy(rng.integers(30, size=(BLOCK + 30, 11)))
    scores = model.score_candidates(users, items)
    torch.testing.assert_close(scores, model.score_all(users).gather(1, items))


@every_model
def test_scores_may_be_overwritten(build: Build):
    """Full ranking writes -inf into what ``score_all`` gives; the model must not notice."""
    consumed = random_consumed(20, 60)
    test = np.array([np.flatnonzero(row)[0] for row in consumed])
    consumed[np.arange(20), test] = False
    split = split_of(consumed, test)
    model, held = build(split), held_out(split, "test", CPU)
    first = rank_catalogue(model, held)
    model.score_all(torch.arange(20)).fill_(-torch.inf)
    np.testing.assert_array_equal(rank_catalogue(model, held), first)


@every_model
def test_a_seed_gives_the_same_scores_on_any_number_of_threads(build: Build):
    split = split_of(random_consumed(200, 150))
    users = torch.arange(200)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = build(split, seed=3).score_all(users)
        torch.set_num_threads(2)
        two = build(split, seed=3).score_all(users)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)
    other = build(split, seed=4).score_all(users)
    assert torch.equal(one, other) == (build is not ials)  # only iALS draws anything


def test_singular_matrix_ends_in_a_sentence():
    """Two items with the same users, and an l2 that single precision rounds away."""
    consumed = np.ones((3, 2), dtype=bool)
    with pytest.raises(ReplicationError, match="use a larger l2"):
        EASE(split_of(consumed), EASEConfig(l2=1e-9), CPU)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ItemKNNConfig(neighbours=0),
        lambda: ItemKNNConfig(shrink=-1.0),
        lambda: EASEConfig(l2=0.0),
        lambda: EASEConfig(l2=float("nan")),
        lambda: IALSConfig(factors=0),
        lambda: IALSConfig(iterations=0),
        lambda: IALSConfig(unobserved_weight=0.0),
        lambda: IALSConfig(regularization=-0.1),
    ],
)
def test_impossible_configurations_are_refused(make: Callable[[], object]):
    with pytest.raises(ReplicationError, match="needs"):
        make()


def test_without_the_library_ials_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ReplicationError, match="pip install"):
        IALS(split_of(SMALL), IALSConfig(), CPU)
