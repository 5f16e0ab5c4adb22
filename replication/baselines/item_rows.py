"""What the factor models with item features share: an item as a bag of rows of one table.

The rows are those of the item's feature values and, after all values, the one of the item's own id.
An item without any feature is its id alone; a missing feature is no row and adds nothing.
Shapes: B pairs of a user and an item, n rows of all items of a batch together, k dimensions, U
users, I items, N feature values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.folds import RatingSplit
from replication.item_features import FeatureTable
from replication.rating_training import RatingConfig
from replication.row_sgd import RowSGD, add_rows

STEPS = 64  # so many batches are prepared together
WEIGHTINGS = ("mean", "sum")


@dataclass(frozen=True)
class FeatureConfig(RatingConfig):
    """The training choices of a factor model with item features.

    A row is in few batches, and of a batch's mean error it gets its own ratings' share: a rate of
    0.5 at 256 ratings a step moves it as a rate of 0.002 at one rating a step does. A value that
    half of the ratings have is in all batches: much above 1, its bias alone would diverge.
    """

    learning_rate: float = 0.5  # of the mean error of a batch; ours, tuned
    batch_size: int = 256  # ours
    # Of each rating's rows, in its own loss, as LibFM and SVDFeature have it; Adam: decoupled.
    weight_decay: float = 0.02
    max_epochs: int = 50  # our budget
    method: str = "sgd"  # AFM paper, Section 4.1.3
    dimension: int = 64  # k; AFM paper, Section 4.1.3
    scale: float = 0.1  # sd of the factors at the start; LibFM's own default
    weighting: str = "mean"  # a value's weight is 1 / (values of this feature); "sum": 1
    biases: bool = True  # with the mean rating and a bias a row

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise ReplicationError(
                f"unknown weighting {self.weighting!r}; use {' or '.join(WEIGHTINGS)}"
            )

    @property
    def sparse(self) -> bool:
        """Whether a step touches the batch's rows only, which plain SGD allows."""
        return self.method == "sgd"

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Plain SGD on the rows of a batch; the penalty is in the loss. Else Adam."""
        if self.sparse:
            return RowSGD(parameters, self.learning_rate)
        return super().optimizer(parameters)


class Bags(NamedTuple):
    """The rows of B items, one item after the other."""

    rows: Tensor  # [n] int64
    weight: Tensor  # [n] x of each row
    owner: Tensor  # [n] int64, 0..B-1 ascending
    start: Tensor  # [B] int64, where an item's rows begin

    def followed_by(self, other: Bags) -> Bags:
        """The rows of these items, then those of the items of another."""
        owner, start = other.owner + len(self.start), other.start + len(self.rows)
        moved = (other.rows, other.weight, owner, start)
        return Bags(*(torch.cat(pair) for pair in zip(self, moved, strict=True)))

    def sums(self, values: Tensor) -> Tensor:
        """[B, d] sums of values [n, d] over the rows of each item."""
        every = torch.arange(len(values), device=values.device)
        return torch.embedding_bag(values, every, self.start)[0]


class ItemRows(nn.Module):
    """Which rows an item has, and their weights."""

    rows: Tensor
    weight: Tensor
    first: Tensor
    count: Tensor

    def __init__(
        self, features: FeatureTable | None, n_items: int, weighting: str, ids: bool = True
    ) -> None:
        """features: None stands for no features. ids: whether the item's own id is a row.

        Raises:
            ReplicationError: the features are of another number of items.
        """
        super().__init__()
        at = item = value = np.zeros(0, dtype=np.int64)
        weight = np.zeros(0)
        n_values = 0
        if features is not None:
            if features.n_items != n_items:
                raise ReplicationError(
                    f"the features are of {features.n_items} items, the ratings of {n_items}"
                )
            n_values = features.n_values
            item, at, _ = features.present.nonzero()
            value = features.values[features.present]
            weight = np.ones(len(item))
            if weighting == "mean":
                weight = 1 / features.present.sum(2)[item, at]
        if ids:
            item = np.concatenate([item, np.arange(n_items)])
            value = np.concatenate([value, n_values + np.arange(n_items)])
            weight = np.concatenate([weight, np.ones(n_items)])
        order = np.argsort(item, kind="stable")
        count = np.bincount(item, minlength=n_items)
        self.n_rows = n_values + (n_items if ids else 0)
        columns = {
            "rows": value[order],
            "weight": weight[order].astype(np.float32),
            "first": np.cumsum(count) - count,
            "count": count,
        }
        for name, column in columns.items():
            self.register_buffer(name, torch.from_numpy(column), persistent=False)

    def forward(self, items: Tensor) -> Bags:
        """The rows of items [B]."""
        count = self.count.index_select(0, items)  # [B]
        end = count.cumsum(0)
        start = end - count
        owner = torch.repeat_interleave(count)  # [n]
        at = (self.first.index_select(0, items) - start).index_select(0, owner)
        at += torch.arange(len(owner), device=items.device)
        return Bags(self.rows.index_select(0, at), self.weight.index_select(0, at), owner, start)

    def batches(self, items: Tensor, size: int) -> Iterator[Bags]:
        """The rows of items [n] in batches of a size: many are looked up at once, which is faster.

        What is yielded is ``self(batch)`` for each batch.
        """
        for block in items.split(STEPS * size):
            rows, weight, owner, start = self(block)
            begins = start[::size]  # of each batch
            start = start - begins.repeat_interleave(size)[: len(block)]
            owner %= size
            bounds = [*begins.tolist(), len(rows)]
            for begin, end, starts in zip(bounds, bounds[1:], start.split(size), strict=False):
                yield Bags(rows[begin:end], weight[begin:end], owner[begin:end], starts)

    def seen(self, items: np.ndarray) -> Tensor:
        """[N + I] bool, the rows of those items."""
        found = torch.zeros(self.n_rows, dtype=torch.bool)
        found[self(torch.from_numpy(np.unique(items))).rows] = True
        return found


class Bag(torch.autograd.Function):
    """Sums over each item's rows, with a derivative that holds the rows of the batch only."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, bags: Bags, squares: bool, sparse: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Weighted sums of rows, of their squares, and the squared length of all rows.

        Args:
            table: [R, k].
            bags: which rows; v below is a row of the table and x its weight.
            squares: whether the second result is wanted.
            sparse: whether the derivative is a sparse tensor.

        Returns:
            [B, k] sum of x v; [B, k] sum of (x v)^2 or None; [] sum of |v|^2.
        """
        rows, weight, owner, start = bags
        picked = table.index_select(0, rows)  # [n, k]
        scaled = picked * weight[:, None]  # [n, k], x v
        arange = torch.arange(len(rows), device=rows.device)
        total = F.embedding_bag(arange, scaled, start, mode="sum")  # [B, k]
        squared = F.embedding_bag(arange, scaled.square(), start, mode="sum") if squares else None
        flat = picked.view(-1)
        ctx.save_for_backward(rows, weight, owner, picked, scaled)
        ctx.set_materialize_grads(False)
        ctx.shape, ctx.sparse = table.shape, sparse
        return total, squared, flat @ flat

    @staticmethod
    def backward(
        ctx: Any, d_total: Tensor | None, d_squared: Tensor | None, d_length: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        rows, weight, owner, picked, scaled = ctx.saved_tensors
        d_scaled = torch.zeros_like(scaled)
        if d_total is not None:
            d_scaled = d_total.index_select(0, owner)  # [n, k]
        if d_squared is not None:
            d_scaled.addcmul_(scaled, d_squared.index_select(0, owner), value=2)
        d_picked = d_scaled.mul_(weight[:, None])
        if d_length is not None:
            d_picked.addcmul_(picked, d_length, value=2)
        if ctx.sparse:
            d_table = torch.sparse_coo_tensor(
                rows[None], d_picked, ctx.shape, check_invariants=False
            )
        else:
            d_table = picked.new_zeros(ctx.shape).index_add_(0, rows, d_picked)
        return d_table, None, None, None


def start_table(seen: Tensor, dimension: int, scale: float) -> nn.Parameter:
    """[R, k + 1] random factors and, in the last column, biases of zero.

    A row that no training rating has (``seen`` [R] is False) starts and stays at zero: it adds
    nothing to a prediction, which falls back to what is known.
    """
    table = torch.randn(len(seen), dimension + 1) * scale
    table[:, -1] = 0.0
    return nn.Parameter(table * seen[:, None])


def seen_users(split: RatingSplit) -> Tensor:
    """[U] bool, who has a training rating."""
    seen = torch.zeros(split.n_users, dtype=torch.bool)
    seen[torch.from_numpy(split.train.users)] = True
    return seen


class Layer(nn.Module):
    """W x / sqrt(inputs) + b with weights of unit variance (Jacot et al. 2018).

    The same functions and nearly the same start as with Glorot's weights, but plain SGD stays
    stable at the rates that rows need: a row is in few batches, a layer in all.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, values: Tensor) -> Tensor:
        """[B, outputs] from values [B, inputs]."""
        return F.linear(values / self.weight.shape[1] ** 0.5, self.weight, self.bias)

    def change(self, values: Tensor, changes: Tensor) -> Tensor:
        """Take a step of SGD, without autograd.

        Args:
            values: [B, inputs] what went in.
            changes: [B, outputs] minus the rate times the loss's derivative by what came out.

        Returns:
            [B, inputs] the same of what went in, from the weights before the step.
        """
        scale = self.weight.shape[1] ** -0.5
        inward = (changes @ self.weight).mul_(scale)
        self.weight.addmm_(changes.T, values, alpha=scale)
        self.bias.add_(changes.sum(0))
        return inward


# From changes [B] of the interaction (minus the rate times the loss's derivative by it) to those of
# the user's factors, of the item's and of its squares, if these are used, [B, k] each, or [B, 1]
# where they are the same for all factors.
Backward = Callable[[Tensor], tuple[Tensor, Tensor, "Tensor | None"]]


class FeatureFactors(nn.Module):
    """mu + b_u + sum over the item's rows of x b, plus an interaction of the factors.

    Squared error; with plain SGD, each rating's loss has ``weight_decay`` times the squared length
    of its rows besides.
    """

    squares = False  # whether the interaction needs the sums of squares

    def __init__(self, split: RatingSplit, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        # The mean is no parameter: a rate that suits rows would make one number of all ratings
        # diverge.
        self.mean = float(split.train.values.mean(dtype="float64")) if config.biases else 0.0
        self.item_rows = ItemRows(split.features, split.n_items, config.weighting)
        self.users = start_table(seen_users(split), config.dimension, config.scale)  # [U, k + 1]
        self.items = start_table(  # [N + I, k + 1], rows of values and of ids
            self.item_rows.seen(split.train.items), config.dimension, config.scale
        )

    def interaction(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """[B] what the model adds to the biases.

        Args:
            user: [B, k] factors.
            item: [B, k] weighted sum of the factors of the item's rows.
            squares: [B, k] sum of their squares, where ``self.squares`` asks for it.
            generator: decides what is drawn.
        """
        raise NotImplementedError

    def interaction_and_backward(
        self, user: Tensor, item: Tensor, squares: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Backward]:
        """The same without autograd, and the step of SGD from what the loss wants of it.

        The second result, when called, also changes the parameters of the interaction.
        """
        raise NotImplementedError

    def terms(
        self, users: Tensor, items: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Ratings [B], and the squared length [] of all rows that they come from."""
        sparse = self.config.sparse
        user = F.embedding(users, self.users, sparse=sparse)  # [B, k + 1]
        item, squares, length = Bag.apply(self.items, self.item_rows(items), self.squares, sparse)
        factors = None if squares is None else squares[:, :-1]
        rating = self.interaction(user[:, :-1], item[:, :-1], factors, generator)
        if self.config.biases:
            rating = self.mean + user[:, -1] + item[:, -1] + rating
        return rating, length + user.square().sum()

    def forward(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        return self.terms(users, items, generator)[0]

    def loss(
        self, users: Tensor, items: Tensor, ratings: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error of ratings [B], and the penalty."""
        predicted, length = self.terms(users, items, generator)
        loss = F.mse_loss(predicted, ratings)
        if self.config.sparse:
            loss = loss + (self.config.weight_decay / len(users)) * length
        return loss

    def batches(self, items: Tensor, size: int) -> Iterator[Bags]:
        """What ``sgd_step`` needs of items [n], for each batch of a size."""
        return self.item_rows.batches(items, size)

    @torch.no_grad()
    def sgd_step(
        self,
        users: Tensor,
        items: Tensor,
        bags: Bags,
        ratings: Tensor,
        generator: torch.Generator,
        rate: float,
    ) -> Tensor:
        """A step of plain SGD with the derivative of ``loss`` written out; gives the loss.

        Args:
            users, items, ratings: [B].
            bags: the items' rows.
            generator: decides what is drawn.
            rate: the learning rate.
        """
        size, decay = len(users), self.config.weight_decay / len(users)
        user = self.users.index_select(0, users)  # [B, k + 1]
        picked = self.items.index_select(0, bags.rows)  # [n, k + 1]
        scaled = picked * bags.weight[:, None]
        item = bags.sums(scaled)  # [B, k + 1]
        squares = bags.sums(scaled.square())[:, :-1] if self.squares else None
        error, backward = self.interaction_and_backward(
            user[:, :-1], item[:, :-1], squares, generator
        )
        if self.config.biases:
            error = error + user[:, -1] + item[:, -1] + self.mean
        error = error - ratings  # [B]
        flat_user, flat_picked = user.view(-1), picked.view(-1)
        loss = (error @ error) / size + decay * (flat_user @ flat_user + flat_picked @ flat_picked)

        changes = error * (-2 * rate / size)  # [B]
        by_user, by_item, by_squares = backward(changes)
        bias = changes[:, None] if self.config.biases else torch.zeros_like(changes)[:, None]
        d_picked = torch.cat([by_item, bias], 1).index_select(0, bags.owner)  # [n, k + 1]
        if by_squares is not None:
            d_squares = by_squares.index_select(0, bags.owner)  # [n, k] or [n, 1]
            d_picked[:, :-1].addcmul_(scaled[:, :-1], d_squares, value=2)
        d_picked.mul_(bags.weight[:, None]).add_(picked, alpha=-2 * rate * decay)
        d_user = torch.cat([by_user, bias], 1).add_(user, alpha=-2 * rate * decay)
        add_rows(self.users, users, d_user)
        add_rows(self.items, bags.rows, d_picked)
        return loss

    @torch.no_grad()
    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B]."""
        return self(users, items, generator)
