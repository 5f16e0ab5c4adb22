"""Simple models of ratings, in closed form or nearly: what care alone reaches.

All are made from a ``RatingSplit`` and offer ``predict(users, items, generator)``, as trained
models do; none draws anything. Ratings are in stars, and nothing is clipped here.

``fold_in`` predicts for users who were not trained on, from V users' known ratings [V, I]: what
depends on the user is computed from them in closed form, and all else stays as it was trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from replication.folds import RatingSplit
from replication.rating_training import DeviceRatings


@dataclass(frozen=True)
class ConstantConfig:
    """Nothing to choose."""


class Constant:
    """The mean of the training ratings for everybody and everything."""

    def __init__(self, split: RatingSplit, config: ConstantConfig, device: torch.device) -> None:
        self.mean = float(split.train.values.mean(dtype="float64"))

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        return torch.full(users.shape, self.mean, device=users.device)


@dataclass(frozen=True)
class BiasConfig:
    """Weights of the penalties, in ratings; Koren (2010, Section 2.1) has the model."""

    l2_users: float = 10.0
    l2_items: float = 5.0


class Bias:
    """mu + b_u + b_i, the exact minimum of the penalised squared error.

    Setting the derivatives to zero and eliminating b_u leaves one linear system of I equations.
    A user or item without training ratings has bias 0.
    """

    def __init__(self, split: RatingSplit, config: BiasConfig, device: torch.device) -> None:
        train = DeviceRatings.of(split.train, device)
        shape = (split.n_users, split.n_items)
        self.l2_users = config.l2_users
        self.mean = float(train.values.double().mean())
        rest = train.values.double() - self.mean
        rated = torch.zeros(shape, dtype=torch.float64, device=device)
        rated[train.users, train.items] = 1.0
        weight = 1.0 / (rated.sum(1) + config.l2_users)  # [U]
        of_users = torch.zeros(shape[0], dtype=torch.float64, device=device)
        of_items = torch.zeros(shape[1], dtype=torch.float64, device=device)
        of_users.index_add_(0, train.users, rest)
        of_items.index_add_(0, train.items, rest)
        # (D_i + l2 - A^T W A) b_i = s_i - A^T W s_u, where W = 1 / (n_u + l2)
        system = torch.diag(rated.sum(0) + config.l2_items) - rated.T @ (rated * weight[:, None])
        right = of_items - rated.T @ (weight * of_users)
        self.items = torch.linalg.solve(system, right)  # [I]
        self.users = weight * (of_users - rated @ self.items)  # [U]

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        return (self.mean + self.users[users] + self.items[items]).float()

    def fold_in(self, ratings: Tensor, rated: Tensor) -> Tensor:
        """[V, I] ratings of new users for everything.

        Args:
            ratings: [V, I] what is known of them.
            rated: [V, I] bool, where something is known.
        """
        rest = torch.where(rated, ratings - self.mean - self.items, 0.0)  # [V, I]
        users = rest.sum(1) / (rated.sum(1) + self.l2_users)  # [V], the minimum for given b_i
        return (self.mean + users[:, None] + self.items).float()


def residuals(split: RatingSplit, bias: Bias, device: torch.device) -> tuple[Tensor, Tensor]:
    """What ``bias`` leaves of the training ratings, 0 where there is none, and where there is one.

    Returns:
        [U, I] float32 and [U, I] float32 of 0 and 1.
    """
    train = DeviceRatings.of(split.train, device)
    left = torch.zeros(split.n_users, split.n_items, device=device)
    rated = torch.zeros_like(left)
    predicted = bias.predict(train.users, train.items, torch.Generator())
    left[train.users, train.items] = train.values - predicted
    rated[train.users, train.items] = 1.0
    return left, rated


@dataclass(frozen=True)
class ImputedSVDConfig:
    """The paper's own baseline (Table I) says nothing of its rank."""

    rank: int = 10


class ImputedSVD:
    """Missing ratings become the movie's mean; the matrix is replaced by its best of a rank.

    A movie without training ratings stands in the matrix with the overall mean, a user without any
    with the movies' means; what is predicted is the approximation of these.
    """

    def __init__(self, split: RatingSplit, config: ImputedSVDConfig, device: torch.device) -> None:
        train = DeviceRatings.of(split.train, device)
        count = torch.bincount(train.items, minlength=split.n_items)
        total = torch.zeros(split.n_items, device=device).index_add_(0, train.items, train.values)
        means = torch.where(count > 0, total / count.clamp_min(1), train.values.mean())
        full = means.repeat(split.n_users, 1)  # [U, I]
        full[train.users, train.items] = train.values
        # The right singular vectors of X are the eigenvectors of X^T X; ascending.
        _, vectors = torch.linalg.eigh((full.T @ full).double())
        self.basis = vectors[:, -config.rank :].float()  # [I, rank]
        self.left = full @ self.basis  # [U, rank]

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        return (self.left[users] * self.basis[items]).sum(1)


@dataclass(frozen=True)
class ItemLinearConfig:
    """Bias weights as above; l2 is the penalty of the ridge regressions."""

    l2: float = 1000.0
    l2_users: float = 10.0
    l2_items: float = 5.0


class ItemLinear:
    """Each item's residual as a linear function of the residuals of the user's other items.

    One ridge regression an item, over the users who rated it; an item that the user did not rate
    counts as 0, its expectation. (EASE and SLIM fit all users instead, also those who did not
    rate the item.) Of the two forms of the solution the smaller system is solved.

    A user without training ratings has no residuals, and an item without any no weights: what the
    biases say of the known half is left.
    """

    def __init__(self, split: RatingSplit, config: ItemLinearConfig, device: torch.device) -> None:
        self.bias = Bias(split, BiasConfig(config.l2_users, config.l2_items), device)
        self.left, rated = residuals(split, self.bias, device)
        n_items = split.n_items
        self.weights = torch.zeros(n_items, n_items, device=device)  # [to predict, from]
        for item in range(n_items):
            who = rated[:, item].nonzero()[:, 0]
            if not len(who):
                continue
            known = self.left[who]  # [n, I]
            target = known[:, item].clone()
            known[:, item] = 0.0  # an item does not explain itself
            if len(who) < n_items:
                system = known @ known.T  # [n, n]
                system.diagonal().add_(config.l2)
                dual = torch.cholesky_solve(target[:, None], torch.linalg.cholesky(system))
                self.weights[item] = (known.T @ dual)[:, 0]
            else:
                system = known.T @ known  # [I, I]
                system.diagonal().add_(config.l2)
                right = (known.T @ target)[:, None]
                solved = torch.cholesky_solve(right, torch.linalg.cholesky(system))
                self.weights[item] = solved[:, 0]

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        base = self.bias.predict(users, items, generator)
        return base + (self.left[users] * self.weights[items]).sum(1)

    def fold_in(self, ratings: Tensor, rated: Tensor) -> Tensor:
        """[V, I] ratings of new users; see ``Bias.fold_in``."""
        base = self.bias.fold_in(ratings, rated)
        left = torch.where(rated, ratings - base, 0.0)
        return base + left @ self.weights.T


@dataclass(frozen=True)
class ALSConfig:
    """Matrix factorisation with biases by alternating least squares (Zhou et al. 2008)."""

    rank: int = 16
    l2: float = 10.0
    sweeps: int = 15
    scale: float = 0.1  # sd of the item factors at the start


class ALS:
    """mu + b_u + b_i + p_u . q_i; a sweep solves for all users at once, then for all items.

    A user or item without training ratings has bias 0 and the vector 0, the minimum of the penalty.
    """

    def __init__(
        self, split: RatingSplit, config: ALSConfig, device: torch.device, seed: int
    ) -> None:
        bias = Bias(split, BiasConfig(), device)
        self.mean = bias.mean
        left, rated = residuals(split, bias, device)
        user_bias, item_bias = bias.users.float(), bias.items.float()
        values = left + rated * (user_bias[:, None] + item_bias)  # r - mu
        generator = torch.Generator(device=device).manual_seed(seed)
        shape = (split.n_items, config.rank)
        items = torch.randn(shape, generator=generator, device=device) * config.scale
        users = torch.empty(0)
        by_item, values_by_item = rated.T.contiguous(), values.T.contiguous()
        for _ in range(config.sweeps):
            users, user_bias = _ridge(values, rated, items, item_bias, config.l2)
            items, item_bias = _ridge(values_by_item, by_item, users, user_bias, config.l2)
        self.users, self.items = users, items
        self.user_bias, self.item_bias, self.l2 = user_bias, item_bias, config.l2

    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        product = (self.users[users] * self.items[items]).sum(1)
        return self.mean + self.user_bias[users] + self.item_bias[items] + product

    def fold_in(self, ratings: Tensor, rated: Tensor) -> Tensor:
        """[V, I] ratings of new users, half a sweep; see ``Bias.fold_in``."""
        values = torch.where(rated, ratings - self.mean, 0.0)
        users, bias = _ridge(values, rated.float(), self.items, self.item_bias, self.l2)
        return self.mean + bias[:, None] + self.item_bias + users @ self.items.T


def _ridge(
    values: Tensor, rated: Tensor, factors: Tensor, bias: Tensor, l2: float, block: int = 1024
) -> tuple[Tensor, Tensor]:
    """Factors [n, k] and biases [n] of all rows, those of the columns given.

    Args:
        values: [n, m] ratings less their mean, 0 where there is none.
        rated: [n, m] 0 or 1.
        factors, bias: [m, k] and [m] of the columns.
    """
    z = torch.cat([factors, torch.ones_like(bias)[:, None]], dim=1)  # [m, k + 1]
    k = z.shape[1]
    products = (z[:, :, None] * z[:, None, :]).flatten(1)  # [m, (k + 1)^2]
    ridge = l2 * torch.eye(k, device=z.device)
    solved = []
    for start in range(0, len(values), block):
        here = rated[start : start + block]
        system = (here @ products).unflatten(1, (k, k)) + ridge  # [b, k + 1, k + 1]
        right = (values[start : start + block] - here * bias) @ z  # [b, k + 1]
        solved.append(torch.cholesky_solve(right[..., None], torch.linalg.cholesky(system))[..., 0])
    both = torch.cat(solved)
    return both[:, :-1].contiguous(), both[:, -1].contiguous()
