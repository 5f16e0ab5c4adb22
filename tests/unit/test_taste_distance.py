"""Taste distance: against plain loops and SciPy, and what happens at the edges.

The formulas go red for another base, a missing root or a missing half; the distributions for a
mean over padded places; the space for a dense or uncentred matrix and for one that sees test items.
"""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist, jensenshannon
from scipy.special import softmax

from replication.compare import load_published
from replication.metrics import taste_distance as tdd
from replication.papers.amp_cf import readings
from replication.protocols import ABSENT, Split, make_split

LIMIT = np.sqrt(np.log(2))


def split_of(users, items, n_users, n_items) -> Split:
    none, few = np.full(n_users, ABSENT), np.full((n_users, 99), ABSENT)
    return Split("made up", n_users, n_items, users, items, none, none, few, few)


@pytest.fixture
def split(make_tiny):
    return make_split(make_tiny(n_users=70, n_items=140, per_user=12), "loo-random").refit()


def random_distributions(n, clusters=50, seed=0):
    """Rows from nearly uniform to nearly all on one cluster."""
    rng = np.random.default_rng(seed)
    return softmax(rng.normal(size=(n, clusters)) * rng.uniform(0.05, 40, size=(n, 1)), axis=1)


def test_jensen_shannon_is_scipys_with_the_natural_logarithm():
    p, q = random_distributions(200), random_distributions(200, seed=1)
    expected = [jensenshannon(a, b) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(tdd.jensen_shannon_printed(p, q), expected, rtol=1e-9)


def test_hellinger_by_hand():
    p, q = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    by_hand = np.sqrt(((np.sqrt(0.5) - 1) ** 2 + 0.5) / 2)
    np.testing.assert_allclose(tdd.hellinger_printed(p, q), [by_hand, 1.0])


def test_equal_distributions_are_at_zero_and_disjoint_ones_at_the_limit():
    p = np.array([[0.25, 0.75, 0, 0], [0.5, 0.5, 0, 0]])
    q = np.array([[0.25, 0.75, 0, 0], [0, 0, 0.5, 0.5]])
    assert tdd.jensen_shannon_printed(p, q) == pytest.approx([0, LIMIT])
    assert tdd.hellinger_printed(p, q) == pytest.approx([0, 1])
    assert np.isnan(tdd.jensen_shannon_printed(p * np.nan, q)).all()


def test_the_printed_formulas_cannot_both_have_given_table_3(published_pairs):
    """sqrt(ln 2) <= JS / Hellinger <= 1 whatever the lists, so that a factor cannot do it.

    Both squares are sums over clusters of m_k f(x_k), where p_k = m_k (1 + x_k): bounds on the
    quotient of the two f are bounds on that of the sums.
    """
    low, high = readings.ratio_bounds()
    x = np.linspace(1e-3, 1 - 1e-12, 100_000)
    pair = np.stack([1 + x, 1 - x])
    quotient = (pair * np.log(pair)).sum(0) / 2 / (1 - np.sqrt(1 - x**2))
    assert low**2 <= quotient.min() and quotient.max() <= high**2
    p, q = random_distributions(5_000), random_distributions(5_000, seed=1)
    ratio = tdd.jensen_shannon_printed(p, q) / tdd.hellinger_printed(p, q)
    assert low - 1e-12 <= ratio.min() and ratio.max() <= high + 1e-12
    printed = np.array([js / hellinger for js, hellinger in published_pairs])
    assert len(printed) == 50
    assert printed.max() / printed.min() > 3.5 > high / low


@pytest.fixture
def published_pairs():
    frame = load_published("amp_cf")
    table = frame[frame["table"] == "table3"].copy()
    table["metric"] = table["metric"].str.split().str[0]
    wide = table.pivot(index=["row", "dataset"], columns="metric", values="value")
    return list(zip(wide["JS"], wide["Hellinger"], strict=True))


def test_vectors_are_the_centred_principal_components(split):
    """Against NumPy's SVD of the dense, centred matrix; signs are free, products are not."""
    dense = np.zeros((split.n_items, split.n_users))
    dense[split.train_items, split.train_users] = 1
    left, size, _ = np.linalg.svd(dense - dense.mean(0), full_matrices=False)
    expected = left[:, :20] * size[:20]
    found = tdd.principal_components(split, components=20)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_space_is_made_of_training_items_only(split):
    other = dataclasses.replace(split, test=np.roll(split.test, 1))
    one, two = tdd.taste_space(split, clusters=9), tdd.taste_space(other, clusters=9)
    np.testing.assert_array_equal(one.distances, two.distances)
    assert one.vectors.shape == (140, 70) and one.distances.shape == (140, 9)
    reseeded = tdd.taste_space(split, seed=1, clusters=9)
    assert not np.array_equal(reseeded.labels, one.labels)


def test_distances_are_cosine_distances_to_the_means(split):
    space = tdd.taste_space(split, components=10, clusters=9)
    expected = cdist(space.vectors, space.centroids, "cosine")
    np.testing.assert_allclose(space.distances, expected, atol=1e-5)
    means = [space.vectors[space.labels == k].mean(0) for k in range(9)]
    np.testing.assert_allclose(space.centroids, means, atol=1e-4)


def test_a_vector_of_zeros_is_at_distance_one_from_everything():
    zero, other = np.zeros((1, 3)), np.eye(3)
    np.testing.assert_array_equal(
        1 - tdd.directions(zero) @ tdd.directions(other).T, np.ones((1, 3))
    )


def test_an_item_that_nobody_consumed_and_a_catalogue_smaller_than_asked_for():
    """Item 5 is consumed by nobody; 6 items and 4 users make 4 components and 6 clusters."""
    users, items = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 2, 3, 4])
    space = tdd.taste_space(split_of(users, items, 4, 6))
    assert space.vectors.shape == (6, 4) and space.distances.shape == (6, 6)
    assert np.isfinite(space.distances).all()
    assert 0 <= space.distances.min() + 1e-9 and space.distances.max() <= 2 + 1e-9


def test_distributions_are_a_softmax_over_the_mean_of_the_lists_distances(split):
    space = tdd.taste_space(split, components=10, clusters=9)
    lists = np.array([[3, 5, 7], [4, ABSENT, ABSENT], [8, 2, ABSENT], [ABSENT] * 3])
    found = tdd.taste_distributions(space, tdd.membership(lists, split.n_items))
    nearest = tdd.taste_distributions(space, tdd.membership(lists, split.n_items), similarity=True)
    for row, near, own in zip(found[:3], nearest[:3], ([3, 5, 7], [4], [8, 2]), strict=True):
        mean = np.mean([space.distances[item] for item in own], axis=0)  # of d_ij
        np.testing.assert_allclose(row, np.exp(mean) / np.exp(mean).sum())
        np.testing.assert_allclose(near, np.exp(1 - mean) / np.exp(1 - mean).sum())
    assert np.isnan(found[3]).all()  # a list without items has no tastes


def test_histories_are_the_training_items(split):
    space = tdd.taste_space(split, components=10, clusters=9)
    found = tdd.taste_distributions(space, tdd.history(split))
    for user in (0, 33, 69):
        own = split.train_items[split.train_users == user]
        mean = space.distances[own].mean(0)
        np.testing.assert_allclose(found[user], np.exp(mean) / np.exp(mean).sum())


def test_a_list_that_is_the_history_is_at_zero_and_a_shared_one_is_not(split):
    space = tdd.taste_space(split, components=10, clusters=9)
    consumed = tdd.taste_distributions(space, tdd.history(split))
    assert (tdd.jensen_shannon_printed(consumed, consumed) == 0).all()
    everyone = np.tile(np.arange(5), (split.n_users, 1))
    recommended = tdd.taste_distributions(space, tdd.membership(everyone, split.n_items))
    assert (tdd.hellinger_printed(recommended, consumed) > 1e-4).all()


def test_the_interactions_are_never_made_dense():
    """2,500 users and as many items are 25 MB as float32; the components need less than that."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(2_500, size=(2, 20_000))
    split = split_of(users, items, 2_500, 2_500)
    tracemalloc.start()
    tdd.principal_components(split, components=30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_500 * 2_500 * 4


@pytest.mark.parametrize("column", ["JS", "Hellinger"])
def test_every_reading_is_a_finite_number_and_zero_for_equal_lists(column):
    mean = np.random.default_rng(0).uniform(0.2, 1.4, size=(40, 50))
    other = np.random.default_rng(1).uniform(0.2, 1.4, size=(40, 50))
    for name, reading in readings.READINGS[column].items():
        apart, same = reading(mean, other), reading(mean, mean)
        assert apart.shape == (40,) and np.isfinite(apart).all() and (apart > 0).all(), name
        assert same == pytest.approx(np.zeros(40), abs=1e-6), name


def test_fit_finds_the_factor_and_the_power():
    measured = {"a": 0.1, "b": 0.2, "c": 0.8, "only here": 1.0}
    printed = {row: 3 * value**0.5 for row, value in measured.items() if len(row) == 1}
    found = readings.fit(measured, printed | {"only there": 2.0})
    assert found["slope"] == pytest.approx(0.5)
    assert found["spread"] == pytest.approx(8**0.5)
    right = readings.fit(measured, {row: 3 * value for row, value in measured.items()})
    assert right == pytest.approx({"factor": 3, "spread": 1, "slope": 1})


def test_every_user_and_item_at_the_edge_has_a_defined_distance():
    """A history of one item, none at all, a list that is short or empty, an item of nobody.

    Goes red if one of them makes another user's value, or a defined one of its own, NaN.
    """
    histories = [[0], [0, 1, 2], [], [3, 4], [5]]
    users = np.repeat(np.arange(5), [len(own) for own in histories])
    split = split_of(users, np.concatenate(histories).astype(np.int64), 5, 8)  # 6 and 7: nobody's
    space = tdd.taste_space(split, clusters=4)
    lists = np.full((5, 30), ABSENT)
    lists[0, :2], lists[1, :7], lists[2, :3], lists[3, :1] = [6, 7], range(1, 8), range(3), [7]
    both = [
        tdd.taste_distributions(space, items)
        for items in (tdd.membership(lists, split.n_items), tdd.history(split))
    ]
    np.testing.assert_allclose(both[1][0], softmax(space.distances[0]))  # the one item
    for distance, most in ((tdd.jensen_shannon_printed, LIMIT), (tdd.hellinger_printed, 1)):
        found = distance(*both)
        assert np.isnan(found).tolist() == [False, False, True, False, True]
        assert ((found[[0, 1, 3]] >= 0) & (found[[0, 1, 3]] <= most)).all()


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_clusters_that_stay_empty_leave_a_space():
    """Twelve items of two kinds make two different vectors, which cannot fill five clusters."""
    users, items = np.nonzero(np.kron(np.eye(2), np.ones((4, 6))))  # 8 users, 12 items
    split = split_of(users, items, 8, 12)
    space = tdd.taste_space(split, clusters=5)
    assert len(np.unique(space.labels)) == 2 and space.distances.shape == (12, 5)
    assert np.isfinite(space.distances).all()
    consumed = tdd.taste_distributions(space, tdd.history(split))
    np.testing.assert_allclose(consumed.sum(1), 1)
    across = tdd.jensen_shannon_printed(consumed[:1], consumed[-1:])
    assert across > 0.01 > tdd.jensen_shannon_printed(consumed[:1], consumed[1:2])
