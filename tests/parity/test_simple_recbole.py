"""ItemKNN and EASE^R against RecBole's, on the same pairs: nothing in either is random.

Where RecBole is not installed, ``tests/models/test_simple_baselines.py`` holds both to their
equations in double precision.
"""

import numpy as np
import pytest
import recbole_peer
import torch
from agreement import PEER, assert_same
from torch import Tensor

from replication.baselines.ease import EASE, EASEConfig
from replication.baselines.item_knn import ItemKNN, ItemKNNConfig
from replication.data import filter_rare, load
from replication.evaluation import HeldOut, held_out
from replication.protocols import Split, make_split

CPU = torch.device("cpu")
pytestmark = [pytest.mark.peer, pytest.mark.needs_data("ml-100k")]


@pytest.fixture(scope="module")
def split() -> Split:
    return make_split(filter_rare(load("ml-100k")), "loo-random")


@pytest.fixture(scope="module")
def held(split: Split) -> HeldOut:
    return held_out(split, "test", CPU)


def scores_of_peer(split: Split, held: HeldOut, model: str, **settings) -> Tensor:
    """[E, 100]."""
    with recbole_peer.Peer(PEER, split, model, settings) as peer:
        return torch.from_numpy(peer.scores(held.users.numpy(), held.items.numpy()))


@pytest.mark.parametrize("l2", [50.0, 500.0])
def test_ease_gives_the_same_scores(split: Split, held: HeldOut, l2: float):
    """Breaks with B transposed, divided by the wrong diagonal, or another penalty."""
    ours = EASE(split, EASEConfig(l2=l2), CPU).score_candidates(held.users, held.items)
    theirs = scores_of_peer(split, held, "EASE", reg_weight=l2)
    print(f"largest difference {(ours - theirs).abs().max():.1e}, largest score {ours.max():.2f}")
    assert_same(ours, theirs.float(), 0, 2e-5, "EASE^R", "EASE", f"scores, penalty {l2:g}")


def tied(split: Split, config: ItemKNNConfig) -> np.ndarray:
    """[I] bool: the k-th and the next similarity of an item are equal but for rounding."""
    x = np.zeros((split.n_users, split.n_items))
    x[split.train_users, split.train_items] = 1.0
    counts = x.sum(0)
    similarity = (x.T @ x) / (np.sqrt(np.outer(counts, counts)) + config.shrink + 1e-12)
    np.fill_diagonal(similarity, 0.0)
    kth, following = -np.sort(-similarity, axis=1)[:, config.neighbours - 1 :][:, :2].T
    return (following > 0) & (kth - following < 1e-5 * kth)


@pytest.mark.parametrize("shrink", [0.0, 100.0])
def test_item_knn_gives_the_same_scores(split: Split, held: HeldOut, shrink: float):
    """Breaks with the neighbours of the consumed item for those of the scored one, or another
    place of the shrinkage.

    RecBole adds 1e-6 to every denominator. Of equal similarities at the k-th place it keeps any,
    ours the first: items with such a tie are compared with all neighbours alone.
    """
    everything = ItemKNNConfig(neighbours=split.n_items, shrink=shrink)
    default = ItemKNNConfig(shrink=shrink)
    clear = torch.from_numpy(~tied(split, default))[held.items]  # [E, 100]
    for config, compared in ((everything, torch.ones_like(clear)), (default, clear)):
        ours = ItemKNN(split, config, CPU).score_candidates(held.users, held.items)
        theirs = scores_of_peer(split, held, "ItemKNN", k=config.neighbours, shrink=shrink)
        ours, theirs = ours[compared], theirs[compared].float()
        print(
            f"k={config.neighbours}: {len(ours)} of {held.items.numel()} candidates, largest "
            f"difference {(ours - theirs).abs().max():.1e}, largest score {ours.max():.2f}"
        )
        assert len(ours) > 0.3 * held.items.numel()
        what = f"scores, {config.neighbours} neighbours, shrinkage {shrink:g}"
        assert_same(ours, theirs, 1e-5, 1e-6, "ItemKNN", "ItemKNN", what)
