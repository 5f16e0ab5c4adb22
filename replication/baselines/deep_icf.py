"""Item-based models: FISM (Kabbur et al., KDD 2013) and DeepICF+a (Xue et al., TOIS 2019).

Both say how well item i suits user u by the items ``R_u`` that u consumed in training, i itself
left out. FISM adds up similarities of i with each of them; DeepICF+a weighs the pairs by attention
and puts a deep network on top. FISM gives DeepICF+a the embeddings that it begins with.

Symbols (paper -> here): ``p_i`` -> ``targets`` [I, d]; ``q_j`` -> ``histories`` [I, d]; ``W, b, h``
of the attention -> ``attention_weight`` [k, d], ``attention_bias, attention_output`` [k];
``e_ui`` -> ``pooled``; ``W_l`` -> ``layers``; ``z`` -> ``output``; ``b_u, b_i`` -> ``user_bias,
item_bias``; ``R_u`` -> the history of u.
Shapes: B users in a batch, C candidate items a user, n users of a block, h items of the longest
history in it, d dimensions, k units in the attention's hidden layer, T items of a block of the
catalogue, I items.

"Released code" is github.com/linzh92/DeepICF, and for FISM that of NAIS, on which it is built
(github.com/AaronHeee/Neural-Attentive-Item-Similarity-Model).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.gradients import grad_of
from replication.protocols import Split
from replication.training import Differentiable, RankingConfig, fit

# Numbers in the largest tensor of a block: as many as a core's cache holds, or a GPU keeps busy.
CELLS = {"cpu": 2**19, "cuda": 2**24}
OUTSIDE = -1e30  # logit of what is not in a history: its weight is 0, and no gradient is NaN


@dataclass(frozen=True)
class ItemBasedConfig(RankingConfig):
    """What FISM and DeepICF+a have in common.

    The AMP-CF paper prints d = 64 and |N| = 4 for DeepICF+a and no optimiser; the batch of 256
    positives is that of its other models. Xue et al. take all examples of one user as a batch.
    """

    learning_rate: float = 0.01  # released code
    negative_distribution: str = "uniform"  # released code
    reject_consumed: str = "train"  # negatives are unobserved pairs; released code
    dimension: int = 64  # d; AMP-CF paper, Section 4.3
    alpha: float = 0.0  # of the factor 1 / |R_u \ i|^alpha; released code
    user_bias: bool = True  # b_u, both papers; released code: none

    def __post_init__(self) -> None:
        if self.weight_decay:
            raise ReplicationError(
                f"weight_decay is {self.weight_decay:g}, but the item-based models are regularised "
                "by the penalties that begin with l2_; set those"
            )

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Adagrad (Duchi et al. 2011) with the accumulator at which the released code begins."""
        parameters = list(parameters)
        on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
        return torch.optim.Adagrad(
            parameters, lr=self.learning_rate, initial_accumulator_value=1e-8, fused=on_cpu
        )


@dataclass(frozen=True)
class FISMConfig(ItemBasedConfig):
    """Every choice of FISM (the form with a log loss of Xue et al. and of NAIS)."""

    l2_embeddings: float = 1e-7  # lambda on every p_i and q_j; released code of NAIS


@dataclass(frozen=True)
class DeepICFConfig(ItemBasedConfig):
    """Every choice of DeepICF+a; "README": the example run on ml-1m in that of the released code.

    Where the defaults of the released script differ from it (beta 0.5, hidden 32 and 16), the
    README is followed, except for ``l2_hidden``.
    """

    attention_size: int = 16  # k; README
    beta: float = 0.8  # smoothing exponent of the softmax; README
    hidden: tuple[int, ...] = (64, 32, 16)  # units of the deep layers; README
    batch_norm: bool = True  # before each ReLU; README, the paper's equations have none
    l2_embeddings: float = 1e-6  # lambda on every p_i and q_j; README
    l2_attention: float = 1e-6  # on W of the attention; README
    # On every W_l; released script. README: 10, with which our first epochs do little but shrink
    # W_l, whose scale batch normalisation undoes.
    l2_hidden: float = 0.0
    # Training only: of a longer history so many items, drawn anew at each step; 0: all, as Xue et
    # al. Each drawn item then stands for as many as there are for one that is drawn.
    history_cap: int = 0
    # Of FISM; 0: no pretraining. No source prints a number; FISM's validation NDCG@10 was highest
    # after 11 epochs on ml-100k and after 16 on ml-latest-small.
    pretrain_epochs: int = 15
    pretrain_alpha: float = 0.0  # of FISM; name of the pretrained file in the released code

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention_size < 1 or not self.hidden or min(self.hidden) < 1:
            raise ReplicationError(
                "DeepICF+a needs at least one unit in the attention and in every hidden layer, not "
                f"attention_size={self.attention_size} and hidden={self.hidden}"
            )
        for name in ("pretrain_epochs", "history_cap"):
            if getattr(self, name) < 0:
                raise ReplicationError(f"{name} is {getattr(self, name)}; use 0 or more")


class Histories(nn.Module):
    """The training items of every user: ragged rows that lie one behind the other.

    Attributes:
        items: [n] items, user by user, rising within a user.
        first, degree: [U] where each user's items begin and how many there are.
    """

    items: Tensor
    first: Tensor
    degree: Tensor
    keys: Tensor

    def __init__(self, split: Split) -> None:
        super().__init__()
        keys = np.unique(split.train_users * split.n_items + split.train_items)
        degree = np.bincount(keys // split.n_items, minlength=split.n_users)
        self.n_items = split.n_items
        for name, array in (
            ("items", keys % split.n_items),
            ("first", np.cumsum(degree) - degree),
            ("degree", degree),
            ("keys", keys),
        ):
            # The data are not part of a model's state.
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def contain(self, users: Tensor, items: Tensor) -> Tensor:
        """[B, C] bool, whether items [B, C] are in the histories of users [B]."""
        keys = users[:, None] * self.n_items + items
        place = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        return self.keys[place] == keys

    def padded(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Histories of n users: items [n, h] and whether there is one in each place [n, h]."""
        degree = self.degree[users][:, None]  # [n, 1]
        place = torch.arange(max(int(degree.max()), 1), device=users.device)  # [h]
        rows = self.first[users][:, None] + torch.minimum(place, degree - 1)
        return self.items[rows.clamp_(0, len(self.items) - 1)], place < degree

    def drawn(self, users: Tensor, cap: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Like ``padded``, but of a longer history ``cap`` items drawn without replacement."""
        items, valid = self.padded(users)  # [n, h]
        if valid.shape[1] <= cap:
            return items, valid
        key = torch.rand(valid.shape, generator=generator, device=valid.device)
        # Padding comes last.
        place = key.masked_fill_(~valid, 2.0).topk(cap, largest=False, sorted=False).indices
        return items.gather(1, place), valid.gather(1, place)

    def flat(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Histories of n users behind each other: items [m] and the row 0 .. n - 1 of each [m]."""
        degree = self.degree[users]
        rows = torch.arange(len(users), device=users.device).repeat_interleave(degree)  # [m]
        start = self.first[users] - (degree.cumsum(0) - degree)
        return self.items[start[rows] + torch.arange(len(rows), device=users.device)], rows

    def blocks(self, users: Tensor, width: int, cap: int = 0) -> Iterable[Tensor]:
        """Rows of users [B] in blocks of like degree: little padding, and tensors of like size.

        Args:
            width: numbers that each history item of a user costs.
            cap: items of a history that count at most; 0: all.
        """
        degree = self.degree[users].clamp(max=cap) if cap else self.degree[users]
        degree, order = degree.sort(stable=True)
        number = (degree * width).cumsum(0).div(CELLS[users.device.type], rounding_mode="floor")
        # A new block also where the degree has doubled, so that less than half of it is padding.
        number += degree.clamp(min=1).log2().long()
        sizes = torch.unique_consecutive(number, return_counts=True)[1]
        return order.split(sizes.tolist())


class ItemBased(Differentiable):
    """The embeddings, the biases and the loss that FISM and DeepICF+a share."""

    def __init__(self, split: Split, config: FISMConfig | DeepICFConfig) -> None:
        super().__init__()
        self.config: FISMConfig | DeepICFConfig = config
        self.data = Histories(split)
        self.targets = nn.Parameter(torch.empty(split.n_items, config.dimension))  # p
        self.histories = nn.Parameter(torch.empty(split.n_items, config.dimension))  # q
        self.item_bias = nn.Parameter(torch.zeros(split.n_items))
        if config.user_bias:
            self.user_bias = nn.Parameter(torch.zeros(split.n_users))
        for table in (self.targets, self.histories):
            nn.init.trunc_normal_(table, std=0.01, a=-0.02, b=0.02)  # released code

    def forward(self, users: Tensor, items: Tensor, training: bool = False) -> Tensor:
        """Logits [B, C] for users [B] and their candidate items [B, C]."""
        raise NotImplementedError

    def penalised(self) -> Iterator[tuple[float, Tensor]]:
        """Each lambda of lambda ||Theta||^2 with its parameter, as the released code has them."""
        yield self.config.l2_embeddings, self.targets
        yield self.config.l2_embeddings, self.histories

    def bias(self, users: Tensor, items: Tensor) -> Tensor:
        """b_u + b_i, [B, C], of users [B] and items [B, C], or [C] shared by all users."""
        bias = self.item_bias[items]
        return bias + self.user_bias[users][:, None] if self.config.user_bias else bias

    def normaliser(self, count: Tensor) -> Tensor:
        """1 / |R_u \\ i|^alpha from those counts; of an empty history there is nothing to scale."""
        return count.clamp(min=1).to(self.targets.dtype) ** -self.config.alpha

    @torch.no_grad()
    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C] for users [B]: logits, which keep the order."""
        return self(users, items)

    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """The log loss, averaged over the batch's B * (1 + |N|) pairs, plus the penalties.

        Args:
            users: [B].
            items: [B, 1 + |N|], the positive first.
        """
        penalty = sum(weight * p.square().sum() for weight, p in self.penalised())
        return log_loss(self(users, items, training=True)) + penalty

    @torch.no_grad()
    def accumulate_gradients(self, users: Tensor, items: Tensor) -> Tensor:
        """Add the gradient of ``loss`` to every ``.grad``; returns the loss (no graph).

        The penalties' part is written out: autograd would make tables of their size to add it.
        """
        loss = self.accumulate_log_loss(users, items)
        for weight, parameter in self.penalised():
            if weight:
                loss += weight * torch.dot(parameter.view(-1), parameter.view(-1))
                grad_of(parameter).add_(parameter, alpha=2 * weight)
        return loss

    def accumulate_log_loss(self, users: Tensor, items: Tensor) -> Tensor:
        """The log loss's part of ``accumulate_gradients``."""
        with torch.enable_grad():
            loss = log_loss(self(users, items, training=True))
            loss.backward()
        return loss.detach()


class FISM(ItemBased):
    """Factored item similarities (Kabbur et al. 2013, Section 4), on a log loss."""

    def forward(self, users: Tensor, items: Tensor, training: bool = False) -> Tensor:
        """Logits [B, C] for users [B] and their candidate items [B, C]; the same in training."""
        totals = self.totals(users)  # [B, d]
        target = F.embedding(items, self.targets)  # [B, C, d]
        own = self.data.contain(users, items)  # [B, C]
        itself = (target * F.embedding(items, self.histories)).sum(-1)  # [B, C], q_i . p_i
        similarity = (target @ totals.unsqueeze(-1)).squeeze(-1) - own * itself
        count = self.data.degree[users][:, None] - own.long()  # |R_u \ i|
        return self.bias(users, items) + self.normaliser(count) * similarity

    def totals(self, users: Tensor) -> Tensor:
        """[B, d], the sum of q_j over the histories of users [B]."""
        distinct, place = users.unique(return_inverse=True)
        items, _ = self.data.flat(distinct)
        degree = self.data.degree[distinct]
        bags = F.embedding_bag(items, self.histories, degree.cumsum(0) - degree, mode="sum")
        return bags[place]

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B]."""
        scores = self.totals(users) @ self.targets.T  # [B, I]
        items, rows = self.data.flat(users)
        itself = (self.targets * self.histories).sum(-1)  # [I], q_i . p_i
        # The pairs of a user with an item of her own history.
        degree = self.data.degree[users]
        own = (scores[rows, items] - itself[items]) * self.normaliser(degree - 1)[rows]
        scores *= self.normaliser(degree)[:, None]
        scores[rows, items] = own
        return scores + self.bias(users, torch.arange(len(itself), device=users.device))


class Attended(NamedTuple):
    """What attention makes of the histories of n users, for C targets each."""

    pooled: Tensor  # [n, C, d], e_ui
    mean: Tensor  # [n, C, d], sum_j a_j q_j
    attention: Tensor  # [n, C, h], a
    log_sum: Tensor  # [n, C, 1], log sum_j exp(f_j); 0 for an empty history
    scale: Tensor  # [n, C, 1], 1 / |R_u \ i|^alpha


class Block(NamedTuple):
    """Users of like degree, their histories, and what the attention computed for them."""

    rows: Tensor  # [n], places in the batch
    items: Tensor  # [n, h], history items; padded
    target: Tensor  # [n, C, d + 1], p with a 1 behind
    history: Tensor  # [n, h, d + 1], q with a 1 behind
    queries: Tensor  # [n, C * k, d + 1]
    hidden: Tensor  # [n, C * k, h], after the ReLU
    attended: Attended


class Explanation(NamedTuple):
    """Why one item is recommended to one user."""

    items: Tensor  # [h'] history items, that with the highest attention first
    attention: Tensor  # [h'], a


class DeepICF(ItemBased):
    """DeepICF+a: attention over a user's history, pooled, and a deep network on top."""

    config: DeepICFConfig
    draws: Tensor

    def __init__(self, split: Split, config: DeepICFConfig) -> None:
        super().__init__(split, config)
        k, d = config.attention_size, config.dimension
        self.attention_weight = nn.Parameter(torch.empty(k, d))  # W
        self.attention_bias = nn.Parameter(torch.empty(k))  # b
        std = math.sqrt(2 / (k + d))  # released code
        for parameter in (self.attention_weight, self.attention_bias):
            nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
        self.attention_output = nn.Parameter(torch.ones(k))  # h
        self.register_buffer("draws", torch.randint(2**40, ()))  # where this seed's draws begin
        # Batch normalisation takes out a bias before it and has its own behind.
        self.layers = nn.ModuleList(
            nn.Linear(before, after, bias=not config.batch_norm)
            for before, after in pairwise((d, *config.hidden))
        )
        for name, parameter in self.layers.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_normal_(parameter)
            else:  # in the released code they are drawn from a standard normal
                nn.init.zeros_(parameter)
        self.output = nn.Parameter(torch.empty(config.hidden[-1]))  # z
        nn.init.normal_(self.output, std=math.sqrt(2 / (config.hidden[-1] + 1)))
        if config.batch_norm:
            self.norms = nn.ModuleList(nn.BatchNorm1d(n, eps=1e-3) for n in config.hidden)

    @classmethod
    def pretrained(cls, fism: FISM, split: Split, config: DeepICFConfig) -> DeepICF:
        """DeepICF+a that begins with the embeddings and biases of a trained FISM."""
        model = cls(split, config).to(fism.targets.device)
        model.load_state_dict(fism.state_dict(), strict=False)
        return model

    # --- equations -------------------------------------------------------------------------------

    def attend(
        self,
        logits: Tensor,
        outside: Tensor,
        target: Tensor,
        history: Tensor,
        share: Tensor | None = None,
    ) -> Attended:
        """Weigh and pool histories.

        Args:
            logits: [n, C, h], f of each history item for each target.
            outside: [n, C, h] bool, True where a history has no item, or the target itself.
            target: [n, C, d], p.
            history: [n, h, d], q.
            share: [n], items of the whole history for one that is given here; None: all are.
        """
        count = (~outside).sum(-1, keepdim=True)  # [n, C, 1], |R_u \ i|
        if share is not None:
            # Every sum over a history becomes ``share`` times that over the items drawn.
            logits = logits + share[:, None, None].log()
            count = count * share[:, None, None]
        empty = outside.all(-1, keepdim=True)  # [n, C, 1]
        logits = logits.masked_fill(outside, OUTSIDE)
        log_sum = torch.logsumexp(logits, -1, keepdim=True).masked_fill(empty, 0.0)
        # Smoothed softmax: exp(f_j) / (sum_j exp(f_j))^beta, whose weights sum to more than 1.
        attention = torch.exp(logits - self.config.beta * log_sum)  # [n, C, h]
        mean = torch.bmm(attention, history)  # [n, C, d]
        scale = self.normaliser(count)
        # sum_j a_j (q_j * p_i) = (sum_j a_j q_j) * p_i: one product a pair with a target, not h.
        return Attended(scale * mean * target, mean, attention, log_sum, scale)

    def attention(self) -> Tensor:
        """[W, b], [k, d + 1]."""
        return torch.cat([self.attention_weight, self.attention_bias[:, None]], dim=1)

    def queries(self, target: Tensor) -> Tensor:
        """[.., C * k, d + 1] of targets [.., C, d + 1]: W (q * p) + b = (W diag(p)) q + b.

        With a 1 behind p and q, the two parts are one product of [p, 1] and [W, b] with [q, 1].
        """
        return (target.unsqueeze(-2) * self.attention()).flatten(-3, -2)

    def blocks(self, users: Tensor, items: Tensor, training: bool = False) -> Iterator[Block]:
        """Attention for users [B] and their items [B, C], in blocks of users of like degree."""
        n_candidates, k = items.shape[1], self.config.attention_size
        cap = self.config.history_cap if training else 0
        if cap:
            # By a number in the model's state: a resumed run draws what it would have drawn.
            self.draws += 1
            generator = torch.Generator(device=users.device).manual_seed(int(self.draws))
        table = F.pad(self.histories, (0, 1), value=1.0)  # [I, d + 1]
        for rows in self.data.blocks(users, n_candidates * k, cap):
            wanted = items[rows]  # [n, C]
            share = None
            if cap:
                past, valid = self.data.drawn(users[rows], cap, generator)  # [n, h]
                degree = self.data.degree[users[rows]].clamp(min=1)
                share = degree / degree.clamp(max=cap)  # [n]
            else:
                past, valid = self.data.padded(users[rows])  # [n, h]
            outside = ~valid[:, None] | (past[:, None] == wanted[..., None])  # [n, C, h]
            target = F.pad(F.embedding(wanted, self.targets), (0, 1), value=1.0)
            history = table.index_select(0, past.view(-1)).unflatten(0, past.shape)
            queries = self.queries(target)  # [n, C * k, d + 1]
            hidden = torch.bmm(queries, history.transpose(1, 2)).relu_()  # [n, C * k, h]
            logits = self._logits(hidden)
            attended = self.attend(logits, outside, target[..., :-1], history[..., :-1], share)
            yield Block(rows, past, target, history, queries, hidden, attended)

    def _logits(self, hidden: Tensor) -> Tensor:
        """h^T of the attention's hidden units [n, C * k, h]: [n, C, h]."""
        units = hidden.unflatten(1, (-1, len(self.attention_output))).flatten(0, 1)  # [n * C, k, h]
        weights = self.attention_output.expand(len(units), 1, -1)
        return torch.bmm(weights, units).view(len(hidden), -1, hidden.shape[-1])  # [n, C, h]

    def deep(self, pooled: Tensor, training: bool = False) -> Tensor:
        """z^T e_L [..] of pooled histories e_ui [.., d]."""
        e = pooled.flatten(0, -2)
        for number, layer in enumerate(self.layers):
            e = layer(e)
            if self.config.batch_norm:
                e = self.norms[number].train(training)(e)
            e = e.relu()  # e_l = ReLU(W_l e_(l-1) + b_l)
        return (e @ self.output).view(pooled.shape[:-1])

    def forward(self, users: Tensor, items: Tensor, training: bool = False) -> Tensor:
        """Logits [B, C] for users [B] and their candidate items [B, C]."""
        rows, pooled = [], []
        for block in self.blocks(users, items, training):
            rows.append(block.rows)
            pooled.append(block.attended.pooled)
        e = torch.cat(pooled)[torch.cat(rows).argsort()]  # [B, C, d]
        return self.deep(e, training) + self.bias(users, items)  # z^T e_L + b_u + b_i

    def penalised(self) -> Iterator[tuple[float, Tensor]]:
        """Each lambda of lambda ||Theta||^2 with its parameter, as the released code has them."""
        yield from super().penalised()
        yield self.config.l2_attention, self.attention_weight
        for name, parameter in self.layers.named_parameters():
            if name.endswith("weight"):
                yield self.config.l2_hidden, parameter

    # --- training --------------------------------------------------------------------------------

    def accumulate_log_loss(self, users: Tensor, items: Tensor) -> Tensor:
        """The log loss's part of ``accumulate_gradients``.

        The derivative of the attention, where nearly all the time goes, is written out, which
        takes about 0.6 of autograd's time: fewer passes over the hidden units, and the rows of a
        block are added to the tables' gradients in place of making a table of zeros for each.
        ``tests/models/test_deep_icf.py`` holds it equal to autograd's.
        """
        blocks = list(self.blocks(users, items, training=True))
        pooled = self.targets.new_empty(*items.shape, self.config.dimension)
        for block in blocks:
            pooled[block.rows] = block.attended.pooled
        with torch.enable_grad():
            pooled.requires_grad_()
            logits = self.deep(pooled, training=True) + self.bias(users, items)
            loss = log_loss(logits)
            loss.backward()
        for block in blocks:
            self._add_gradients(block, items[block.rows], grad_of(pooled)[block.rows])
        return loss.detach()

    def _add_gradients(self, block: Block, items: Tensor, d_pooled: Tensor) -> None:
        """From the gradient of ``pooled`` [n, C, d] to those of what it was made from."""
        _, mean, attention, log_sum, scale = block.attended
        k, beta = self.config.attention_size, self.config.beta
        target, history = block.target[..., :-1], block.history[..., :-1]
        d_pooled = d_pooled * scale
        d_mean, d_target = d_pooled * target, d_pooled * mean  # [n, C, d]
        # Smoothed softmax: d f_j = a_j g_j - beta softmax(f)_j sum_i a_i g_i, with g = d a.
        d_logits = torch.bmm(d_mean, history.transpose(1, 2)).mul_(attention)  # [n, C, h]
        softmax = attention * torch.exp((beta - 1) * log_sum)
        d_logits.addcmul_(softmax, d_logits.sum(-1, keepdim=True), value=-beta)
        # The hidden units are not needed any more: their place is taken by d f where they are on.
        on = block.hidden.sign_().unflatten(1, (-1, k))  # [n, C, k, h]
        on = on.mul_(d_logits.unsqueeze(2)).flatten(1, 2)
        d_queries = torch.bmm(on, block.history).unflatten(1, (-1, k))  # [n, C, k, d + 1], but h
        queries = block.queries.unflatten(1, (-1, k))
        # A unit that is on is query . history, so that sum_j d f_j ReLU(.) is query . d_query.
        grad_of(self.attention_output).add_((queries * d_queries).sum((0, 1, 3)))
        h = self.attention_output[:, None]  # [k, 1]
        d_attention = h * (d_queries * block.target.unsqueeze(2)).sum((0, 1))  # [k, d + 1]
        grad_of(self.attention_weight).add_(d_attention[:, :-1])
        grad_of(self.attention_bias).add_(d_attention[:, -1])
        d_target += (d_queries * (h * self.attention())).sum(2)[..., :-1]
        d_history = torch.bmm(attention.transpose(1, 2), d_mean)  # [n, h, d]
        d_history.baddbmm_(on.transpose(1, 2), (queries * h).flatten(1, 2)[..., :-1])
        grad_of(self.targets).index_add_(0, items.reshape(-1), d_target.flatten(0, 1))
        grad_of(self.histories).index_add_(0, block.items.view(-1), d_history.flatten(0, 1))

    # --- use -------------------------------------------------------------------------------------

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B].

        The attention's logit depends on the two items alone: it is computed once for every target
        and every item in any of the histories, not for each user again.
        """
        cells, n_items = CELLS[users.device.type], len(self.targets)
        scores = self.targets.new_empty(len(users), n_items)
        past = self.data.padded(users)[0].unique()  # [J]
        columns = torch.zeros(n_items, dtype=torch.long, device=users.device)  # item -> its row
        columns[past] = torch.arange(len(past), device=users.device)
        rows_of_past = F.pad(self.histories[past], (0, 1), value=1.0)  # [J, d + 1]
        everything = torch.arange(n_items, device=users.device)
        size = max(1, 8 * cells // (len(past) * self.config.attention_size))
        for wanted in everything.split(size):  # [T]
            target = F.pad(self.targets[wanted], (0, 1), value=1.0)  # [T, d + 1]
            hidden = (self.queries(target) @ rows_of_past.T).relu_()  # [T * k, J]
            logits = self._logits(hidden[None])[0].T.contiguous()  # [J, T]
            for rows in self.data.blocks(users, len(wanted)):
                items, valid = self.data.padded(users[rows])  # [n, h]
                outside = ~valid[..., None] | (items[..., None] == wanted)  # [n, h, T]
                mine = logits.index_select(0, columns[items].view(-1)).unflatten(0, items.shape)
                e = self.attend(
                    mine.transpose(1, 2),
                    outside.transpose(1, 2),
                    target[:, :-1],
                    self.histories[items],
                ).pooled  # [n, T, d]
                scores[rows[:, None], wanted] = self.deep(e)
        return scores.add_(self.bias(users, everything))

    @torch.no_grad()
    def explain(self, user: int, item: int) -> Explanation:
        """Which items of a user's history speak for an item, by their attention for it.

        Args:
            user: user index.
            item: item index; where the user consumed it, it is no part of her history here.
        """
        device = self.targets.device
        one = torch.tensor([user], device=device), torch.tensor([[item]], device=device)
        (block,) = self.blocks(*one)
        attention = block.attended.attention[0, 0]  # [h]
        inside = self.data.padded(one[0])[1][0] & (block.items[0] != item)  # [h]
        items, attention = block.items[0][inside], attention[inside]  # [h']
        order = attention.argsort(descending=True, stable=True)
        return Explanation(items[order], attention[order])


def log_loss(logits: Tensor) -> Tensor:
    """The mean over [B, 1 + |N|] pairs, of which the first of each row is positive."""
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1.0
    return F.binary_cross_entropy_with_logits(logits, labels)


def build(
    split: Split,
    config: DeepICFConfig,
    seed: int,
    device: torch.device,
    progress: bool = True,
) -> DeepICF:
    """The model as its training begins: with the embeddings of a FISM that is trained here.

    FISM is trained for a fixed number of epochs, so that a split without validation items is
    pretrained as the one on which that number was chosen.
    """
    if config.pretrain_epochs == 0:
        return DeepICF(split, config)
    fism_config = FISMConfig(
        batch_size=config.batch_size,
        n_negatives=config.n_negatives,
        dimension=config.dimension,
        alpha=config.pretrain_alpha,
        user_bias=config.user_bias,
    )
    # A seed of its own: the negatives of the pretraining must not come up once more in training.
    own_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    fism, random_state = _pretrained(
        split, fism_config, own_seed, config.pretrain_epochs, device, progress
    )
    torch.set_rng_state(random_state)  # the rest starts alike whether or not FISM was kept
    return DeepICF.pretrained(fism, split, config)


@lru_cache(maxsize=1)
def _pretrained(
    split: Split, config: FISMConfig, seed: int, epochs: int, device: torch.device, progress: bool
) -> tuple[FISM, Tensor]:
    """A trained FISM, and the state of the random numbers after it.

    It is kept for the next call: all trials of a search begin with the same.
    """
    fism = fit(
        partial(FISM, split, config),
        split,
        config,
        seed,
        device,
        select_on=None,
        epochs=epochs,
        label="FISM",
        progress=progress,
    ).model
    return fism, torch.get_rng_state()
