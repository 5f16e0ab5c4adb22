"""Figures 1, 2 and 3: read off real instances of the modules, counted and drawn from those."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from replication import figures
from replication.folds import Ratings, RatingSplit
from replication.page import opening
from replication.papers.attentive_ncf.claims import COMBINATIONS, SIZES, at_paper_size
from replication.papers.attentive_ncf.model import (
    EMBEDDINGS,
    PREDICTORS,
    AttentiveNCF,
    AttentiveNCFConfig,
    Predictor,
    movie_autoencoder,
    user_autoencoder,
)
from replication.papers.attentive_ncf.rows import ROWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# All different, so that a size says what it is of.
USERS, MOVIES, DIMENSION, PAIRS = 53, 47, 16, 11
SYMBOLS = {
    "embedding.users": "user vectors",
    "embedding.items": "movie vectors",
    "embedding.structure": "$M$: movie structure",
    "embedding.tastes": "$T$: tastes",
    "embedding.default_user": r"$u_{\mathrm{default}}$",
    "network": "layers of the predictor",
    "user": "$u$: user",
    "movie": "$m$: movie",
    "rating": r"$\hat{r}$: predicted rating",
}


@dataclass(frozen=True)
class Node:
    """A tensor, or the layers of a network taken together: its size and what it is made from."""

    name: str
    size: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A layer of a predictor as it ran: what it is, and how many numbers go in and come out."""

    kind: str
    before: int
    after: int
    parameters: int


def _split() -> RatingSplit:
    """A few ratings: every user rated some movies, but the first, who rated one."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((USERS, MOVIES)) < 0.4)
    kept = (users > 0) | (items == items[users == 0][0])
    users, items = users[kept], items[kept]
    values = rng.integers(1, 6, len(users)).astype(np.float32)
    train = Ratings(users, items, values)
    nothing = train.take(np.zeros(len(train), dtype=bool))
    levels = np.arange(1, 6, dtype=np.float32)
    return RatingSplit("kfold-10", 0, USERS, MOVIES, levels, train, nothing, nothing)


def _model(embedding: str, predictor: str) -> tuple[AttentiveNCF, RatingSplit]:
    torch.manual_seed(0)
    split = _split()
    config = AttentiveNCFConfig(embedding=embedding, predictor=predictor, dimension=DIMENSION)
    tables = None
    if embedding == "autoencoder":
        tables = (torch.rand(USERS, DIMENSION), torch.rand(MOVIES, DIMENSION))
    return AttentiveNCF(split, config, tables), split


def read(embedding: str, predictor: str) -> list[Node]:
    """What a combination learns and computes (Figure 1).

    Sizes are those of the tensors themselves; which parameter a result depends on is what autograd
    says (a gradient that is not zero). One of the pairs has an empty context.

    Raises:
        ReplicationError: unknown embedding or predictor.
    """
    model, split = _model(embedding, predictor)
    chosen = np.linspace(0, len(split.train) - 1, PAIRS).astype(int)  # the first has no context
    users, items = (torch.from_numpy(x[chosen]) for x in (split.train.users, split.train.items))
    user, movie = model.embedding(users, items, 8, torch.Generator().manual_seed(0))
    rating = model.predictor(user, movie)
    named = dict(model.named_parameters())
    tables = {name: p for name, p in named.items() if name.startswith("embedding.")}
    names = {USERS: "users", MOVIES: "movies", DIMENSION: "E", PAIRS: "B"}

    def size(shape: torch.Size) -> str:
        return " × ".join(names[n] for n in shape)

    def needs(result: Tensor) -> tuple[str, ...]:
        weights = torch.randn(result.shape)
        gradients = torch.autograd.grad(
            (result * weights).sum(), list(tables.values()), retain_graph=True, allow_unused=True
        )
        return tuple(
            name
            for name, g in zip(tables, gradients, strict=True)
            if g is not None and bool(g.any())
        )

    nodes = [Node(name, size(p.shape)) for name, p in tables.items()]
    nodes += [Node("user", size(user.shape), needs(user))]
    nodes += [Node("movie", size(movie.shape), needs(movie))]
    inside = [f"{layer.after}" for layer in layers_of(model.predictor) if layer.kind == "Linear"]
    if inside:
        nodes.append(Node("network", "-".join(inside)))
    above = ("user", "movie", *(["network"] if inside else []))
    nodes.append(Node("rating", size(rating.shape), above))
    return nodes


def layers_of(predictor: Predictor) -> list[Layer]:
    """The layers that a predictor runs through, in order, what makes the shares at the end too."""
    network: Any = getattr(predictor, "network", [])
    width = network[0].in_features // 3 if network else DIMENSION
    given = (torch.rand(PAIRS, width), torch.rand(PAIRS, width))
    return _run_through(predictor, (*network, predictor.ending), given)


def _run_through(
    whole: nn.Module, modules: Iterable[nn.Module], given: Sequence[Tensor]
) -> list[Layer]:
    """Layers as they ran: the widths are those of the tensors that went in and came out."""
    found: list[Layer] = []

    def note(module: nn.Module, given: Any, result: Tensor) -> None:
        count = sum(p.numel() for p in module.parameters())
        before, after = (math.prod(x.shape[1:]) for x in (given[0], result))
        found.append(Layer(type(module).__name__, before, after, count))

    hooks = [module.register_forward_hook(note) for module in modules]
    with torch.no_grad():
        whole(*given)
    for hook in hooks:
        hook.remove()
    return found


def takes_both_and_product(predictor: nn.Module) -> bool:
    """Whether the user, the movie and their product, in this order, enter the first layer."""
    network: Any = predictor.network
    seen: list[Tensor] = []
    hook = network[0].register_forward_hook(lambda module, given, result: seen.append(given[0]))
    width = network[0].in_features // 3
    user, movie = torch.rand(PAIRS, width), torch.rand(PAIRS, width)
    with torch.no_grad():
        predictor(user, movie)
    hook.remove()
    return bool(torch.equal(seen[0], torch.cat([user, movie, user * movie], 1)))


# --- counts ----------------------------------------------------------------------------------


def counts(dimension: int | None = None) -> dict[str, dict[str, int]]:
    """Parameters of the nine combinations at the paper's sizes, counted in the modules.

    Args:
        dimension: E of all; None: that of Table II.

    Returns:
        Row -> E, numbers in the tables, in the default user, in the predictor, in all.
    """
    found = {}
    for name in COMBINATIONS:
        (known,) = [row for row in ROWS.values() if row.name == name]
        config = known.start if dimension is None else replace(known.start, dimension=dimension)
        model = at_paper_size(config)
        tables = sum(p.numel() for p in model.embedding.parameters() if p.dim() == 2)
        default = sum(p.numel() for p in model.embedding.parameters() if p.dim() == 1)
        predictor = sum(p.numel() for p in model.predictor.parameters())
        found[name] = {
            "E": config.dimension,
            "tables": tables,
            "default user": default,
            "predictor": predictor,
            "all": sum(p.numel() for p in model.parameters()),
        }
    return found


def count_table(dimension: int | None = None) -> pd.DataFrame:
    """``counts`` as strings."""
    frame = pd.DataFrame.from_dict(counts(dimension), orient="index")
    return frame.map(lambda n: f"{n:,}").rename_axis("model")


def headline(published: pd.DataFrame) -> str:
    """What the figures were asked, what was found, and the counts behind it."""
    same = counts(64)
    attentive, simple = same["attentive + MLP2"], same["simple + MLP2"]
    text = published[published["metric"] == "embedding parameters"]
    printed = dict(zip(text["row"], text["value"], strict=True))
    agree = (attentive["tables"], simple["tables"]) == (printed["attentive"], printed["simple"])
    every = [takes_both_and_product(_model("simple", p)[0].predictor) for p in PREDICTORS[1:]]
    user = {e: dict((n.name, n.parents) for n in read(e, "MLP2"))["user"] for e in EMBEDDINGS}
    told = {
        "users": "a vector of the user's own",
        "structure": "the movies' vectors $m$",
        "tastes": "the movies' vectors $t$",
        "default_user": "the vector for an empty context",
    }
    behind = [name.split(".")[1] for name in user["attentive"]]
    return opening(
        "Are the modules that this study trains the ones that the paper draws, and do they have as "
        "many parameters as it counts?",
        f"The attentive user is computed {'with' if 'users' in behind else 'without'} a vector of "
        f"the user's own, {'both' if all(every) else 'not both'} MLPs take the user, the movie and "
        f"their product, and at 64 dimensions the attentive tables hold {attentive['tables']:,} "
        f"numbers against {simple['tables']:,} in the look-up, "
        f"{'as printed' if agree else 'not as printed'}.",
        [
            f"Behind the attentive user: {', '.join(told[name] for name in behind)}.",
            "With everything else that is learned at 64 dimensions: attentive + MLP2 has "
            f"{attentive['all']:,} numbers and simple + MLP2 {simple['all']:,}.",
        ],
    )


def layer_table(predictor: str, dimension: int = 64, hidden: Sequence[int] = ()) -> pd.DataFrame:
    """The layers of a predictor, one line each, as strings."""
    config = AttentiveNCFConfig(predictor=predictor, dimension=dimension, hidden=tuple(hidden))
    return _lines(layers_of(at_paper_size(config).predictor))


def autoencoder_table(users: bool, dimension: int = 128) -> pd.DataFrame:
    """The layers of an autoencoder at the paper's sizes, one line each, as strings."""
    n_users, n_items = SIZES
    net = user_autoencoder(n_items, dimension) if users else movie_autoencoder(n_users, dimension)
    given = [torch.rand(PAIRS, n_items if users else n_users)]
    return _lines(_run_through(net, [*net.encoder, *net.decoder], given))


def pretraining() -> str:
    """What the autoencoders add to the parameters while they pretrain, in one sentence."""
    n_users, n_items = SIZES
    users, movies = (
        sum(p.numel() for p in net.parameters())
        for net in (user_autoencoder(n_items, 128), movie_autoencoder(n_users, 128))
    )
    return (
        f"At 128 dimensions the user autoencoder has {users:,} parameters and the movie "
        f"autoencoder {movies:,}. They make the starting tables of the autoencoder "
        "embedding, and the users' one encodes new users; no count above holds them."
    )


def _lines(layers: Sequence[Layer]) -> pd.DataFrame:
    lines = [
        {
            "layer": layer.kind,
            "in": str(layer.before),
            "out": str(layer.after),
            "parameters": f"{layer.parameters:,}" if layer.parameters else "–",
        }
        for layer in layers
    ]
    frame = pd.DataFrame(lines, dtype=str)
    frame.index = pd.RangeIndex(1, len(lines) + 1, name="step")
    return frame


# --- drawings --------------------------------------------------------------------------------


def draw_combination(nodes: Sequence[Node]) -> Figure:
    """Figure 1: what is learned to the left, the two vectors, the rating to the right."""
    learned = [node for node in nodes if not node.parents and node.name != "network"]
    top = 0.82
    place = {node.name: (0.02, top - 0.24 * rank) for rank, node in enumerate(learned)}
    place |= {"user": (0.385, 0.72), "movie": (0.385, 0.46), "network": (0.385, 0.14)}
    place["rating"] = (0.735, 0.46)
    kinds: Mapping[str, str] = {n.name: "learned" for n in nodes if not n.parents}
    return figures.boxes(
        [
            figures.Box(
                node.name,
                SYMBOLS[node.name],
                f"{node.name.split('.')[-1]}  [{node.size}]",
                *place[node.name],
                "result" if node.name == "rating" else kinds.get(node.name, "computed"),
                node.parents,
            )
            for node in nodes
        ]
    )


def draw_predictor(predictor: str, dimension: int = 64) -> Figure:
    """Figures 2 and 3: a predictor from its two inputs to the rating, layer by layer."""
    config = AttentiveNCFConfig(predictor=predictor, dimension=dimension)
    module = at_paper_size(config).predictor
    steps = layers_of(module)
    inside = [layer for layer in steps if layer.kind == "Linear"]
    columns = len(inside) + 3  # the inputs, what is made of them, the layers, the rating
    step = 0.98 / columns
    drawn = [
        figures.Box("user", "$u$", f"[{dimension}]", 0.01, 0.72),
        figures.Box("movie", "$m$", f"[{dimension}]", 0.01, 0.18),
    ]

    def add(title: str, note: str, kind: str, parents: tuple[str, ...]) -> None:
        column = len(drawn) - 1
        drawn.append(
            figures.Box(f"{column}", title, note, 0.01 + column * step, 0.45, kind, parents)
        )

    if inside:
        add(r"$[u,\, m,\, u \cdot m]$", f"[{inside[0].before}]", "computed", ("user", "movie"))
    else:
        add(f"$u^T m$, {_word(steps[-1])}", "[1]", "computed", ("user", "movie"))
    for layer, after in pairwise(steps):
        if layer.kind == "Linear":
            note = f"{layer.before}→{layer.after}"
            add(f"linear, {_word(after)}", note, "learned", (drawn[-1].name,))
    low, high = (float(level) for level in module.levels[[0, -1]])
    of_one = f"${high - low:g}p + {low:g}$"  # of one share of the range, or of one a rating
    rating = r"$\sum_c n_c\, c$" if steps[-1].after > 1 else of_one
    add(rating, "rating", "result", (drawn[-1].name,))
    return figures.boxes(drawn, 0.86 / columns, 0.24, (max(5.2, 1.35 * columns), 2.3))


def _word(layer: Layer) -> str:
    """What a layer without weights is called in a drawing."""
    return layer.kind if layer.kind == "ReLU" else layer.kind.lower()
