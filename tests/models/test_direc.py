"""DiRec's re-creation: its picks by hand and against a slow second writing, and its edges."""

import numpy as np
import pytest
import torch
from torch import Tensor

from replication.baselines.direc import DISTANCES, DiRec, DiRecConfig, raised
from replication.baselines.item_knn import ItemKNN, ItemKNNConfig
from replication.baselines.popularity import MostPop
from replication.data import filter_rare, load
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates, rank_catalogue
from replication.metrics.ranking import summary
from replication.protocols import ABSENT, Split, make_split

CPU = torch.device("cpu")


class Table:
    """A base recommender with given scores [U, I]."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        return self.scores[users].gather(1, items)

    def score_all(self, users: Tensor) -> Tensor:
        return self.scores[users].clone()


def split_of(consumed: np.ndarray) -> Split:
    """A split whose training pairs are the non-zeros of consumed [U, I]."""
    n_users, n_items = consumed.shape
    users, items = np.nonzero(consumed)
    none, no_negatives = np.full(n_users, ABSENT), np.full((n_users, 99), ABSENT)
    return Split("made up", n_users, n_items, users, items, none, none, no_negatives, no_negatives)


def listed(scores: Tensor, k: int) -> list[list[int]]:
    """The first k columns of each row, the highest score first."""
    return scores.argsort(dim=1, descending=True, stable=True)[:, :k].tolist()


# Columns are the items a to f. a and b have the same users, c three of their four; d and e have
# two each and share one; f has none. The last user has consumed nothing.
USERS_OF = ({0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 4}, {5, 6}, {5, 7}, set())
SMALL = np.array([[user in users for users in USERS_OF] for user in range(9)])
A, B, C, D, E, F = range(6)


def small(**changes) -> DiRec:
    """DiRec on SMALL where everybody likes a best, then b, and so on."""
    base = Table(torch.arange(6.0, 0, -1).repeat(9, 1))
    return DiRec(base, split_of(SMALL), DiRecConfig(**changes), CPU)


def test_picks_by_hand():
    """Distances: a-b 0, a-c and b-c 1/4, d-e 1/2, all others 1.

    Breaks where a level forgets the one above, is not gone through from the highest score down,
    or counts an item at exactly the radius as covered.
    """
    users, everything = torch.tensor([8]), torch.arange(6)[None]
    # Radius 1: a; not b and c; d; not e; f. Radius 1/2: e. Radius 1/4: c. Radius 0: b.
    whole = [A, D, F, E, C, B]
    model = small()
    assert listed(model.score_candidates(users, everything), 6) == [whole]
    assert listed(model.score_all(users), 6) == [whole]
    # All six are picked, b as well: it lies above every base score.
    assert model.score_all(users).min() > 6
    assert small(order="score").score_all(users).min() > 6
    # The list of four is the first four of the list of six, and then comes what is left by score.
    four = small(n_candidates_picked=4)
    assert listed(four.score_candidates(users, everything), 6) == [[A, D, F, E, B, C]]
    by_score = small(n_candidates_picked=4, order="score")
    assert listed(by_score.score_candidates(users, everything), 6) == [[A, D, E, F, B, C]]
    # From radius 1/4 on: a, c, d, e, f at once, in the order of their scores.
    fine = small(radius=0.25)
    assert listed(fine.score_candidates(users, everything), 6) == [[A, C, D, E, F, B]]
    # Radii 1 and 1/4 without 1/2 in between: c comes before e.
    steep = small(refinement=4.0)
    assert listed(steep.score_candidates(users, everything), 6) == [[A, D, F, C, E, B]]


def test_consumed_items_are_not_picked():
    """Breaks where the history gets into the list, or covers an item of it."""
    scores = small(n_catalogue_picked=2).score_all(torch.tensor([0]))  # consumed a, b and c
    assert listed(scores, 2) == [[D, F]]
    torch.testing.assert_close(scores[0, [A, B, C, E]], torch.tensor([6.0, 5, 4, 2]))
    # More picks than items that are left: all of them, then the history by its own scores.
    assert listed(small().score_all(torch.tensor([0])), 6) == [[D, F, E, A, B, C]]
    # User 6 consumed d alone, which would have kept e out of the first level.
    users, everything = torch.tensor([6]), torch.arange(6)[None]
    assert listed(small().score_all(users), 6) == [[A, E, F, C, B, D]]
    assert listed(small().score_candidates(users, everything), 6) == [[A, E, F, C, B, D]]


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_those_of_the_binary_vectors(distance):
    """All pairs against numpy; an item of nobody and one of everybody are at no NaN."""
    rng = np.random.default_rng(0)
    consumed = rng.random((40, 12)) < 0.4
    consumed[:, 3], consumed[:, 7] = False, True
    model = DiRec(
        Table(torch.zeros(40, 12)), split_of(consumed), DiRecConfig(distance=distance), CPU
    )
    found = model.distances(torch.arange(12)[:, None], torch.arange(12).expand(12, -1))
    x = consumed.astype(float)
    together, counts = x.T @ x, x.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = {
            "cosine": together / np.sqrt(np.outer(counts, counts)),
            "jaccard": together / (counts[:, None] + counts - together),
            "correlation": np.corrcoef(x.T),
        }[distance]
    expected = torch.from_numpy(1 - np.nan_to_num(similarity, nan=0.0)).float()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (found[3] == 1).all()
    assert (found >= 0).all()


def slow_picks(
    order: list[int], distance: np.ndarray, radii: list[float], k: int
) -> tuple[list[int], int]:
    """Decisions 1 to 4 word by word, level after level, item after item; and the last level."""
    medoids: list[int] = []
    for level, radius in enumerate(radii):
        for item in order:
            if item not in medoids and all(distance[item, m] >= radius for m in medoids):
                medoids.append(item)
        if len(medoids) >= k:
            return medoids[:k], level
    return medoids, len(radii)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("radius", "refinement"), [(1.0, 2.0), (0.9, 1.3), (0.6, 2.0), (0.0, 2.0)])
def test_picks_are_those_of_the_slow_writing(distance, radius, refinement):
    """All users of a block at once, each on a level of their own, pick as one would by hand."""
    rng = np.random.default_rng(1)
    taste = rng.integers(4, size=50)
    # Users of 4 tastes and items with many and few users, so that lists need several levels.
    chance = np.where(rng.integers(4, size=60)[:, None] == taste, 0.6, 0.05) * rng.random(50)
    consumed = rng.random((60, 50)) < chance
    scores = torch.from_numpy(rng.normal(size=(60, 50))).float()
    config = DiRecConfig(
        n_catalogue_picked=12, pool=40, radius=radius, refinement=refinement, distance=distance
    )
    model = DiRec(Table(scores), split_of(consumed), config, CPU)
    users = torch.randperm(60, generator=torch.manual_seed(0))
    found = dict(zip(users.tolist(), listed(model.score_all(users), 12), strict=True))
    everything = torch.arange(50)
    between = model.distances(everything[:, None], everything.expand(50, -1)).numpy()
    # The radii in the precision of the distances.
    radii = [np.float32(radius / refinement**level) for level in range(20)] + [0.0]
    levels = set()
    for user in range(60):
        best = [i for i in scores[user].argsort(descending=True).tolist() if not consumed[user, i]]
        expected, level = slow_picks(best[:40], between, radii, 12)
        assert found[user] == expected
        levels.add(level)
    assert len(levels) > 1 or radius < 0.9  # the case is no trivial one


def test_picks_cover_planted_clusters_at_a_bounded_loss():
    """Breaks where a cluster is represented by anything but its best item, or by two items.

    Five clusters of items, each consumed by a fifth of a hundred users; a hundred new users like
    one cluster best, then the next.
    """
    rng = np.random.default_rng(2)
    cluster, fan = np.repeat(np.arange(5), 20), np.arange(100) % 5
    consumed = (fan[:, None] == cluster) & (rng.random((100, 100)) < 0.7)
    liking = -0.5 * ((cluster - fan[:, None]) % 5) + 0.5 * rng.random((100, 100))
    scores = torch.from_numpy(liking).float()
    base = Table(torch.cat([torch.zeros(100, 100), scores]))
    split = split_of(np.concatenate([consumed, np.zeros_like(consumed)]))
    model = DiRec(base, split, DiRecConfig(n_candidates_picked=5), CPU)
    new, candidates = torch.arange(100, 200), torch.arange(100).expand(100, -1)
    plain = torch.tensor(listed(scores, 5))
    picks = torch.tensor(listed(model.score_candidates(new, candidates), 5))
    assert (np.ptp(cluster[plain], axis=1) == 0).all()  # the base's list: a single cluster
    # The first level holds one item of each cluster, the best one; the best of all comes first.
    best = scores.view(100, 5, 20).amax(2)
    torch.testing.assert_close(scores.gather(1, picks), best.sort(1, descending=True).values)
    lost = scores.gather(1, plain).mean() - scores.gather(1, picks).mean()
    at_random = scores.gather(1, plain).mean() - scores.mean()
    assert 0 < lost < 0.9 * at_random


def test_radius_zero_is_the_base_ranking(tiny):
    split = make_split(tiny, "loo-random").refit()
    held = held_out(split, "test", CPU)
    base = Table(torch.randn(split.n_users, split.n_items, generator=torch.manual_seed(0)))
    same = DiRec(base, split, DiRecConfig(radius=0.0), CPU)
    other = DiRec(base, split, DiRecConfig(), CPU)
    for rank in (rank_candidates, rank_catalogue):
        np.testing.assert_array_equal(rank(same, held), rank(base, held))
        assert (rank(other, held) != rank(base, held)).any()  # the control


def test_nothing_but_users_and_items_decides(tiny):
    """Two builds, users alone or in a block, candidates in any order: the same scores.

    The base gives many items the same score; if the place among the candidates broke such a tie,
    the held-out item, which comes first, would win it.
    """
    split = make_split(tiny, "loo-random").refit()
    held = held_out(split, "test", CPU)
    base = MostPop(split, CPU)
    model, again = (DiRec(base, split, DiRecConfig(), CPU) for _ in range(2))
    # Of the candidates all but a few: an absent one may stand for an item that is in them too.
    users, items = held.users, held.items[:, :30]
    scores = model.score_candidates(users, items)
    assert torch.equal(scores, again.score_candidates(users, items))
    assert torch.equal(scores[5:6], model.score_candidates(users[5:6], items[5:6]))
    mixed = torch.randperm(30, generator=torch.manual_seed(0))
    assert torch.equal(scores[:, mixed], model.score_candidates(users, items[:, mixed]))
    assert torch.equal(model.score_all(users), again.score_all(users))
    assert torch.equal(model.score_all(users)[7:8], model.score_all(users[7:8]))


def test_fewer_candidates_than_picks_and_repeated_candidates():
    users = torch.tensor([8, 8])
    model = small()  # ten picks
    three = model.score_candidates(users, torch.tensor([[B, A, F], [D, E, C]]))
    assert listed(three, 3) == [[1, 2, 0], [2, 0, 1]]  # columns of a, f, b and of c, d, e
    assert torch.isfinite(three).all()
    # An absent candidate is given as item 0: repeated, it takes no second place in the list.
    two = small(n_candidates_picked=2)
    scores = two.score_candidates(users[:1], torch.tensor([[A, D, A, B, A]]))
    assert listed(scores, 5)[0][-2:] == [1, 3]  # d is the second pick, b is not picked
    assert scores[0, 0] == scores[0, 2] == scores[0, 4]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e8])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
def test_picks_are_above_the_rest_at_any_size_of_scores(size, shift):
    """Breaks where what lifts the picks is lost in rounding, or changes scores of the rest."""
    scores = size * (torch.linspace(0, 1, 300)[None] + shift)
    place = torch.full((1, 300), 300)
    place[0, 200:230] = torch.arange(30).flip(0)
    columns = torch.arange(300)[None]
    above = raised(scores, columns, place)
    assert listed(above, 31) == [[*range(229, 199, -1), 299]]
    assert len(above[0, 200:230].unique()) == 30
    rest = place[0] == 300
    assert torch.equal(above[0, rest], scores[0, rest])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"radius": 1.5}, "radius from 0 to 1"),
        ({"radius": float("nan")}, "radius from 0 to 1"),
        ({"refinement": 1.0}, "refinement above 1"),
        ({"n_candidates_picked": 0}, "at least one"),
        ({"pool": 20}, "30 items from a pool of 20"),
        ({"distance": "euclid"}, "cosine, jaccard, correlation"),
        ({"order": "random"}, "pick, score"),
    ],
    ids=str,
)
def test_wrong_choices_are_named(changes, says):
    with pytest.raises(ReplicationError, match=says):
        DiRecConfig(**changes)


@pytest.mark.needs_data("ml-100k")
def test_lists_of_ml_100k_are_more_diverse_and_less_accurate():
    split = make_split(filter_rare(load("ml-100k")), "loo-random").refit()
    held = held_out(split, "test", CPU)
    base = ItemKNN(split, ItemKNNConfig(), CPU)
    model = DiRec(base, split, DiRecConfig(), CPU)

    def diversity(ranker) -> float:
        scores = ranker.score_candidates(held.users, held.items)
        best = held.items.gather(1, scores.topk(10, 1).indices)
        pairs = [model.distances(best[:, i : i + 1], best) for i in range(10)]
        return float(torch.stack(pairs).mean()) / 0.9  # without the zeros of an item to itself

    accuracy = {name: summary(rank_candidates(m, held)) for name, m in (("b", base), ("d", model))}
    assert diversity(model) > diversity(base) + 0.05
    assert 0.3 < accuracy["d"]["HR@10"] < accuracy["b"]["HR@10"] - 0.05
    assert accuracy["d"]["NDCG@10"] < accuracy["b"]["NDCG@10"]
