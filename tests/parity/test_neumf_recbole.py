"""NeuMF against its equations written out, and against RecBole's where that is installed.

RecBole is too heavy for every run of the tests and wants older packages: the comparison runs where
``REPLICATION_PEER_PYTHON`` names an interpreter that has it (``recbole_peer.py`` says how to make
one) and takes some minutes.
"""

from itertools import pairwise

import pytest
import recbole_peer
import torch
from agreement import PEER, assert_within_the_spread, measured
from torch import Tensor, nn

from replication.baselines.neumf import PARTS, NeuMF, NeuMFConfig, build
from replication.data import filter_rare, load
from replication.evaluation import held_out
from replication.protocols import make_split
from replication.training import fit

CPU = torch.device("cpu")


class Printed(nn.Module):
    """He et al. (2017), Eqs. 8 to 12, one pair at a time as they are printed."""

    def __init__(self, n_users: int, n_items: int, d: int, part: str) -> None:
        super().__init__()
        self.part = part
        self.p_gmf, self.q_gmf = nn.Embedding(n_users, d), nn.Embedding(n_items, d)
        self.p_mlp, self.q_mlp = nn.Embedding(n_users, 2 * d), nn.Embedding(n_items, 2 * d)
        sizes = [4 * d, 4 * d, 2 * d, d]
        self.mlp = nn.Sequential(
            *(nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(sizes))
        )
        self.h = nn.Linear(2 * d if part == "neumf" else d, 1)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        phi_gmf = self.p_gmf(users) * self.q_gmf(items)  # Eq. 8
        phi_mlp = self.mlp(torch.cat([self.p_mlp(users), self.q_mlp(items)], dim=1))  # Eq. 10
        if self.part == "neumf":
            return torch.sigmoid(self.h(torch.cat([phi_gmf, phi_mlp], dim=1)))[:, 0]  # Eq. 12
        return torch.sigmoid(self.h(phi_gmf if self.part == "gmf" else phi_mlp))[:, 0]  # Eq. 9, 10

    def take(self, model: NeuMF, d: int) -> None:
        """The weights of ours."""
        at = 0 if self.part == "mlp" else d
        heads = []
        if self.part != "mlp":
            self.p_gmf.weight.copy_(model.users[:, :d])
            self.q_gmf.weight.copy_(model.items[:, :d])
            heads.append(model.output)
        if self.part != "gmf":
            self.p_mlp.weight.copy_(model.users[:, at:])
            self.q_mlp.weight.copy_(model.items[:, at:])
            tower = model.tower
            first = torch.cat([tower.user.weight, tower.item.weight], dim=1)
            weights = [first, *(layer.weight for layer in tower.later)]
            biases = [tower.user.bias, *(layer.bias for layer in tower.later)]
            for layer, weight, bias in zip(self.mlp, weights, biases, strict=True):
                layer[0].weight.copy_(weight)
                layer[0].bias.copy_(bias)
            heads.append(tower.output)
        self.h.weight.copy_(torch.cat(heads)[None])
        self.h.bias.fill_(model.bias)


@pytest.mark.parametrize("part", PARTS)
def test_forward_pass_and_loss_are_the_printed_equations(part):
    """Goes red for a wrong order of layers, a missing bias or ReLU, or the wrong half of a row."""
    torch.manual_seed(0)
    d = 4
    ours = NeuMF(12, 20, NeuMFConfig(factors=d, part=part)).double()
    printed = Printed(12, 20, d, part).double()
    users, items = torch.randint(12, (6,)), torch.randint(20, (6, 5))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(0, 0.6)
        printed.take(ours, d)
        y = printed(users.repeat_interleave(5), items.flatten()).view(6, 5)
        torch.testing.assert_close(torch.sigmoid(ours.score_candidates(users, items)), y)
        loss = -(torch.log(y[:, 0]).sum() + torch.log(1 - y[:, 1:]).sum()) / y.numel()  # Eq. 7
        torch.testing.assert_close(ours.loss(users, items), loss)


SEEDS, EPOCHS = range(5), 5


@pytest.mark.needs_data("ml-100k")
@pytest.mark.peer
def test_ranks_as_well_as_recbole():
    """The same pairs, candidates and hyper-parameters, each with its own sampling and training.

    Without pretraining and for a fixed number of epochs. The difference of the means over five
    seeds must be within three standard errors.
    """
    split = make_split(filter_rare(load("ml-100k")), "loo-random")
    config = NeuMFConfig(pretrain_epochs=0)
    held = held_out(split, "test", CPU)
    ours, theirs = [], []
    for seed in SEEDS:
        made = fit(
            lambda seed=seed: build(split, config, seed, CPU),
            split,
            config,
            seed,
            CPU,
            None,
            EPOCHS,
        ).model
        ours.append(measured(made.score_candidates(held.users, held.items), held))
        with recbole_peer.neumf(PEER, split, config, seed) as peer:
            for _ in range(EPOCHS):
                peer.ask("epoch")
            scores = peer.scores(held.users.numpy(), held.items.numpy())
        theirs.append(measured(torch.from_numpy(scores), held))
    assert_within_the_spread(ours, theirs, "NCF", "NeuMF")
