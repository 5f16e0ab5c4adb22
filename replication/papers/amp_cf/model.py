"""AMP-CF: a user is an attentive mixture of personas (Barkan et al., RecSys 2020, Section 3).

Symbols (paper -> here): ``U^i`` -> ``personas`` [r, d] of user i; ``v^j`` -> ``item``;
``A^u, A^v`` -> ``attention_user, attention_item`` [d, d_a]; ``b^j`` -> ``item_bias``;
``s_a`` -> ``affinity``; ``a`` -> ``attention``; ``s`` -> ``similarity``; ``y`` -> ``score``.
Shapes: B users in a batch, C candidate items a user, r personas, d dimensions, I items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.gradients import grad_of
from replication.training import RankingConfig, later

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"elu": F.elu, "gelu": F.gelu}
_CATALOGUE_BLOCK = 512  # items that a network scores at once: 34 MB for 128 users, 2 personas


@dataclass(frozen=True)
class AMPConfig(RankingConfig):
    """Every choice of the model; the training choices are inherited.

    The paper prints d, d_a, r and (inherited) Adam, its learning rate, the batch and |N|. It does
    not print alpha, lambda_p and lambda_n: the values here are those of the run in the authors'
    released notebook (github.com/TomShak/AMP-CF).
    """

    personas: int = 2  # r, Section 4.3: 2, 3, 4, 8; 1 is matrix factorisation
    dimension: int = 64  # d, Section 4.3
    attention_dimension: int = 64  # d_a, Section 4.3
    attention_projections: bool = True  # A^u and A^v, Section 3; the released code has none
    item_bias: bool = True  # b^j, Eq. 1; the released code has none
    user_bias: bool = False  # only the released code's MF has one
    alpha: float = 0.5  # Eq. 2; released notebook
    lambda_p: float = 0.005  # Eq. 2; released notebook
    lambda_n: float = 0.005  # Eq. 2; released notebook
    # Eq. 2 prints a log-sum over the negatives alone, which has no lower bound; the released code
    # has the positive in it ("softmax"), and so has the default here.
    likelihood: str = "softmax"  # or "printed"
    # Eq. 2 sums both parts over the pairs; the released code takes the batch mean of the
    # likelihood and the batch sum of the entropies.
    entropy_reduction: str = "mean"  # or "sum"
    negative_entropy: str = "sum"  # over the negatives, as printed; released: "mean"
    # s and s_a, Section 3: dot products, or "small neural networks with non-linear activations";
    # the two references there are those of ELU and GELU, and both similarities are replaced.
    similarity: str = later("dot")  # or "elu", "gelu"
    similarity_hidden: int = later(64)  # hidden units of each network; ours (= d), none is printed

    def __post_init__(self) -> None:
        for name, known in (
            ("likelihood", ("softmax", "printed")),
            ("entropy_reduction", ("mean", "sum")),
            ("negative_entropy", ("sum", "mean")),
            ("similarity", ("dot", *ACTIVATIONS)),
        ):
            if getattr(self, name) not in known:
                raise ReplicationError(
                    f"unknown {name} {getattr(self, name)!r}; use {' or '.join(known)}"
                )


class Scores(NamedTuple):
    """What scoring B users on C items each gives."""

    score: Tensor  # [B, C], y of Eq. 1
    attention: Tensor  # [B, C, r], a: one row sums to 1
    log_attention: Tensor  # [B, C, r]
    similarity: Tensor  # [B, C, r], s of each persona and the item


class Explanation(NamedTuple):
    """Why one item is recommended to one user."""

    attention: Tensor  # [r], weight of each persona for the item
    persona: int  # the persona with the highest weight: the one responsible
    claimed: Tensor  # [h'] those history items that the same persona claims, strongest first


class SimilarityNetwork(nn.Module):
    """A network with one hidden layer on two vectors side by side: w . f(W [left; right] + b) + c.

    The paper prints nothing but the activations f; the rest is NCF's tower (He et al. 2017,
    Section 3.3) at its smallest.
    """

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.left = nn.Linear(width, hidden)  # W is taken apart: the layer is linear
        self.right = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)
        for layer in (self.left, self.right, self.out):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.left.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """[...] similarities of left [..., n] and right [..., n], whose other sizes broadcast."""
        return self.out(self.activation(self.left(left) + self.right(right))).squeeze(-1)


class AMP(nn.Module):
    """AMP-CF; both similarities are dot products unless the configuration says otherwise."""

    def __init__(self, n_users: int, n_items: int, config: AMPConfig) -> None:
        super().__init__()
        self.config = config
        r, d = config.personas, config.dimension
        self.personas = nn.Parameter(torch.empty(n_users, r * d))  # U, a user's rows side by side
        self.items = nn.Parameter(torch.empty(n_items, d))  # v
        tables = [self.personas, self.items]
        if self.has_projections:
            self.attention_user = nn.Parameter(torch.empty(d, config.attention_dimension))  # A^u
            self.attention_item = nn.Parameter(torch.empty(d, config.attention_dimension))  # A^v
            tables += [self.attention_user, self.attention_item]
        for table in tables:
            nn.init.xavier_uniform_(table)
        if config.item_bias:
            self.item_bias = nn.Parameter(torch.zeros(n_items))  # b
        if config.user_bias:
            self.user_bias = nn.Parameter(torch.zeros(n_users))
        if config.similarity != "dot":
            shape = config.similarity_hidden, config.similarity
            self.similarity_network = SimilarityNetwork(d, *shape)  # s
            if r > 1:
                inside = config.attention_dimension if self.has_projections else d
                self.affinity_network = SimilarityNetwork(inside, *shape)  # s_a

    @property
    def has_projections(self) -> bool:
        """One persona gets all the attention, so that projections would do nothing."""
        return self.config.attention_projections and self.config.personas > 1

    def attend(self, personas: Tensor, items: Tensor, by_persona: bool = True) -> Scores:
        """Score items without biases.

        Args:
            personas: [B, r, d].
            items: [B, C, d], or [I, d] shared by all users.
            by_persona: whether ``similarity`` is needed; networks leave it empty if not.
        """
        if self.config.similarity != "dot":
            return self._attend_by_network(personas, items, by_persona)
        similarity = items @ personas.transpose(1, 2)  # [B, C, r]
        if self.config.personas == 1:  # all the attention
            return Scores(
                similarity[..., 0],
                torch.ones_like(similarity),
                torch.zeros_like(similarity),
                similarity,
            )
        queries = personas
        if self.has_projections:
            # psi . phi = (u A^u) . (v A^v) = (u A^u A^v^T) . v: projecting the r personas rather
            # than the C items gives the same affinities for fewer multiplications.
            queries = personas @ (self.attention_user @ self.attention_item.T)  # [B, r, d]
        affinity = items @ queries.transpose(1, 2)  # [B, C, r], s_a
        log_attention = F.log_softmax(affinity, dim=-1)
        attention = log_attention.exp()  # [B, C, r], a
        # s(x, v) with x = sum_k a_k u_k: the dot product is linear, so the mixture may be taken
        # over the r similarities in place of the r vectors.
        score = (attention * similarity).sum(-1)  # [B, C]
        return Scores(score, attention, log_attention, similarity)

    def _attend_by_network(self, personas: Tensor, items: Tensor, by_persona: bool) -> Scores:
        """``attend`` with networks for s and s_a."""
        each, item = personas[:, None], items[..., None, :]  # [B, 1, r, d], [B or none, C, 1, d]
        if self.config.personas > 1:
            psi, phi = each, item
            if self.has_projections:
                psi, phi = each @ self.attention_user, item @ self.attention_item
            affinity = self.affinity_network(psi, phi)  # [B, C, r], s_a
        else:
            affinity = each.new_zeros(len(personas), items.shape[-2], 1)
        log_attention = F.log_softmax(affinity, dim=-1)
        attention = log_attention.exp()  # [B, C, r], a
        mixture = attention @ personas  # [B, C, d], x: a network is not linear in it
        score = self.similarity_network(mixture, items)  # [B, C]
        similarity = self.similarity_network(each, item) if by_persona else score.new_empty(0)
        return Scores(score, attention, log_attention, similarity)

    def forward(self, users: Tensor, items: Tensor, by_persona: bool = True) -> Scores:
        """Eq. 1 for users [B] and their candidate items [B, C]."""
        # Four times as fast as indexing on a CPU.
        personas = F.embedding(users, self.personas)  # [B, r * d]
        personas = personas.unflatten(1, (self.config.personas, -1))  # [B, r, d]
        scores = self.attend(personas, F.embedding(items, self.items), by_persona)
        return scores._replace(score=scores.score + self._bias(users, items))  # Eq. 1

    def _bias(self, users: Tensor, items: Tensor | None) -> Tensor | float:
        """Biases to add: [B, C] for items [B, C], [B or 1, I] for all items (None)."""
        bias: Tensor | float = 0.0
        if self.config.item_bias:
            bias = self.item_bias if items is None else self.item_bias[items]
        if self.config.user_bias:
            bias = bias + self.user_bias[users][:, None]
        return bias

    @torch.no_grad()
    def score_candidates(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [B, C] of candidate items [B, C] for users [B]."""
        return self(users, items, by_persona=False).score

    @torch.no_grad()
    def score_all(self, users: Tensor) -> Tensor:
        """Scores [B, I] of the whole catalogue for users [B]."""
        personas = self.personas[users].unflatten(1, (self.config.personas, -1))
        # A network's hidden units are [B, I, r, hidden]: too much for all items at once.
        block = len(self.items) if self.config.similarity == "dot" else _CATALOGUE_BLOCK
        scores = [self.attend(personas, some, False).score for some in self.items.split(block)]
        return torch.cat(scores, dim=1) + self._bias(users, None)

    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """Eq. 2, averaged over the batch.

        Args:
            users: [B].
            items: [B, 1 + |N|], the positive first.
        """
        c = self.config
        scores = self(users, items, by_persona=False)
        y = scores.score
        if c.likelihood == "softmax":
            negative_log_likelihood = -F.log_softmax(y, dim=1)[:, 0]  # [B]
        else:
            negative_log_likelihood = -y[:, 0] + torch.logsumexp(y[:, 1:], dim=1)  # as printed
        entropy = -(scores.attention * scores.log_attention).sum(-1)  # [B, 1 + |N|]
        # [B, 1 + |N|], carries 1 - alpha and 1/B
        weights = self._entropy_weights(*items.shape, y.device)  # type: ignore[call-arg]
        return c.alpha * negative_log_likelihood.mean() + (weights * entropy).sum()  # Eq. 2

    def _entropy_weights(self, batch: int, width: int, device: torch.device) -> Tensor:
        """[B, 1 + |N|] weight of each candidate's entropy in the loss: + positive, - negatives."""
        c = self.config
        reduction = batch if c.entropy_reduction == "mean" else 1
        averaged = (width - 1) if c.negative_entropy == "mean" else 1
        weights = torch.full((batch, width), -c.lambda_n / averaged, device=device)
        weights[:, 0] = c.lambda_p
        return weights * ((1 - c.alpha) / reduction)

    @torch.no_grad()
    def accumulate_gradients(self, users: Tensor, items: Tensor) -> Tensor:
        """Add the gradient of ``loss`` to every ``.grad``; returns the loss (no graph).

        The same derivative that autograd would take, written out: it touches only the batch's
        rows of the tables in place of allocating dense gradients, and takes half as many kernels.
        ``tests/models/test_amp.py`` holds the two equal. Networks are left to autograd.
        """
        c = self.config
        if c.similarity != "dot":
            with torch.enable_grad():
                mean = self.loss(users, items)
            mean.backward()
            return mean.detach()
        r, batch, width = c.personas, *items.shape
        flat = items.reshape(-1)
        personas = self.personas.index_select(0, users).unflatten(1, (r, -1))  # [B, r, d]
        vectors = self.items.index_select(0, flat).unflatten(0, (batch, width))  # [B, C, d]
        queries = personas
        if self.has_projections:
            mix = self.attention_user @ self.attention_item.T  # [d, d]
            queries = personas @ mix
        both = torch.cat([queries, personas], dim=1) if r > 1 else personas  # [B, 2r or 1, d]
        products = torch.bmm(vectors, both.transpose(1, 2))  # [B, C, 2r or 1]
        similarity = products[..., -r:]
        if r > 1:
            log_attention = torch.log_softmax(products[..., :r], dim=-1)
            attention = log_attention.exp()
            y_plain = (attention * similarity).sum(-1)  # [B, C]
        else:
            y_plain = similarity[..., 0]
        y = y_plain + self._bias(users, items)

        # d loss / d y
        if c.likelihood == "softmax":
            log_p = torch.log_softmax(y, dim=1)
            loss = -c.alpha * log_p[:, 0].mean()
            d_y = log_p.exp()
        else:
            log_sum = torch.logsumexp(y[:, 1:], dim=1)
            loss = c.alpha * (log_sum - y[:, 0]).mean()
            d_y = torch.cat([torch.zeros_like(y[:, :1]), torch.softmax(y[:, 1:], dim=1)], dim=1)
        d_y[:, 0] -= 1
        d_y *= c.alpha / batch

        # through the mixture and the softmax over personas
        d_similarity = d_y.unsqueeze(-1)  # [B, C, 1]
        if r > 1:
            d_similarity = attention * d_similarity  # [B, C, r]
            d_affinity = d_similarity * (similarity - y_plain.unsqueeze(-1))
            if c.lambda_p or c.lambda_n:
                weights = self._entropy_weights(batch, width, y.device).unsqueeze(-1)
                negative_entropy = (attention * log_attention).sum(-1, keepdim=True)  # [B, C, 1]
                loss = loss - (weights * negative_entropy).sum()
                d_affinity.addcmul_(weights * attention, negative_entropy - log_attention)
            d_products = torch.cat([d_affinity, d_similarity], dim=-1)  # [B, C, 2r]
        else:
            d_products = d_similarity
        d_vectors = torch.bmm(d_products, both)  # [B, C, d]
        d_both = torch.bmm(d_products.transpose(1, 2), vectors)  # [B, 2r or 1, d]
        d_personas = d_both[:, -r:]
        if r > 1:
            d_queries = d_both[:, :r]
            if self.has_projections:
                d_personas = d_personas + d_queries @ mix.T
                d_mix = personas.flatten(0, 1).T @ d_queries.flatten(0, 1)  # [d, d]
                grad_of(self.attention_user).add_(d_mix @ self.attention_item)
                grad_of(self.attention_item).add_(d_mix.T @ self.attention_user)
            else:
                d_personas = d_personas + d_queries
        grad_of(self.personas).index_add_(0, users, d_personas.flatten(1))
        grad_of(self.items).index_add_(0, flat, d_vectors.flatten(0, 1))
        if c.item_bias:
            grad_of(self.item_bias).index_add_(0, flat, d_y.reshape(-1))
        if c.user_bias:
            grad_of(self.user_bias).index_add_(0, users, d_y.sum(1))
        return loss

    @torch.no_grad()
    def explain(self, user: int, item: int, history: Tensor) -> Explanation:
        """The persona responsible for an item, and what else that persona claims.

        Args:
            user: user index.
            item: item index.
            history: [h] items that the user consumed.
        """
        users = torch.tensor([user], device=self.items.device)
        scored = torch.cat([users.new_tensor([item]), history.to(users.device)])[None]  # [1, 1+h]
        attention = self(users, scored).attention[0]  # [1 + h, r]
        persona = int(attention[0].argmax())
        mine = attention[1:].argmax(-1) == persona  # [h]
        order = attention[1:, persona].argsort(descending=True, stable=True)
        return Explanation(attention[0], persona, history.to(users.device)[order[mine[order]]])
