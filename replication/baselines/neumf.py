"""NCF: GMF, MLP and their fusion NeuMF (He et al., WWW 2017, Section 3).

Symbols (paper -> here): ``p_u^G, p_u^M`` side by side -> ``users`` [U, d + e]; ``q_i^G, q_i^M``
-> ``items`` [I, d + e]; ``W_x, b_x`` -> ``tower.user``, ``tower.item``, ``tower.later``;
``h^GMF`` -> ``output``; ``h^MLP`` -> ``tower.output``; ``alpha`` -> ``fusion_weight``.
Shapes: B users in a batch, C candidate items a user, N = B * C pairs, d predictive factors, e width
of an MLP embedding, k units in a hidden layer, U users, I items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.gradients import grad_of, through_relu_
from replication.protocols import Split
from replication.training import Differentiable, RankingConfig, fit

PARTS = ("neumf", "gmf", "mlp")
SCORED_AT_ONCE = 2**16  # pairs in a block of ``score_all``: its widest layer then takes 64 MiB


@dataclass(frozen=True)
class NeuMFConfig(RankingConfig):
    """Every choice of the model; the training choices are inherited.

    Adam is used after the pretraining too, as the AMP-CF paper (Section 4.3) says; He et al.
    (Section 3.4.1) go on with plain SGD there. ``batch_size`` counts positives.
    """

    negative_distribution: str = "uniform"  # He et al., Section 3.1
    reject_consumed: str = "train"  # a negative is an unobserved pair; He et al., Section 3.1
    part: str = "neumf"  # or "gmf" or "mlp": one of the two alone
    factors: int = 64  # d; AMP-CF paper, Section 4.2
    hidden_layers: int = 3  # of the MLP; He et al., Section 4.1
    # Epochs of GMF and of MLP before they are fused; 0: no pretraining. He et al. train them until
    # they converge (Section 3.4.1); the example runs of their released code take 20 epochs.
    pretrain_epochs: int = 20
    fusion_weight: float = 0.5  # alpha of Eq. 13; He et al., Section 4.1
    init_std: float = 0.01  # of every weight; He et al., Section 4.1

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ReplicationError(f"unknown part {self.part!r}; use {', '.join(PARTS)}")
        if self.factors < 2 or self.factors % 2 or self.hidden_layers < 1:
            raise ReplicationError(
                "NeuMF needs an even number of factors and at least one hidden layer, not "
                f"factors={self.factors} and hidden_layers={self.hidden_layers}"
            )
        if self.pretrain_epochs < 0:
            raise ReplicationError(f"pretrain_epochs is {self.pretrain_epochs}; use 0 or more")

    @property
    def widths(self) -> list[int]:
        """Units of the hidden layers: each half the one before, the last d (Section 3.3).

        An MLP embedding is half as wide as the first (Section 4.1: 16 below 32, 16, 8).
        """
        return [self.factors * 2**layer for layer in reversed(range(self.hidden_layers))]


class Memory:
    """Large tensors that every step writes anew, kept so that none has to allocate them."""

    def __init__(self) -> None:
        self.kept: dict[Any, Tensor] = {}

    def __call__(self, name: str, n: int, like: Tensor) -> Tensor:
        """[n, width of ``like``] with anything in it, of the type and on the device of ``like``."""
        key = (name, n, like.device, like.dtype)
        if key not in self.kept:
            self.kept[key] = like.new_empty(n, like.shape[-1])
        return self.kept[key]


class Tower(nn.Module):
    """MLP: hidden layers, and the weights of their output, on top of a pair's two embeddings."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        # W [p; q] = W_u p + W_i q: the user's half is computed once for all of his candidates.
        self.user = nn.Linear(widths[0] // 2, widths[0])
        self.item = nn.Linear(widths[0] // 2, widths[0], bias=False)
        self.later = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.output = nn.Parameter(torch.empty(widths[-1]))

    @property
    def _later(self) -> list[nn.Linear]:
        return cast(list[nn.Linear], list(self.later))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Eq. 10 before its sigmoid.

        Args:
            users: [B, e].
            items: [B, C, e], or [C, e] shared by all users.

        Returns:
            [B, C].
        """
        hidden = (self.item(items) + self.user(users).unsqueeze(1)).relu_()  # [B, C, k]
        for layer in self.later:
            hidden = layer(hidden).relu_()
        return hidden @ self.output

    def activations(self, users: Tensor, items: Tensor, memory: Memory) -> list[Tensor]:
        """What every hidden layer gives for users [B, e] and items [N, e]: [N, k] each."""
        n = len(items)
        hidden = [torch.mm(items, self.item.weight.T, out=memory("0", n, self.user.bias))]
        hidden[0].unflatten(0, (len(users), -1)).add_(self.user(users).unsqueeze(1))
        hidden[0].relu_()
        for number, layer in enumerate(self._later, 1):
            out = memory(str(number), n, layer.bias)
            hidden.append(torch.addmm(layer.bias, hidden[-1], layer.weight.T, out=out).relu_())
        return hidden

    def accumulate_gradients(
        self,
        d_logits: Tensor,
        users: Tensor,
        items: Tensor,
        hidden: list[Tensor],
        d_users: Tensor,
        d_items: Tensor,
        memory: Memory,
    ) -> None:
        """Carry the derivative by the logits [N] back to everything below them.

        Args:
            d_logits: [N].
            users, items: [B, e] and [N, e], as given to ``activations``.
            hidden: what that returned.
            d_users, d_items: [B, e] and [N, e] to write the derivative by the embeddings to.
            memory: where large results are kept.
        """
        n = len(items)
        grad_of(self.output).addmv_(hidden[-1].T, d_logits)
        d_hidden = torch.outer(d_logits, self.output, out=memory("d last", n, self.output))
        for number in reversed(range(len(self.later))):
            layer, below, above = self._later[number], hidden[number], hidden[number + 1]
            through_relu_(d_hidden, above)
            grad_of(layer.bias).add_(d_hidden.sum(0))
            grad_of(layer.weight).addmm_(d_hidden.T, below)
            out = memory(f"d {number}", n, layer.weight)
            d_hidden = torch.mm(d_hidden, layer.weight, out=out)
        through_relu_(d_hidden, hidden[0])
        d_of_user = d_hidden.unflatten(0, (len(users), -1)).sum(1)  # [B, k]
        grad_of(self.user.bias).add_(d_of_user.sum(0))
        grad_of(self.user.weight).addmm_(d_of_user.T, users)
        grad_of(self.item.weight).addmm_(d_hidden.T, items)
        torch.mm(d_of_user, self.user.weight, out=d_users)
        torch.mm(d_hidden, self.item.weight, out=d_items)


class NeuMF(Differentiable):
    """Neural matrix factorisation, or one of its two parts alone."""

    def __init__(self, n_users: int, n_items: int, config: NeuMFConfig) -> None:
        super().__init__()
        self.config = config
        self.has_gmf, self.has_mlp = config.part != "mlp", config.part != "gmf"
        # How much of a row of the two tables is GMF's (d) and how much is MLP's (e).
        self.columns = [
            config.factors if self.has_gmf else 0,
            config.widths[0] // 2 if self.has_mlp else 0,
        ]
        self.users = nn.Parameter(torch.empty(n_users, sum(self.columns)))
        self.items = nn.Parameter(torch.empty(n_items, sum(self.columns)))
        if self.has_gmf:
            self.output = nn.Parameter(torch.empty(config.factors))
        if self.has_mlp:
            self.tower = Tower(config.widths)
        # Eqs. 9 to 12 have none, the released code has one. It moves no ranking by itself.
        self.bias = nn.Parameter(torch.empty(()))
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=config.init_std)
        self.memory = Memory()

    @classmethod
    def fused(cls, gmf: NeuMF, mlp: NeuMF, config: NeuMFConfig) -> NeuMF:
        """NeuMF that begins where a trained GMF and a trained MLP ended (Section 3.4.1).

        Its logits are ``alpha`` times those of ``gmf`` plus ``1 - alpha`` times those of ``mlp``.
        """
        model = cls(len(gmf.users), len(gmf.items), config).to(gmf.users.device)
        model.tower.load_state_dict(mlp.tower.state_dict())
        alpha = config.fusion_weight
        with torch.no_grad():
            model.users.copy_(torch.cat([gmf.users, mlp.users], dim=1))
            model.items.copy_(torch.cat([gmf.items, mlp.items], dim=1))
            model.output.copy_(alpha * gmf.output)  # Eq. 13
            model.tower.output.copy_((1 - alpha) * mlp.tower.output)  # Eq. 13
            model.bias.copy_(alpha * gmf.bias + (1 - alpha) * mlp.bias)
        return model

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores before the sigmoid of Eq. 12, which keeps their order.

        Args:
            users: [B, d + e] rows of ``self.users``.
            items: [B, C, d + e] rows of ``self.items``, or [C, d + e] shared by all users.

        Returns:
            [B, C].
        """
        users_gmf, users_mlp = users.split(self.columns, dim=-1)  # [B, d], [B, e]
        items_gmf, items_mlp = items.split(self.columns, dim=-1)  # [B, C, d], [B, C, e]
        logits = self.bias
        if self.has_gmf:
            # h . (p * q) = (h * p) . q (Eqs. 8 and 9)
            weighted = (self.output * users_gmf).unsqueeze(-1)  # [B, d, 1]
            logits = logits + (items_gmf @ weighted).squeeze(-1)  # [B, C]
        if self.has_mlp:
            logits = logits + self.tower(users_mlp, items_mlp)  # Eq. 12
        return logits

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits [B, C] for users [B] and their candidate items [B, C]."""
        return self.logits(self.users[users], self.items[items])

    @torch.no_grad()
    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C] for users [B]."""
        return self(users, items)

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B]."""
        block = max(1, SCORED_AT_ONCE // len(self.items))
        return torch.cat([self.logits(self.users[u], self.items) for u in users.split(block)])

    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """Eq. 7, averaged over the batch's B * (1 + |N|) pairs.

        Args:
            users: [B].
            items: [B, 1 + |N|], the positive first.
        """
        return log_loss(self(users, items))

    @torch.no_grad()
    def accumulate_gradients(self, users: Tensor, items: Tensor) -> Tensor:
        """Add the gradient of ``loss`` to every ``.grad``; returns the loss (no graph).

        The same derivative that autograd would take, written out: it touches only the batch's
        rows of the tables in place of allocating dense gradients, and the large intermediate
        results are written to the same memory at every step.
        ``tests/models/test_neumf.py`` holds the two equal.
        """
        flat = items.reshape(-1)  # [N]
        user_rows = self.users.index_select(0, users)  # [B, d + e]
        item_rows = self.memory("items", len(flat), self.items)  # [N, d + e]
        torch.index_select(self.items, 0, flat, out=item_rows)
        users_gmf, users_mlp = user_rows.split(self.columns, dim=1)
        items_gmf, items_mlp = item_rows.split(self.columns, dim=1)
        logits = self.bias.expand(items.shape)
        if self.has_gmf:
            weighted = self.output * users_gmf  # [B, d]
            candidates = items_gmf.unflatten(0, items.shape)  # [B, 1 + |N|, d]
            logits = logits + torch.bmm(candidates, weighted.unsqueeze(2)).squeeze(2)
        if self.has_mlp:
            hidden = self.tower.activations(users_mlp, items_mlp, self.memory)
            logits = logits + (hidden[-1] @ self.tower.output).view(items.shape)

        d_logits = torch.sigmoid(logits)  # [B, 1 + |N|], of Eq. 7
        d_logits[:, 0] -= 1
        d_logits /= len(flat)
        d_user_rows = torch.empty_like(user_rows)
        d_item_rows = self.memory("d items", len(flat), self.items)
        d_users_gmf, d_users_mlp = d_user_rows.split(self.columns, dim=1)
        d_items_gmf, d_items_mlp = d_item_rows.split(self.columns, dim=1)
        if self.has_gmf:
            d_weighted = (d_logits.unsqueeze(2) * candidates).sum(1)  # [B, d]
            grad_of(self.output).add_((d_weighted * users_gmf).sum(0))
            torch.mul(d_weighted, self.output, out=d_users_gmf)
            d_candidates = d_items_gmf.unflatten(0, items.shape)
            torch.mul(d_logits.unsqueeze(2), weighted.unsqueeze(1), out=d_candidates)
        if self.has_mlp:
            self.tower.accumulate_gradients(
                d_logits.view(-1),
                users_mlp,
                items_mlp,
                hidden,
                d_users_mlp,
                d_items_mlp,
                self.memory,
            )
        grad_of(self.bias).add_(d_logits.sum())
        grad_of(self.users).index_add_(0, users, d_user_rows)
        grad_of(self.items).index_add_(0, flat, d_item_rows)
        return log_loss(logits)


def log_loss(logits: Tensor) -> Tensor:
    """Eq. 7, the mean over [B, 1 + |N|] pairs, of which the first in each row is positive."""
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1.0
    return F.binary_cross_entropy_with_logits(logits, labels)


def build(
    split: Split,
    config: NeuMFConfig,
    seed: int,
    device: torch.device,
    label: str = "",
    progress: bool = True,
) -> NeuMF:
    """The model as its training begins: untrained, or fused from a GMF and an MLP trained here.

    The two are trained like NeuMF itself, but for a fixed number of epochs, so that a split
    without validation items is pretrained like the one on which that number was chosen.

    Args:
        split: its training pairs are trained on.
        config: how; ``pretrain_epochs`` and ``part`` decide whether there is a pretraining.
        seed: decides initialisation and sampling of the pretraining.
        device: where to pretrain.
        label: text of the progress bars.
        progress: show them.
    """
    new = partial(NeuMF, split.n_users, split.n_items)
    if config.part != "neumf" or config.pretrain_epochs == 0:
        return new(config)
    # Seeds of their own: the fusion must not meet the negatives of its pretraining again.
    seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
    gmf, mlp = (
        fit(
            partial(new, replace(config, part=part)),
            split,
            replace(config, part=part),
            part_seed,
            device,
            select_on=None,
            epochs=config.pretrain_epochs,
            label=f"{label} {part}".strip(),
            progress=progress,
        ).model
        for part, part_seed in zip(PARTS[1:], seeds, strict=True)
    )
    torch.manual_seed(seed)
    return NeuMF.fused(gmf, mlp, config)
