"""AFM: its equations by hand, missing and several values, its optimiser, what it learns."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.folds import Ratings, RatingSplit
from replication.item_features import FeatureTable
from replication.papers.afm import model as model_module
from replication.papers.afm.model import AFM, INTEGRATIONS, INTERACTIONS, WEIGHTINGS, AFMConfig
from replication.rating_training import fit_ratings
from replication.row_sgd import RowSGD
from replication.training import described

CPU = torch.device("cpu")
SMALL = AFMConfig(dimension=4, hidden=3, scale=0.7, weight_decay=0.0)

# Items: 0 has two genres and a director, 1 one genre and no director, 2 nothing, 3 one of each.
TABLE = FeatureTable(
    ("genre", "director"),
    np.array([[[0, 1], [3, 0]], [[2, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [4, 0]]]),
    np.array(
        [
            [[True, True], [True, False]],
            [[True, False], [False, False]],
            [[False, False], [False, False]],
            [[True, False], [True, False]],
        ]
    ),
    ("Action", "Drama", "War", "Nolan", "Ozu"),
    np.array([0, 0, 0, 1, 1]),
)
USERS, ITEMS = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 1, 2, 3, 3])


def split_of(users, items, values, n_users=3, table=TABLE):
    ratings = Ratings(np.asarray(users), np.asarray(items), np.asarray(values, dtype=np.float32))
    none = ratings.take(np.zeros(len(ratings), dtype=bool))
    levels = np.arange(1, 6, dtype=np.float32)
    n_items = 4 if table is None else table.n_items
    return RatingSplit("made up", 0, n_users, n_items, levels, ratings, none, ratings, table)


SPLIT = split_of(USERS.numpy(), ITEMS.numpy(), [5, 4, 3, 2, 1])


def make(split=SPLIT, seed=0, **choices):
    torch.manual_seed(seed)
    return AFM(split, replace(SMALL, **choices)).double()


def linear(layer, x):
    """A layer whose weights have unit variance."""
    return layer.weight @ x / len(x) ** 0.5 + layer.bias


def by_hand(model, user, item):
    """One rating, slot by slot, as the paper prints it."""
    c, table = model.config, model.features
    u = model.users[user]
    slots = [[model.vectors[item]]]
    for feature in range(len(table.names)):
        known = table.values[item, feature][table.present[item, feature]]
        slots.append([model.vectors[table.n_items + n] for n in known])
    if c.integration == "attention":
        logits = [row @ u for row in model.attention_map]
    elif c.integration == "free":
        logits = list(model.attention_logits[user])
    else:
        logits = [u.new_tensor(0.0) for _ in slots]
    terms = []  # (logit, vector or nothing)
    for logit, slot in zip(logits, slots, strict=True):
        if not slot:
            terms.append((logit, torch.zeros_like(u), False))
        elif c.weighting == "slots":
            terms += [(logit, vector, True) for vector in slot]
        else:
            total = sum(slot)
            terms.append((logit, total if c.weighting == "sum" else total / len(slot), True))
    if c.integration == "concat":
        v = linear(model.projection, torch.cat([vector for _, vector, _ in terms]))
    else:
        counted = [t for t in terms if t[2] or c.missing == "lost"]
        norm = sum(logit.exp() for logit, _, _ in counted)  # Eq. 2
        v = sum(logit.exp() / norm * vector for logit, vector, _ in counted)  # Eq. 3
    if c.interaction == "inner":
        y = u @ v  # Eq. 4
    else:
        x = torch.cat([u, v]) if c.interaction == "mlp" else u * v
        y = model.output @ torch.sigmoid(linear(model.hidden, x)) / c.hidden**0.5  # Eq. 5
    if c.biases or c.interaction != "inner":
        y = y + model.mean
    if c.biases:
        y = y + model.user_bias[user, 0] + model.item_bias[item, 0]
    return 1 + 4 * torch.sigmoid(y) if c.bounded else y


def check(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or "logits" in name:  # those that begin at zero
                parameter.normal_()
        wanted = torch.stack([by_hand(model, *p) for p in zip(USERS, ITEMS, strict=True)])
        torch.testing.assert_close(model(USERS, ITEMS), wanted)


@pytest.mark.parametrize(
    ("interaction", "bounded", "biases"),
    list(itertools.product(INTERACTIONS, (False, True), (False, True))),
)
def test_interactions_by_hand(interaction, bounded, biases):
    check(make(interaction=interaction, bounded=bounded, biases=biases))


@pytest.mark.parametrize("choices", [{}, {"biases": True}, {"interaction": "mlp-product"}])
def test_without_the_mean_rating_a_model_that_says_nothing_says_zero(choices):
    """And behind a scaled sigmoid the middle of the range; with it, both say the mean rating."""
    split = split_of(USERS.numpy(), ITEMS.numpy(), [5, 5, 5, 4, 4])
    for with_mean, bounded, wanted in (
        (True, False, 4.6), (True, True, 4.6), (False, False, 0.0), (False, True, 3.0),
    ):  # fmt: skip
        model = make(split, bounded=bounded, with_mean=with_mean, **choices)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in ("output", "users"):
                    parameter.zero_()
            assert model(USERS, ITEMS).tolist() == pytest.approx([wanted] * 5)
    assert "with_mean" not in described(SMALL)  # so that older records keep their keys
    assert described(replace(SMALL, with_mean=False))["with_mean"] is False


@pytest.mark.parametrize(
    ("integration", "weighting", "missing"),
    [
        *itertools.product(("attention",), WEIGHTINGS, ("renormalised", "lost")),
        *((kind, "mean", "renormalised") for kind in INTEGRATIONS[1:]),
        ("free", "slots", "lost"),
        ("concat", "sum", "renormalised"),
    ],
)
def test_integrations_by_hand(integration, weighting, missing):
    check(make(integration=integration, weighting=weighting, missing=missing))


def test_equations_on_tiny_numbers():
    model = make(interaction="inner")
    with torch.no_grad():
        model.users[0] = torch.tensor([1.0, 0, 0, 0])
        model.attention_map[:, 0] = torch.tensor([0.0, np.log(2.0), np.log(5.0)])
        model.vectors[0] = torch.tensor([8.0, 0, 0, 0])  # the item's own
        model.vectors[4] = torch.tensor([4.0, 0, 0, 0])  # Action
        model.vectors[5] = torch.tensor([0.0, 0, 0, 0])  # Drama
        model.vectors[7] = torch.tensor([1.6, 0, 0, 0])  # Nolan
    user, item = torch.tensor([0]), torch.tensor([0])
    torch.testing.assert_close(
        model.attention(user), torch.tensor([[1, 2, 5]], dtype=torch.float64) / 8
    )
    # 1/8 of 8, 2/8 of (4 + 0) / 2, 5/8 of 1.6
    assert model(user, item).item() == pytest.approx(1 + 0.5 + 1.0)
    found = model.explain(0, 0, item_name="Heat")
    assert found.contribution.tolist() == pytest.approx([1.0, 0.5, 1.0])
    with torch.no_grad():
        model.vectors[7, 0] = 1.7
    found = model.explain(0, 0, item_name="Heat")
    assert (found.carrier, found.values) == ("director", ("Nolan",))
    assert found.names == ("others", "genre", "director")
    assert found.sentence == (
        "Dear user 0, we have noticed your great interest in the director (Nolan), so we "
        "recommend Heat for you."
    )
    with torch.no_grad():
        model.vectors[0, 0] = 80.0
    found = model.explain(0, 0)
    assert (found.carrier, found.values) == ("others", ())
    assert "great interest" not in found.sentence


def test_high_attention_alone_does_not_carry():
    model = make(interaction="inner")
    with torch.no_grad():
        model.users[0] = torch.tensor([1.0, 0, 0, 0])
        model.attention_map[:, 0] = torch.tensor([0.0, 5.0, 0.0])  # nearly all on genre
        model.vectors[4:6] = 0.0  # whose vectors say nothing
        model.vectors[0, 0], model.vectors[7, 0] = 0.0, 3.0
    found = model.explain(0, 0)
    assert int(found.attention.argmax()) == 1 and found.carrier == "director"


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_contributions(interaction):
    model = make(interaction=interaction, missing="renormalised")
    whole, added, weight = model.contributions(USERS, ITEMS)
    torch.testing.assert_close(whole, model(USERS, ITEMS).detach())
    empty = model.slots(ITEMS).sizes == 0
    assert (added[empty] == 0).all() and (added[~empty] != 0).all()
    torch.testing.assert_close(weight.sum(1), torch.ones(5, dtype=torch.float64))
    if interaction == "inner":  # exact where the model is linear
        torch.testing.assert_close(added.sum(1), whole)


# --- missing values ----------------------------------------------------------------------------


def test_missing_values_are_masked():
    kept, lost = make(), make(missing="lost")
    places = kept.slots(ITEMS)
    logits = kept.logits(USERS, kept.users[USERS])
    full = logits.softmax(1)
    there = places.sizes > 0
    lose = lost.weigh(logits, places.sizes)
    torch.testing.assert_close(lose, full * there)
    torch.testing.assert_close(
        kept.weigh(logits, places.sizes), full * there / (full * there).sum(1, keepdim=True)
    )


def test_an_item_without_features_is_its_id():
    model = make(interaction="inner")
    u, i = torch.tensor([1]), torch.tensor([2])
    torch.testing.assert_close(model(u, i), (model.users[1] @ model.vectors[2])[None])
    found = model.explain(1, 2)
    assert found.weight.tolist() == [1, 0, 0] and found.carrier == "others"


def test_no_features_at_all():
    empty = FeatureTable(
        (), np.zeros((4, 0, 0), int), np.zeros((4, 0, 0), bool), (), np.zeros(0, int)
    )
    model = make(replace(SPLIT, features=empty), interaction="inner")
    wanted = (model.users[USERS] * model.vectors[ITEMS]).sum(1)
    torch.testing.assert_close(model(USERS, ITEMS), wanted)


def test_the_order_of_values_does_not_matter():
    turned = TABLE.values.copy()
    turned[0, 0] = [1, 0]
    torch.testing.assert_close(
        make(replace(SPLIT, features=replace(TABLE, values=turned)))(USERS, ITEMS),
        make()(USERS, ITEMS),
    )


def test_the_order_of_features_does_not_matter():
    model = make()
    other = replace(
        TABLE,
        names=TABLE.names[::-1],
        values=TABLE.values[:, ::-1],
        present=TABLE.present[:, ::-1],
        feature_of=1 - TABLE.feature_of,
    )
    turned = make(replace(SPLIT, features=other))
    state = model.state_dict()
    state["attention_map"] = state["attention_map"][[0, 2, 1]]
    turned.load_state_dict(state)
    torch.testing.assert_close(turned(USERS, ITEMS), model(USERS, ITEMS))


def test_a_value_counted_as_a_slot_gets_more_attention():
    shared, each = make(), make(weighting="slots")
    where = [shared.slots(ITEMS).sizes, each.slots(ITEMS).sizes]
    logits = torch.zeros(5, 3)
    assert shared.weigh(logits, where[0])[0].tolist() == pytest.approx([1 / 3] * 3)
    assert each.weigh(logits, where[1])[0].tolist() == pytest.approx([1 / 4, 2 / 4, 1 / 4])


# --- gradients and the optimiser ---------------------------------------------------------------


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_sparse_gradients_are_the_dense_ones(integration):
    ratings = torch.tensor([5.0, 4, 3, 2, 1], dtype=torch.float64)
    found = {}
    for method in ("sgd", "adam"):
        model = make(integration=integration, biases=True, method=method)
        model.loss(USERS, ITEMS, ratings, None).backward()
        found[method] = {
            n: p.grad.to_dense() for n, p in model.named_parameters() if p.grad is not None
        }
    assert found["sgd"].keys() == found["adam"].keys() == dict(model.named_parameters()).keys()
    torch.testing.assert_close(found["sgd"], found["adam"])


def test_the_gradient_of_equation_3():
    """Taken of the equations by hand, which know nothing of bags."""
    model = make(biases=True, bounded=True, method="adam")
    pairs = list(zip(USERS.tolist(), ITEMS.tolist(), strict=True))
    model(USERS, ITEMS).square().sum().backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    torch.stack([by_hand(model, *p) for p in pairs]).square().sum().backward()
    torch.testing.assert_close(found, {n: p.grad for n, p in model.named_parameters()})


def test_rows_are_changed_as_by_dense_sgd():
    ratings = torch.tensor([5.0, 4, 3, 2, 1], dtype=torch.float64)
    models = make(biases=True), make(biases=True, method="adam")  # the second has dense gradients
    optimizers = RowSGD(models[0].parameters(), 0.1), torch.optim.SGD(models[1].parameters(), 0.1)
    for _ in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model.loss(USERS, ITEMS, ratings, None).backward()
            optimizer.step()
    torch.testing.assert_close(*(dict(m.named_parameters()) for m in models))


CHOICES = [
    *(
        {"interaction": interaction, "bounded": bounded, "biases": biases}
        for interaction, bounded, biases in itertools.product(
            INTERACTIONS, (False, True), (False, True)
        )
    ),
    *(
        {"integration": integration, "weighting": weighting, "missing": missing}
        for integration, weighting, missing in itertools.product(
            INTEGRATIONS, WEIGHTINGS, ("renormalised", "lost")
        )
    ),
    {"weight_decay": 0.0},
    *({"with_mean": False, "bounded": bounded} for bounded in (False, True)),
]


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_the_written_step_is_that_of_autograd(choices):
    ratings = torch.tensor([5.0, 4, 3, 2, 1], dtype=torch.float64)
    models = [make(**{"weight_decay": 0.3} | choices) for _ in range(2)]
    optimizer = RowSGD(models[1].parameters(), 0.1)
    for rate in (0.1, 0.05, 0.1):
        (places,) = models[0].batches(ITEMS, 5)
        found = models[0].sgd_step(USERS, ITEMS, places, ratings, None, rate)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = models[1].loss(USERS, ITEMS, ratings, None)
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(found, loss.detach())
        torch.testing.assert_close(*(dict(m.named_parameters()) for m in models))


def test_batches_are_those_of_one_look_up_each(monkeypatch):
    monkeypatch.setattr(model_module, "STEPS", 2)  # a block ends inside the items
    slots = make().slots
    items = torch.tensor([2, 0, 3, 2, 2, 1, 0, 0, 3, 1, 2])
    found = list(slots.batches(items, 2))
    assert len(found) == 6
    for places, some in zip(found, items.split(2), strict=True):
        torch.testing.assert_close(tuple(places), tuple(slots(some)))


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_an_epoch_is_that_of_autograd(tastes, integration, monkeypatch):
    """In float32, with a batch at the end that is not full."""
    config = replace(SMALL, integration=integration, batch_size=32, learning_rate=0.3, max_epochs=2)

    def trained():
        build = partial(AFM, tastes, config)
        return fit_ratings(build, tastes, config, 0, CPU, ["test"], progress=False)

    fast = trained()
    monkeypatch.delattr(AFM, "sgd_step")
    slow = trained()
    assert fast.curve.loss == pytest.approx(slow.curve.loss, rel=1e-4)
    parameters = [dict(fit.model.named_parameters()) for fit in (fast, slow)]
    torch.testing.assert_close(*parameters, rtol=1e-3, atol=1e-4)


def test_the_penalty_is_of_each_rating_s_rows():
    """User 0 and the rows of item 0, by hand: the gradient is 2 lambda times each, and no more."""
    with_penalty, without = make(weight_decay=0.3), make(weight_decay=0.0)
    for model in (with_penalty, without):
        model.loss(torch.tensor([0]), torch.tensor([0]), torch.tensor([4.0]), None).backward()
    for name, rows in (("users", [0]), ("vectors", [0, 4, 5, 7])):
        one, other = (getattr(m, name).grad.to_dense() for m in (with_penalty, without))
        wanted = torch.zeros_like(one)
        wanted[rows] = 0.6 * getattr(without, name).detach()[rows]
        torch.testing.assert_close(one - other, wanted)


def test_a_row_that_occurs_twice_is_changed_twice():
    table = nn.Parameter(torch.zeros(3, 2))
    F.embedding(torch.tensor([1, 1, 2]), table, sparse=True).sum().backward()
    RowSGD([table], lr=1.0).step()
    assert table.tolist() == [[0, 0], [-2, -2], [-1, -1]]


# --- learning ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tastes():
    """Users of two kinds, items of two genres: 5 or 4 for one's own, else 1 or 2."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((40, 30)) < 0.5)
    values = np.where(users % 2 == items % 2, 4, 1) + rng.integers(2, size=len(users))
    genre = (np.arange(30) % 2)[:, None, None]
    table = FeatureTable(("genre",), genre, np.ones((30, 1, 1), bool), ("a", "b"), np.zeros(2, int))
    split = split_of(users, items, values, 40, table)
    tested = rng.random(len(users)) < 0.2
    return replace(split, train=split.train.take(~tested), test=split.train.take(tested))


def test_what_no_training_rating_has_says_nothing():
    """User 2, item 3 and Ozu are in no training rating: no noise of theirs reaches a prediction."""
    split = split_of([0, 1, 0], [0, 1, 2], [5, 4, 3])
    model = make(split)
    assert not model.users[2].any() and not model.vectors[[3, 8]].any()
    assert model.users[:2].any(1).all() and model.vectors[[0, 1, 2, 4]].any(1).all()
    assert model.slots.sizes[3].tolist() == [1, 1, 0]  # Drama was seen, Ozu was not
    assert torch.isfinite(model(torch.tensor([2]), torch.tensor([3]))).all()


def test_no_interest_is_claimed_in_what_lowers_the_prediction():
    model = make(interaction="inner")
    with torch.no_grad():
        model.users[0] = torch.tensor([1.0, 0, 0, 0])
        model.vectors[:, 0] = -1.0
    found = model.explain(0, 3)
    assert (found.contribution < 0).all() and not found.values
    assert "interest" not in found.sentence


@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_no_interest_is_claimed_of_a_user_without_ratings(interaction, seed):
    """The network adds something for the features even to user 2, who has no vector."""
    split = split_of([0, 1, 0, 1], [0, 1, 3, 3], [5, 4, 3, 2])
    model = make(split, seed, interaction=interaction, missing="lost")
    assert model.seen.tolist() == [True, True, False]
    told = [model.explain(2, item, "Ann", "Heat") for item in range(4)]
    assert {one.sentence for one in told} == {
        "Dear Ann, we recommend Heat with no rating of yours to go by yet."
    }
    assert not any(one.values for one in told)
    if interaction == "mlp":
        assert any(float(one.contribution[1:].max()) > 0 for one in told)
    with torch.no_grad():  # the same vectors, of a user who has ratings
        model.users[0] = 0.0
    rated = [model.explain(0, item, "Ann", "Heat") for item in range(4)]
    assert not {one.sentence for one in rated} & {one.sentence for one in told}


def test_who_has_ratings_is_not_stored_with_the_weights():
    """So that weights that were kept before are loaded, and know it from the split."""
    model = make()
    state = model.state_dict()
    assert "seen" not in state
    fresh = make(split_of([0, 1], [0, 1], [5, 4]), seed=1)
    fresh.load_state_dict(state)
    assert fresh.seen.tolist() == [True, True, False]


# A small start, but for the network on [u, v], which has to find products of its inputs.
LEARNERS = {
    "sgd": dict(interaction="inner", biases=True, learning_rate=1.0, scale=0.3),
    "adam": dict(method="adam", learning_rate=0.05, interaction="mlp-product", scale=0.1),
    "mlp": dict(method="adam", learning_rate=0.05),
    "mlp by sgd": dict(learning_rate=1.0, scale=1.0, max_epochs=60),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns(tastes, name):
    start = replace(SMALL, dimension=8, hidden=8, batch_size=32, max_epochs=15)
    config = replace(start, **LEARNERS[name])
    fit = fit_ratings(lambda: AFM(tastes, config), tastes, config, 0, CPU, ["test"], progress=False)
    # The mean alone has an error of 1.6, the truth one of 0.5.
    assert fit.curve.errors["test RMSE"][-1] < 0.8


def test_a_seed_gives_the_same_numbers_again(tastes):
    config = replace(SMALL, batch_size=64)
    curves = [
        fit_ratings(
            lambda: AFM(tastes, config), tastes, config, seed, CPU, ["test"], 1, progress=False
        ).curve.loss
        for seed in (0, 0, 1)
    ]
    assert curves[0] == curves[1] != curves[2]


# --- bad input ---------------------------------------------------------------------------------


def test_bad_input_is_one_sentence():
    for name in ("interaction", "integration", "weighting", "missing"):
        with pytest.raises(ReplicationError, match=f"unknown {name} 'x'"):
            replace(SMALL, **{name: "x"})
    with pytest.raises(ReplicationError, match="unknown method 'x'"):
        replace(SMALL, method="x").optimizer([torch.zeros(1)])
    with pytest.raises(ReplicationError, match="needs item features"):
        make(replace(SPLIT, features=None))
    with pytest.raises(ReplicationError, match="of 4 items, but the split has 5"):
        make(replace(SPLIT, n_items=5))
    with pytest.raises(ReplicationError, match="users 0 to 2, not 3"):
        make().explain(3, 0)
    with pytest.raises(ReplicationError, match="items 0 to 3, not -1"):
        make().explain(0, -1)
    with pytest.raises(ReplicationError, match="has no attention"):
        make(integration="concat").attention(USERS)
