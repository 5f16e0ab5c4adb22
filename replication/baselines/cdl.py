"""Collaborative deep learning (Wang et al., KDD 2015): an autoencoder of what is known of an item.

X_l = sigma(X_{l-1} W_l + b_l), from the corrupted X_0 to the reconstruction X_L   (Section 3.3)
v_j = X_{L/2, j} + epsilon_j, the encoding and an offset                          (Section 3.4)
r_ij = u_i . v_j, and the loss to be minimised is                                      (Eq. 6)

sum over ratings of (r - u . v)^2 + lambda_v sum_j |epsilon_j|^2 + lambda_n sum_j |X_L,j - X_c,j|^2

and penalties of u and of the layers. Here X_c is the multi-hot vector of the item's feature
values, ratings are observed ones only (the original has all pairs of a click matrix, most of low
confidence), and all of it is divided by the number of ratings and minimised by SGD together (the
original alternates, after layer-wise pretraining; here nothing is pretrained). The offset, not v,
is the parameter: the same minimum. The layers have no penalty with plain SGD; the noise is theirs.

An item without any feature has no encoding, its offset alone. The reconstruction is computed in
one of ``reconstruct_every`` steps, drawn by chance, for some items of the whole catalogue: its
expectation is the sum above.
Shapes: B ratings, M items that are reconstructed, N feature values, h hidden units, k dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.baselines.item_rows import (
    Bag,
    Bags,
    FeatureConfig,
    ItemRows,
    Layer,
    seen_users,
    start_table,
)
from replication.errors import ReplicationError
from replication.folds import RatingSplit
from replication.row_sgd import add_rows


@dataclass(frozen=True)
class CDLConfig(FeatureConfig):
    """Every choice of the model; the training choices are inherited.

    ``weight_decay`` is that of users and biases, each rating's own, as in the other models.
    ``biases``: the original has none, since clicks need none; ratings do.
    """

    weighting: str = "sum"  # the vector is multi-hot
    hidden: int = 200  # h, on both sides of the encoding; Wang et al.'s experiments
    noise: float = 0.3  # share of the values that are masked; Wang et al.'s experiments
    lambda_v: float = 10.0  # of the offsets; ours, tuned
    lambda_n: float = 10.0  # of the reconstruction; ours, tuned
    reconstruct_every: int = 8  # steps, on average; ours, for speed
    reconstruct_items: int = 32  # M; ours, for speed

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise < 1 or min(self.reconstruct_every, self.reconstruct_items) < 1:
            raise ReplicationError(
                f"noise must be in [0, 1) and both numbers of the reconstruction at least 1, not "
                f"{self.noise:g}, {self.reconstruct_every} and {self.reconstruct_items}"
            )


class CDL(nn.Module):
    """Four layers: N -> h -> k -> h -> N."""

    item_count: Tensor
    _kept: tuple[tuple[int, ...], Tensor] | None = None  # see ``encodings``

    def __init__(self, split: RatingSplit, config: CDLConfig) -> None:
        """Raises ReplicationError where the split has no features."""
        super().__init__()
        if split.features is None or not split.features.n_values:
            raise ReplicationError("CDL encodes item features, but this data set has none")
        self.config = config
        self.n_items, self.n_ratings = split.n_items, len(split.train)
        self.mean = float(split.train.values.mean(dtype="float64")) if config.biases else 0.0
        self.values = ItemRows(split.features, split.n_items, config.weighting, ids=False)
        n, h, k = self.values.n_rows, config.hidden, config.dimension
        count = np.bincount(split.train.items, minlength=split.n_items).astype(np.float32)
        self.register_buffer("item_count", torch.from_numpy(count), persistent=False)
        self.users = start_table(seen_users(split), k, config.scale)  # [U, k + 1], u and its bias
        self.offsets = start_table(torch.zeros(split.n_items), k, 0.0)  # [I, k + 1], epsilon, bias
        # As Glorot's for an input that has a few ones, not N numbers.
        values = float(self.values.count.sum() / (self.values.count > 0).sum())
        self.first = nn.Parameter(torch.randn(n, h) / values**0.5)  # W_1
        self.first_bias = nn.Parameter(torch.zeros(h))  # b_1
        self.encode_last = Layer(h, k)  # W_2, b_2
        self.decode_first = Layer(k, h)  # W_3, b_3
        self.decode_last = Layer(h, n)  # W_4, b_4

    def corrupted(self, bags: Bags, generator: torch.Generator) -> Bags:
        """The rows of items, of which a share counts nothing while the model is trained."""
        if not (self.training and self.config.noise):
            return bags
        drawn = torch.rand(len(bags.rows), generator=generator, device=bags.rows.device)
        return bags._replace(weight=bags.weight * (drawn >= self.config.noise))

    def encode(self, bags: Bags) -> Tensor:
        """[B, k] the middle layer for items given by their (corrupted) values."""
        first, _, _ = Bag.apply(self.first, bags, False, self.config.sparse)  # X_0 W_1
        return torch.sigmoid(self.encode_last(torch.sigmoid(first + self.first_bias)))

    def known(self, items: Tensor) -> Tensor:
        """[B, 1] bool, which of items [B] have a value; the others have no encoding."""
        return (self.values.count.index_select(0, items) > 0)[:, None]

    def item_vectors(self, items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """v [B, k] of items [B], and their rows [B, k + 1] of offsets and biases."""
        offset = F.embedding(items, self.offsets, sparse=self.config.sparse)
        encoding = self.encode(self.corrupted(self.values(items), generator)) * self.known(items)
        return encoding + offset[:, :-1], offset

    def rate(self, user: Tensor, vector: Tensor, offset: Tensor) -> Tensor:
        """Ratings [B] from rows [B, k + 1] of users, v [B, k], and rows [B, k + 1] of offsets."""
        rating = (user[:, :-1] * vector).sum(1)
        if self.config.biases:
            rating = self.mean + user[:, -1] + offset[:, -1] + rating
        return rating

    def forward(
        self, users: Tensor, items: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ratings [B], and the rows [B, k + 1] of their users and of their items' offsets."""
        user = F.embedding(users, self.users, sparse=self.config.sparse)
        vector, offset = self.item_vectors(items, generator)
        return self.rate(user, vector, offset), user, offset

    def reconstruction(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """[M] squared errors of the clean vectors of items [M], reconstructed."""
        clean = self.values(items)
        target = self.first.new_zeros(len(items), self.values.n_rows)  # X_c
        target[clean.owner, clean.rows] = clean.weight
        hidden = torch.sigmoid(self.decode_first(self.encode(self.corrupted(clean, generator))))
        return (torch.sigmoid(self.decode_last(hidden)) - target).square().sum(1)

    def loss(
        self, users: Tensor, items: Tensor, ratings: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Eq. 6 over the number of ratings, estimated from ratings [B]."""
        c = self.config
        predicted, user, offset = self(users, items, generator)
        loss = F.mse_loss(predicted, ratings)
        # An item comes up as often as it is rated: its share makes it count once in the sum.
        share = (c.lambda_v / self.item_count[items])[:, None]  # [B, 1]
        loss = loss + (share * offset[:, :-1].square()).sum() / len(items)
        if c.sparse:
            squares = user.square().sum() + offset[:, -1].square().sum()
            loss = loss + (c.weight_decay / len(users)) * squares
        some = self.drawn_items(generator)
        if some is None:
            return loss
        return loss + self.rebuilt_weight * self.reconstruction(some, generator).mean()

    @property
    def rebuilt_weight(self) -> float:
        """Of the mean error of the reconstruction: of all items, in all steps, over the ratings."""
        c = self.config
        return c.lambda_n * self.n_items * c.reconstruct_every / self.n_ratings

    def drawn_items(self, generator: torch.Generator) -> Tensor | None:
        """[M] items to be reconstructed, in the steps that reconstruct any."""
        c, device = self.config, self.users.device
        drawn = torch.rand((), generator=generator, device=device)
        if not c.lambda_n or not bool(drawn * c.reconstruct_every < 1):
            return None
        size = (c.reconstruct_items,)
        return torch.randint(self.n_items, size, generator=generator, device=device)

    def batches(self, items: Tensor, size: int) -> Iterator[Bags]:
        """What ``sgd_step`` needs of items [n], for each batch of a size."""
        return self.values.batches(items, size)

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
        """A step of plain SGD on ``loss``; gives the loss.

        The derivative is written out. Below, the change of something is minus the rate times the
        loss's derivative by it.

        Args:
            users, items, ratings: [B].
            bags: the items' rows, not corrupted.
            generator: decides what is drawn.
            rate: the learning rate.
        """
        c, size = self.config, len(users)
        decay = c.weight_decay / size
        user, offset = self.users.index_select(0, users), self.offsets.index_select(0, items)
        noisy = self.corrupted(bags, generator)
        some = self.drawn_items(generator)
        clean = None if some is None else self.values(some)
        if clean is not None:  # the M items behind the B, so that the encoder changes once
            noisy = noisy.followed_by(self.corrupted(clean, generator))
        summed = torch.embedding_bag(
            self.first, noisy.rows, noisy.start, per_sample_weights=noisy.weight
        )[0]
        first = torch.sigmoid(summed + self.first_bias)  # [B + M, h], X_1
        encoding = torch.sigmoid(self.encode_last(first))  # [B + M, k], X_2
        known = self.known(items)
        vector = encoding[:size] * known + offset[:, :-1]  # [B, k], v
        error = self.rate(user, vector, offset) - ratings
        share = (c.lambda_v / self.item_count.index_select(0, items))[:, None]  # [B, 1]
        loss = error @ error + (share * offset[:, :-1].square()).sum()
        loss = loss / size + decay * (user.square().sum() + offset[:, -1].square().sum())

        changes = error * (-2 * rate / size)  # [B]
        d_user, d_offset = user * (-2 * rate * decay), torch.empty_like(offset)
        d_vector = user[:, :-1] * changes[:, None]  # [B, k]
        d_user[:, :-1].addcmul_(vector, changes[:, None])
        torch.addcmul(d_vector, share, offset[:, :-1], value=-2 * rate / size, out=d_offset[:, :-1])
        d_offset[:, -1] = offset[:, -1] * (-2 * rate * decay)
        if c.biases:
            d_user[:, -1] += changes
            d_offset[:, -1] += changes
        d_encoding = d_vector * known  # [B, k]
        if clean is not None:
            rebuilt, d_rebuilt = self.change_decoder(encoding[size:], clean, rate)
            loss = loss + rebuilt
            d_encoding = torch.cat([d_encoding, d_rebuilt])
        d_first = self.encode_last.change(first, d_encoding * encoding * (1 - encoding))
        d_first.mul_(first * (1 - first))
        self.first_bias.add_(d_first.sum(0))
        d_rows = d_first.index_select(0, noisy.owner).mul_(noisy.weight[:, None])
        add_rows(self.first, noisy.rows, d_rows)
        add_rows(self.users, users, d_user)
        add_rows(self.offsets, items, d_offset)
        return loss

    def change_decoder(self, encoding: Tensor, clean: Bags, rate: float) -> tuple[Tensor, Tensor]:
        """A step of SGD on the reconstruction's part of the loss, for the two layers behind X_2.

        Args:
            encoding: [M, k], X_2 of the corrupted items.
            clean: the items' rows.
            rate: the learning rate.

        Returns:
            That part of the loss, and the change [M, k] of the encoding.
        """
        hidden = torch.sigmoid(self.decode_first(encoding))  # [M, h], X_3
        output = self.decode_last(hidden).sigmoid_()  # [M, N], X_4
        slope = (1 - output).mul_(output)
        output[clean.owner, clean.rows] -= clean.weight  # less X_c, which is nearly empty
        weight = self.rebuilt_weight / len(encoding)
        loss = weight * output.view(-1).dot(output.view(-1))
        d_hidden = self.decode_last.change(hidden, output.mul_(slope).mul_(-2 * rate * weight))
        return loss, self.decode_first.change(encoding, d_hidden * hidden * (1 - hidden))

    @torch.no_grad()
    def encodings(self) -> Tensor:
        """[I, k] of all items, from uncorrupted features; zeros for an item without any.

        They are made once for all that is predicted until the encoder changes: torch counts the
        changes of a tensor.
        """
        layers = (self.first, self.first_bias, *self.encode_last.parameters())
        now = tuple(layer._version for layer in layers)
        if self._kept is None or self._kept[0] != now:
            every = torch.arange(self.n_items, device=self.first.device)
            self._kept = now, self.encode(self.values(every)) * self.known(every)
        return self._kept[1]

    @torch.no_grad()
    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B], from uncorrupted features."""
        offset = self.offsets.index_select(0, items)
        vector = self.encodings().index_select(0, items) + offset[:, :-1]
        return self.rate(self.users.index_select(0, users), vector, offset)
