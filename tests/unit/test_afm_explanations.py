"""Measures of AFM's attention: on numbers by hand, and on users of whom the truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from replication.errors import ReplicationError
from replication.folds import Ratings
from replication.item_features import FeatureTable, encode
from replication.item_features import shuffled as dealt_anew
from replication.papers.afm import explanations as measures
from replication.papers.afm.model import AFM, AFMConfig
from replication.rating_training import fit_ratings

CPU = torch.device("cpu")
# Items 0, 1: genre a; 2: a and b; 3: b; 4: none. Directors x, y, x, -, y.
TABLE = FeatureTable(
    ("genre", "director"),
    np.array([[[0, 0], [2, 0]], [[0, 0], [3, 0]], [[0, 1], [2, 0]], [[1, 0], [0, 0]],
              [[0, 0], [3, 0]]]),
    np.array([[[1, 0], [1, 0]], [[1, 0], [1, 0]], [[1, 1], [1, 0]], [[1, 0], [0, 0]],
              [[0, 0], [1, 0]]], dtype=bool),
    ("a", "b", "x", "y"),
    np.array([0, 0, 1, 1]),
)  # fmt: skip


def rng(seed=0):
    return np.random.default_rng(seed)


def ratings_of(*triples):
    users, items, values = (np.array(column) for column in zip(*triples, strict=True))
    return Ratings(users, items, values.astype(np.float32))


RATINGS = ratings_of(
    (0, 0, 5), (0, 1, 5), (0, 2, 3), (0, 4, 1),  # genre a, a, a/b, none; director x, y, x, y
    (1, 3, 5), (1, 4, 4),  # genre b, none; director y once
    (3, 0, 2), (3, 2, 5),  # director x twice
)  # fmt: skip

# The planted users; AFM with Eq. 4 learns them in seconds.
CONFIG = AFMConfig(
    dimension=8, method="adam", learning_rate=0.03, batch_size=512, interaction="inner",
    biases=True, max_epochs=12,
)  # fmt: skip


def fitted(split):
    return fit_ratings(lambda: AFM(split, CONFIG), split, CONFIG, 0, CPU, [], progress=False).model


@pytest.fixture(scope="module")
def planted():
    return measures.planted()


@pytest.fixture(scope="module")
def model(planted):
    return fitted(planted.split)


def rmse(model, split):
    with torch.no_grad():
        columns = (torch.from_numpy(x) for x in (split.test.users, split.test.items))
        return float(
            np.sqrt(np.mean((model(*columns).clamp(1, 5).numpy() - split.test.values) ** 2))
        )


# --- by hand -----------------------------------------------------------------------------------


def test_spread_by_hand():
    found = measures.spread(RATINGS, TABLE, "genre", 4)
    assert found.vocabulary == ("a", "b") and found.n_items.tolist() == [3, 1, 0, 2]
    np.testing.assert_allclose(found.shares, [[2.5 / 3, 0.5 / 3], [0, 1], [0, 0], [0.75, 0.25]])
    np.testing.assert_allclose(found.entropy[0], stats.entropy([5, 1]))
    assert found.entropy[1] == 0 and np.isnan(found.entropy[2])
    directors = measures.spread(measures.favourites(RATINGS), TABLE, "director", 4)
    assert directors.shares.tolist() == [[0.5, 0.5], [0, 0], [0, 0], [1, 0]]
    assert directors.n_items.tolist() == [2, 0, 0, 1]
    with pytest.raises(ReplicationError, match="no feature 'year'; there are genre, director"):
        measures.spread(RATINGS, TABLE, "year", 4)


def test_standard_ranks_give_spearman():
    x, y = rng().integers(5, size=(2, 40))
    assert measures.standard_ranks(x) @ measures.standard_ranks(y) == pytest.approx(
        stats.spearmanr(x, y).statistic
    )
    assert not measures.standard_ranks(np.ones(4)).any()


def spread_of(entropy, count):
    """A spread over two values with entropies between 0 and log 2."""
    grid = np.linspace(0, 0.5, 5001)
    values = -(grid * np.log(np.maximum(grid, 1e-300)) + (1 - grid) * np.log(1 - grid))
    p = np.interp(entropy, values, grid)
    return measures.Spread(np.stack([p, 1 - p], 1), count, ("a", "b"))


def test_following_finds_what_is_planted():
    draw = rng(1)
    entropy, count = draw.uniform(0.01, 0.69, 200), draw.integers(20, 200, 200)
    spread = spread_of(entropy, count)
    made = measures.following(-entropy + 0.2 * draw.random(200), spread, rng(), draws=200)
    assert made.correlation > 0.8 and made.p == pytest.approx(1 / 201)
    assert made.low < made.correlation < made.high and abs(made.shuffled) < 0.03
    assert made.given_count > 0.8 and made.users == 200
    assert measures.following(entropy, spread, rng(), draws=99).correlation < -0.99  # the sign
    nothing = measures.following(draw.random(200), spread, rng(), draws=200)
    assert nothing.p > 0.05 and nothing.low < 0 < nothing.high


def test_following_takes_the_number_of_ratings_out():
    draw = rng(2)
    count = draw.permutation(np.arange(20, 420))
    entropy = 0.6 * (count / 420) + 0.02 * draw.random(400)
    attention = -count + 10 * draw.standard_normal(400)  # follows the count and nothing else
    found = measures.following(attention, spread_of(entropy, count), rng(), draws=99)
    assert found.correlation > 0.9 and abs(found.given_count) < 0.2


def test_the_number_of_ratings_is_taken_out_in_a_curve_too():
    """Of what follows it in a curve a straight line would leave a correlation."""
    z = measures.standard_ranks(np.arange(400))
    given = measures.Given.of(z)
    assert given.basis.shape == (400, 3)
    curve = measures.standard_ranks((z - 0.02) ** 2)
    straight = curve - (curve @ z) * z
    assert np.linalg.norm(given.rest(curve)) < 0.4 * np.linalg.norm(straight)
    # Two numbers are a line, and one is none.
    assert measures.Given.of(measures.standard_ranks(np.arange(9) % 2)).basis.shape[1] == 1
    none = measures.Given.of(np.zeros(9))
    assert none.rest(np.ones(9)).tolist() == [1] * 9
    assert (
        not measures.Given.of(measures.standard_ranks(np.arange(9) % 2))
        .rest(measures.standard_ranks(np.arange(9) % 2))
        .any()
    )


def test_the_partial_correlation_by_hand():
    """With two numbers of ratings it is the textbook's, of three correlations."""
    draw = rng(3)
    count = np.where(draw.random(300) < 0.5, 30, 90)
    entropy = np.clip(0.3 + 0.002 * count + 0.05 * draw.standard_normal(300), 0.02, 0.68)
    attention = -entropy - 0.01 * count + 0.1 * draw.standard_normal(300)
    spread = spread_of(entropy, count)
    x, y, z = (measures.standard_ranks(v) for v in (attention, -spread.entropy, count))
    wanted = (x @ y - (x @ z) * (y @ z)) / np.sqrt((1 - (x @ z) ** 2) * (1 - (y @ z) ** 2))
    found = measures.following(attention, spread, rng(), draws=200)
    assert found.given_count == pytest.approx(wanted)
    assert found.given_low < wanted < found.given_high and found.given_p < 0.01


def test_the_level_given_the_number_of_ratings_is_kept():
    """Attention and entropy both follow the number, and nothing else: 5 % false alarms."""
    draw, found = rng(4), []
    for _ in range(120):
        count = draw.integers(20, 200, 60)
        entropy = 0.1 + 0.4 * count / 200 + 0.1 * draw.random(60)
        attention = -np.log(count) + 0.2 * draw.standard_normal(60)
        found.append(measures.following(attention, spread_of(entropy, count), draw, draws=99))
    assert np.mean([f.p < 0.05 for f in found]) > 0.9  # as it is it always follows
    assert np.mean([f.given_p <= 0.05 for f in found]) < 0.12
    inside = np.mean([f.given_low < 0 < f.given_high for f in found])
    assert 0.88 < inside <= 1


def test_following_leaves_users_out_and_says_so():
    spread = spread_of(np.linspace(0.1, 0.6, 10), np.array([5] * 6 + [30] * 4))
    assert measures.following(rng().random(10), spread, rng(), draws=9).users == 4
    few = measures.following(rng().random(10), spread, rng(), least=31, draws=9)
    assert few.users == 0 and np.isnan(few.correlation)
    assert np.isnan(measures.following(np.ones(10), spread, rng(), draws=9).p)


def test_attention_summary():
    attention = np.stack([np.linspace(0, 1, 101), 1 - np.linspace(0, 1, 101)], 1)
    found = measures.attention_summary(attention, ("others", "genre"))
    assert found["genre/mean"] == pytest.approx(0.5)
    assert found["others/q05"] == pytest.approx(0.05) and found["others/q95"] == pytest.approx(0.95)
    assert found["others/below"] == pytest.approx(20 / 101)  # 0.20 itself is not below


def test_users_of_figure_4():
    favourite = measures.Spread(np.ones((5, 1)), np.array([30, 19, 20, 25, 90]), ("a",))
    attention = np.array([0.3, 0.99, 0.6, 0.1, 0.6])
    assert measures.figure_4_users(attention, favourite) == {"high": 2, "low": 3}
    assert measures.figure_4_users(attention, favourite, least=31) == {}


def fan_among(*films, directors="xy"):
    """The fan among users of whom each is ((films, of these 5), ...) by director, in that order."""
    own = [d for user in films for d, (n, _) in zip(directors, user, strict=True) for _ in range(n)]
    users = [u for u, user in enumerate(films) for n, _ in user for _ in range(n)]
    values = [5 if k < five else 1 for user in films for n, five in user for k in range(n)]
    table = encode(pd.DataFrame({"director": own}), ["director"])
    made = Ratings(np.array(users), np.arange(len(own)), np.array(values, dtype=np.float32))
    return measures.fan_of(made, table, "director", len(films), least=6)


def test_the_fan_of_figure_1_rated_what_it_saw_5():
    """Not who saw the largest share of one director's films."""
    watcher, fan = ((9, 7), (1, 1)), ((5, 4), (15, 0))
    assert fan_among(watcher, fan) == measures.Fan(1, "x", 0.25, 0.8, 20)
    assert fan_among(watcher, ((5, 3), (5, 5))).value == "y"  # the value that meets the rule
    assert fan_among(watcher, fan, ((6, 5), (15, 0))).user == 2  # 6 of 21 are more than 5 of 20


def test_nobody_may_be_a_fan():
    assert fan_among(((9, 7), (1, 1)), ((4, 4), (3, 0))) is None  # 77.8 %, and four films
    assert fan_among(((5, 5), (0, 0))) is None  # fewer films than a user must have rated
    assert fan_among(((5, 5), (1, 0))) is not None


def test_of_equal_shares_the_larger_share_of_fives_then_the_first_decides():
    assert fan_among(((5, 4), (5, 0)), ((10, 9), (10, 0))).user == 1
    assert fan_among(((5, 5), (5, 0)), ((5, 5), (5, 0))).user == 0
    assert fan_among(((5, 5), (5, 5))).value == "x"
    assert fan_among(((5, 5), (5, 5)), directors="ba").value == "a"


def test_a_film_counts_for_each_of_its_directors():
    items = pd.DataFrame({"genre": ["a"] * 6, "director": ["x|y"] * 4 + ["y", "z"]})
    seen = ratings_of(*((0, item, 5) for item in range(6)))
    found = measures.fan_of(seen, encode(items, ["genre", "director"]), "director", 1, least=6)
    assert found == measures.Fan(0, "y", 5 / 6, 1.0, 6)


def test_a_sentence_is_counted_for_the_slot_that_explain_names(planted, model):
    test = planted.split.test.take(np.arange(0, len(planted.split.test), 40))
    found = measures.named(model, test)
    wanted = np.zeros((planted.split.n_users, 2))
    for user, item in zip(test.users, test.items, strict=True):
        told = model.explain(int(user), int(item))
        wanted[user, 1 if told.values else 0] += 1
    count = wanted.sum(1)
    seen = count > 0
    assert found.keys() == {"named/others", "named/genre"}
    for at, name in enumerate(model.names):
        np.testing.assert_allclose(
            found[f"named/{name}"][seen], (wanted[:, at] / count.clip(1))[seen]
        )
        assert np.isnan(found[f"named/{name}"][~seen]).all()
    # Those who rate by genre are told of it, where it is one that they like.
    of_all = measures.named(model, planted.split.test)["named/genre"]
    assert np.nanmean(of_all[planted.cares]) > np.nanmean(of_all[~planted.cares]) + 0.15
    with pytest.raises(ReplicationError, match="the sentences need test ratings"):
        measures.named(model, test.take(np.zeros(len(test), dtype=bool)))


def test_no_sentence_names_a_feature_to_a_user_without_ratings(planted):
    split = planted.split
    train = split.train.take(split.train.users != 0)
    torch.manual_seed(0)
    fresh = AFM(replace(split, train=train), AFMConfig(dimension=8, scale=1.0))
    items = torch.from_numpy(split.test.items[split.test.users == 0])
    added = fresh.contributions(torch.zeros_like(items), items)[1]
    assert ((added[:, 1] > 0) & (added[:, 1] > added[:, 0])).any()  # the genre is what adds most
    found = measures.named(fresh, split.test)
    assert (found["named/others"][0], found["named/genre"][0]) == (1, 0)
    assert np.nanmean(found["named/genre"][1:]) > 0.2


def test_the_best_unseen_item_is_neither_rated_nor_unknown(planted, model):
    split = planted.split
    user, train = 3, split.train
    mine = train.items[train.users == user]
    users = torch.full((split.n_items,), user)
    with torch.no_grad():
        order = model(users, torch.arange(split.n_items)).argsort(descending=True).tolist()
    wanted = next(item for item in order if item not in mine)
    assert measures.best_unseen(model, split, user) == wanted
    fewer = replace(split, train=train.take(train.items != wanted))
    assert measures.best_unseen(model, fewer, user) != wanted
    held = Ratings(np.array([user]), np.array([wanted]), np.array([5.0], dtype=np.float32))
    assert measures.best_unseen(model, replace(split, validation=held), user) != wanted
    with pytest.raises(ReplicationError, match="there are users 0 to 299, not 300"):
        measures.best_unseen(model, split, 300)
    with pytest.raises(ReplicationError, match="user 3 has rated every item"):
        measures.best_unseen(model, replace(split, train=train.take(train.users == user)), user)


def test_nobody_keeps_the_own_attention():
    other = measures.shuffle_of(50, torch.Generator().manual_seed(0), CPU)
    assert (other != torch.arange(50)).all() and len(other.unique()) == 50
    assert measures.shuffle_of(1, torch.Generator(), CPU).tolist() == [0]


def test_without_a_slot():
    attention = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        measures.without(attention, 0, True), [[0, 0.6, 0.4], [0, 0, 0]], rtol=1e-6
    )
    np.testing.assert_allclose(measures.without(attention, 0, False)[0], [0, 0.3, 0.2])


def test_recovery_is_the_area_under_the_curve():
    attention, cares = rng().integers(6, size=50) / 6, rng(1).random(50) < 0.4
    wanted = roc_auc_score(cares, attention)
    assert measures.recovery(attention, cares) == pytest.approx(wanted)
    assert measures.recovery(cares.astype(float), cares) == 1
    with pytest.raises(ReplicationError, match="users who care and users who do not"):
        measures.recovery(attention, np.ones(50, dtype=bool))


# --- masking -----------------------------------------------------------------------------------


def masked_by_hand(model, user, item, slot, kind):
    """A prediction without a slot, from the model's parts one by one."""
    attention = model.contributions(torch.tensor([user]), torch.tensor([item]))[2][0].numpy().copy()
    attention[slot] = 0
    if kind == "renormalised":
        attention /= attention.sum()
    rows = model.look_up(torch.tensor([user]), torch.tensor([item]))
    slots = model.slot_vectors(rows.places, rows.vectors)[0].detach().numpy()
    v = (attention[:, None] * slots).sum(0)
    y = model.users[user].detach().numpy() @ v + model.mean
    y += float(model.user_bias[user].detach() + model.item_bias[item].detach())
    return min(max(y, 1), 5)


def test_masking_by_hand(planted):
    test = ratings_of((0, 0, 5), (0, 2, 2), (1, 3, 4), (2, 4, 1))
    split = replace(planted.split, n_users=4, n_items=5, features=TABLE, train=RATINGS)
    torch.manual_seed(0)
    model = AFM(split, replace(CONFIG, scale=0.8))
    found = measures.masking(model, test, torch.Generator().manual_seed(0))
    other = measures.shuffle_of(4, torch.Generator().manual_seed(0), CPU)
    pairs = list(zip(test.users.tolist(), test.items.tolist(), test.values, strict=True))
    for kind in measures.MASKINGS:
        rows = []
        for user, item, rating in pairs:
            found_ = model.explain(user, item)
            there = np.flatnonzero(found_.weight.numpy() > 0)
            of_other = model.attention(other[[user]])[0].numpy()
            masked = {s: masked_by_hand(model, user, item, s, kind) for s in there}
            whole = min(max(found_.prediction, 1), 5)
            slot = {
                "attended": max(there, key=lambda s: found_.attention[s]),
                "least": min(there, key=lambda s: found_.attention[s]),
                "shuffled": max(there, key=lambda s: of_other[s]),
            }
            row = {f"{arm}": masked[s] for arm, s in slot.items()}
            errors = {arm: (y - rating) ** 2 for arm, y in row.items()}
            errors["random"] = np.mean([(y - rating) ** 2 for y in masked.values()])
            moves = {arm: abs(y - whole) for arm, y in row.items()}
            moves["random"] = np.mean([abs(y - whole) for y in masked.values()])
            rows.append((user, errors, moves))
        for arm in measures.ARMS:
            for number, name in ((1, "squared error"), (2, "moved")):
                values = found.by_user[f"{name}/{arm}/{kind}"]
                for user in range(3):
                    wanted = np.mean([row[number][arm] for row in rows if row[0] == user])
                    assert values[user] == pytest.approx(wanted, abs=1e-5), (name, arm, kind)
                assert np.isnan(values[3])  # no test pair
            wanted = np.sqrt(np.mean([row[1][arm] for row in rows]))
            assert found.rmse[f"error/{arm}/{kind}"] == pytest.approx(wanted, abs=1e-5)
    assert found.pairs == 4


def test_items_with_one_slot_do_not_count(planted):
    empty = replace(TABLE, present=np.zeros_like(TABLE.present))
    split = replace(planted.split, n_users=4, n_items=5, features=empty, train=RATINGS)
    found = measures.masking(AFM(split, CONFIG), RATINGS, torch.Generator())
    assert found.pairs == 0 and np.isnan(found.by_user["moved/attended/lost"]).all()
    assert set(found.rmse) == {"error/own", "error/shuffled", "error/uniform"}
    with pytest.raises(ReplicationError, match="needs test ratings"):
        measures.masking(AFM(split, CONFIG), RATINGS.take(np.arange(0)), torch.Generator())


# --- planted truth -----------------------------------------------------------------------------


def test_planted_users_differ_in_nothing_else(planted):
    train, cares = planted.split.train, planted.cares
    of = cares[train.users]
    assert abs(train.values[of].mean() - train.values[~of].mean()) < 0.1
    assert abs(train.values[of].std() - train.values[~of].std()) < 0.1
    genre = planted.split.features.values[train.items, 0, 0]
    # The genre explains the ratings of those who care, user by user, and not of the others.
    key = train.users * 8 + genre
    mean = np.bincount(key, train.values) / np.maximum(np.bincount(key), 1)
    left = (train.values - mean[key]) ** 2
    assert left[of].mean() < 0.15 and left[~of].mean() > 1
    again = measures.planted().split.train
    assert (again.values == train.values).all()
    assert not (measures.planted(1).cares == cares).all()


def test_attention_recovers_who_cares(planted, model):
    attention = measures.all_attention(model)
    np.testing.assert_allclose(attention.sum(1), 1, rtol=1e-6)
    genre = attention[:, 1]
    assert measures.recovery(genre, planted.cares) > 0.9
    assert genre[planted.cares].mean() > 0.6 and genre[~planted.cares].mean() < 0.4


def test_attention_falls_where_the_genres_are_shuffled(planted, model):
    features = planted.split.features
    table = dealt_anew(features, features.names[0], 1)
    split = replace(planted.split, features=table)
    shuffled = fitted(split)
    genre, without = (measures.all_attention(m)[planted.cares, 1] for m in (model, shuffled))
    assert without.mean() < genre.mean() - 0.3
    assert rmse(model, planted.split) + 0.1 < rmse(shuffled, split)


def test_masking_hurts_where_the_attention_is(planted, model):
    found = measures.masking(model, planted.split.test, torch.Generator().manual_seed(0))
    for kind in measures.MASKINGS:
        error = {arm: found.rmse[f"error/{arm}/{kind}"] for arm in measures.ARMS}
        assert error["attended"] > error["random"] + 0.1 > error["least"] + 0.2
        assert error["attended"] > error["shuffled"] + 0.1  # the control
        moved = {arm: np.nanmean(found.by_user[f"moved/{arm}/{kind}"]) for arm in measures.ARMS}
        assert moved["attended"] > moved["random"] > moved["least"]
    assert found.rmse["error/own"] == pytest.approx(rmse(model, planted.split), abs=1e-4)
    assert found.rmse["error/own"] + 0.1 < min(
        found.rmse["error/shuffled"], found.rmse["error/uniform"]
    )
