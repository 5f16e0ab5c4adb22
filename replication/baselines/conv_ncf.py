"""ConvNCF: a convolutional network over the outer product of two embeddings.

He et al., "Outer product-based neural collaborative filtering" (IJCAI 2018), and Du et al.
(TOIS 2019, the one that the AMP-CF paper cites). Its embeddings begin as those of a matrix
factorisation that was trained on the same pairwise loss, BPR (Rendle et al., UAI 2009).

Symbols (paper -> here): ``p_u`` -> a row of ``users``; ``q_i`` -> a row of ``items``; ``E`` ->
``interaction_map``; the filters of layer l -> ``kernels[l]``; ``w`` -> ``output``.
Shapes: B users in a batch, C candidate items a user, n pairs of a block, d dimensions, k channels,
I items.

"Released code" is github.com/duxy-me/ConvNCF.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.gradients import grad_of, through_relu_
from replication.protocols import Split
from replication.training import Differentiable, RankingConfig, fit

# Bytes of the first layer of a block of pairs: more leave the core's cache between two layers, and
# less are done before a product has been set up.
BLOCK = {"cpu": 3 * 2**20, "cuda": 2**29}
# Numbers in a row of the interaction map: 16 pixels, a one that the bias is multiplied by, and
# three more, with which the products take a fifth less time than without.
ROW = 20


@dataclass(frozen=True)
class ConvNCFConfig(RankingConfig):
    """Every choice of the model and of the matrix factorisation that it begins with.

    The AMP-CF paper (Section 4.3) prints d = 64, six layers and |N| = 4, and leaves the
    optimisation to Du et al., whose released code takes one negative.
    """

    learning_rate: float = 0.05  # released code, for embeddings and network
    batch_size: int = 512  # released code
    negative_distribution: str = "uniform"  # released code
    reject_consumed: str = "train"  # negatives are unobserved pairs; released code
    dimension: int = 64  # d, a power of two: every layer halves the map; released code
    channels: int = 32  # k of every layer; released code
    l2_embeddings: float = 0.01  # on p_u, q_i and q_j of every triple; released code
    # The released code adds the next two once a step to the sum over its batch.
    l2_convolution: float = 1.0  # on filters and their biases
    l2_output: float = 11.0  # on w: its own 10, and the 1 of the filters once more
    pretrain_epochs: int = 20  # of the matrix factorisation; 0: none. Released code: up to 500
    pretrain_learning_rate: float = 0.05  # released code
    # First epochs of the network without penalties and at a rate of their own; released code.
    warmup_epochs: int = 1
    warmup_learning_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.dimension < 4 or self.dimension & (self.dimension - 1) or self.channels < 1:
            raise ReplicationError(
                "ConvNCF needs a dimension that is a power of two from 4 and at least one channel, "
                f"not dimension={self.dimension} and channels={self.channels}"
            )
        for name in ("pretrain_epochs", "warmup_epochs"):
            if getattr(self, name) < 0:
                raise ReplicationError(f"{name} is {getattr(self, name)}; use 0 or more")
        if self.weight_decay:
            raise ReplicationError(
                f"weight_decay is {self.weight_decay:g}, but ConvNCF is regularised by the "
                "penalties that begin with l2_; set those"
            )

    @property
    def layers(self) -> int:
        """Convolutions until one pixel is left: six for d = 64."""
        return self.dimension.bit_length() - 1

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Adagrad (Duchi et al. 2011) as in the released code.

        There the accumulators begin at 0.1 and the loss is the sum over the batch. Here it is the
        mean, with gradients smaller by the size of the batch: Adagrad then takes the same steps if
        the accumulators begin smaller by its square.
        """
        return torch.optim.Adagrad(
            parameters,
            lr=self.learning_rate,
            initial_accumulator_value=0.1 / self.batch_size**2,
        )


class BPRMatrixFactorization(Differentiable):
    """Dot products of user and item vectors, trained on BPR: ConvNCF's starting point."""

    def __init__(self, n_users: int, n_items: int, config: ConvNCFConfig) -> None:
        super().__init__()
        self.config = config
        self.users = nn.Parameter(torch.empty(n_users, config.dimension))
        self.items = nn.Parameter(torch.empty(n_items, config.dimension))
        for table in (self.users, self.items):
            _truncated_normal(table, 0.01)  # released code

    def interaction(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of item vectors [B, C, d] for user vectors [B, d]."""
        return (items @ users.unsqueeze(-1)).squeeze(-1)

    def penalty(self) -> Tensor:
        """What the parameters that every pair shares add to the loss."""
        return self.users.new_zeros(())

    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """BPR with penalties, averaged over the batch's B * |N| triples.

        Args:
            users: [B].
            items: [B, 1 + |N|], the positive first.
        """
        user_rows, item_rows = self.users[users], self.items[items]  # [B, d], [B, 1 + |N|, d]
        scores = self.interaction(user_rows, item_rows)  # [B, 1 + |N|]
        ranking = F.softplus(scores[:, 1:] - scores[:, :1]).mean()  # -log sigmoid(y_ui - y_uj)
        return ranking + self.row_penalty(user_rows, item_rows) + self.penalty()

    def row_penalty(self, users: Tensor, items: Tensor) -> Tensor:
        """lambda (|p_u|^2 + |q_i|^2 + |q_j|^2), the mean over the triples of a batch.

        Args:
            users: [B, d].
            items: [B, 1 + |N|, d], the positive first.
        """
        squares = users.square().sum(-1) + items[:, 0].square().sum(-1)  # [B]
        squares = squares + items[:, 1:].square().sum(-1).mean(1)
        return self.config.l2_embeddings * squares.mean()

    @torch.no_grad()
    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C] for users [B]."""
        return self.interaction(self.users[users], self.items[items])

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B]."""
        return self.users[users] @ self.items.T


class Workspace:
    """Where the maps of a block of pairs are computed, and their gradients.

    Every block uses it again: the system takes longer to hand out fresh memory than a layer takes.
    """

    def __init__(
        self,
        config: ConvNCFConfig,
        pairs: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.key = (pairs, dtype, device)
        d, k = config.dimension, config.channels
        self.outer = torch.empty(pairs, d, d, dtype=dtype, device=device)
        self.ordered = torch.empty(pairs, d * d, dtype=dtype, device=device)
        # Of the interaction map, and of what each convolution makes of it.
        rows = [(d // 4) ** 2, *((d >> layer) ** 2 for layer in range(2, 1 + config.layers)), 1]
        columns = [ROW, *[4 * k] * (config.layers - 1), k]
        self.maps, self.d_maps = (
            [
                torch.ones(pairs, r, c, dtype=dtype, device=device)
                for r, c in zip(rows, columns, strict=True)
            ]
            for _ in range(2)
        )

    def first(self, n: int, gradients: bool = False) -> tuple[Tensor, Tensor, list[Tensor]]:
        """What belongs to the first n pairs: of the maps, or of their gradients.

        Returns:
            The interaction map row by row [n, d, d], and in ``window_order`` [n, d^2], for the maps
            and for the gradients in the same memory; and maps as ``ConvNCF.maps`` returns them.
        """
        maps = self.d_maps if gradients else self.maps
        return self.outer[:n], self.ordered[:n], [m[:n].flatten(0, 1) for m in maps]


Filters = tuple[list[Tensor], list[Tensor]]


class ConvNCF(BPRMatrixFactorization):
    """The convolutional network in place of the dot product."""

    order: Tensor  # [d^2], the pixels in window_order
    place: Tensor  # [d^2], where in that order each pixel is

    def __init__(self, n_users: int, n_items: int, config: ConvNCFConfig) -> None:
        super().__init__(n_users, n_items, config)
        k, inputs = config.channels, [1] + [config.channels] * (config.layers - 1)
        # Each row holds one filter: the 2 x 2 pixels of the window, and for each its channels.
        self.kernels = nn.ParameterList(torch.empty(k, 4 * n) for n in inputs)
        self.biases = nn.ParameterList(torch.full((k,), 0.1) for _ in inputs)  # released code
        # The released code adds a bias to the score, which no difference of scores depends on.
        self.output = nn.Parameter(torch.empty(k))  # w
        for weight in (*self.kernels, self.output):
            _truncated_normal(weight, 0.1)  # released code
        order = window_order(config.dimension)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("place", order.argsort(), persistent=False)
        self._workspace: Workspace | None = None

    @classmethod
    def pretrained(cls, start: BPRMatrixFactorization, config: ConvNCFConfig) -> ConvNCF:
        """ConvNCF that begins with the embeddings of a trained matrix factorisation."""
        model = cls(len(start.users), len(start.items), config).to(start.users.device)
        model.load_state_dict(start.state_dict(), strict=False)
        return model

    @torch.no_grad()
    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """The loss alone; ``accumulate_gradients`` has its derivative."""
        return super().loss(users, items)

    @torch.no_grad()
    def interaction(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of item vectors [B, C, d] for user vectors [B, d]."""
        work = self._work(items.shape[0] * items.shape[1])
        return self._scores(self.maps(users, items, self.filters(), work)).view(items.shape[:2])

    def _scores(self, maps: list[Tensor]) -> Tensor:
        """y [n] of n pairs: w^T e, where e is all that the last convolution leaves."""
        return maps[-1] @ self.output

    def filters(self) -> Filters:
        """Kernels and biases as ``maps`` multiplies by them.

        The first layer's windows have but four numbers, of which a product makes poor use: it takes
        four windows, the 4 x 4 pixels of a window of the second layer, and gives the 4 k numbers
        of that window.

        Returns:
            Matrices [4 k, ROW] for the first layer, with the bias in the column after the pixels,
            and [k, 4 k] for each other one; and biases [k] for these others.
        """
        first = self.output.new_zeros(4 * self.config.channels, ROW)
        first[:, :16] = torch.block_diag(*[self.kernels[0]] * 4)
        first[:, 16] = self.biases[0].repeat(4)
        return [first, *self.kernels[1:]], list(self.biases[1:])

    def _add_first_gradient(self, d_first: Tensor) -> None:
        """Add to kernel and bias what the four copies of each in ``filters`` get, [4 k, ROW]."""
        d_windows = d_first[:, :16].view(4, -1, 4, 4)  # [4, k, 4, 4]
        grad_of(self.kernels[0]).add_(d_windows.diagonal(dim1=0, dim2=2).sum(-1))
        grad_of(self.biases[0]).add_(d_first[:, 16].view(4, -1).sum(0))

    def maps(self, users: Tensor, items: Tensor, filters: Filters, work: Workspace) -> list[Tensor]:
        """The pixels of every map, for user vectors [B, d] and item vectors [B, C, d].

        A window of a 2 x 2 convolution with stride 2 shares no pixel with another. With the
        pixels in ``window_order`` those of a window lie side by side, in every layer: then each
        convolution is one matrix product, and nothing is copied between two of them.

        Args:
            users, items: vectors of n = B * C pairs.
            filters: of ``filters``.
            work: of at least n pairs; the result is a part of it.

        Returns:
            The interaction map, [n * (d / 4)^2, ROW], of which 16 are pixels; and what each
            convolution l makes of the map before it, with the four pixels and all channels that
            the next one multiplies in a row: [n * (d / 2^(l + 1))^2, 4 k], at last [n, k].
        """
        outer, ordered, maps = work.first(items.shape[0] * items.shape[1])
        # [B, C, d, d], p q^T
        torch.mul(users[:, None, :, None], items[:, :, None, :], out=outer.view(*items.shape, -1))
        torch.index_select(outer.flatten(1), 1, self.order, out=ordered)
        maps[0][:, :16] = ordered.view(-1, 16)
        kernels, biases = filters
        torch.mm(maps[0], kernels[0].T, out=maps[1]).relu_()
        for kernel, bias, x, y in zip(kernels[1:], biases, maps[1:], maps[2:], strict=False):
            torch.addmm(bias, x, kernel.T, out=y.view(-1, len(kernel))).relu_()
        return maps

    def penalty(self) -> Tensor:
        """lambda ||.||^2 of filters and output, to be added to a mean over the batch."""
        squares = (weight * p.square().sum() for p, weight in self._penalised())
        return sum(squares, start=self.users.new_zeros(()))

    def _penalised(self) -> Iterator[tuple[nn.Parameter, float]]:
        """Parameters that every pair shares, and what their squares count in the loss."""
        c = self.config
        for p in (*self.kernels, *self.biases):
            yield p, c.l2_convolution / c.batch_size
        yield self.output, c.l2_output / c.batch_size

    @torch.no_grad()
    def accumulate_gradients(self, users: Tensor, items: Tensor) -> Tensor:
        """Add the gradient of ``loss`` to every ``.grad``; returns the loss (no graph).

        The same derivative that autograd would take, written out: it touches only the batch's rows
        of the tables, and goes through blocks of users so small that their layers are still in the
        cache on the way back, and always in the same memory.
        ``tests/models/test_conv_ncf.py`` holds the two equal.
        """
        c, (batch, width) = self.config, items.shape
        flat = items.reshape(-1)
        user_rows = self.users[users]  # [B, d]
        item_rows = self.items[flat].unflatten(0, items.shape)  # [B, 1 + |N|, d]
        loss = self.row_penalty(user_rows, item_rows) + self.penalty()
        d_users = user_rows * (2 * c.l2_embeddings / batch)
        d_items = item_rows * (2 * c.l2_embeddings / batch)
        d_items[:, 1:] /= width - 1

        filters = self.filters()
        kernels = filters[0]
        d_kernels = [torch.zeros_like(kernel) for kernel in kernels]
        size = max(1, self._pairs_at_once() // width)
        work = self._work(size * width)
        for u, v, d_u, d_v in zip(
            *(rows.split(size) for rows in (user_rows, item_rows, d_users, d_items)), strict=True
        ):
            maps = self.maps(u, v, filters, work)
            y = self._scores(maps).view(-1, width)  # [b, 1 + |N|]
            difference = y[:, 1:] - y[:, :1]  # [b, |N|]
            loss += F.softplus(difference).sum() / (batch * (width - 1))
            d_y = torch.empty_like(y)
            d_y[:, 1:] = difference.sigmoid_() / (batch * (width - 1))
            d_y[:, 0] = -d_y[:, 1:].sum(1)
            d_y = d_y.view(-1, 1)

            grad_of(self.output).add_(maps[-1].T @ d_y[:, 0])
            d_outer, d_ordered, d_maps = work.first(len(d_y), gradients=True)
            torch.mul(d_y, self.output, out=d_maps[-1])  # [n, k]
            for layer in reversed(range(c.layers)):
                d = d_maps[layer + 1].view(-1, len(kernels[layer]))
                through_relu_(d, maps[layer + 1].view_as(d))
                d_kernels[layer] += _product_of_columns(d, maps[layer])
                if layer > 0:
                    grad_of(self.biases[layer]).add_(d.sum(0))
                torch.mm(d, kernels[layer], out=d_maps[layer])
            d_ordered.view(-1, 16).copy_(d_maps[0][:, :16])
            torch.index_select(d_ordered, 1, self.place, out=d_outer.flatten(1))
            d_map = d_outer.view(*v.shape, -1)  # [b, 1 + |N|, d, d]
            d_u += (d_map @ v.unsqueeze(-1)).squeeze(-1).sum(1)
            d_v += (u[:, None, None] @ d_map).squeeze(-2)

        self._add_first_gradient(d_kernels[0])
        for p, d_kernel in zip(self.kernels[1:], d_kernels[1:], strict=True):
            grad_of(p).add_(d_kernel)
        grad_of(self.users).index_add_(0, users, d_users)
        grad_of(self.items).index_add_(0, flat, d_items.flatten(0, 1))
        for p, weight in self._penalised():
            grad_of(p).add_(p, alpha=2 * weight)
        return loss

    def _pairs_at_once(self) -> int:
        first_layer = self.config.channels * (self.config.dimension // 2) ** 2
        return max(1, BLOCK[self.users.device.type] // (first_layer * self.users.dtype.itemsize))

    def _work(self, pairs: int) -> Workspace:
        """The workspace for blocks of so many pairs."""
        key = (pairs, self.users.dtype, self.users.device)
        if self._workspace is None or self._workspace.key != key:
            self._workspace = None  # given back before more is taken
            self._workspace = Workspace(self.config, *key)
        return self._workspace

    @torch.no_grad()
    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C] for users [B]."""
        return self._score(users, items.shape[1], items.reshape(-1))

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B]."""
        return self._score(users, len(self.items), None)

    def _score(self, users: Tensor, width: int, items: Tensor | None) -> Tensor:
        """Scores [B, width] of items [B * width], or of item 0, 1, ... for each user (None)."""
        scores = self.users.new_empty(len(users) * width)
        size, filters = self._pairs_at_once(), self.filters()
        work = self._work(size)
        for start in range(0, len(scores), size):
            pair = torch.arange(start, min(start + size, len(scores)), device=scores.device)  # [n]
            user = self.users[users[pair.div(width, rounding_mode="floor")]]  # [n, d]
            item = self.items[pair % width if items is None else items[pair]]  # [n, d]
            maps = self.maps(user, item[:, None], filters, work)
            scores[start : start + size] = self._scores(maps)
        return scores.view(len(users), width)


def window_order(size: int) -> Tensor:
    """[size^2] places in a row-major square of pixels, ordered so that windows are together.

    The order of Morton (1966): the first four pixels are the upper left 2 x 2 window, the first
    four windows the upper left 2 x 2 windows, and so on. A window's pixels come row by row.
    """
    place = torch.zeros(1, dtype=torch.long)
    width = 1
    while width < size:  # four squares of this width make the next
        corners = torch.tensor([0, width, width * size, width * size + width])
        place = (corners[:, None] + place).flatten()
        width *= 2
    return place


def _product_of_columns(a: Tensor, b: Tensor) -> Tensor:
    """a^T b: of two long matrices it is faster to transpose the one with fewer columns."""
    return a.T @ b if a.shape[1] <= b.shape[1] else (b.T @ a).T


def _truncated_normal(weight: Tensor, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def build(
    split: Split,
    config: ConvNCFConfig,
    seed: int,
    device: torch.device,
    label: str = "",
    progress: bool = True,
) -> ConvNCF:
    """The model as its training begins: on the embeddings of a matrix factorisation trained here.

    Both the matrix factorisation and the first, unpenalised epochs of the network have a fixed
    length, so that a split without validation items is pretrained as the one on which that length
    was chosen.
    """
    sizes = split.n_users, split.n_items
    # Seeds of their own: the negatives of the pretraining must not come up once more in training.
    seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
    begin = partial(ConvNCF, *sizes)
    train = partial(fit, split=split, device=device, select_on=None, progress=progress)
    if config.pretrain_epochs:
        alone = replace(config, learning_rate=config.pretrain_learning_rate)
        start = train(
            partial(BPRMatrixFactorization, *sizes, alone),
            config=alone,
            seed=seeds[0],
            epochs=config.pretrain_epochs,
            label=f"{label} MF".strip(),
        ).model
        begin = partial(ConvNCF.pretrained, start)
    if not config.warmup_epochs:
        return begin(config)
    unpenalised = replace(
        config,
        learning_rate=config.warmup_learning_rate,
        l2_embeddings=0.0,
        l2_convolution=0.0,
        l2_output=0.0,
    )
    model = train(
        partial(begin, unpenalised),
        config=unpenalised,
        seed=seeds[1],
        epochs=config.warmup_epochs,
        label=f"{label} warm-up".strip(),
    ).model
    model.config = config
    return model
