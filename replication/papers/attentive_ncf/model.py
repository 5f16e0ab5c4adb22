"""Attentive NCF: three embeddings and three predictors, chosen independently (Hutter et al.).

Symbols (paper -> here): ``M`` (rows m_i) -> ``structure``; ``T`` (rows t_j) -> ``tastes``;
``u_default`` -> ``default_user``; ``r~`` -> ``likings``; ``att(i, j)`` -> ``attention``;
``u_ki`` -> ``user``; ``C(k)`` -> ``context``; ``n_c`` -> ``probability``.
Shapes: B pairs of a user and a movie, C context movies, E dimensions, U users, I movies, L
different ratings (5). Section numbers are those of the paper.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replication.errors import ReplicationError
from replication.folds import Ratings, RatingSplit
from replication.rating_training import RatingConfig

EMBEDDINGS = ("simple", "autoencoder", "attentive")
PREDICTORS = ("inner product", "MLP1", "MLP2")
ALL = 0  # a context size that stands for all of a user's other movies


@dataclass(frozen=True)
class AttentiveNCFConfig(RatingConfig):
    """Every choice of the model; the training choices are inherited.

    The paper prints the embedding sizes, the context sizes, MLP1's layers and the autoencoders'
    layers. Everything else here is a decision of this study.
    """

    embedding: str = "attentive"  # Section II-A
    predictor: str = "MLP2"  # Section II-B
    dimension: int = 64  # E; Table II: 64 or 128
    hidden: tuple[int, ...] = ()  # MLPs; () stands for the predictor's own (HIDDEN)
    initial_scale: float = 0.1  # sd of look-up tables at the start; ours
    context_train: int = 64  # N_context while training, Section II-A1
    context_test: int = 128  # N_context while testing, Section II-A1
    # Share of the training pairs whose context is emptied, so that u_default is learned; the
    # paper does not say how it learns it.
    empty_share: float = 0.0
    # What the user autoencoder reads and writes: ratings divided by the highest ("unit", as the
    # paper says of the movie autoencoder), or as they are ("raw").
    user_scale: str = "unit"
    pretrain_learning_rate: float = 1e-3  # Adam's own default
    pretrain_batch: int = 128  # users, or movies, a step; ours
    pretrain_epochs: int = 60  # at most; ours
    pretrain_patience: int = 4  # epochs without a better error on hidden ratings; ours

    def __post_init__(self) -> None:
        for name, known in (
            ("embedding", EMBEDDINGS),
            ("predictor", PREDICTORS),
            ("user_scale", ("unit", "raw")),
        ):
            if getattr(self, name) not in known:
                raise ReplicationError(
                    f"unknown {name} {getattr(self, name)!r}; use {' or '.join(known)}"
                )
        if not 0.0 <= self.empty_share < 1.0:
            raise ReplicationError(f"empty_share is a share below 1, not {self.empty_share}")


# --- attention -------------------------------------------------------------------------------


# Up to so many movies the scores of all pairs of them are one product a step; beyond, each context
# gathers its own vectors. On a core 1,000 movies are cheaper in one product, in steps of 4,096
# ratings, and 1,700 are not, in steps of 512: the table grows with the square of the movies.
TABLE_ITEMS = 1_200
GATHERED = 2**22  # numbers that are gathered at a time


def _scores(structure: Tensor, items: Tensor, context: Tensor) -> Tensor:
    """a_ij of targets [B] and context movies [B, C]: m_i . m_j / sqrt(E), [B, C]."""
    n_items, dimension = structure.shape
    scaled = structure / dimension**0.5
    if n_items <= TABLE_ITEMS:
        table = structure @ scaled.T  # [I, I]
        flat = items[:, None] * n_items + context  # [B, C]
        return table.view(-1).index_select(0, flat.view(-1)).view_as(context)
    rows = max(1, GATHERED // (context.shape[1] * dimension))
    parts = [
        torch.bmm(F.embedding(near, structure), target[:, :, None])[:, :, 0]
        for near, target in zip(context.split(rows), scaled[items].split(rows), strict=True)
    ]
    return torch.cat(parts)


class Attend(torch.autograd.Function):
    """Eq. 1 for a batch, with the derivative written out.

    Autograd would add up the gradients of the same few movies one context place after the other;
    here those of a movie are one sum. ``tests/models/test_attentive_ncf.py`` holds the equation as
    it is printed and its derivative equal to this, for either way to compute the scores.
    """

    @staticmethod
    def forward(
        ctx: Any,
        structure: Tensor,
        tastes: Tensor,
        items: Tensor,
        context: Tensor,
        likings: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """User vectors [B, E] and attention [B, C].

        Args:
            structure, tastes: [I, E].
            items: [B] target movies.
            context: [B, C] context movies (any number where not valid).
            likings: [B, C] their ratings, rescaled to [-1, 1] (any number where not valid).
            valid: [B, C] bool; a row without any gets a zero vector.
        """
        score = _scores(structure, items, context).masked_fill(~valid, -torch.inf)  # [B, C], a_ij
        attention = score.softmax(1).nan_to_num(0.0)  # [B, C], att(i, j)
        weight = attention * likings  # [B, C], 0 where not valid
        user = F.embedding_bag(context, tastes, per_sample_weights=weight, mode="sum")  # Eq. 1
        ctx.save_for_backward(structure, tastes, items, context, likings, attention)
        ctx.mark_non_differentiable(attention)
        return user, attention

    @staticmethod
    def backward(ctx: Any, d_user: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        structure, tastes, items, context, likings, attention = ctx.saved_tensors
        n_items, dimension = structure.shape
        weight = attention * likings
        with torch.enable_grad():  # d_weight: t_j . d_user of each context movie
            leaf = weight.detach().requires_grad_()
            user = F.embedding_bag(context, tastes.detach(), per_sample_weights=leaf, mode="sum")
        (d_weight,) = torch.autograd.grad(user, leaf, d_user)  # [B, C]
        # A movie's row sums over the pairs whose context has it. In the order of the movies each
        # row is a bag of pairs, and no two sums meet.
        narrow = torch.int16 if n_items < 2**15 else torch.int64  # sorts three times as fast
        movies, order = context.reshape(-1).to(narrow).sort(stable=True)  # [B * C]
        begin = torch.searchsorted(
            movies, torch.arange(n_items, dtype=narrow, device=movies.device)
        )  # [I]
        pair = order // context.shape[1]  # of each place

        def by_movie(vectors: Tensor, weights: Tensor) -> Tensor:  # [B, E], [B, C] -> [I, E]
            own = weights.reshape(-1).index_select(0, order)
            return F.embedding_bag(pair, vectors, begin, per_sample_weights=own, mode="sum")

        d_tastes = by_movie(d_user.contiguous(), weight)
        d_attention = d_weight * likings
        inner = (attention * d_attention).sum(1, keepdim=True)
        d_score = attention * (d_attention - inner)  # [B, C], through the softmax
        if n_items <= TABLE_ITEMS:
            d_table = structure.new_zeros(n_items * n_items)
            flat = (items[:, None] * n_items + context).view(-1)
            d_table.index_add_(0, flat, d_score.view(-1))
            d_table = d_table.view(n_items, n_items)
            d_structure = (d_table @ structure).addmm_(d_table.T, structure).div_(dimension**0.5)
        else:  # of m_j in the contexts, and of m_i
            d_structure = by_movie(structure[items], d_score)
            d_target = F.embedding_bag(context, structure, per_sample_weights=d_score, mode="sum")
            d_structure.index_add_(0, items, d_target).div_(dimension**0.5)
        return d_structure, d_tastes, None, None, None, None


def draw_positions(counts: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Draw without replacement, for all rows at once (Floyd's algorithm, Bentley 1987).

    Args:
        counts: [B] how many there are to draw from.
        width: how many to draw of each; a row with fewer gets all of its own.
        generator: decides the draw.

    Returns:
        [B, width] positions 0 to count - 1, all different in a row; those beyond a row's count
        are in its last places and mean nothing.
    """
    device, batch = counts.device, len(counts)
    size = int(counts.max()) + width if batch else width
    offset = torch.arange(batch, device=device) * size  # of each row in ``taken``
    first = (counts - width).clamp_min(0)  # with fewer than width, all of them are drawn
    last = first + torch.arange(width, device=device)[:, None]  # [width, B]
    uniform = torch.rand(width, batch, generator=generator, device=device)
    drawn = torch.minimum((uniform * (last + 1)).long(), last) + offset  # [width, B]
    last = last + offset
    taken = torch.zeros(batch * size, dtype=torch.bool, device=device)
    for step in range(width):  # what was drawn before is replaced by the last that may be drawn
        pick = torch.where(taken.index_select(0, drawn[step]), last[step], drawn[step])
        taken.index_fill_(0, pick, True)
        drawn[step] = pick
    return (drawn - offset).T.contiguous()


class Context(NamedTuple):
    """The context movies of B pairs."""

    items: Tensor  # [B, C]
    likings: Tensor  # [B, C], ratings rescaled to [-1, 1]; of no effect where not valid
    valid: Tensor  # [B, C] bool


class History(nn.Module):
    """Every user's training ratings, from which contexts are drawn.

    Held-out ratings are never in it, and a pair's own rating never is in its context.
    """

    keys: Tensor
    items: Tensor
    likings: Tensor
    start: Tensor
    count: Tensor

    def __init__(self, ratings: Ratings, n_users: int, n_items: int, levels: np.ndarray) -> None:
        super().__init__()
        self.n_items = n_items
        low, high = float(levels[0]), float(levels[-1])
        order = np.lexsort((ratings.items, ratings.users))
        keys = (ratings.users * n_items + ratings.items)[order]
        middle, half = (low + high) / 2, (high - low) / 2
        likings = (ratings.values[order] - middle) / half  # r~ = (r - 3) / 2
        count = np.bincount(ratings.users, minlength=n_users)
        for name, array in (
            ("keys", keys),  # [n] user * I + movie, ascending
            # With one entry more, for the places of a context that are not filled.
            ("items", np.append(ratings.items[order], 0)),  # [n + 1]
            ("likings", np.append(likings, 0).astype(np.float32)),  # [n + 1]
            ("start", np.cumsum(count) - count),  # [U]
            ("count", count),  # [U]
        ):
            # Not part of the state: it is data, and made anew from the split.
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), False)

    def draw(self, users: Tensor, items: Tensor, width: int, generator: torch.Generator) -> Context:
        """Contexts of at most ``width`` movies (``ALL``: all) for users [B] and targets [B]."""
        own = users * self.n_items + items  # [B]
        place = torch.searchsorted(self.keys, own)  # where the target is, or would be
        known = self.keys[place.clamp_max(len(self.keys) - 1)] == own
        others = self.count[users] - known.long()  # [B], |C(k)|
        # At least one place, even if nobody has anything to fill it with.
        most = max(1, int(others.max())) if len(others) else 1
        if width == ALL or most <= width:
            positions = torch.arange(most, device=users.device).expand(len(users), most)
        else:
            positions = draw_positions(others, width, generator)
        width = positions.shape[1]
        valid = torch.arange(width, device=users.device) < others[:, None]
        begin = self.start[users]
        # The target's place among the user's own: positions step over it. None: beyond the last.
        local = torch.where(known, place - begin, most + width)[:, None]
        at = positions + begin[:, None] + (positions >= local)  # [B, C]
        at = torch.where(valid, at, len(self.keys)).view(-1)
        return Context(
            self.items.index_select(0, at).view_as(valid),
            self.likings.index_select(0, at).view_as(valid),
            valid,
        )


# --- embeddings ------------------------------------------------------------------------------


class LookUp(nn.Module):
    """The *simple* embedding, and with given tables the *autoencoder* one: fine-tuned look-ups.

    A user or movie that occurs in held-out ratings only gets no gradient: it has the vector that it
    began with (a random one, or what the encoder makes of no rating), times 1 - rate * decay for
    each step where there is weight decay.
    """

    def __init__(self, users: Tensor, items: Tensor) -> None:
        super().__init__()
        self.users = nn.Parameter(users)  # [U, E]
        self.items = nn.Parameter(items)  # [I, E]

    def forward(
        self, users: Tensor, items: Tensor, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """User and movie vectors [B, E] of pairs [B]; width and generator are not needed."""
        return F.embedding(users, self.users), F.embedding(items, self.items)


class Attentive(nn.Module):
    """The *attentive* user embedding (Section II-A1): a user is the movies that he rated.

    A user without another rated movie is the default user. A movie that occurs in held-out ratings
    only is never in a context; its vector is as in ``LookUp``.
    """

    def __init__(self, history: History, n_items: int, dimension: int, scale: float) -> None:
        super().__init__()
        self.history = history
        self.structure = nn.Parameter(torch.randn(n_items, dimension) * scale)  # M
        self.tastes = nn.Parameter(torch.randn(n_items, dimension) * scale)  # T
        self.default_user = nn.Parameter(torch.zeros(dimension))  # u_default
        self.empty_share = 0.0

    def forward(
        self, users: Tensor, items: Tensor, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """User and movie vectors [B, E] of pairs [B], with contexts of at most ``width``."""
        context = self.history.draw(users, items, width, generator)
        if self.training and self.empty_share:
            chance = torch.rand(len(users), generator=generator, device=users.device)
            valid = context.valid & (chance >= self.empty_share)[:, None]
            context = context._replace(valid=valid)
        return self.embed(items, context)

    def embed(self, items: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """The same with given contexts."""
        user, _ = Attend.apply(self.structure, self.tastes, items, *context)
        empty = ~context.valid.any(1, keepdim=True)  # [B, 1]
        user = torch.where(empty, self.default_user, user)
        return user, F.embedding(items, self.structure)


# --- predictors ------------------------------------------------------------------------------


class Predictor(nn.Module):
    """Turns B pairs of vectors into ratings; ``levels`` [L] are the possible ratings."""

    levels: Tensor

    def __init__(self, levels: np.ndarray, ending: nn.Module) -> None:
        """``ending``: makes shares of what comes last before the rating."""
        super().__init__()
        self.ending = ending
        self.register_buffer("levels", torch.from_numpy(levels.astype(np.float32)), False)

    def rescale(self, share: Tensor) -> Tensor:
        """From (0, 1) to the range of the ratings: 4 p + 1 for ratings 1 to 5."""
        return share * (self.levels[-1] - self.levels[0]) + self.levels[0]  # Eq. 4

    def loss(self, user: Tensor, item: Tensor, ratings: Tensor) -> Tensor:
        """Mean squared error of ratings [B]."""
        return F.mse_loss(self(user, item), ratings)


class InnerProduct(Predictor):
    """Section II-B1."""

    def __init__(self, levels: np.ndarray) -> None:
        super().__init__(levels, nn.Sigmoid())

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Ratings [B] from vectors [B, E]."""
        return self.rescale(self.ending((user * item).sum(1)))  # Eq. 3, 4


def layers(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them."""
    parts: list[nn.Module] = []
    for before, after in pairwise(sizes):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


# MLP1: Section II-B2. MLP2: "the number of hidden layers is increased"; its figure is lost, so
# that its layers are a decision; the variants try two others.
HIDDEN = {"MLP1": (200, 100), "MLP2": (256, 128, 64)}


class MLP1(Predictor):
    """Section II-B2: a network on [u, m, u * m] with one sigmoid, squared error."""

    def __init__(self, levels: np.ndarray, dimension: int, hidden: tuple[int, ...]) -> None:
        super().__init__(levels, nn.Sigmoid())
        self.network = layers((3 * dimension, *hidden, 1))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Ratings [B] from vectors [B, E]."""
        features = torch.cat([user, item, user * item], dim=1)  # [B, 3 E], x_ki,0
        return self.rescale(self.ending(self.network(features)[:, 0]))


class MLP2(Predictor):
    """Section II-B3: one class a rating, cross-entropy; predicts the expected rating."""

    def __init__(self, levels: np.ndarray, dimension: int, hidden: tuple[int, ...]) -> None:
        super().__init__(levels, nn.Softmax(dim=1))
        self.network = layers((3 * dimension, *hidden, len(levels)))

    def logits(self, user: Tensor, item: Tensor) -> Tensor:
        """[B, L] from vectors [B, E]."""
        return self.network(torch.cat([user, item, user * item], dim=1))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Ratings [B] from vectors [B, E]."""
        return self.ending(self.logits(user, item)) @ self.levels  # sum over c of n_c * c

    def loss(self, user: Tensor, item: Tensor, ratings: Tensor) -> Tensor:
        """Mean cross-entropy of ratings [B]."""
        classes = torch.searchsorted(self.levels, ratings.contiguous())  # [B]
        return F.cross_entropy(self.logits(user, item), classes)


class AttentiveNCF(nn.Module):
    """An embedding and a predictor (Figure 1)."""

    def __init__(
        self,
        split: RatingSplit,
        config: AttentiveNCFConfig,
        pretrained: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """``pretrained``: tables [U, E], [I, E] for the embedding *autoencoder*."""
        super().__init__()
        self.config = c = config
        self.pretraining: dict[str, Any] = {}  # for the record: what ``pretrained`` came from
        if c.embedding == "attentive":
            history = History(split.train, split.n_users, split.n_items, split.levels)
            self.embedding: Any = Attentive(history, split.n_items, c.dimension, c.initial_scale)
            self.embedding.empty_share = c.empty_share
        else:
            if (pretrained is not None) != (c.embedding == "autoencoder"):
                raise ReplicationError("pretrained tables belong to the embedding autoencoder")
            users, items = pretrained or (
                torch.randn(split.n_users, c.dimension) * c.initial_scale,
                torch.randn(split.n_items, c.dimension) * c.initial_scale,
            )
            self.embedding = LookUp(users.clone(), items.clone())
        if c.predictor == "inner product":
            self.predictor: Predictor = InnerProduct(split.levels)
        else:
            kind = {"MLP1": MLP1, "MLP2": MLP2}[c.predictor]
            self.predictor = kind(split.levels, c.dimension, c.hidden or HIDDEN[c.predictor])
        self.test_width = c.context_test

    def loss(
        self, users: Tensor, items: Tensor, ratings: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean loss of ratings [B]; every pair gets a context of its own."""
        user, item = self.embedding(users, items, self.config.context_train, generator)
        return self.predictor.loss(user, item, ratings)

    @torch.no_grad()
    def predict(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Ratings [B] of users [B] for items [B]."""
        return self.predictor(*self.embedding(users, items, self.test_width, generator))

    @torch.no_grad()
    def predict_new(self, items: Tensor, context: Context) -> Tensor:
        """Ratings [B] for users of whom only contexts are known (attentive embedding)."""
        return self.predictor(*self.embedding.embed(items, context))

    @torch.no_grad()
    def explain(self, user: int, item: int) -> tuple[Tensor, Tensor]:
        """All other movies [C] that the user rated, and the attention [C] that each gets."""
        e = self.embedding
        users, items = (torch.tensor([x], device=e.structure.device) for x in (user, item))
        # All of them are in the context: nothing is drawn.
        context = e.history.draw(users, items, ALL, torch.Generator())
        _, attention = Attend.apply(e.structure, e.tastes, items, *context)
        return context.items[0], attention[0]


# --- autoencoders ----------------------------------------------------------------------------


class AutoEncoder(nn.Module):
    """Section II-A2: two layers encode a vector of ratings (0 where unrated), two decode it."""

    def __init__(self, sizes: tuple[int, int, int, int, int], sigmoid: bool) -> None:
        """sizes: input, hidden, latent, hidden, output. sigmoid: after each layer, also the last;
        else ReLU after each but the last."""
        super().__init__()
        one, two, three, four, five = sizes
        inner = nn.Sigmoid if sigmoid else nn.ReLU
        self.encoder = nn.Sequential(nn.Linear(one, two), inner(), nn.Linear(two, three), inner())
        last = [nn.Sigmoid()] if sigmoid else []
        self.decoder = nn.Sequential(nn.Linear(three, four), inner(), nn.Linear(four, five), *last)

    def forward(self, vectors: Tensor) -> Tensor:
        """Reconstruction [B, n] of vectors [B, n]."""
        return self.decoder(self.encoder(vectors))


def user_autoencoder(n_items: int, dimension: int) -> AutoEncoder:
    """That of users: reads and writes a user's ratings of all movies."""
    return AutoEncoder((n_items, 512, dimension, 512, n_items), sigmoid=False)


def movie_autoencoder(n_users: int, dimension: int) -> AutoEncoder:
    """That of movies: reads and writes the ratings of all users.

    "The inner layers all containing 128 neurons": at E = 64 only the latent one is smaller.
    """
    return AutoEncoder((n_users, 128, dimension, 128, n_users), sigmoid=True)


def reconstruction_loss(output: Tensor, target: Tensor, observed: Tensor) -> Tensor:
    """Eq. 2, then the mean over the rows that have a rating.

    Args:
        output, target: [B, n].
        observed: [B, n] bool.

    The root has no derivative at zero error; the norm's is taken as 0 there.
    """
    error = torch.where(observed, output - target, 0.0)
    count = observed.sum(1)  # [B], |C(k)|
    norm = torch.linalg.vector_norm(error, dim=1) / count.clamp_min(1).sqrt()  # Eq. 2
    return norm.sum() / (count > 0).sum().clamp_min(1)


class Pretrained(NamedTuple):
    """Both autoencoders, trained, and what they encode."""

    users: AutoEncoder
    items: AutoEncoder
    matrix: Tensor  # [U, I] training ratings over the highest rating; 0 where unrated
    user_factor: float  # what ``matrix`` is multiplied by before the user autoencoder reads it
    told: dict[str, Any]  # "users", "items" -> what ``_pretrain`` says of each


@torch.no_grad()
def encoded(trained: Pretrained) -> tuple[Tensor, Tensor]:
    """Latent vectors of all users [U, E] and movies [I, E], on the CPU."""
    users = trained.users.encoder(trained.matrix * trained.user_factor)
    items = trained.items.encoder(trained.matrix.T.contiguous())
    return users.cpu(), items.cpu()


def autoencoders(
    split: RatingSplit, config: AttentiveNCFConfig, seed: int, device: torch.device
) -> Pretrained:
    """Train the autoencoders of users and of movies.

    Both see training ratings only. A tenth of these, drawn one by one, is hidden while they train
    and chooses the number of epochs; they are not trained again with it. The vectors then encode
    all of the training ratings.
    """
    top = float(split.levels[-1])
    e, c = config.dimension, config
    n_users, n_items = split.n_users, split.n_items
    ratings = split.train
    matrix = torch.zeros(n_users, n_items)
    matrix[torch.from_numpy(ratings.users), torch.from_numpy(ratings.items)] = torch.from_numpy(
        ratings.values / np.float32(top)
    )
    rng = np.random.default_rng([seed, split.fold])
    hidden_rows = rng.random(len(ratings)) < 0.1
    hidden = torch.zeros(n_users, n_items, dtype=torch.bool)
    hidden[
        torch.from_numpy(ratings.users[hidden_rows]), torch.from_numpy(ratings.items[hidden_rows])
    ] = True
    matrix, hidden = matrix.to(device), hidden.to(device)
    user_factor = top if c.user_scale == "raw" else 1.0
    torch.manual_seed(seed)
    user_net = user_autoencoder(n_items, e).to(device)
    told = {"users": _pretrain(user_net, matrix * user_factor, hidden, c, c.pretrain_batch, seed)}
    item_net = movie_autoencoder(n_users, e).to(device)
    batch = movie_batch(c, n_items)
    told["items"] = _pretrain(
        item_net, matrix.T.contiguous(), hidden.T.contiguous(), c, batch, seed
    )
    return Pretrained(user_net, item_net, matrix, user_factor, told)


def movie_batch(config: AttentiveNCFConfig, n_items: int) -> int:
    """Movies a step of the movie autoencoder: there are few, and an epoch has 20 steps or more."""
    return max(1, min(config.pretrain_batch, n_items // 20))


def _pretrain(
    net: AutoEncoder,
    matrix: Tensor,
    hidden: Tensor,
    config: AttentiveNCFConfig,
    batch: int,
    seed: int,
) -> dict[str, Any]:
    """Train until the hidden ratings saturate, or for ``pretrain_epochs``.

    Returns:
        The epoch after which the net is left, the best on the hidden ratings; how many there were;
        and Eq. 2 of the hidden ratings after the best, None where no epoch had a number.
    """
    generator = torch.Generator(device=matrix.device).manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.pretrain_learning_rate, fused=True)
    best, left, state = float("inf"), 0, deepcopy(net.state_dict())
    epoch = 0
    while epoch < config.pretrain_epochs and epoch - left < config.pretrain_patience:
        order = torch.randperm(len(matrix), generator=generator, device=matrix.device)
        for rows in order.split(batch):
            seen = matrix[rows].masked_fill(hidden[rows], 0.0)
            optimizer.zero_grad()
            reconstruction_loss(net(seen), seen, seen > 0).backward()
            optimizer.step()
        with torch.no_grad():
            output = net(matrix.masked_fill(hidden, 0.0))
            error = float(reconstruction_loss(output, matrix, hidden))
        epoch += 1
        if error < best:
            best, left, state = error, epoch, deepcopy(net.state_dict())
    net.load_state_dict(state)
    return {"epochs": left, "epochs_run": epoch, "error": round(best, 6) if left else None}
