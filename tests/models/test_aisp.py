"""AISP: its K-means against scikit-learn's, its scores spelled out, and what it does at the edges.

Goes red if a start, a user or a padded place gets into another's means, if attention is left out
of the score, or if a user with few items breaks the batch.
"""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from replication.baselines.aisp import AISP, AISPConfig, k_means
from replication.evaluation import held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.metrics.taste_distance import principal_components
from replication.papers.amp_cf.experiments import split_for
from replication.protocols import ABSENT, Split, make_split

CPU = torch.device("cpu")


def split_of(histories: list[list[int]], n_items: int) -> Split:
    users = np.repeat(np.arange(len(histories)), [len(own) for own in histories])
    items = np.concatenate([np.asarray(own, dtype=np.int64) for own in histories])
    none, few = np.full(len(histories), ABSENT), np.full((len(histories), 99), ABSENT)
    return Split("made up", len(histories), n_items, users, items, none, none, few, few)


@pytest.fixture(scope="module")
def ragged() -> Split:
    """Histories of 3 to 40 items, in no order."""
    rng = np.random.default_rng(0)
    return split_of([rng.choice(90, rng.integers(3, 41), False).tolist() for _ in range(60)], 90)


def means_of(model: AISP, personas: int) -> np.ndarray:
    return model.amp.personas.unflatten(1, (personas, -1)).numpy()  # [U, p, P]


@pytest.mark.parametrize("personas", [2, 4])
def test_means_are_as_good_as_those_of_scikit_learn(ragged, personas):
    config = AISPConfig(personas=personas, components=12)
    means = means_of(AISP(ragged, config, CPU), personas)
    vectors = principal_components(ragged, 12)
    ours, theirs = [], []
    for user in range(ragged.n_users):
        own = vectors[ragged.train_items[ragged.train_users == user]]
        if len(own) < personas:
            continue
        squared = ((own[:, None] - means[user]) ** 2).sum(-1)  # [h, p]
        label = squared.argmin(1)
        for k in np.unique(label):  # a fixed point of Lloyd's algorithm
            np.testing.assert_allclose(own[label == k].mean(0), means[user, k], atol=1e-4)
        ours.append(squared.min(1).sum())
        theirs.append(KMeans(personas, n_init=10, random_state=0).fit(own).inertia_)
    # Both keep the best of ten starts: neither is ahead by more than chance.
    assert np.sum(ours) < 1.01 * np.sum(theirs)


def test_a_single_start_is_worse_than_the_best_of_ten(ragged):
    def inertia(starts: int) -> float:
        means = means_of(AISP(ragged, AISPConfig(4, 12, starts=starts), CPU), 4)
        own = principal_components(ragged, 12)[ragged.train_items]
        squared = ((own[:, None] - means[ragged.train_users]) ** 2).sum(-1)
        return float(squared.min(1).sum())

    assert inertia(10) < inertia(1)


def test_vectors_of_unit_length_and_not_centred():
    """The item that nobody consumed keeps zeros; the two options change what they say."""
    split = split_of([[0, 1, 2], [0, 1], [0, 3], [0, 2, 3]], 5)
    items = {
        (centred, unit): AISP(
            split, AISPConfig(components=12, centred=centred, unit_length=unit), CPU
        ).amp.items
        for centred in (True, False)
        for unit in (True, False)
    }
    for centred in (True, False):
        plain, unit = items[centred, False], items[centred, True]
        directions = plain / plain.norm(dim=1, keepdim=True).clamp(min=1e-12)
        torch.testing.assert_close(unit, directions)
        assert items[centred, False].norm(dim=1).std() > 0.05
    assert items[False, True][4].abs().max() == 0 and items[True, True][4].norm() > 0.99
    # Without centring the dot products are counts of common users.
    torch.testing.assert_close(items[False, False][0] @ items[False, False][1], torch.tensor(2.0))


def test_score_is_the_attentive_mixture_with_identity_maps(ragged):
    model = AISP(ragged, AISPConfig(personas=3, components=12), CPU)
    means, vectors = torch.from_numpy(means_of(model, 3)), model.amp.items
    users, items = torch.tensor([4, 17]), torch.tensor([[1, 80, 3], [5, 5, 9]])
    found = model.score_candidates(users, items)
    for b in range(2):
        for c in range(3):
            affinity = means[users[b]] @ vectors[items[b, c]]  # s_a, with A = I
            x = torch.softmax(affinity, 0) @ means[users[b]]
            torch.testing.assert_close(found[b, c], x @ vectors[items[b, c]])
    torch.testing.assert_close(model.score_all(users).gather(1, items), found)


def test_a_seed_gives_the_same_means_again(ragged):
    config = AISPConfig(personas=3, components=12, starts=1)
    one, two, other = (AISP(ragged, config, CPU, seed).amp.personas for seed in (5, 5, 6))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_users_with_fewer_items_than_means():
    """None, one, two, and an item that nobody consumed: the means that they must have."""
    split = split_of([[0, 1, 2, 3], [2], [], [1, 3], [0, 4, 5]], 7)
    model = AISP(split, AISPConfig(personas=3), CPU)
    means, vectors = means_of(model, 3), model.amp.items.numpy()
    np.testing.assert_allclose(means[1], np.tile(vectors[2], (3, 1)), atol=1e-5)
    assert (means[2] == 0).all()
    apart = np.abs(means[3][:, None] - vectors[[1, 3]]).sum(-1)  # [p, 2]
    assert (apart.min(1) < 1e-4).all() and (apart.min(0) < 1e-4).all()  # both items, one twice
    scores = model.score_all(torch.arange(5))
    assert scores.isfinite().all() and (scores[2] == 0).all()


def test_a_cluster_that_empties_keeps_its_mean():
    """Four copies of a vector leave all but one cluster empty; a far one is then its own mean."""
    vectors = torch.tensor([[[1.0, 2.0]] * 4, [[1.0, 2.0]] * 3 + [[9.0, 9.0]]])
    config = AISPConfig(personas=3, starts=2)
    generator = torch.Generator().manual_seed(0)
    means = k_means(vectors, torch.ones(2, 4, dtype=torch.bool), config, generator)
    torch.testing.assert_close(means[0], torch.tensor([[1.0, 2.0]] * 3))
    assert (means[1] == 9).all(1).any() and (means[1] == torch.tensor([1.0, 2.0])).all(1).any()


def test_padding_takes_no_part():
    vectors = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(1))
    padded = torch.cat([vectors, torch.full((1, 5, 4), 50.0)], dim=1)
    valid = torch.arange(11)[None] < 6
    config = AISPConfig(personas=2, starts=20)
    found = [
        k_means(some, mask, config, torch.Generator().manual_seed(0))[0]
        for some, mask in ((vectors, valid[:, :6]), (padded, valid))
    ]
    plain, with_padding = (means[means[:, 0].argsort()] for means in found)
    torch.testing.assert_close(plain, with_padding)


def test_explanations_find_planted_tastes():
    """Users of two out of four tastes: the items that a mean claims are of one taste."""
    rng = np.random.default_rng(0)
    histories = [
        np.concatenate([4 * rng.choice(40, 12, False) + taste for taste in rng.choice(4, 2, False)])
        for _ in range(100)
    ]
    split = split_of([own.tolist() for own in histories], 160)
    model = AISP(split, AISPConfig(personas=2, components=8, starts=3), CPU)
    right = []
    for user, own in enumerate(histories):
        why = model.explain(user, int(own[0]), torch.from_numpy(own))
        claimed = np.isin(own, why.claimed.numpy())
        right.append((claimed == (own % 4 == own[0] % 4)).mean())
    assert np.mean(right) > 0.8  # by chance 0.5


def test_knows_more_than_chance(make_tiny):
    split = make_split(make_tiny(n_users=90, n_items=150, per_user=20), "loo-random")
    model = AISP(split, AISPConfig(components=10), CPU)
    shuffled = dataclasses.replace(split, test=np.roll(split.test, 1))  # another taste's item
    found, control = (
        summary(rank_candidates(model, held_out(s, "test", CPU)))["HR@10"]
        for s in (split, shuffled)
    )
    assert found > 0.2 > 0.15 > control


@pytest.mark.needs_data("ml-latest-small")
def test_accuracy_is_near_the_published():
    """HR@10 of AISP-2 in Table 2: 0.6895."""
    split = split_for("ml-latest-small", "loo-random")
    model = AISP(split.refit(), AISPConfig(starts=1), CPU)
    found = summary(rank_candidates(model, held_out(split, "test", CPU)))["HR@10"]
    assert abs(found - 0.6895) < 0.04
