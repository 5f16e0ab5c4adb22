"""ConvNCF against the convolutions of torch, autograd, and its equations spelled out."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from replication.baselines import conv_ncf
from replication.baselines.conv_ncf import (
    ROW,
    BPRMatrixFactorization,
    ConvNCF,
    ConvNCFConfig,
    build,
    window_order,
)
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.protocols import make_split
from replication.training import fit

CPU = torch.device("cpu")
SMALL = ConvNCFConfig(dimension=8, channels=3, batch_size=4)
PAIR = 3 * 4 * 4 * 8  # bytes of a pair in the first layer of SMALL in double precision


def model(**changes) -> ConvNCF:
    """12 users and 20 items, in double precision, with embeddings that matter."""
    torch.manual_seed(0)
    small = ConvNCF(12, 20, dataclasses.replace(SMALL, **changes)).double()
    with torch.no_grad():
        small.users.normal_()
        small.items.normal_()
    return small


def convolved(net: ConvNCF, users: torch.Tensor, items: torch.Tensor) -> list[torch.Tensor]:
    """The outer products of pairs (users [n], items [n]), and what each torch convolution gives."""
    maps = [torch.einsum("na,nb->nab", net.users[users], net.items[items])[:, None]]
    for kernel, bias in zip(net.kernels, net.biases, strict=True):
        weight = kernel.unflatten(1, (2, 2, -1)).permute(0, 3, 1, 2)  # [k, in, 2, 2]
        maps.append(F.conv2d(maps[-1], weight, bias, stride=2).relu())
    return maps


def spelled_out(net: ConvNCF, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """The loss of users [B] and items [B, 1 + |N|], triple by triple, with a graph."""
    c, total, negatives = net.config, 0.0, items.shape[1] - 1
    for user, row in zip(users, items, strict=True):
        last = convolved(net, user.expand(len(row)), row)[-1]  # [1 + |N|, k, 1, 1]
        y = last.flatten(1) @ net.output
        for j in range(1, 1 + negatives):
            squares = sum((v**2).sum() for v in (net.users[user], *net.items[row[[0, j]]]))
            triple = -torch.log(torch.sigmoid(y[0] - y[j])) + c.l2_embeddings * squares
            total += triple / (len(users) * negatives)
    filters = sum((p**2).sum() for name, p in net.named_parameters() if name[:2] in ("ke", "bi"))
    penalty = c.l2_convolution * filters + c.l2_output * (net.output**2).sum()
    return total + penalty / c.batch_size


def test_pixels_of_a_window_lie_side_by_side():
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert window_order(4).view(4, 4).tolist() == expected
    assert window_order(64).sort().values.equal(torch.arange(64 * 64))


@torch.no_grad()
def test_each_layer_is_a_convolution_of_the_outer_product():
    """Fails if pixels, kernel entries or the roles of user (rows) and item (columns) are mixed."""
    net = model()
    users, items = torch.tensor([1, 4]), torch.tensor([[0, 3, 7], [5, 5, 9]])
    got = net.maps(net.users[users], net.items[items], net.filters(), net._work(7))
    expected = convolved(net, users.repeat_interleave(3), items.flatten())
    # 16 pixels of one channel in a row, then four of three channels, at last one.
    assert [tuple(m.shape) for m in got] == [(6 * 4, ROW), (6 * 4, 12), (6, 12), (6, 3)]
    for rows, reference, size in zip(got, expected, (8, 4, 2, 1), strict=True):
        pixels = rows[:, :16].reshape(6, size * size, -1)
        in_order = reference.flatten(2)[..., window_order(size)].transpose(1, 2)  # [6, size^2, k]
        torch.testing.assert_close(pixels, in_order)

    assert (got[1] == 0).any() and (got[1] > 0).any()  # the ReLU does something
    score = (expected[-1].flatten(1) @ net.output).view(2, 3)
    torch.testing.assert_close(net.interaction(net.users[users], net.items[items]), score)


@torch.no_grad()
def test_the_source_has_six_layers_of_32_channels():
    net = ConvNCF(2, 3, ConvNCFConfig())
    maps = net.maps(net.users[:1], net.items[None, :1], net.filters(), net._work(1))
    assert maps[0].shape == (16 * 16, ROW)
    assert [m.numel() for m in maps[1:]] == [32 * n * n for n in (32, 16, 8, 4, 2, 1)]


def test_loss_is_the_pairwise_loss_spelled_out():
    net = model(l2_embeddings=0.3, l2_convolution=0.2, l2_output=0.7, batch_size=5)
    users, items = torch.tensor([2, 5, 2]), torch.randint(20, (3, 4))
    torch.testing.assert_close(net.loss(users, items), spelled_out(net, users, items).detach())


def test_written_out_gradient_is_that_of_autograd(monkeypatch):
    """Fails too if a block is weighed wrongly, or a penalty is added once a block."""
    monkeypatch.setitem(conv_ncf.BLOCK, "cpu", 2 * 5 * PAIR)  # two users of five candidates
    net = model(l2_embeddings=0.3, l2_convolution=0.4, l2_output=0.7)
    # A user and an item that come up more than once, in one block and in two.
    users, items = torch.tensor([2, 5, 2, 7, 2]), torch.randint(6, (5, 5))
    loss = spelled_out(net, users, items)
    expected = torch.autograd.grad(loss, list(net.parameters()))
    torch.testing.assert_close(net.accumulate_gradients(users, items), loss.detach())
    for (name, parameter), gradient in zip(net.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, msg=lambda m, n=name: f"{n}: {m}")


def test_a_filter_that_is_no_number_shows_in_the_loss():
    """Training stops at such a loss."""
    net = model(l2_convolution=0.0)
    with torch.no_grad():
        net.kernels[0][0, 0] = -torch.tensor(float("nan"))
    assert net.accumulate_gradients(torch.tensor([1]), torch.tensor([[2, 3]])).isnan()


def test_adagrad_takes_the_steps_of_the_sum_over_the_batch():
    """The released code sums its loss over the batch and begins accumulators at 0.1."""
    mean, total = model(), model()
    optimizers = [
        SMALL.optimizer(mean.parameters()),
        torch.optim.Adagrad(total.parameters(), lr=0.05, initial_accumulator_value=0.1),
    ]
    for _ in range(3):
        users, items = torch.randint(12, (4,)), torch.randint(20, (4, 5))
        for net, optimizer, factor in zip((mean, total), optimizers, (1, 4), strict=True):
            optimizer.zero_grad()
            net.accumulate_gradients(users, items)
            for p in net.parameters():
                p.grad *= factor
            optimizer.step()
    assert not torch.equal(mean.output, model().output)
    for a, b in zip(mean.parameters(), total.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_all_items_score_as_they_do_as_candidates_and_in_any_block(monkeypatch):
    net = model()
    users = torch.tensor([1, 4, 11])
    everything = torch.arange(20).expand(3, -1)
    at_once = net.interaction(net.users[users], net.items[everything])
    for pairs in (7, 1000):  # blocks that end within a user, and one block
        monkeypatch.setitem(conv_ncf.BLOCK, "cpu", pairs * PAIR)
        torch.testing.assert_close(net.score_all(users), at_once)
        torch.testing.assert_close(net.score_candidates(users, everything), at_once)
        some = everything.flip(1)[:, :6]
        torch.testing.assert_close(net.score_candidates(users, some), at_once.flip(1)[:, :6])
    plain = BPRMatrixFactorization(12, 20, SMALL)
    torch.testing.assert_close(plain.score_all(users), plain.score_candidates(users, everything))


def test_begins_with_the_embeddings_of_a_trained_matrix_factorisation(tiny):
    split = make_split(tiny, "loo-random").refit()  # without validation items
    config = dataclasses.replace(SMALL, batch_size=32, pretrain_epochs=3, warmup_epochs=0)
    net = build(split, config, 5, CPU, progress=False)
    again = build(split, dataclasses.replace(config, channels=2), 5, CPU, progress=False)
    untrained = build(split, dataclasses.replace(config, pretrain_epochs=0), 5, CPU)
    assert torch.equal(net.users, again.users) and torch.equal(net.items, again.items)
    # An untrained embedding is drawn within two standard deviations of 0.01.
    assert untrained.users.abs().max() <= 0.02 < net.users.abs().max()
    # The first epoch of the network changes everything, without penalties that stay off.
    config = dataclasses.replace(config, warmup_epochs=1)
    warm = build(split, config, 5, CPU, progress=False)
    assert warm.config.l2_output == 11 and not torch.equal(warm.users, net.users)
    assert warm.penalty() > 0
    # A seed gives the same model again, and a model that nothing was done to takes its state.
    blank = ConvNCF(split.n_users, split.n_items, config)
    blank.load_state_dict(build(split, config, 5, CPU, progress=False).state_dict())
    users = torch.arange(split.n_users)
    assert torch.equal(blank.score_all(users), warm.score_all(users))


def test_learns_what_its_embeddings_alone_do_not_tell(make_tiny):
    """Before, the convolutions are untrained, on top of embeddings that are trained."""
    data = make_tiny(n_users=90, n_items=150, per_user=20)
    split = make_split(data, "loo-random")
    config = dataclasses.replace(
        SMALL,
        channels=8,
        batch_size=32,
        pretrain_epochs=10,
        max_epochs=6,
        patience=6,
    )
    held = held_out(split, "test", CPU)
    begin = dataclasses.replace(config, warmup_epochs=0)
    untrained = build(split, begin, 0, CPU, progress=False)
    trained = fit(
        lambda: build(split, config, 0, CPU, progress=False), split, config, 0, CPU, "validation"
    ).model
    before, after = (summary(rank_candidates(m, held))["HR@10"] for m in (untrained, trained))
    # A third of about 100 candidates are of the user's taste: knowing the taste and nothing else
    # gives 10 / 33; knowing nothing gives 10 / 100.
    assert before < 0.2 < 0.22 < after


@pytest.mark.parametrize(
    "changes",
    [
        {"dimension": 48},
        {"dimension": 2},
        {"channels": 0},
        {"pretrain_epochs": -1},
        {"warmup_epochs": -1},
        {"weight_decay": 0.1},
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_is_refused(changes):
    with pytest.raises(ReplicationError, match=next(iter(changes))):
        ConvNCFConfig(**changes)
