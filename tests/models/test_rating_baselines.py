"""The simple rating models: their equations against other ways to compute them."""

import dataclasses
import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from replication.baselines import rating_packages as packages
from replication.baselines.rating_mf import RatingMF, RatingMFConfig
from replication.baselines.rating_simple import (
    ALS,
    ALSConfig,
    Bias,
    BiasConfig,
    Constant,
    ConstantConfig,
    ImputedSVD,
    ImputedSVDConfig,
    ItemLinear,
    ItemLinearConfig,
    residuals,
)
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import ReplicationError
from replication.folds import make_rating_split
from replication.metrics.rating import rmse
from replication.rating_training import DeviceRatings, fit_ratings, predict_all
from replication.training import described

CPU = torch.device("cpu")
NOTHING = torch.Generator()


@pytest.fixture(scope="module")
def split():
    """80 users, 30 items: biases and one factor, and noise of a quarter star."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((80, 30)) < 0.5)
    biases, factors = rng.normal(size=(2, 110)) * 0.4
    ratings = 3 + biases[users] + biases[80 + items] + 4 * factors[users] * factors[80 + items]
    ratings = np.clip(np.round(ratings + 0.25 * rng.normal(size=len(users))), 1, 5)
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    return make_rating_split(from_frame("x", frame.assign(timestamp=UNKNOWN_TIME)), "kfold-10", 0)


def error(model, split):
    test = DeviceRatings.of(split.test, CPU)
    return rmse(predict_all(model, test, (1.0, 5.0), NOTHING), test.values)


def test_every_prediction_is_clipped_to_the_range_of_the_ratings():
    class Wild:
        def predict(self, users, items, generator):
            return torch.tensor([9.0, -3.0, 2.5])

    three = torch.zeros(3, dtype=torch.long)
    found = predict_all(Wild(), DeviceRatings(three, three, three), (1.0, 5.0), NOTHING)
    assert found.tolist() == [5.0, 1.0, 2.5]


def test_biases_are_those_of_a_ridge_regression(split):
    train = split.train
    model = Bias(split, BiasConfig(l2_users=3.0, l2_items=3.0), CPU)
    features = np.zeros((len(train), split.n_users + split.n_items))
    features[np.arange(len(train)), train.users] = 1
    features[np.arange(len(train)), split.n_users + train.items] = 1
    mean = train.values.mean(dtype=np.float64)
    other = Ridge(alpha=3.0, fit_intercept=False).fit(features, train.values - mean)
    both = torch.cat([model.users, model.items]).numpy()
    np.testing.assert_allclose(both, other.coef_, atol=1e-9)


def test_users_and_items_have_penalties_of_their_own(split):
    heavy = Bias(split, BiasConfig(l2_users=1e9, l2_items=1.0), CPU)
    assert float(heavy.users.abs().max()) < 1e-6 < 0.1 < float(heavy.items.abs().max())


def test_what_was_not_trained_on_has_no_bias(split):
    rest = dataclasses.replace(split, train=split.train.take(split.train.users != 5))
    assert float(Bias(rest, BiasConfig(), CPU).users[5]) == 0


def test_imputed_svd_by_numpy(split):
    model = ImputedSVD(split, ImputedSVDConfig(rank=4), CPU)
    train = split.train
    full = np.full((split.n_users, split.n_items), np.nan)
    full[train.users, train.items] = train.values
    means = np.nanmean(full, axis=0)
    full = np.where(np.isnan(full), means, full)
    u, s, vt = np.linalg.svd(full)
    low_rank = (u[:, :4] * s[:4]) @ vt[:4]
    found = model.predict(*(torch.from_numpy(x) for x in np.indices(full.shape).reshape(2, -1)),
                          NOTHING)  # fmt: skip
    np.testing.assert_allclose(found.numpy(), low_rank.ravel(), atol=1e-4)


@pytest.mark.parametrize("few", [False, True])
def test_an_item_is_a_ridge_regression_on_the_others(split, few):
    """few: fewer users than items rated it, so that the dual form is solved."""
    counts = np.bincount(split.train.items, minlength=split.n_items)
    if few:
        keep = np.ones(len(split.train), dtype=bool)
        keep[np.flatnonzero(split.train.items == 2)[10:]] = False
        split = dataclasses.replace(split, train=split.train.take(keep))
        counts = np.bincount(split.train.items, minlength=split.n_items)
    assert (counts[2] < split.n_items) == few
    config = ItemLinearConfig(l2=5.0)
    model = ItemLinear(split, config, CPU)
    left, rated = residuals(split, Bias(split, BiasConfig(), CPU), CPU)
    who = rated[:, 2].bool()
    others = [i for i in range(split.n_items) if i != 2]
    ridge = Ridge(alpha=5.0, fit_intercept=False).fit(left[who][:, others], left[who, 2])
    np.testing.assert_allclose(model.weights[2, others].numpy(), ridge.coef_, atol=1e-4)
    assert float(model.weights[2, 2]) == 0


def test_als_is_at_the_minimum_of_its_loss(split):
    config = ALSConfig(rank=2, l2=1.0, sweeps=200)
    model = ALS(split, config, CPU, 0)
    train = DeviceRatings.of(split.train, CPU)
    parts = [getattr(model, n).clone().double().requires_grad_()
             for n in ("users", "items", "user_bias", "item_bias")]  # fmt: skip
    p, q, b, c = parts
    predicted = model.mean + b[train.users] + c[train.items]
    predicted = predicted + (p[train.users] * q[train.items]).sum(1)
    squares = sum((part**2).sum() for part in parts)
    loss = ((predicted - train.values) ** 2).sum() + config.l2 * squares
    for grad in torch.autograd.grad(loss, parts):
        assert float(grad.abs().max()) < 0.05


def test_more_care_is_better_where_there_is_a_factor(split):
    constant = error(Constant(split, ConstantConfig(), CPU), split)
    bias = error(Bias(split, BiasConfig(2.0, 2.0), CPU), split)
    als = error(ALS(split, ALSConfig(rank=1, l2=1.0), CPU, 0), split)
    assert als < bias - 0.03 < constant - 0.06


def test_surprise_gets_our_fold_and_clips(split):
    pytest.importorskip("surprise")
    model = packages.Surprise(split, packages.SurpriseConfig("BaselineOnly"), 0)
    known = model.algorithm.trainset
    assert known.n_ratings == len(split.train)
    assert known.global_mean == pytest.approx(split.train.values.mean(dtype=np.float64))
    bias, found = error(Bias(split, BiasConfig(15.0, 10.0), CPU), split), error(model, split)
    assert abs(bias - found) < 0.02  # the same model, fitted by ten sweeps
    seeds = [error(packages.Surprise(split, packages.SurpriseConfig("SVD"), s), split)
             for s in (0, 0, 1)]  # fmt: skip
    assert seeds[0] == seeds[1] != seeds[2]


def test_without_the_package_there_is_one_sentence(split, monkeypatch):
    import sys

    from replication.errors import ReplicationError

    for name, call in (
        ("surprise", lambda: packages.Surprise(split, packages.SurpriseConfig(), 0)),
        ("myfm", lambda: packages.MyFM(split, packages.MyFMConfig(), 0)),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ReplicationError, match="pip install"):
            call()


def known_of(split):
    """All training ratings as a table, and where they are."""
    ratings = torch.zeros(split.n_users, split.n_items)
    ratings[split.train.users, split.train.items] = torch.from_numpy(split.train.values)
    return ratings, ratings > 0


@pytest.mark.parametrize("kind", ["bias", "item-linear", "als"])
def test_an_old_user_is_folded_in_as_he_was_trained(split, kind):
    model = {
        "bias": lambda: Bias(split, BiasConfig(), CPU),
        "item-linear": lambda: ItemLinear(split, ItemLinearConfig(l2=5.0), CPU),
        "als": lambda: ALS(split, ALSConfig(rank=2, l2=1.0, sweeps=200), CPU, 0),
    }[kind]()
    everything = (torch.from_numpy(x) for x in np.indices((80, 30)).reshape(2, -1))
    expected = model.predict(*everything, NOTHING).view(80, 30)
    found = model.fold_in(*known_of(split))
    torch.testing.assert_close(found, expected, atol=0.01 if kind == "als" else 1e-4, rtol=0)


def test_a_new_user_of_whom_nothing_is_known_is_the_mean_of_each_movie(split):
    bias = Bias(split, BiasConfig(), CPU)
    ratings, rated = known_of(split)
    found = bias.fold_in(ratings, torch.zeros_like(rated))
    torch.testing.assert_close(found[3], (bias.mean + bias.items).float())
    two = rated & (rated.cumsum(1) <= 2)
    (items,) = two[3].nonzero(as_tuple=True)
    rest = (ratings[3, items] - bias.mean - bias.items[items]).sum() / (2 + bias.l2_users)
    torch.testing.assert_close(bias.fold_in(ratings, two)[3], found[3] + rest.float())


def test_sgd_steps_along_the_gradient_and_an_unknown_method_is_refused() -> None:
    """Fails if ``method`` is ignored (a first step of Adam has the size of the learning rate)."""
    weight = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    weight.grad = torch.tensor([0.5, 0.25])
    RatingMFConfig(learning_rate=0.1, method="sgd").optimizer([weight]).step()
    torch.testing.assert_close(weight.detach(), torch.tensor([1.95, -1.025]))
    with pytest.raises(ReplicationError, match="unknown method 'rmsprop'; use adam or sgd"):
        RatingMFConfig(method="rmsprop").optimizer([weight])


# --- users and movies without a training rating ----------------------------------------------


@pytest.fixture(scope="module")
def gaps(split):
    """The same ratings without those of the last user and of the last movie."""
    known = (split.train.users < 79) & (split.train.items < 29)
    return dataclasses.replace(split, train=split.train.take(known))


def predict(model, pairs):
    users, items = torch.tensor(pairs).T
    return model.predict(users, items, NOTHING).numpy()


# What the algorithm makes of a known user or movie alone; the others say the mean of all.
HALVES = ("BaselineOnly", "SVD", "SVDpp", "KNNBaseline")


@pytest.mark.parametrize("algorithm", [n for n in packages.ALGORITHMS if n != "NormalPredictor"])
def test_surprise_has_its_own_default_for_the_unknown(gaps, algorithm):
    pytest.importorskip("surprise")
    model = packages.Surprise(gaps, packages.SurpriseConfig(algorithm), seed=0)
    mean = gaps.train.values.mean(dtype=np.float64)
    both, *halves = predict(model, [(79, 29), *((79, i) for i in range(9)),
                                    *((u, 29) for u in range(9))])  # fmt: skip
    assert both == pytest.approx(mean)
    if algorithm not in HALVES:
        assert halves == pytest.approx(np.full(18, mean))
        return
    for kind, found in (("items", halves[:9]), ("users", halves[9:])):
        index = getattr(gaps.train, kind)
        own = [gaps.train.values[index == n].mean() for n in range(9)]
        assert np.corrcoef(found, own)[0, 1] > 0.9, kind  # it goes with the known half's mean


def test_a_drawn_prediction_knows_nobody(gaps):
    """NormalPredictor draws, whoever asks."""
    pytest.importorskip("surprise")
    model = packages.Surprise(gaps, packages.SurpriseConfig("NormalPredictor"), seed=0)
    found = predict(model, [(79, 29)] * 50 + [(0, 0)] * 50)
    assert found.std() > 0.5 and ((found >= 1) & (found <= 5)).all()


def test_the_imputed_svd_has_the_means_for_the_unknown(gaps):
    """With all singular values the filled matrix itself is predicted."""
    train = gaps.train
    whole = ImputedSVD(gaps, ImputedSVDConfig(rank=gaps.n_items), CPU)
    mean = train.values.mean(dtype=np.float64)
    assert predict(whole, [(0, 29), (5, 29), (79, 29)]) == pytest.approx(mean, abs=1e-3)
    own = [train.values[train.items == item].mean() for item in range(29)]
    assert predict(whole, [(79, item) for item in range(29)]) == pytest.approx(own, abs=1e-3)
    few = ImputedSVD(gaps, ImputedSVDConfig(rank=5), CPU)
    assert np.abs(predict(few, [(79, i) for i in range(29)]) - own).max() < 0.3


def everyone(model):
    """Of the unknown user with the known movies, of the known users with the unknown movie, both"""
    pairs = [*((79, item) for item in range(29)), *((user, 29) for user in range(79)), (79, 29)]
    found = predict(model, pairs)
    return found[:29], found[29:108], found[108]


def test_the_item_based_model_has_the_biases_for_the_unknown(gaps):
    config = ItemLinearConfig(l2=5.0)
    model, bias = ItemLinear(gaps, config, CPU), Bias(gaps, BiasConfig(), CPU)
    items, users, both = everyone(model)
    np.testing.assert_allclose(items, (bias.mean + bias.items[:29]).numpy(), atol=1e-5)
    np.testing.assert_allclose(users, (bias.mean + bias.users[:79]).numpy(), atol=1e-5)
    assert both == pytest.approx(bias.mean, abs=1e-5)


def test_als_has_its_own_biases_for_the_unknown(gaps):
    model = ALS(gaps, ALSConfig(rank=2, l2=1.0), CPU, 0)
    assert not model.users[79].any() and not model.items[29].any()
    items, users, both = everyone(model)
    np.testing.assert_allclose(items, (model.mean + model.item_bias[:29]).numpy(), atol=1e-5)
    np.testing.assert_allclose(users, (model.mean + model.user_bias[:79]).numpy(), atol=1e-5)
    assert both == pytest.approx(model.mean, abs=1e-5)
    assert np.ptp(items) > 0.5 and np.ptp(users) > 0.5


@pytest.mark.parametrize("decay", [0.0, 5.0])
def test_mf_leaves_the_unknown_as_it_began(gaps, decay):
    config = RatingMFConfig(dimension=4, scale=0.5, learning_rate=0.02, batch_size=256,
                            weight_decay=decay, max_epochs=3)  # fmt: skip
    torch.manual_seed(0)
    start = RatingMF(gaps, config)
    model = fit_ratings(lambda: RatingMF(gaps, config), gaps, config, 0, CPU, ()).model
    shrunk = (1 - config.learning_rate * decay) ** (3 * -(-len(gaps.train) // 256))
    for name, row in (("users", 79), ("items", 29)):
        one, other = getattr(model, name).detach(), getattr(start, name).detach()
        torch.testing.assert_close(one[row], other[row] * shrunk)
        assert not torch.allclose(one[row - 1], other[row - 1] * shrunk, atol=1e-2)
    assert not model.user_bias[79].any() and not model.item_bias[29].any()
    items, _, both = everyone(model)
    product = (model.items[:29] @ model.users[79]).detach()
    expected = model.mean + model.item_bias[:29, 0].detach() + product
    np.testing.assert_allclose(items, expected.numpy(), atol=1e-5)
    product = float((model.items[29] * model.users[79]).detach().sum())
    assert both == pytest.approx(model.mean + product, abs=1e-5)


@pytest.mark.skipif(not packages.myfm_version(), reason="needs myfm")
def test_bayesian_factorisation_draws_the_unknown_from_the_prior(gaps):
    """An average user with a movie, a user with an average movie, and the average of all."""
    model = packages.MyFM(gaps, packages.MyFMConfig(rank=2, iterations=200, burn_in=50), seed=0)
    items, users, both = everyone(model)
    train = gaps.train
    for found, index in ((items, train.items), (users, train.users)):
        own = [train.values[index == n].mean() for n in range(len(found))]
        assert np.corrcoef(found, own)[0, 1] > 0.9
    assert both == pytest.approx(train.values.mean(dtype=np.float64), abs=0.25)


# --- the version of Surprise -----------------------------------------------------------------

# Defaults of version 1.0.4, the first with KNNWithZScore, from its source.
DEFAULTS_OF_2017 = {
    "NMF": dict(n_factors=15, n_epochs=50, biased=False, reg_pu=0.06, reg_qi=0.06, reg_bu=0.02,
                reg_bi=0.02, lr_bu=0.005, lr_bi=0.005, init_low=0, init_high=1),
    "SVD": dict(n_factors=100, n_epochs=20, biased=True, init_mean=0, init_std_dev=0.1,
                lr_all=0.005, reg_all=0.02),
    "SVDpp": dict(n_factors=20, n_epochs=20, init_mean=0, init_std_dev=0.1, lr_all=0.007,
                  reg_all=0.02),
    "CoClustering": dict(n_cltr_u=3, n_cltr_i=3, n_epochs=20),
    "KNNBasic": dict(k=40, min_k=1, sim_options={}),
    "KNNWithMeans": dict(k=40, min_k=1, sim_options={}),
    "KNNWithZScore": dict(k=40, min_k=1, sim_options={}),
    "KNNBaseline": dict(k=40, min_k=1, sim_options={}, bsl_options={}),
    "BaselineOnly": dict(bsl_options={}),
}  # fmt: skip


@pytest.mark.parametrize("algorithm", list(DEFAULTS_OF_2017))
def test_the_defaults_of_surprise_are_those_of_2017(algorithm):
    """Else the page on Table I is wrong: it says that the version changed none."""
    surprise = pytest.importorskip("surprise")
    found = inspect.signature(getattr(surprise, packages.ALGORITHMS[algorithm])).parameters
    now = {name: p.default for name, p in found.items() if p.default is not p.empty}
    then = DEFAULTS_OF_2017[algorithm]
    new = {name: now[name] for name in now.keys() - then.keys()}
    assert {name: now[name] for name in then} == {
        name: value if value != {} else now[name] for name, value in then.items()
    }
    assert all(value is None or isinstance(value, bool) for value in new.values()), new


def trainset_of(surprise, train):
    """Training ratings as the package wants them."""
    frame = pd.DataFrame({"user": train.users, "item": train.items, "rating": train.values})
    reader = surprise.Reader(rating_scale=(1, 5))
    return surprise.Dataset.load_from_df(frame, reader).build_full_trainset()


@pytest.mark.parametrize("algorithm", ["SVD", "SVDpp"])
def test_the_defaults_that_the_pages_name_are_the_package_s(algorithm):
    surprise = pytest.importorskip("surprise")
    found = inspect.signature(getattr(surprise, algorithm)).parameters
    named = packages.DEFAULTS[algorithm]
    assert {name: found[name].default for name in named} == named


def test_the_named_defaults_of_the_biases_give_the_package_s_numbers(split):
    """They stand in no signature; each other number gives other biases."""
    surprise = pytest.importorskip("surprise")
    trainset = trainset_of(surprise, split.train)

    def biases(options):
        model = surprise.BaselineOnly(bsl_options=options, verbose=False).fit(trainset)
        return np.concatenate([model.bu, model.bi])

    named, own = packages.DEFAULTS["BaselineOnly"], biases({})
    assert np.array_equal(biases(dict(named)), own)
    for name, value in named.items():
        assert not np.array_equal(biases({**named, name: value - 1}), own), name


def test_svd_plus_plus_keeps_its_lists_and_predicts_the_same(split):
    """The package's faster way is no setting of the model: it is in no record."""
    surprise = pytest.importorskip("surprise")
    config = packages.SurpriseConfig("SVDpp", n_epochs=3)
    model = packages.Surprise(split, config, 5)
    assert model.algorithm.cache_ratings and "cache_ratings" not in described(config)
    plain = surprise.SVDpp(n_epochs=3, random_state=5).fit(trainset_of(surprise, split.train))
    assert not plain.cache_ratings
    pairs = list(zip(split.test.users.tolist(), split.test.items.tolist(), strict=True))
    found = [model.algorithm.predict(*pair).est for pair in pairs]
    assert found == [plain.predict(*pair).est for pair in pairs]


def test_nmf_of_surprise_updates_as_it_did_in_2017(split):
    """The multiplicative updates as version 1.0.4 has them, user by user, then item by item."""
    surprise = pytest.importorskip("surprise")
    trainset = trainset_of(surprise, split.train)
    model = surprise.NMF(random_state=3, n_epochs=7).fit(trainset)
    rng = np.random.RandomState(3)  # as the package draws
    users = rng.uniform(0, 1, (trainset.n_users, 15))
    items = rng.uniform(0, 1, (trainset.n_items, 15))
    rated = np.zeros((trainset.n_users, trainset.n_items))
    for user, item, rating in trainset.all_ratings():
        rated[user, item] = rating
    seen = rated > 0
    for _ in range(7):
        predicted = np.where(seen, users @ items.T, 0)
        of_users = rated @ items / (predicted @ items + 0.06 * seen.sum(1)[:, None] * users)
        of_items = rated.T @ users / (predicted.T @ users + 0.06 * seen.sum(0)[:, None] * items)
        users, items = users * of_users, items * of_items
    assert np.allclose(model.pu, users) and np.allclose(model.qi, items)
