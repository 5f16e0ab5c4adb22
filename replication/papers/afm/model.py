"""AFM: item features weighted by each user's own attention (Chen et al., SIGIR 2018, Section 3).

Symbols (paper -> here): ``u_i`` -> ``user``; ``X_j`` (rows x_j0, ..., x_jn) -> ``slots``;
``v_ij`` -> ``item``; ``W_a`` -> ``attention_map``; ``alpha_i`` -> ``attention``; ``n`` -> F;
``k`` -> ``dimension``; ``y`` of Eqs. 4 and 5 -> the return value of ``interact``.
Shapes: B pairs of a user and an item, F features, S = F + 1 slots (the item's own x_j0 first), d
dimensions, P values of B items one after the other, U users, I items, N values of all features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.baselines.item_rows import STEPS, FeatureConfig, Layer, seen_users
from replication.errors import ReplicationError
from replication.folds import RatingSplit
from replication.item_features import FeatureTable
from replication.row_sgd import add_rows
from replication.training import later

INTERACTIONS = ("mlp", "mlp-product", "inner")
INTEGRATIONS = ("attention", "free", "mean", "concat")
WEIGHTINGS = ("mean", "sum", "slots")
MISSING = ("renormalised", "lost")
OTHERS = "others"  # the paper's name for x_j0 (Section 3.1)


@dataclass(frozen=True)
class AFMConfig(FeatureConfig):
    """Every choice of the model; the training choices are inherited.

    The paper prints the embedding size, SGD, the square loss and "one interaction layer with
    sigmoid as activity function" (Section 4.1.3). Everything else is a decision of this study.
    """

    # What x_jl is where a feature has several values: their vectors' mean, their sum, or each
    # value a slot of its own with the feature's logit ("slots").
    weighting: str = "mean"
    biases: bool = False  # global mean, user and item biases; Eqs. 4 and 5 have none
    # Eq. 5 with one sigmoid hidden layer on [u, v] and a linear output ("mlp"), the same on u * v,
    # as NFM has it ("mlp-product"), or Eq. 4 ("inner").
    interaction: str = "mlp"
    hidden: int = 64  # units of the interaction layer; none is printed; ours (= k)
    bounded: bool = False  # a sigmoid output, scaled to the range of the ratings
    # f_AI of Eq. 1: Eqs. 2 and 3 with W_a shared ("attention"), "different alpha for different
    # users" (Section 3.1, "free"), and the two that other models use (Sections 1 and 3.1):
    # adding ("mean": every slot has the same weight) and "concat".
    integration: str = "attention"
    # A feature that an item has no value of: the attention of the others is divided by its sum
    # ("renormalised"), or the attention on it is lost.
    missing: str = "renormalised"
    # The mean rating as a constant; without it that is 0, which a bounded output takes to the
    # middle of the range. None: for the network's output and beside biases, not for Eq. 4 alone.
    with_mean: bool | None = later(None)

    def __post_init__(self) -> None:
        for name, known in (
            ("interaction", INTERACTIONS),
            ("integration", INTEGRATIONS),
            ("weighting", WEIGHTINGS),
            ("missing", MISSING),
        ):
            if getattr(self, name) not in known:
                raise ReplicationError(
                    f"unknown {name} {getattr(self, name)!r}; use {', '.join(known)}"
                )


class Explanation(NamedTuple):
    """Why one item is recommended to one user."""

    names: tuple[str, ...]  # [S] the slots, ``OTHERS`` first
    attention: Tensor  # [S] the user's attention, Eq. 2
    weight: Tensor  # [S] the same for this item: 0 where it has no value
    contribution: Tensor  # [S] stars that a slot adds to the prediction, 0 where there is no value
    carrier: str  # the slot that adds most: it carried the recommendation
    values: tuple[str, ...]  # those of the carrier that the sentence names; none for ``OTHERS``
    prediction: float
    sentence: str  # for the user, as Section 3.2 suggests


class Places(NamedTuple):
    """Where the vectors of B items stand, one item after the other: nothing is padded."""

    rows: Tensor  # [P] rows of the table of vectors
    pair: Tensor  # [P] which of the B pairs a place belongs to
    slot: Tensor  # [P] which of the B * S slots a place belongs to
    weights: Tensor  # [P] of a vector in its slot: 1 / k for the mean of k values
    sizes: Tensor  # [B, S] number of places of each slot
    start: Tensor  # [B] where a pair's places begin


class LookedUp(NamedTuple):
    """The rows of the tables that B pairs of a user and an item need."""

    user: Tensor  # [B, d]
    places: Places
    vectors: Tensor  # [P, d]
    biases: Tensor | None  # [B, 2] of user and item

    @property
    def constant(self) -> Tensor | None:
        """[B] what the prediction has from the two biases."""
        return None if self.biases is None else self.biases.sum(1)


class Slots(nn.Module):
    """Which vectors stand in the slots of each item: the item's own in slot 0, then its values'.

    The rows of the table of vectors are the I items, then the N values.
    """

    rows: Tensor
    slot: Tensor
    weights: Tensor
    start: Tensor
    sizes: Tensor

    def __init__(self, table: FeatureTable, weighting: str) -> None:
        super().__init__()
        n_items = table.n_items
        own = np.ones((n_items, 1), dtype=np.int64)
        sizes = np.concatenate([own, table.present.sum(2)], axis=1)  # [I, S]
        item, feature, _ = np.nonzero(table.present)
        item = np.concatenate([np.arange(n_items), item])
        slot = np.concatenate([np.zeros(n_items, dtype=np.int64), feature + 1])
        rows = np.concatenate([np.arange(n_items), n_items + table.values[table.present]])
        weights = 1.0 / sizes[item, slot] if weighting != "sum" else np.ones(len(item))
        order = np.lexsort((slot, item))
        total = sizes.sum(1)
        for name, array in (
            ("rows", rows[order]),  # [n] of all items, one after the other
            ("slot", slot[order]),  # [n]
            ("weights", weights[order].astype(np.float32)),  # [n]
            ("start", np.cumsum(total) - total),  # [I] an item's first place
            ("sizes", sizes),  # [I, S]
        ):
            # Not part of the state: it is data, and made anew from the split.
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), False)

    def forward(self, items: Tensor) -> Places:
        """The places of items [B]."""
        sizes = self.sizes.index_select(0, items)  # [B, S]
        total = sizes.sum(1)  # [B]
        begin = total.cumsum(0) - total  # [B]
        pair = torch.repeat_interleave(total)  # [P] 0, 0, 0, 1, 1, ...
        shift = self.start.index_select(0, items) - begin  # [B]
        at = shift.index_select(0, pair)
        at += torch.arange(len(at), device=items.device)  # [P]
        return Places(
            self.rows.index_select(0, at),
            pair,
            self.slot.index_select(0, at).add_(pair, alpha=sizes.shape[1]),
            self.weights.index_select(0, at),
            sizes,
            begin,
        )

    def batches(self, items: Tensor, size: int) -> Iterator[Places]:
        """The places of items [n] in batches of a size: many are looked up at once.

        What is yielded is ``self(batch)`` for each batch.
        """
        for block in items.split(STEPS * size):
            whole = self(block)
            begins = whole.start[::size]  # of each batch
            start = whole.start - begins.repeat_interleave(size)[: len(block)]
            pair = whole.pair % size
            slot = whole.slot % (size * whole.sizes.shape[1])
            bounds = [*begins.tolist(), len(pair)]
            parts = zip(whole.sizes.split(size), start.split(size), strict=True)
            for begin, end, (sizes, starts) in zip(bounds, bounds[1:], parts, strict=False):
                at = slice(begin, end)
                rows, weights = whole.rows[at], whole.weights[at]
                yield Places(rows, pair[at], slot[at], weights, sizes, starts)


class AFM(nn.Module):
    """The three layers of Figure 2: embedding, attention-driven integration, interaction."""

    seen: Tensor

    def __init__(self, split: RatingSplit, config: AFMConfig) -> None:
        """Raises: ReplicationError: the split has no item features, or not of its own items."""
        super().__init__()
        table = split.features
        if table is None:
            raise ReplicationError("AFM needs item features, and the split has none")
        if table.n_items != split.n_items:
            raise ReplicationError(
                f"the features are of {table.n_items} items, but the split has {split.n_items}"
            )
        self.config = c = config
        self.features = table
        self.names = (OTHERS, *table.names)
        self.low, self.high = float(split.levels[0]), float(split.levels[-1])
        n_slots, scale = len(self.names), c.scale
        # What no training rating has says nothing: such users and items start and stay at zero,
        # and a value that only other films have is no value.
        rated = np.bincount(split.train.items, minlength=split.n_items) > 0  # [I]
        of_rated = table.values[rated][table.present[rated]]
        known = np.bincount(of_rated, minlength=table.n_values) > 0  # [N]
        self.slots = Slots(replace(table, present=table.present & known[table.values]), c.weighting)
        # [U] who has a training rating; as the slots, made anew from the split and not stored.
        self.register_buffer("seen", seen_users(split), persistent=False)
        users = torch.randn(split.n_users, c.dimension) * scale
        self.users = nn.Parameter(users * self.seen[:, None])  # u
        rows = torch.from_numpy(np.concatenate([rated, known]))
        vectors = torch.randn(split.n_items + table.n_values, c.dimension) * scale
        self.vectors = nn.Parameter(vectors * rows[:, None])  # x
        if c.integration == "attention":
            self.attention_map = nn.Parameter(torch.randn(n_slots, c.dimension) * scale)  # W_a
        elif c.integration == "free":
            self.attention_logits = nn.Parameter(torch.zeros(split.n_users, n_slots))
        elif c.integration == "concat":
            # [x_j0; ...; x_jn] is n + 1 times as long as u: it is brought to the length of u.
            self.projection = Layer(n_slots * c.dimension, c.dimension)
        start = self._unscaled(float(split.train.values.mean(dtype="float64")))
        if c.interaction != "inner":
            width = 2 * c.dimension if c.interaction == "mlp" else c.dimension
            self.hidden = Layer(width, c.hidden)
            self.output = nn.Parameter(torch.randn(c.hidden))  # times the root of its length
        # No parameter: a rate that suits rows would make one number of all ratings diverge.
        by_default = c.biases or c.interaction != "inner"  # Eq. 4 alone has no constant
        self.mean = start if (by_default if c.with_mean is None else c.with_mean) else 0.0
        if c.biases:
            self.user_bias = nn.Parameter(torch.zeros(split.n_users, 1))
            self.item_bias = nn.Parameter(torch.zeros(split.n_items, 1))

    def _unscaled(self, rating: float) -> float:
        """The output before its scaled sigmoid (if it has one) at a rating."""
        if not self.config.bounded:
            return rating
        share = min(max((rating - self.low) / (self.high - self.low), 0.01), 0.99)
        return math.log(share / (1 - share))

    # --- integration layer -------------------------------------------------------------------

    def logits(self, users: Tensor, user: Tensor) -> Tensor:
        """[B, S] attention before the softmax, of users [B] with vectors [B, d].

        Raises:
            ReplicationError: the model concatenates and has no attention.
        """
        if self.config.integration == "concat":
            raise ReplicationError("AFM with concatenated features has no attention")
        if self.config.integration == "attention":
            return user @ self.attention_map.T  # Eq. 2, W_a u_i
        if self.config.integration == "free":
            return F.embedding(users, self.attention_logits, sparse=self.config.sparse)
        return user.new_zeros(len(users), len(self.names))

    def weigh(self, logits: Tensor, sizes: Tensor) -> Tensor:
        """[B, S] attention on the slots of items: Eq. 2 over the slots that have a value.

        Args:
            logits: [B, S].
            sizes: [B, S] how many values an item has in a slot; an item without any gets zeros.
        """
        return self._softmax(logits, sizes)[1]

    def _softmax(self, logits: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S] Eq. 2, and what ``weigh`` makes of it."""
        c = self.config
        if c.weighting == "slots":  # k slots with the same logit: exp(logit) counts k times
            logits = logits + sizes.clamp_min(1).log()
        empty = sizes == 0
        if c.missing == "renormalised":
            logits = logits.masked_fill(empty, torch.finfo(logits.dtype).min)
        attention = logits.softmax(1)  # Eq. 2
        return attention, attention.masked_fill(empty, 0.0)

    def integrate(self, users: Tensor, user: Tensor, places: Places, vectors: Tensor) -> Tensor:
        """Eq. 1: item vectors v_ij [B, d].

        Args:
            users, user: [B] and their vectors [B, d].
            places: of the items, with their vectors [P, d].
            vectors: see above.
        """
        if self.config.integration == "concat":
            return self.projection(self.slot_vectors(places, vectors).flatten(1))
        attention = self.weigh(self.logits(users, user), places.sizes)
        # Eq. 3 straight from the values: the x_jl themselves [B, S, d] are not needed.
        weights = attention.view(-1).index_select(0, places.slot) * places.weights  # [P]
        return torch.zeros_like(user).index_add(0, places.pair, vectors * weights[:, None])

    def slot_vectors(self, places: Places, vectors: Tensor) -> Tensor:
        """X_j of Eq. 1: [B, S, d] from the vectors [P, d], zeros where an item has no value."""
        shape = places.sizes.shape
        flat = vectors.new_zeros(shape.numel(), vectors.shape[1])
        flat = flat.index_add(0, places.slot, vectors * places.weights[:, None])
        return flat.view(*shape, -1)

    # --- interaction layer -------------------------------------------------------------------

    def interact(self, user: Tensor, item: Tensor, constant: Tensor | None) -> Tensor:
        """Ratings [B] from user and item vectors [B, d], and what their biases add [B]."""
        c = self.config
        if c.interaction == "inner":
            y = (user * item).sum(1)  # Eq. 4
        else:
            both = torch.cat([user, item], 1) if c.interaction == "mlp" else user * item
            y = torch.sigmoid(self.hidden(both)) @ self.output / c.hidden**0.5  # Eq. 5
        y = y + self.mean
        if constant is not None:
            y = y + constant
        return self.low + (self.high - self.low) * torch.sigmoid(y) if c.bounded else y

    def look_up(self, users: Tensor, items: Tensor) -> LookedUp:
        """All rows of the tables that pairs [B] need."""
        sparse, places = self.config.sparse, self.slots(items)
        biases = None
        if self.config.biases:
            biases = torch.cat(
                [
                    F.embedding(users, self.user_bias, sparse=sparse),
                    F.embedding(items, self.item_bias, sparse=sparse),
                ],
                dim=1,
            )  # [B, 2]
        return LookedUp(
            F.embedding(users, self.users, sparse=sparse),
            places,
            F.embedding(places.rows, self.vectors, sparse=sparse),
            biases,
        )

    def rate(self, users: Tensor, rows: LookedUp) -> Tensor:
        """Ratings [B] of users [B] for the items whose rows these are."""
        item = self.integrate(users, rows.user, rows.places, rows.vectors)
        return self.interact(rows.user, item, rows.constant)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Ratings [B] of users [B] for items [B]."""
        return self.rate(users, self.look_up(users, items))

    def loss(
        self, users: Tensor, items: Tensor, ratings: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error of ratings [B] (Section 4.1.3), and the penalty.

        With plain SGD each rating's loss has ``weight_decay`` times the squared length of its rows.
        """
        rows = self.look_up(users, items)
        loss = F.mse_loss(self.rate(users, rows), ratings)
        if self.config.sparse and self.config.weight_decay:
            length = rows.user.square().sum() + rows.vectors.square().sum()
            if rows.biases is not None:
                length = length + rows.biases.square().sum()
            if self.config.integration == "free":  # a row of each user's, like u
                length = length + self.logits(users, rows.user).square().sum()
            loss = loss + (self.config.weight_decay / len(users)) * length
        return loss

    # --- a step of plain SGD, its derivatives written out --------------------------------------

    def batches(self, items: Tensor, size: int) -> Iterator[Places]:
        """What ``sgd_step`` needs of items [n], for each batch of a size."""
        return self.slots.batches(items, size)

    @torch.no_grad()
    def sgd_step(
        self,
        users: Tensor,
        items: Tensor,
        places: Places,
        ratings: Tensor,
        generator: torch.Generator,
        rate: float,
    ) -> Tensor:
        """A step of plain SGD on ``loss``; gives the loss before it.

        Below, the change of something is minus the rate times the loss's derivative by it: what
        is added to it if it is a parameter.

        Args:
            users, items, ratings: [B].
            places: of the items.
            generator: not used, nothing is drawn.
            rate: the learning rate.
        """
        c, size = self.config, len(users)
        decay = c.weight_decay / size
        user = self.users.index_select(0, users)  # [B, d]
        vectors = self.vectors.index_select(0, places.rows)  # [P, d]
        if c.integration == "concat":
            slots = self.slot_vectors(places, vectors).flatten(1)  # [B, S * d]
            item = self.projection(slots)  # [B, d]
        else:
            logits = self.logits(users, user)
            softmax, attention = self._softmax(logits, places.sizes)  # [B, S], Eq. 2
            weights = attention.view(-1).index_select(0, places.slot) * places.weights  # [P]
            item = torch.embedding_bag(  # Eq. 3
                self.vectors, places.rows, places.start, per_sample_weights=weights
            )[0]
        constant = None
        if c.biases:
            bias_rows = self.user_bias[users, 0], self.item_bias[items, 0]  # [B] each
            constant = bias_rows[0] + bias_rows[1]

        # Forward and back through the interaction layer.
        if c.interaction == "inner":
            y = (user * item).sum(1)  # Eq. 4
        else:
            both = torch.cat([user, item], 1) if c.interaction == "mlp" else user * item
            hidden = torch.sigmoid(self.hidden(both))  # [B, hidden]
            y = hidden @ self.output / c.hidden**0.5  # Eq. 5
        y = y + self.mean if constant is None else y + self.mean + constant
        slope: Tensor | float = 1.0
        if c.bounded:
            share = torch.sigmoid(y)
            y = self.low + (self.high - self.low) * share
            slope = (self.high - self.low) * share * (1 - share)
        error = y - ratings  # [B]
        squares = [error @ error / size]
        changes = error * slope * (-2 * rate / size)  # [B]
        if c.interaction == "inner":
            d_user, d_item = item * changes[:, None], user * changes[:, None]
        else:
            d_hidden = torch.outer(changes, self.output / c.hidden**0.5)
            self.output.add_(changes @ hidden, alpha=c.hidden**-0.5)
            d_both = self.hidden.change(both, d_hidden * hidden * (1 - hidden))
            if c.interaction == "mlp":
                d_user, d_item = d_both[:, : c.dimension], d_both[:, c.dimension :]
            else:
                d_user, d_item = d_both * item, d_both * user

        # Back through the integration layer.
        own: Tensor | None = None  # logits that are rows of each user's
        if c.integration == "concat":
            d_slots = self.projection.change(slots, d_item).view(-1, c.dimension)  # [B * S, d]
            d_vectors = d_slots.index_select(0, places.slot) * places.weights[:, None]
        else:
            d_vectors = d_item.index_select(0, places.pair)  # [P, d]
            if c.integration != "mean":
                d_weights = (d_vectors * vectors).sum(1) * places.weights  # [P]
                d_attention = torch.zeros_like(attention)
                d_attention.view(-1).scatter_add_(0, places.slot, d_weights)
                d_attention = d_attention.masked_fill(places.sizes == 0, 0.0)
                mean = (d_attention * attention).sum(1, keepdim=True)
                d_logits = softmax * (d_attention - mean)  # [B, S], back through Eq. 2
                if c.integration == "attention":
                    d_user = d_user + d_logits @ self.attention_map
                    self.attention_map.addmm_(d_logits.T, user)
                else:
                    own = logits
                    d_own = d_logits.add_(logits, alpha=-2 * rate * decay)
                    add_rows(self.attention_logits, users, d_own)
            d_vectors.mul_(weights[:, None])

        # The rows, each with its rating's penalty.
        penalised = [user, vectors] if own is None else [user, vectors, own]
        if c.biases:
            for table, rows, row in zip(
                (self.user_bias, self.item_bias), (users, items), bias_rows, strict=True
            ):
                add_rows(table, rows, (changes - 2 * rate * decay * row)[:, None])
            penalised += bias_rows
        add_rows(self.users, users, d_user.add(user, alpha=-2 * rate * decay))
        add_rows(self.vectors, places.rows, d_vectors.add_(vectors, alpha=-2 * rate * decay))
        if decay:
            squares += [decay * (x.reshape(-1) @ x.reshape(-1)) for x in penalised]
        return torch.stack(squares).sum()

    @torch.no_grad()
    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B] of users [B] for items [B]; nothing is drawn."""
        return self(users, items)

    # --- explanations ------------------------------------------------------------------------

    @torch.no_grad()
    def attention(self, users: Tensor) -> Tensor:
        """[B, S] attention of users [B] on the slots of an item that has one value of each.

        Raises:
            ReplicationError: the model has no attention.
        """
        return self.logits(users, self.users[users]).softmax(1)  # Eq. 2

    @torch.no_grad()
    def contributions(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What every slot adds to the predictions of pairs [B].

        A slot's contribution is the prediction less the prediction from v_ij without that slot's
        term of Eq. 3. With Eq. 4 and no scaled output it is exactly alpha_l (u . x_l).

        Returns:
            Predictions [B], contributions [B, S] in stars, attention on the item's slots [B, S].

        Raises:
            ReplicationError: the model has no attention.
        """
        rows = self.look_up(users, items)
        user, places, constant = rows.user, rows.places, rows.constant
        attention = self.weigh(self.logits(users, user), places.sizes)
        slots = self.slot_vectors(places, rows.vectors)  # [B, S, d]
        item = blend(attention, slots)  # Eq. 3
        whole = self.interact(user, item, constant)
        without = [
            self.interact(user, item - attention[:, [slot]] * slots[:, slot], constant)
            for slot in range(len(self.names))
        ]
        added = whole[:, None] - torch.stack(without, 1)
        return whole, added.masked_fill(places.sizes == 0, 0.0), attention

    def explain(
        self, user: int, item: int, user_name: str = "", item_name: str = ""
    ) -> Explanation:
        """The slot that carried a recommendation, and a sentence about it.

        The carrier is the slot with the largest contribution: high attention alone does not do,
        since a slot with a vector that says nothing adds nothing. Where it is ``OTHERS``, or all
        slots lower the prediction, the sentence names no feature. Nor does it for a user without
        any training rating: what a slot adds there it adds for every such user, and is no interest
        of this one.

        Raises:
            ReplicationError: no such user or item, or a model without attention.
        """
        for kind, value, size in (
            ("user", user, len(self.users)),
            ("item", item, self.features.n_items),
        ):
            if not 0 <= value < size:
                raise ReplicationError(f"there are {kind}s 0 to {size - 1}, not {value}")
        users, items = (torch.tensor([x], device=self.users.device) for x in (user, item))
        whole, contribution, weight = (x[0] for x in self.contributions(users, items))
        empty = self.slots.sizes[item] == 0
        slot = int(contribution.masked_fill(empty, -torch.inf).argmax())
        values: tuple[str, ...] = ()
        seen = bool(self.seen[user])
        if seen and slot and contribution[slot] > 0:
            known = self.features.present[item, slot - 1]
            at = self.features.values[item, slot - 1][known]
            values = tuple(self.features.vocabulary[n] for n in at.tolist())
        who, what = user_name or f"user {user}", item_name or f"item {item}"
        if values:  # Section 3.2
            sentence = (
                f"Dear {who}, we have noticed your great interest in the {self.names[slot]} "
                f"({', '.join(values)}), so we recommend {what} for you."
            )
        elif seen:
            sentence = (
                f"Dear {who}, we recommend {what} for what it is: none of its known features "
                "matters more for you."
            )
        else:
            sentence = f"Dear {who}, we recommend {what} with no rating of yours to go by yet."
        return Explanation(
            self.names,
            self.attention(users)[0],
            weight,
            contribution,
            self.names[slot],
            values,
            float(whole),
            sentence,
        )


def blend(attention: Tensor, slots: Tensor) -> Tensor:
    """[B, d] sum over the slots [B, S, d] with weights [B, S]."""
    return (attention[..., None] * slots).sum(1)
