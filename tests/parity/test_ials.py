"""iALS as the library solves it, against the loss written out and a dense solution by hand.

The loss is that of Rendle et al. (RecSys 2022), in double precision and over all pairs: neither the
library's form of it nor ``library_scale`` is used for what the library is compared with.
"""

import numpy as np
import pytest
import torch

from replication.baselines.ials import IALS, IALSConfig, library_scale
from replication.data import Interactions
from replication.protocols import Split, make_split

pytest.importorskip("implicit")

CPU = torch.device("cpu")
CONFIG = IALSConfig(factors=6, unobserved_weight=0.25, regularization=0.01, iterations=5)


@pytest.fixture
def split(tiny: Interactions) -> Split:
    return make_split(tiny, "loo-random")


def consumed(split: Split) -> np.ndarray:
    """[U, I] of 0 and 1."""
    matrix = np.zeros((split.n_users, split.n_items))
    matrix[split.train_users, split.train_items] = 1.0
    return matrix


def one_lambda(x: np.ndarray, config: IALSConfig) -> float:
    """The one lambda whose sum over all rows is that of ``lambda* (|I_u| + alpha_0 I)``."""
    alpha = config.unobserved_weight
    terms = np.concatenate([x.sum(1) + alpha * x.shape[1], x.sum(0) + alpha * x.shape[0]])
    return config.regularization * terms.mean()


def loss(w: torch.Tensor, h: torch.Tensor, x: torch.Tensor, config: IALSConfig) -> torch.Tensor:
    """The loss of Rendle et al.: training pairs, all pairs, norms."""
    y = w @ h.T  # [U, I]
    alpha, penalty = config.unobserved_weight, one_lambda(x.numpy(), config)
    observed = (x * (y - 1) ** 2).sum()
    return observed + alpha * (y**2).sum() + penalty * ((w**2).sum() + (h**2).sum())


def half_step(x: np.ndarray, other: np.ndarray, config: IALSConfig, penalty: float) -> np.ndarray:
    """Each row's best vector given the other side: the loss's gradient set to zero."""
    new = np.empty((len(x), config.factors))
    for row in range(len(x)):
        weight = np.diag(x[row] + config.unobserved_weight)
        system = other.T @ weight @ other + penalty * np.eye(config.factors)
        new[row] = np.linalg.solve(system, other.T @ x[row])
    return new


@pytest.mark.parametrize("iterations", [1, 5])
def test_the_library_takes_the_same_steps(split: Split, iterations: int):
    """From the same initial item factors; breaks with any other weight, penalty or order."""
    config = IALSConfig(
        factors=6, unobserved_weight=0.25, regularization=0.01, iterations=iterations
    )
    x = consumed(split)
    penalty = one_lambda(x, config)
    rng = np.random.default_rng(7)
    h = rng.normal(0, config.init_std / np.sqrt(config.factors), (split.n_items, config.factors))
    for _ in range(iterations):
        w = half_step(x, h, config, penalty)
        h = half_step(x.T, w, config, penalty)
    model = IALS(split, config, CPU, seed=7)
    factor = np.sqrt(1 + config.unobserved_weight)  # the library's target is 1 + alpha_0 as large
    np.testing.assert_allclose(model.users.numpy(), w * factor, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(model.items.numpy(), h * factor, rtol=2e-3, atol=1e-4)
    scores = model.score_all(torch.arange(split.n_users)).numpy()
    np.testing.assert_allclose(scores, (w @ h.T) * factor**2, atol=1e-4)


def test_the_items_are_at_the_minimum_of_the_printed_loss(split: Split):
    """No step away from the item factors, the last ones solved, lowers the loss."""
    model = IALS(split, CONFIG, CPU)
    factor = np.sqrt(1 + CONFIG.unobserved_weight)
    w, h = model.users.double() / factor, (model.items.double() / factor).requires_grad_()
    x = torch.from_numpy(consumed(split))
    (gradient,) = torch.autograd.grad(loss(w, h, x, CONFIG), h)
    away = (h * 1.01).detach().requires_grad_()  # one per cent off: what the tolerance must catch
    (off,) = torch.autograd.grad(loss(w, away, x, CONFIG), away)
    assert gradient.norm() < 1e-3 * off.norm()


def test_the_mean_penalty_rises_with_the_data(split: Split):
    """A lambda* means the same on data of any size: twice the users, about twice the penalty."""
    twice = Split(
        split.protocol,
        2 * split.n_users,
        split.n_items,
        np.concatenate([split.train_users, split.train_users + split.n_users]),
        np.concatenate([split.train_items, split.train_items]),
        *(np.concatenate([getattr(split, name)] * 2) for name in ("validation", "test")),
        *(
            np.concatenate([getattr(split, name)] * 2)
            for name in ("validation_negatives", "test_negatives")
        ),
    )
    for made in (split, twice):
        confidence, penalty = library_scale(made, CONFIG)
        assert confidence == 1 + 1 / CONFIG.unobserved_weight
        assert penalty == pytest.approx(one_lambda(consumed(made), CONFIG) * confidence)
