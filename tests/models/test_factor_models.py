"""The factor models with item features: equations by hand, derivatives, what they learn."""

import dataclasses
import functools
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from replication.baselines import item_rows
from replication.baselines import rating_packages as packages
from replication.baselines.cdl import CDL, CDLConfig
from replication.baselines.factorization_machine import (
    FactorizationMachine,
    FactorizationMachineConfig,
)
from replication.baselines.item_rows import Bag, Bags, FeatureFactors, ItemRows
from replication.baselines.nfm import NFM, NFMConfig
from replication.baselines.rating_mf import RatingMF, RatingMFConfig
from replication.baselines.svd_feature import SVDFeature, SVDFeatureConfig
from replication.data.interactions import UNKNOWN_TIME, from_frame
from replication.errors import ReplicationError
from replication.folds import make_rating_split
from replication.item_features import FeatureTable
from replication.metrics.rating import rmse
from replication.rating_training import DeviceRatings, fit_ratings, predict_all

CPU = torch.device("cpu")
NOTHING = torch.Generator()
MODELS = {
    "FM": (FactorizationMachine, FactorizationMachineConfig),
    "SVDFeature": (SVDFeature, SVDFeatureConfig),
    "NFM": (NFM, NFMConfig),
    "CDL": (CDL, CDLConfig),
}


def table(per_item):
    """A table from the values of each item, one list a feature: [[[0, 1], [5]], [[], [4]], ...]."""
    n_features = len(per_item[0])
    most = max(len(values) for item in per_item for values in item)
    values = np.zeros((len(per_item), n_features, most), dtype=np.int64)
    present = np.zeros(values.shape, dtype=bool)
    feature_of = {}
    for i, item in enumerate(per_item):
        for f, some in enumerate(item):
            values[i, f, : len(some)], present[i, f, : len(some)] = some, True
            feature_of |= dict.fromkeys(some, f)
    of = np.array([feature_of[value] for value in sorted(feature_of)])
    words = tuple(map(str, range(len(of))))
    return FeatureTable(tuple("ab"[:n_features]), values, present, words, of)


# Item 0 has two values of one feature and one of another, item 1 lacks a feature, item 2 has none.
THREE = table([[[0, 1], [3]], [[2], []], [[], []], [[1], [4]]])


def made_split(users, items, ratings, features, fold=0):
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    frame = frame.sort_values("item", kind="stable")  # numbered in the order in which they come up
    data = from_frame("x", frame.assign(timestamp=UNKNOWN_TIME))
    return dataclasses.replace(make_rating_split(data, "kfold-5", fold), features=features)


@pytest.fixture(scope="module")
def small():
    """6 users, 4 items with the features above, every pair rated."""
    users, items = np.indices((6, 4)).reshape(2, -1)
    ratings = np.random.default_rng(0).integers(1, 6, 24)
    return made_split(users, items, ratings, THREE)


def made(name, split, **options):
    """A model with numbers in all of its parameters, in double precision, not training."""
    torch.manual_seed(0)
    model_class, config = MODELS[name]
    model = model_class(split, config(dimension=3, **options)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    return model


def vectors(model, split, user, item, weighting):
    """x and rows of a pair, one by one: the user, the values, the item."""
    rows = [(1.0, model.users[user])]
    features = split.features
    for f in range(len(features.names)):
        found = features.values[item, f][features.present[item, f]]
        x = 1 / len(found) if weighting == "mean" and len(found) else 1.0
        rows += [(x, model.items[value]) for value in found]
    return [*rows, (1.0, model.items[features.n_values + item])]


@pytest.mark.parametrize("weighting", ["mean", "sum"])
def test_fm_is_the_double_sum_over_pairs(small, weighting):
    """Goes red if a square is not taken off, a weight is lost or an item's rows are another's."""
    model = made("FM", small, weighting=weighting)
    users, items = torch.tensor([0, 3, 5, 0]), torch.tensor([0, 1, 2, 3])
    found = model(users, items, NOTHING)
    for b, (user, item) in enumerate(zip(users, items, strict=True)):
        rows = vectors(model, small, user, item, weighting)
        by_hand = model.mean + sum(x * v[-1] for x, v in rows)
        for j, (x, v) in enumerate(rows):
            by_hand = by_hand + sum(x * y * (v[:-1] @ w[:-1]) for y, w in rows[j + 1 :])
        torch.testing.assert_close(found[b], by_hand)


def test_nfm_by_hand_and_without_a_layer_it_is_a_factorisation_machine(small):
    users, items = torch.tensor([0, 3, 5]), torch.tensor([0, 1, 2])
    model = made("NFM", small, hidden=2)
    found = model(users, items, NOTHING)
    for b, (user, item) in enumerate(zip(users, items, strict=True)):
        rows = vectors(model, small, user, item, "mean")
        pairs = [(i, j) for j in range(len(rows)) for i in range(j)]
        f = sum(rows[i][0] * rows[j][0] * rows[i][1][:-1] * rows[j][1][:-1] for i, j in pairs)
        hidden = 1 / (1 + torch.exp(-(model.layer.weight @ f / 3**0.5 + model.layer.bias)))
        by_hand = model.mean + sum(x * v[-1] for x, v in rows)
        torch.testing.assert_close(found[b], by_hand + hidden @ model.output / 2**0.5)
    plain = made("NFM", small, hidden=0)
    with torch.no_grad():
        plain.output.fill_(1.0)
    machine = made("FM", small)
    machine.load_state_dict({k: v for k, v in plain.state_dict().items() if k != "output"})
    expected = machine(users, items, NOTHING)
    torch.testing.assert_close(plain(users, items, NOTHING), expected)


def test_dropout_is_for_training_only_and_keeps_the_mean(small):
    model = made("NFM", small, dropout=0.4)
    values = torch.ones(200, 500)
    assert model._kept(values, NOTHING) == 1.0
    dropped = values * model.train()._kept(values, torch.Generator().manual_seed(0))
    assert abs(float((dropped == 0).double().mean()) - 0.4) < 0.01
    assert abs(float(dropped.mean()) - 1) < 0.02


def test_svd_feature_by_hand(small):
    model = made("SVDFeature", small)
    user, item = torch.tensor([4]), torch.tensor([0])
    (_, p), *rows = vectors(model, small, 4, 0, "mean")
    q = sum(x * v for x, v in rows)
    by_hand = model.mean + p[-1] + q[-1] + p[:-1] @ q[:-1]
    torch.testing.assert_close(model(user, item, NOTHING)[0], by_hand)


@pytest.mark.parametrize("name", ["SVDFeature", "FM"])
def test_without_features_it_is_matrix_factorisation_with_biases(small, name):
    bare = dataclasses.replace(small, features=None)
    model = made(name, bare)
    other = RatingMF(bare, RatingMFConfig(dimension=3)).double()
    with torch.no_grad():
        other.users.copy_(model.users[:, :-1]), other.items.copy_(model.items[:, :-1])
        other.user_bias.copy_(model.users[:, -1:]), other.item_bias.copy_(model.items[:, -1:])
    users, items = torch.tensor([0, 3, 5]), torch.tensor([0, 1, 2])
    torch.testing.assert_close(model(users, items, NOTHING), other(users, items))


def test_without_biases_only_the_interaction_is_left(small):
    with_, without = made("SVDFeature", small), made("SVDFeature", small, biases=False)
    users, items = torch.tensor([1]), torch.tensor([3])
    rows = vectors(with_, small, 1, 3, "mean")
    biases = with_.mean + sum(x * v[-1] for x, v in rows)
    found = without(users, items, NOTHING)
    torch.testing.assert_close(found + biases, with_(users, items, NOTHING))


def test_cdl_item_is_its_encoding_plus_an_offset(small):
    """The encoding is the network's of the multi-hot vector; without features there is none."""
    model = made("CDL", small, hidden=4)
    items = torch.arange(4)
    offsets = model.offsets.detach().clone()
    with torch.no_grad():
        model.offsets.zero_()
    multi_hot = torch.zeros(4, 5, dtype=torch.double)
    for item in range(4):
        multi_hot[item, THREE.values[item][THREE.present[item]]] = 1
    first = torch.sigmoid(multi_hot @ model.first + model.first_bias)
    encoding = torch.sigmoid(model.encode_last(first))
    expected = torch.where(torch.tensor([[True], [True], [False], [True]]), encoding, 0.0)
    torch.testing.assert_close(model.item_vectors(items, NOTHING)[0], expected)
    rebuilt = torch.sigmoid(model.decode_last(torch.sigmoid(model.decode_first(encoding))))
    squares = (rebuilt - multi_hot).square().sum(1)
    torch.testing.assert_close(model.reconstruction(items, NOTHING), squares)
    with torch.no_grad():
        model.offsets.copy_(offsets)
    vector, _ = model.item_vectors(items, NOTHING)
    torch.testing.assert_close(vector, expected + offsets[:, :-1])
    user = model.users[2]
    rating = model.mean + user[-1] + offsets[1, -1] + user[:-1] @ vector[1]
    torch.testing.assert_close(model.predict(torch.tensor([2]), items[1:2], NOTHING)[0], rating)


def test_cdl_loss_over_an_epoch_is_equation_6(small):
    """Mean of the loss over all training ratings, and over the draws of the reconstruction."""
    config = {"lambda_v": 0.5, "lambda_n": 0.2, "weight_decay": 0.0, "noise": 0.0}
    model = made("CDL", small, hidden=4, reconstruct_every=3, reconstruct_items=2, **config)
    train = DeviceRatings.of(small.train, CPU)
    generator = torch.Generator().manual_seed(0)
    one = [model.loss(train.users, train.items, train.values.double(), generator).item()
           for _ in range(500)]  # fmt: skip
    rated = torch.unique(train.items)
    errors = (model(train.users, train.items, NOTHING)[0] - train.values).square().sum()
    total = errors + 0.5 * model.offsets[rated, :-1].square().sum()
    rebuilt = 0.2 * model.reconstruction(torch.arange(4), NOTHING).sum()
    expected = float((total + rebuilt).detach()) / len(train)
    error = np.std(one) / np.sqrt(len(one))
    assert abs(np.mean(one) - expected) < 4 * error < 0.5 * float(rebuilt.detach()) / len(train)


def test_cdl_noise_masks_a_share_while_training(small):
    model = made("CDL", small, noise=0.3).train()
    items = torch.zeros(5000, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    masked = model.corrupted(model.values(items), generator).weight == 0
    assert abs(float(masked.double().mean()) - 0.3) < 0.02
    assert not (model.eval().corrupted(model.values(items), generator).weight == 0).any()


def test_cdl_encodes_its_items_once_for_all_predictions_until_it_changes(small, monkeypatch):
    """What is predicted is what the equations give, before a step of training and after it."""
    model = made("CDL", small, hidden=4)
    users, items = torch.tensor([0, 3, 0, 5]), torch.tensor([0, 2, 0, 3])
    encoded, encode = [], CDL.encode
    monkeypatch.setattr(CDL, "encode", lambda m, b: encoded.append(len(b.start)) or encode(m, b))

    def predictions():
        encoded.clear()
        found = [model.predict(users[at], items[at], NOTHING) for at in (slice(2), slice(2, 4))]
        assert encoded in ([], [small.n_items])
        return torch.cat(found), len(encoded)

    before, new = predictions()
    torch.testing.assert_close(before, model(users, items, NOTHING)[0].detach())
    assert new and not predictions()[1]
    (ready,) = model.batches(items, 4)
    model.sgd_step(users, items, ready, torch.ones(4).double(), torch.Generator(), 0.5)
    after, new = predictions()
    torch.testing.assert_close(after, model(users, items, NOTHING)[0].detach())
    assert new and (after != before).all()
    model.load_state_dict(made("CDL", small, hidden=4).state_dict())
    torch.testing.assert_close(predictions()[0], before)


def bags():
    """Three items: two rows, none, three rows of which one is another's too."""
    rows, owner = torch.tensor([4, 1, 1, 0, 5]), torch.tensor([0, 0, 2, 2, 2])
    weight = torch.tensor([0.5, 1.0, 2.0, 0.0, 1.5], dtype=torch.double)
    return Bags(rows, weight, owner, torch.tensor([0, 2, 2]))


@pytest.mark.parametrize("sparse", [False, True])
def test_the_derivative_of_a_bag_is_that_of_autograd(sparse):
    """Goes red if any of the three terms is left out or a row that is there twice counts once."""
    torch.manual_seed(0)
    given = torch.randn(6, 3, dtype=torch.double, requires_grad=True)
    weights = torch.randn(2, 3, 3, dtype=torch.double)
    b = bags()
    total, squares, length = Bag.apply(given, b, True, sparse)
    matrix = torch.zeros(3, 6, dtype=torch.double)
    matrix[b.owner, b.rows] = b.weight
    count = torch.tensor([1.0, 2.0, 0.0, 0.0, 1.0, 1.0], dtype=torch.double)
    wanted = (matrix @ given, matrix.square() @ given.square(), count @ given.square().sum(1))
    torch.testing.assert_close((total, squares, length), wanted)

    def value(parts):
        return (weights[0] * parts[0]).sum() + (weights[1] * parts[1]).sum() + 0.3 * parts[2]

    (found,) = torch.autograd.grad(value((total, squares, length)), given)
    (expected,) = torch.autograd.grad(value(wanted), given)
    assert found.is_sparse == sparse
    torch.testing.assert_close(found.to_dense(), expected)


@pytest.mark.parametrize("name", MODELS)
def test_sparse_and_dense_gradients_are_those_of_the_written_loss(small, name):
    """The penalty is each rating's own rows'; Adam has it decoupled and not in the loss."""
    options = {"weight_decay": 0.3}
    if name == "CDL":
        options |= {"lambda_n": 1.0, "reconstruct_every": 1, "noise": 0.0, "hidden": 4}
    batch = (
        torch.tensor([0, 3, 0]),
        torch.tensor([0, 1, 0]),
        torch.tensor([1.0, 5.0, 2.0]).double(),
    )
    models = [made(name, small, method=method, **options) for method in ("sgd", "adam")]
    # Of CDL's items, the drawn ones are the same.
    losses = [model.loss(*batch, torch.Generator().manual_seed(1)) for model in models]
    penalty = 0.0
    for user, item in zip(batch[0], batch[1], strict=True):
        if name == "CDL":
            rows = [(1, models[1].users[user]), (1, models[1].offsets[item, -1:])]
        else:
            rows = vectors(models[1], small, user, item, "mean")
        penalty = penalty + 0.3 * sum(v.square().sum() for _, v in rows) / 3
    losses[1] = losses[1] + penalty
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    for (key, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert one.grad.is_sparse == (key in ("users", "items", "offsets", "first")), key
        torch.testing.assert_close(
            one.grad.to_dense(), other.grad, msg=lambda m, k=key: f"{k}: {m}"
        )


STEPS = [
    *((name, {}) for name in MODELS),
    *((name, {"biases": False, "weighting": "sum"}) for name in MODELS),
    *(("NFM", {"activation": kind, "dropout": 0.4}) for kind in ("sigmoid", "relu", "tanh")),
    ("NFM", {"hidden": 0, "dropout": 0.4}),
    ("CDL", {"noise": 0.5, "reconstruct_every": 1, "lambda_n": 1.0}),
]


@pytest.mark.parametrize(("name", "options"), STEPS)
def test_the_written_step_is_that_of_autograd(small, name, options):
    """User 0 and item 0 are there twice; item 2 has no features."""
    users, items = torch.tensor([0, 3, 0, 5, 1]), torch.tensor([0, 2, 0, 3, 1])
    ratings = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0]).double()
    models = [made(name, small, weight_decay=0.3, **options).train() for _ in range(2)]
    drawn = [torch.Generator().manual_seed(1) for _ in range(2)]
    optimizer = models[1].config.optimizer(models[1].parameters())
    for rate in (0.1, 0.05, 0.1):
        (ready,) = models[0].batches(items, 5)
        found = models[0].sgd_step(users, items, ready, ratings, drawn[0], rate)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = models[1].loss(users, items, ratings, drawn[1])
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(found, loss.detach())
        torch.testing.assert_close(*(dict(model.named_parameters()) for model in models))


def test_batches_are_those_of_one_look_up_each(monkeypatch):
    monkeypatch.setattr(item_rows, "STEPS", 2)  # a block ends inside the items
    rows = ItemRows(THREE, 4, "mean", ids=False)
    items = torch.tensor([2, 0, 3, 2, 2, 1, 0, 0, 3, 1, 2])
    found = list(rows.batches(items, 2))
    assert len(found) == 6
    for bags, some in zip(found, items.split(2), strict=True):
        torch.testing.assert_close(tuple(bags), tuple(rows(some)))


@pytest.mark.parametrize("name", MODELS)
def test_an_epoch_is_that_of_autograd(planted_split, name, monkeypatch):
    """In float32, with a batch at the end that is not full."""
    model_class, config = MODELS[name]
    config = config(**TRAINING | {"max_epochs": 2, "learning_rate": 0.3})

    def trained():
        build = functools.partial(model_class, planted_split, config)
        return fit_ratings(build, planted_split, config, 0, CPU, ["test"], progress=False)

    fast = trained()
    monkeypatch.delattr(CDL if name == "CDL" else FeatureFactors, "sgd_step")
    slow = trained()
    assert fast.curve.loss == pytest.approx(slow.curve.loss, rel=1e-4)
    assert fast.curve.errors == {
        k: pytest.approx(v, rel=1e-4) for k, v in slow.curve.errors.items()
    }
    parameters = [dict(fit.model.named_parameters()) for fit in (fast, slow)]
    torch.testing.assert_close(*parameters, rtol=1e-3, atol=1e-4)


def test_weights_of_values_and_an_item_without_any():
    rows = ItemRows(THREE, 4, "mean")
    found = rows(torch.tensor([2, 0, 1]))
    assert found.rows.tolist() == [7, 0, 1, 3, 5, 2, 6]
    assert found.weight.tolist() == [1, 0.5, 0.5, 1, 1, 1, 1]
    assert found.owner.tolist() == [0, 1, 1, 1, 1, 2, 2] and found.start.tolist() == [0, 1, 5]
    assert ItemRows(THREE, 4, "sum")(torch.tensor([0])).weight.tolist() == [1, 1, 1, 1]
    assert len(ItemRows(THREE, 4, "sum", ids=False)(torch.tensor([2])).rows) == 0


@pytest.mark.parametrize("name", MODELS)
def test_who_has_no_training_rating_falls_back_to_what_is_known(small, name):
    """A new user gets no factors; a new item its features' part alone; a value that no training
    rating has adds nothing."""
    train = small.train
    rest = dataclasses.replace(small, train=train.take((train.users != 5) & (train.items != 0)))
    model_class, config = MODELS[name]
    model = model_class(rest, config(dimension=3))
    assert (model.users[5] == 0).all() and (model.users[:5, :-1] != 0).all()
    if name == "CDL":
        assert (model.offsets == 0).all()
    else:
        # Values 0 and 3 are those of item 0 alone; its id is row 5 + 0.
        unseen = (model.items[:, :-1] == 0).all(1).nonzero()[:, 0].tolist()
        assert unseen == [0, 3, 5]
    if name in ("SVDFeature", "CDL"):  # in the others an item's own rows interact
        new = model.predict(torch.tensor([5]), torch.tensor([3]), NOTHING)
        assert float(new) == pytest.approx(model.mean)


def planted(seed=0):
    """60 users, 400 items of about seven training ratings each; two values of an item decide what
    users of two tastes give it."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 6, (400, 1)) + np.array([[0, 6]])  # two features of six values
    tastes = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 12))  # of each value
    users, items = np.nonzero(rng.random((60, 400)) < 0.15)
    ratings = 3 + 0.7 * tastes[users[:, None], kinds[items]].sum(1)
    ratings = np.clip(np.round(ratings + 0.2 * rng.normal(size=len(users))), 1, 5)
    features = table([[[kind] for kind in pair] for pair in kinds.tolist()])
    return made_split(users, items, ratings, features)


@pytest.fixture(scope="module")
def planted_split():
    return planted()


def fitted(model_class, split, config):
    model = fit_ratings(
        lambda: model_class(split, config), split, config, 0, CPU, (), progress=False
    ).model
    test = DeviceRatings.of(split.test, CPU)
    return rmse(predict_all(model, test, (1.0, 5.0), NOTHING), test.values)


TRAINING = {
    "dimension": 4, "batch_size": 128, "learning_rate": 0.8, "max_epochs": 10, "scale": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def without_features(planted_split):
    """The error of matrix factorisation with biases, after the same training."""
    bare = dataclasses.replace(planted_split, features=None)
    return fitted(SVDFeature, bare, SVDFeatureConfig(**TRAINING))


@pytest.mark.parametrize("name", MODELS)
def test_features_help_where_items_have_few_ratings(planted_split, without_features, name):
    model_class, config = MODELS[name]
    slow = {"lambda_v": 1.0, "lambda_n": 1.0, "max_epochs": 16}  # the encodings begin all alike
    options = {"NFM": {"scale": 0.3}, "CDL": slow | {"scale": 0.3}}.get(name, {})
    error = fitted(model_class, planted_split, config(**TRAINING | options))
    assert error < without_features - 0.1


def test_bad_options_and_tables_are_refused(small):
    with pytest.raises(ReplicationError, match="unknown weighting 'max'; use mean or sum"):
        SVDFeatureConfig(weighting="max")
    with pytest.raises(ReplicationError, match="unknown activation 'gelu'"):
        NFMConfig(activation="gelu")
    with pytest.raises(ReplicationError, match="dropout must be in"):
        NFMConfig(dropout=1.0)
    with pytest.raises(ReplicationError, match="noise must be in"):
        CDLConfig(noise=1.0)
    with pytest.raises(ReplicationError, match="has none"):
        CDL(dataclasses.replace(small, features=None), CDLConfig())
    with pytest.raises(ReplicationError, match="features are of 4 items, the ratings of 9"):
        ItemRows(THREE, 9, "mean")


def test_the_sampled_machine_sees_features(planted_split):
    if not packages.myfm_version():
        pytest.skip("needs the package myfm")
    small = {"rank": 8, "iterations": 30, "burn_in": 10}
    plain = packages.MyFM(planted_split, packages.MyFMConfig(**small), 0)
    model = packages.MyFMFeatures(planted_split, packages.MyFMFeaturesConfig(**small), 0)
    test = DeviceRatings.of(planted_split.test, CPU)
    found, other = (
        rmse(predict_all(m, test, (1.0, 5.0), NOTHING), test.values) for m in (model, plain)
    )
    assert found < other - 0.05
    assert "pkg_resources" not in sys.modules or sys.modules["pkg_resources"].__file__


def test_without_the_package_there_is_one_sentence(planted_split, monkeypatch):
    monkeypatch.setitem(sys.modules, "myfm", None)
    with pytest.raises(ReplicationError, match="pip install"):
        packages.MyFMFeatures(planted_split, packages.MyFMFeaturesConfig(), 0)
