"""NeuMF: its written-out gradient, its fusion, how it scores and what it learns.

The equations themselves are held to a plain module in ``tests/parity/test_neumf_recbole.py``.
"""

import dataclasses

import numpy as np
import pytest
import torch

from replication.baselines import neumf
from replication.baselines.neumf import NeuMF, NeuMFConfig, build
from replication.errors import ReplicationError
from replication.evaluation import held_out, rank_candidates
from replication.metrics.ranking import summary
from replication.protocols import ABSENT, Split, make_split
from replication.training import fit

CPU = torch.device("cpu")


def model(**changes) -> NeuMF:
    torch.manual_seed(0)
    made = NeuMF(12, 20, NeuMFConfig(**{"factors": 8, **changes}))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.7)
    return made


@pytest.mark.parametrize("part", neumf.PARTS)
@pytest.mark.parametrize("hidden_layers", [1, 3])
def test_written_out_gradient_is_that_of_autograd(part, hidden_layers):
    """Two batches of different sizes after each other: what the first left in the memory that is
    reused must not reach the second, and gradients must add up. Goes red if any term is left out,
    or if a user or an item that comes up twice is counted once."""
    made = model(part=part, hidden_layers=hidden_layers).double()
    batches = [
        (torch.tensor([2, 5, 2, 7]), torch.randint(20, (4, 5))),
        (torch.tensor([5, 0]), torch.randint(20, (2, 5))),
        (torch.tensor([1, 2, 3, 2]), torch.randint(20, (4, 5))),
    ]
    total = sum(made.loss(*batch) for batch in batches)
    expected = torch.autograd.grad(total, list(made.parameters()))
    again = sum(made.accumulate_gradients(*batch) for batch in batches)
    torch.testing.assert_close(again, total.detach())
    for (name, parameter), gradient in zip(made.named_parameters(), expected, strict=True):
        assert gradient.abs().max() > 0, f"{name} has no part in the loss"
        torch.testing.assert_close(parameter.grad, gradient, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("part", neumf.PARTS)
def test_all_items_score_as_they_do_as_candidates(part, monkeypatch):
    monkeypatch.setattr(neumf, "SCORED_AT_ONCE", 40)  # two users a block, the last block with one
    made = model(part=part)
    users = torch.tensor([1, 4, 11, 4, 0])
    everything = torch.arange(20).expand(5, -1)
    scores = made.score_all(users)
    torch.testing.assert_close(scores, made.score_candidates(users, everything))
    scores.fill_(0.0)  # the caller's own: it may be written to
    assert made.score_all(users).abs().min() > 0


@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_fusion_weights_the_logits_of_its_parts(alpha):
    """Eq. 13, and that every pretrained tensor reaches its place."""
    gmf, mlp = model(part="gmf"), model(part="mlp")
    users, items = torch.tensor([2, 5, 9]), torch.randint(20, (3, 6))
    made = NeuMF.fused(gmf, mlp, NeuMFConfig(factors=8, fusion_weight=alpha))
    expected = alpha * gmf(users, items) + (1 - alpha) * mlp(users, items)
    torch.testing.assert_close(made(users, items), expected)
    assert not torch.allclose(made(users, items), (1 - alpha) * gmf(users, items))


def test_sizes_are_those_of_the_papers_example():
    """He et al., Section 4.1: with 8 factors, embeddings of 16 below layers of 32, 16 and 8."""
    made = NeuMF(3, 5, NeuMFConfig(factors=8))
    assert made.users.shape == (3, 8 + 16)
    assert made.tower.item.weight.shape == made.tower.user.weight.shape == (32, 16)
    assert [layer.weight.shape for layer in made.tower.later] == [(16, 32), (8, 16)]


# Wider initial weights than the paper's: with few factors the MLP leaves its plateau sooner.
LEARN = NeuMFConfig(
    factors=8, learning_rate=0.01, batch_size=64, pretrain_epochs=0, patience=12, init_std=0.2
)


@pytest.fixture(scope="module")
def split(make_tiny) -> Split:
    return make_split(make_tiny(n_users=90, n_items=150, per_user=20), "loo-random")


def hit_rate(made: NeuMF, split: Split) -> float:
    return summary(rank_candidates(made, held_out(split, "test", CPU)))["HR@10"]


@pytest.mark.parametrize("part", neumf.PARTS)
def test_learns_what_an_untrained_model_does_not_know(part, split):
    """A third of about 100 candidates are of the user's taste: knowing the taste and nothing else
    gives 10 / 33; knowing nothing gives 10 / 100."""
    config = dataclasses.replace(LEARN, part=part)
    untrained = build(split, config, 0, CPU)
    trained = fit(lambda: build(split, config, 0, CPU), split, config, 0, CPU, "validation").model
    assert hit_rate(untrained, split) < 0.2 < 0.22 < hit_rate(trained, split)


def test_pretraining_is_where_the_fusion_begins(split):
    """On a split without validation items, as in a refit. Goes red if the parts are fused before
    they are trained, or if the seed does not reach them."""
    config = dataclasses.replace(LEARN, pretrain_epochs=10)
    refit = split.refit()
    made = build(refit, config, 0, CPU, progress=False)
    assert made.config.part == "neumf"
    assert hit_rate(made, split) > 0.22
    same, other = (build(refit, config, seed, CPU, progress=False) for seed in (0, 1))
    assert torch.equal(same.users, made.users) and torch.equal(same.bias, made.bias)
    assert not torch.allclose(other.users, made.users)


def test_a_user_without_items_and_an_item_of_nobody():
    """User 3 has no training item, user 2 has one, item 2 no user: it is only ever a negative.

    Goes red if a user's row is moved by another's examples, or if rejecting what was consumed
    keeps an item of nobody from being drawn.
    """
    pairs = np.array([[0, 0], [0, 1], [0, 4], [1, 1], [1, 3], [1, 5], [2, 4]])
    none, few = np.full(4, ABSENT), np.full((4, 99), ABSENT)
    split = Split("made up", 4, 6, *pairs.T, none, none, few, few)
    config = dataclasses.replace(LEARN, pretrain_epochs=2)
    began = build(split, config, 0, CPU, progress=False)
    made = fit(
        lambda: build(split, config, 0, CPU, progress=False), split, config, 0, CPU, None, 20
    ).model
    assert torch.equal(made.users[3], began.users[3])
    assert (made.users[:3] != began.users[:3]).any(1).all()
    before, after = (some.score_all(torch.arange(4)) for some in (began, made))
    assert after.isfinite().all() and (after[:3, 2] < before[:3, 2]).all()
    assert after[2, 4] > after[2, 2]  # the one item of user 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"part": "gmf+mlp"}, "unknown part"),
        ({"factors": 7}, "even number"),
        ({"hidden_layers": 0}, "hidden layer"),
        ({"pretrain_epochs": -1}, "0 or more"),
    ],
)
def test_a_wrong_configuration_is_named(changes, said):
    with pytest.raises(ReplicationError, match=said):
        NeuMFConfig(**changes)
