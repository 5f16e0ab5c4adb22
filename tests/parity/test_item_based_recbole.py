"""FISM against RecBole's, and the attention of DeepICF+a against that of its NAIS.

What RecBole's FISM does otherwise, and what is done about it here:

- The target stays in its own history. Candidates are never in a history, so that their scores are
  compared as they are; for items of the history ``q_i . p_i`` is the whole difference. Training
  is compared with a FISM of ours that has the same habit.
- Its loss takes a second sigmoid of its output: ``recbole_peer.mend`` takes that out.
- It penalises the norm of a table, and not its square: both are trained without penalties.
- Its Adagrad begins at 0: it is given our beginning, and the initial weights too.

NAIS (He et al., TKDE 2018) is DeepICF+a without the deep network: the same attention, whose pooled
vector is summed up, and no bias of the user.
"""

from collections.abc import Callable

import numpy as np
import pytest
import recbole_peer
import torch
from agreement import (
    PEER,
    assert_same,
    assert_within_the_spread,
    measured,
    same_steps,
    split_of_users,
)

from replication.baselines.deep_icf import FISM, DeepICF, DeepICFConfig, FISMConfig, ItemBased
from replication.data import Interactions
from replication.evaluation import held_out
from replication.protocols import Split
from replication.training import fit

CPU = torch.device("cpu")
CONFIG = FISMConfig(dimension=16, l2_embeddings=0.0)
START = 1e-8  # of the accumulators of ``ItemBasedConfig.optimizer``
SEEDS, EPOCHS = range(3), 10
NAMES, PART = ("FISM, of DeepICF+a", "FISM"), "users with at most 64 items"
pytestmark = [pytest.mark.peer, pytest.mark.needs_data("ml-100k")]


def short_histories(data: Interactions) -> np.ndarray:
    """[U] bool: RecBole pads every history to the longest one."""
    return np.bincount(data.users) <= 64


@pytest.fixture(scope="module")
def split() -> Split:
    return split_of_users(short_histories)


class KeepsTheTarget(FISM):
    """RecBole's habit."""

    def __init__(self, split: Split, config: FISMConfig) -> None:
        super().__init__(split, config)
        self.data.contain = lambda users, items: torch.zeros_like(items, dtype=torch.bool)


def fism_peer(split: Split, config: FISMConfig, seed: int = 0) -> recbole_peer.Peer:
    settings = recbole_peer.training(config) | {
        "learner": "adagrad",
        "embedding_size": config.dimension,
        "alpha": config.alpha,
        "reg_weights": [0.0, 0.0],
    }
    return recbole_peer.Peer(PEER, split, "FISM", settings, seed, adagrad_start=START)


def give(peer: recbole_peer.Peer, model: FISM) -> None:
    """The weights of ours."""
    peer.load(
        user={"user_bias": model.user_bias},
        item={
            "item_bias": model.item_bias,
            "item_src_embedding.weight": model.histories,
            "item_dst_embedding.weight": model.targets,
        },
    )


def randomise(model: ItemBased, std: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, std)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_fism_has_the_same_forward_pass(split: Split, alpha: float):
    """Breaks with p for q, a wrong normaliser or bias, or a history that is not the user's."""
    torch.manual_seed(0)
    config = FISMConfig(dimension=16, alpha=alpha)
    model, keeps = FISM(split, config), KeepsTheTarget(split, config)
    randomise(model, 0.25)
    keeps.load_state_dict(model.state_dict())
    held = held_out(split, "test", CPU)
    users, items = torch.from_numpy(split.train_users), torch.from_numpy(split.train_items)[:, None]
    with fism_peer(split, config) as peer:
        give(peer, model)
        candidates = torch.from_numpy(peer.scores(held.users.numpy(), held.items.numpy()))
        history = torch.from_numpy(peer.scores(users.numpy(), items.numpy()))
    ours = torch.sigmoid(model.score_candidates(held.users, held.items))
    print(f"alpha={alpha}: largest difference {(ours - candidates).abs().max():.1e}")
    assert ours.std() > 0.08
    what = f"probabilities of the same weights, alpha = {alpha:g}, {PART}"
    assert_same(ours, candidates, 0, 2e-6, *NAMES, what)
    ours = torch.sigmoid(keeps.score_candidates(users, items))
    torch.testing.assert_close(ours, history, rtol=0, atol=2e-6)
    if alpha == 0:
        itself = (model.targets * model.histories).sum(-1)[items]  # q_i . p_i
        ours = torch.sigmoid(model.score_candidates(users, items) + itself)
        torch.testing.assert_close(ours, history, rtol=0, atol=2e-6)


def test_fism_takes_the_same_steps(split: Split):
    """On the same batches from the same weights; breaks with another loss, gradient or optimiser.

    The control is how far ours has come from where it began.
    """
    torch.manual_seed(0)
    model = KeepsTheTarget(split, CONFIG)
    randomise(model, 0.1)
    held = held_out(split, "test", CPU)
    before = model.score_candidates(held.users, held.items)
    with fism_peer(split, CONFIG) as peer:
        give(peer, model)
        after, theirs = same_steps(peer, model, split, CONFIG, held)
    moved = (torch.sigmoid(after) - torch.sigmoid(before)).abs()
    apart = (torch.sigmoid(after) - theirs).abs()
    print(f"moved by {moved.mean():.3f}, apart by {apart.mean():.1e}, at most {apart.max():.1e}")
    assert moved.mean() > 0.05
    what = f"probabilities after the same 20 steps, {PART}"
    assert_same(torch.sigmoid(after), theirs, 0, 1e-4, *NAMES, what)


def test_fism_ranks_as_well(split: Split):
    """Each with its own sampling: the difference of the means is within three standard errors."""
    held = held_out(split, "test", CPU)

    def trained(kind: Callable[[Split, FISMConfig], FISM], seed: int) -> FISM:
        return fit(lambda: kind(split, CONFIG), split, CONFIG, seed, CPU, None, EPOCHS).model

    ours, theirs, without = [], [], []
    for seed in SEEDS:
        model = trained(KeepsTheTarget, seed)
        ours.append(measured(model.score_candidates(held.users, held.items), held))
        model = trained(FISM, seed)
        without.append(measured(model.score_candidates(held.users, held.items), held))
        with fism_peer(split, CONFIG, seed) as peer:
            torch.manual_seed(seed)
            give(peer, FISM(split, CONFIG))
            for _ in range(EPOCHS):
                peer.ask("epoch")
            scores = peer.scores(held.users.numpy(), held.items.numpy())
        theirs.append(measured(torch.from_numpy(scores), held))
    print("without the target in its history:", np.round(np.mean(without, axis=0), 4))
    assert_within_the_spread(ours, theirs, *NAMES, PART)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.8), (0.5, 0.5), (1.0, 1.0)])
def test_attention_of_deep_icf_is_that_of_nais(split: Split, alpha: float, beta: float):
    """Breaks with another order of products, ReLU and softmax, or another smoothing."""
    torch.manual_seed(0)
    config = DeepICFConfig(
        dimension=16, attention_size=8, alpha=alpha, beta=beta, user_bias=False, history_cap=0
    )
    model = DeepICF(split, config)
    randomise(model, 0.5)
    held = held_out(split, "test", CPU)
    settings = {
        "embedding_size": config.dimension,
        "weight_size": config.attention_size,
        "alpha": alpha,
        "beta": beta,
        "algorithm": "prod",
    }
    with recbole_peer.Peer(PEER, split, "NAIS", settings) as peer:
        peer.load(
            item={
                "bias": model.item_bias,
                "item_src_embedding.weight": model.histories,
                "item_dst_embedding.weight": model.targets,
            },
            shared={
                "mlp_layers.mlp_layers.1.weight": model.attention_weight,
                "mlp_layers.mlp_layers.1.bias": model.attention_bias,
                "weight_layer": model.attention_output[:, None],
            },
        )
        theirs = torch.from_numpy(peer.scores(held.users.numpy(), held.items.numpy()))
    ours = model.bias(held.users, held.items).detach().clone()
    with torch.no_grad():
        for block in model.blocks(held.users, held.items):
            ours[block.rows] += block.attended.pooled.sum(-1)
    print(f"largest difference {(ours - theirs).abs().max():.1e}, spread {ours.std():.2f}")
    what = f"pooled histories, alpha = {alpha:g}, beta = {beta:g}, {PART}"
    tolerance = 1e-4 * float(ours.std())
    assert_same(ours, theirs, 1e-4, tolerance, "DeepICF+a, its attention", "NAIS", what)
