"""FISM and DeepICF+a: equations, attention, histories, written-out gradient, what they learn."""

import copy
import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from replication.baselines import deep_icf
from replication.baselines.deep_icf import (
    FISM,
    DeepICF,
    DeepICFConfig,
    FISMConfig,
    ItemBased,
    build,
)
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.protocols import ABSENT, Split, make_split
from replication.training import fit

CPU = torch.device("cpu")
N_ITEMS = 12
# Users with five items, three, one, and none.
HISTORIES = [[0, 3, 4, 7, 9], [1, 3, 11], [6], []]
USERS = torch.arange(4)
# The first candidate of each user is an item of the own history, where there is one.
CANDIDATES = torch.tensor([[3, 1, 2, 5], [11, 0, 2, 4], [6, 0, 3, 11], [5, 0, 3, 11]])


def split_of(histories: list[list[int]], n_items: int) -> Split:
    """Nothing but training pairs."""
    users = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    none = np.full(len(histories), ABSENT)
    negatives = np.full((len(histories), 99), ABSENT)
    items = np.array([item for history in histories for item in history])
    order = np.random.default_rng(0).permutation(len(users))  # in no order, as in a file
    return Split(
        "made up",
        len(histories),
        n_items,
        users[order],
        items[order],
        none,
        none,
        negatives,
        negatives,
    )


def randomised(kind: type[ItemBased], config):
    """A model in double precision whose every parameter is drawn at random.

    Biases of hidden units are positive, so that the units are not all off.
    """
    torch.manual_seed(0)
    model = kind(split_of(HISTORIES, N_ITEMS), config).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("layers", "norms", "attention")) and name.endswith("bias"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0, 0.5)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 2)
    return model


def fism(kind: type[FISM] = FISM, **changes) -> FISM:
    return randomised(kind, FISMConfig(dimension=6, **changes))


def deep(kind: type[DeepICF] = DeepICF, **changes) -> DeepICF:
    config = DeepICFConfig(dimension=6, attention_size=3, hidden=(5, 4), **changes)
    return randomised(kind, config)


BOTH = pytest.mark.parametrize("make", [fism, deep])


# --- the equations, one example at a time --------------------------------------------------------


def assert_scores(model: ItemBased, expected: list[list[torch.Tensor]]) -> None:
    stacked = torch.stack([torch.stack(row) for row in expected])
    torch.testing.assert_close(model.score_candidates(USERS, CANDIDATES), stacked)


def remaining(user: int, item: int) -> list[int]:
    return [j for j in HISTORIES[user] if j != item]


@torch.no_grad()
def fism_by_hand(model: FISM, user: int, item: int) -> torch.Tensor:
    """b_u + b_i + |R_u \\ i|^-alpha sum_j q_j . p_i."""
    y = model.item_bias[item] + (model.user_bias[user] if model.config.user_bias else 0)
    rest = remaining(user, item)
    for j in rest:
        y = y + model.histories[j] @ model.targets[item] / len(rest) ** model.config.alpha
    return y


@torch.no_grad()
def unsmoothed_by_hand(model: DeepICF, user: int, item: int) -> list[torch.Tensor]:
    """exp(h^T ReLU(W (q_j * p_i) + b)) of each remaining item j."""
    weight, bias = model.attention_weight, model.attention_bias
    pairs = [model.histories[j] * model.targets[item] for j in remaining(user, item)]
    return [torch.exp(model.attention_output @ torch.relu(weight @ v + bias)) for v in pairs]


@torch.no_grad()
def deep_by_hand(model: DeepICF, user: int, item: int) -> torch.Tensor:
    c, rest = model.config, remaining(user, item)
    exponentials = unsmoothed_by_hand(model, user, item)
    e = torch.zeros(c.dimension, dtype=torch.float64)
    for j, one in zip(rest, exponentials, strict=True):
        attention = one / sum(exponentials) ** c.beta
        e = e + attention * (model.histories[j] * model.targets[item]) / len(rest) ** c.alpha
    for number, layer in enumerate(model.layers):
        e = layer.weight @ e
        if c.batch_norm:
            norm = model.norms[number]
            e = (e - norm.running_mean) / torch.sqrt(norm.running_var + 1e-3)
            e = norm.weight * e + norm.bias
        else:
            e = e + layer.bias
        e = torch.relu(e)
    y = model.output @ e + model.item_bias[item]
    return y + model.user_bias[user] if c.user_bias else y


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("user_bias", [True, False])
def test_fism_is_its_equation_spelled_out(alpha, user_bias):
    """Fails where the target stays in the history, or the normaliser counts it."""
    model = fism(alpha=alpha, user_bias=user_bias)
    assert_scores(model, [[fism_by_hand(model, u, i) for i in CANDIDATES[u]] for u in range(4)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"beta": 1.0, "alpha": 0.5},
        {"beta": 0.0, "user_bias": False},
        {"batch_norm": False, "alpha": 1.0},
    ],
    ids=str,
)
def test_deep_icf_is_its_equations_spelled_out(changes):
    """Fails where padding or the target gets attention, or a factor or layer is amiss."""
    model = deep(**changes)
    assert_scores(model, [[deep_by_hand(model, u, i) for i in CANDIDATES[u]] for u in range(4)])


@BOTH
def test_loss_is_the_log_loss_and_the_penalties_spelled_out(make):
    penalties = {"l2_embeddings": 0.02}
    if make is deep:
        penalties |= {"l2_attention": 0.03, "l2_hidden": 0.04, "batch_norm": False}
    model = make(**penalties)
    y = model(USERS, CANDIDATES)
    total = 0.0
    for u in range(4):
        total -= torch.log(torch.sigmoid(y[u, 0]))
        total -= sum(torch.log(1 - torch.sigmoid(y[u, c])) for c in (1, 2, 3))
    expected = total / 16 + 0.02 * ((model.targets**2).sum() + (model.histories**2).sum())
    if make is deep:
        expected += 0.03 * (model.attention_weight**2).sum()
        expected += 0.04 * sum((layer.weight**2).sum() for layer in model.layers)
    torch.testing.assert_close(model.loss(USERS, CANDIDATES), expected)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.8, 1.0])
def test_attention_sums_as_the_smoothed_softmax_says(beta):
    """The weights add up to (sum of the exponentials)^(1 - beta): to 1 only if beta is 1."""
    model = deep(beta=beta)
    for user, item in ((0, 3), (0, 1), (1, 0), (2, 0)):
        weights = model.explain(user, item).attention
        expected = sum(unsmoothed_by_hand(model, user, item)) ** (1 - beta)
        torch.testing.assert_close(weights.sum(), expected)
        assert beta == 1.0 or abs(weights.sum() - 1) > 1e-3


# --- histories -----------------------------------------------------------------------------------


class LeakyDeepICF(DeepICF):
    """A planted leak: the target may be in its own history. For one user at a time: no padding."""

    def attend(self, logits, outside, *others):
        return super().attend(logits, torch.zeros_like(outside), *others)


class LeakyFISM(FISM):
    """The same leak."""

    def __init__(self, split, config):
        super().__init__(split, config)
        self.data.contain = lambda users, items: torch.zeros_like(items, dtype=torch.bool)


def leaks(model: ItemBased) -> bool:
    """Whether the training loss of a positive looks at it as an item of its own history."""
    users, items = torch.tensor([0]), torch.tensor([[3]])
    (gradient,) = torch.autograd.grad(model.loss(users, items), [model.histories])
    assert gradient[[0, 4, 7, 9]].abs().sum(1).min() > 0  # the rest of the history is looked at
    return bool(gradient[3].abs().max() > 0)


@pytest.mark.parametrize(
    ("make", "leaky"), [(fism, LeakyFISM), (partial(deep, batch_norm=False), LeakyDeepICF)]
)
def test_the_target_is_never_in_its_own_history(make, leaky):
    assert not leaks(make(l2_embeddings=0.0))
    assert leaks(make(leaky, l2_embeddings=0.0))  # the control


@BOTH
def test_an_empty_history_leaves_the_biases(make):
    """User 2 has item 6 alone, user 3 nothing: the score of 6, and all of user 3's, are biases."""
    model = make(alpha=0.5)
    y = model(USERS, CANDIDATES)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    constant = y - model.bias(USERS, CANDIDATES)
    torch.testing.assert_close(constant[3], constant[2, :1].expand(4))  # the same for every item
    assert (constant[0] - constant[2, 0]).abs().min() > 1e-6
    everything = model.score_all(USERS)
    torch.testing.assert_close(everything[3].argsort(), model.item_bias.argsort())


@BOTH
def test_blocks_and_padding_change_nothing(make, monkeypatch):
    """Fails where a user's score depends on who shares her block."""
    model = make()
    together = model.score_candidates(USERS, CANDIDATES), model.score_all(USERS)
    monkeypatch.setitem(deep_icf.CELLS, "cpu", 40)  # every user, and few targets, a block
    apart = model.score_candidates(USERS, CANDIDATES), model.score_all(USERS)
    torch.testing.assert_close(together, apart)


def test_a_capped_history_is_drawn_anew_and_stands_for_the_whole():
    """Where all history items are alike, any draw must pool to what the whole history does."""
    whole, capped = deep(alpha=0.5), deep(alpha=0.5, history_cap=2)
    for model in (whole, capped):
        with torch.no_grad():
            model.histories.copy_(model.histories[0].expand_as(model.histories))
    users, items = USERS[:3], CANDIDATES[:3, 1:]  # no target is in its history
    torch.testing.assert_close(*(model.loss(users, items) for model in (whole, capped)))
    torch.testing.assert_close(whole(users, items), capped(users, items))
    draws = []
    for _ in range(60):
        (block,) = capped.blocks(torch.tensor([0]), torch.tensor([[1]]), training=True)
        draws.append(tuple(sorted(block.items[0].tolist())))
    assert all(len(set(draw)) == 2 and set(draw) <= set(HISTORIES[0]) for draw in draws)
    assert len(set(draws)) == 10  # every pair out of five items comes up


@BOTH
def test_all_items_score_as_they_do_as_candidates(make):
    model = make(alpha=0.5)
    users = torch.tensor([2, 0, 3, 0, 1])
    everything = torch.arange(N_ITEMS).expand(5, -1)
    torch.testing.assert_close(model.score_all(users), model.score_candidates(users, everything))


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (fism, {"l2_embeddings": 0.2, "alpha": 0.5}),
        (deep, {}),
        (deep, {"batch_norm": False, "alpha": 0.5, "beta": 0.5}),
        (deep, {"beta": 1.0, "user_bias": False, "l2_hidden": 0.3}),
        (deep, {"l2_embeddings": 0.2, "l2_attention": 0.3}),
        (deep, {"history_cap": 2, "alpha": 0.5}),
    ],
    ids=str,
)
def test_written_out_gradient_is_that_of_autograd(make, changes, monkeypatch):
    monkeypatch.setitem(deep_icf.CELLS, "cpu", 60)  # several blocks
    model = make(**changes)
    users = torch.tensor([0, 3, 1, 0, 2])  # one user twice, one without a history
    items = torch.tensor([[3, 1, 2], [5, 0, 3], [11, 4, 4], [9, 1, 2], [6, 0, 1]])
    state = copy.deepcopy(model.state_dict())
    loss = model.loss(users, items)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    model.load_state_dict(state)  # the same items of the capped histories again
    again = model.accumulate_gradients(users, items)
    torch.testing.assert_close(again, loss.detach())
    for (name, parameter), gradient in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, msg=lambda m, n=name: f"{n}: {m}")
        assert gradient.abs().max() > 0, name


def test_scoring_leaves_the_batch_statistics_alone():
    """Fails where the batch normalisation of scoring is that of training."""
    model = deep()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    alone = model.score_candidates(USERS[:1], CANDIDATES[:1])
    torch.testing.assert_close(model.score_candidates(USERS, CANDIDATES)[:1], alone)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    model.accumulate_gradients(USERS, CANDIDATES)
    assert not torch.equal(model.norms[0].running_mean, before["norms.0.running_mean"])


LEARN = DeepICFConfig(
    dimension=16, attention_size=4, hidden=(16, 8), batch_size=32, pretrain_epochs=6, max_epochs=8
)


@pytest.fixture(scope="module")
def blocks(make_tiny):
    """Users and items in three groups of taste."""
    return make_split(make_tiny(n_users=90, n_items=150, per_user=20), "loo-random")


def hit_ratio(model: ItemBased, split: Split) -> float:
    return summary(rank_candidates(model, held_out(split, "test", CPU)))["HR@10"]


def test_fism_learns_what_an_untrained_model_does_not_know(blocks):
    config = FISMConfig(dimension=16, batch_size=32, max_epochs=10)
    trained = fit(partial(FISM, blocks, config), blocks, config, 0, CPU, "validation").model
    # A third of about 100 candidates are of the user's taste: knowing the taste and nothing else
    # gives 10 / 33; knowing nothing gives 10 / 100.
    assert hit_ratio(FISM(blocks, config), blocks) < 0.2 < 0.22 < hit_ratio(trained, blocks)


@pytest.mark.parametrize("pretrain_epochs", [0, 6])
def test_deep_icf_learns_what_an_untrained_model_does_not_know(blocks, pretrain_epochs):
    config = dataclasses.replace(LEARN, pretrain_epochs=pretrain_epochs, l2_hidden=0.0)
    new = partial(build, blocks, config, 0, CPU, progress=False)
    trained = fit(new, blocks, config, 0, CPU, "validation").model
    assert hit_ratio(DeepICF(blocks, config), blocks) < 0.2 < 0.22 < hit_ratio(trained, blocks)


def test_pretraining_gives_the_embeddings_and_the_same_bits_again(blocks):
    """And it works where the validation items are in training, with none left to select on."""
    refit = blocks.refit()
    models = [build(refit, LEARN, 3, CPU, progress=False) for _ in range(2)]
    shared = ("targets", "histories", "item_bias", "user_bias")
    for name in shared:
        assert torch.equal(getattr(models[0], name), getattr(models[1], name))
    untrained = DeepICF(refit, dataclasses.replace(LEARN, pretrain_epochs=0))
    for name in shared:
        assert getattr(models[0], name).abs().mean() > 3 * getattr(untrained, name).abs().mean()
    trained = []
    for keeps in (True, False):  # FISM from the builds above, and trained once more
        if not keeps:
            deep_icf._pretrained.cache_clear()
        new = partial(build, refit, LEARN, 3, CPU, progress=False)
        trained.append(fit(new, refit, LEARN, 3, CPU, None, 2).model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_a_search_pretrains_once(blocks, monkeypatch):
    """And no trial gets the pretraining of another split, seed or configuration."""
    asked = []
    monkeypatch.setattr(deep_icf, "fit", lambda *a, **k: asked.append(a) or fit(*a, **k))
    deep_icf._pretrained.cache_clear()
    short = dataclasses.replace(LEARN, pretrain_epochs=1)
    for config in (short, dataclasses.replace(short, learning_rate=0.02, beta=0.6)):
        build(blocks, config, 0, CPU, progress=False)
    assert len(asked) == 1
    for split, config, seed in (
        (blocks.refit(), short, 0),
        (blocks, short, 1),
        (blocks, dataclasses.replace(short, pretrain_alpha=0.5), 0),
        (blocks, dataclasses.replace(short, pretrain_epochs=2), 0),
    ):
        build(split, config, seed, CPU, progress=False)
    assert len(asked) == 5


def test_explanations_list_the_rest_of_the_history():
    model = deep()
    for user, item in ((0, 3), (0, 1), (2, 6), (3, 0)):
        why = model.explain(user, item)
        assert sorted(why.items.tolist()) == remaining(user, item)
        assert why.attention.tolist() == sorted(why.attention.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (FISMConfig, {"weight_decay": 0.1}),
        (DeepICFConfig, {"weight_decay": 0.1}),
        (DeepICFConfig, {"attention_size": 0}),
        (DeepICFConfig, {"hidden": ()}),
        (DeepICFConfig, {"pretrain_epochs": -1}),
        (DeepICFConfig, {"history_cap": -1}),
    ],
    ids=str,
)
def test_impossible_choices_are_refused(config, changes):
    with pytest.raises(ReplicationError):
        config(**changes)
