"""Figures 2 and 3: read off an instance of the module, counted and drawn from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from replication import figures
from replication.compare import percent, published_values
from replication.folds import Ratings, RatingSplit
from replication.item_features import encode
from replication.page import opening, stored_table
from replication.papers.afm.experiments import DATASETS, TABLE1
from replication.papers.afm.model import AFM, AFMConfig, blend
from replication.papers.afm.pages.table2 import MAIN
from replication.papers.afm.rows import ROWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# All different, so that a size says what it is of.
USERS, ITEMS, FEATURES, VALUES, DIMENSION, HIDDEN, PAIRS = 53, 47, 2, 7, 16, 9, 11
NAMES = {
    USERS: "users",
    ITEMS + 2 * VALUES: "films and values",
    FEATURES + 1: "slots",
    DIMENSION: "k",
    2 * DIMENSION: "2k",
    HIDDEN: "h",
    PAIRS: "B",
}
SYMBOLS = {
    "users": "$u_i$ of all users",
    "vectors": "$x$: films, values",
    "attention_map": "$W_a$: attention map",
    "attention_logits": "attention of each user",
    "user": "$u_i$: user",
    "slots": r"$X_j$: $x_{j0}, \dots, x_{jn}$",
    "attention": r"$\alpha_i$: attention",
    "item": "$v_{ij}$: item",
    "network": "sigmoid layer, output",
    "rating": r"$\hat{y}_{ij}$: rating",
}


@dataclass(frozen=True)
class Node:
    """A tensor, or the network's parameters together: its size and what it is made from."""

    name: str
    size: str
    parents: tuple[str, ...] = ()


def split_of(n_users: int, n_items: int, n_values: Mapping[str, int]) -> RatingSplit:
    """One rating of each user; every film has one value of each feature, all values occur.

    Args:
        n_users, n_items: sizes of the catalogue.
        n_values: feature -> number of its different values, of ``n_items`` at the most.
    """
    users = np.arange(n_users)
    rated = Ratings(users, users % n_items, np.full(n_users, 3, dtype=np.float32))
    nothing = rated.take(np.zeros(n_users, dtype=bool))
    items = pd.DataFrame(
        {name: [f"{name} {j % n}" for j in range(n_items)] for name, n in n_values.items()}
    )
    levels = np.arange(1, 6, dtype=np.float32)
    table = encode(items, tuple(n_values))
    return RatingSplit("kfold-5-plain", 0, n_users, n_items, levels, rated, nothing, nothing, table)


def _model(integration: str, interaction: str) -> AFM:
    torch.manual_seed(0)
    split = split_of(USERS, ITEMS, {"genres": VALUES, "director": VALUES})
    config = AFMConfig(
        dimension=DIMENSION, hidden=HIDDEN, integration=integration, interaction=interaction
    )
    model = AFM(split, config)
    if integration == "free":  # all zeros at the start: then all slots would look alike
        torch.nn.init.normal_(model.attention_logits)
    return model


def _size(shape: torch.Size) -> str:
    return " × ".join(NAMES[n] for n in shape)


def read(integration: str = "attention", interaction: str = "mlp") -> list[Node]:
    """What AFM learns and computes (Figures 2 and 3), layer by layer.

    Each layer is called with what the layer before made, cut off from its history: what a result
    is drawn from is what autograd finds there (a gradient that is not zero), parameters included.

    Args:
        integration: "attention", "free" or "mean".
        interaction: one of ``model.INTERACTIONS``.

    Raises:
        ReplicationError: another choice, or concatenation, which has no attention.
    """
    model = _model(integration, interaction)
    users, items = torch.arange(PAIRS), torch.arange(PAIRS) * 3
    learned = dict(model.named_parameters())
    rows = model.look_up(users, items)

    def cut(tensor: Tensor) -> Tensor:
        return tensor.detach().requires_grad_()

    user, vectors = cut(rows.user), cut(rows.vectors)
    logits = model.logits(users, user)
    attention = model.weigh(logits, rows.places.sizes)
    slots = model.slot_vectors(rows.places, vectors)
    alpha, x = cut(attention), cut(slots)
    item = blend(alpha, x)
    v = cut(item)
    rating = model.interact(user, v, None)

    def parents(result: Tensor, made: Mapping[str, Tensor]) -> tuple[str, ...]:
        if not result.requires_grad:
            return ()
        torch.manual_seed(1)
        known = {**learned, **made}
        gradients = torch.autograd.grad(
            (result * torch.randn(result.shape)).sum(),
            list(known.values()),
            retain_graph=True,
            allow_unused=True,
        )
        drawn = [
            "network" if name.startswith(("hidden", "output")) else name
            for name, g in zip(known, gradients, strict=True)
            if g is not None and bool(g.any())
        ]
        return tuple(dict.fromkeys(drawn))

    nodes = [
        Node(name, _size(p.shape))
        for name, p in learned.items()
        if not name.startswith(("hidden", "output"))
    ]
    nodes += [
        Node("user", _size(user.shape), parents(rows.user, {})),
        Node(
            "slots", _size(slots.shape), parents(model.slot_vectors(rows.places, rows.vectors), {})
        ),
        Node("attention", _size(attention.shape), parents(attention, {"user": user})),
        Node("item", _size(item.shape), parents(item, {"attention": alpha, "slots": x})),
    ]
    if interaction != "inner":
        nodes.append(Node("network", _size(model.hidden.weight.shape)))
    nodes.append(Node("rating", _size(rating.shape), parents(rating, {"user": user, "item": v})))
    return nodes


def same_as_trained(integration: str = "attention") -> bool:
    """Whether the layers one by one give what the model computes in one go while it is trained."""
    model = _model(integration, "mlp")
    users, items = torch.arange(PAIRS), torch.arange(PAIRS) * 3
    with torch.no_grad():
        rows = model.look_up(users, items)
        attention = model.weigh(model.logits(users, rows.user), rows.places.sizes)  # Eq. 2
        item = blend(attention, model.slot_vectors(rows.places, rows.vectors))  # Eq. 3
        return bool(torch.allclose(model.interact(rows.user, item, None), model(users, items)))


# --- counts ----------------------------------------------------------------------------------


def parts(model: AFM) -> dict[str, int]:
    """Number of parameters of each part of a model."""
    groups: dict[str, Callable[[str], bool]] = {
        "users": lambda name: name == "users",
        "films and values": lambda name: name == "vectors",
        "attention": lambda name: name.startswith("attention"),
        "interaction": lambda name: name.startswith(("hidden", "output")),
        "other": lambda name: name.startswith(("projection", "user_bias", "item_bias")),
    }
    return {
        part: sum(p.numel() for name, p in model.named_parameters() if belongs(name))
        for part, belongs in groups.items()
    } | {"all": sum(p.numel() for p in model.parameters())}


def counts(statistics: Mapping[str, float]) -> dict[str, dict[str, int]]:
    """Parameters of AFM and of its alternatives on a data set with one feature.

    Args:
        statistics: "users", "items" and "genres: n_values" of the data.
    """
    sizes = {name: int(statistics[name]) for name in ("users", "items", "genres: n_values")}
    split = split_of(sizes["users"], sizes["items"], {"genres": sizes["genres: n_values"]})
    return {
        ROWS[model].name: parts(AFM(split, ROWS[model].start))
        for model in ("afm", "afm-inner", "afm-free", "afm-concat", "afm-biases")
    }


def count_table(statistics: Mapping[str, float]) -> pd.DataFrame:
    """``counts`` as strings."""
    frame = pd.DataFrame.from_dict(counts(statistics), orient="index")
    return frame.map(lambda n: f"{n:,}" if n else "–").rename_axis("model")


def attention_sizes(n_users: int, n_features: int) -> tuple[int, int]:
    """Numbers in the attention of all users: one map for all of them, and each user's own.

    The paper counts k(n + 1) and m(n + 1) for m users and n features (Section 3.1).
    """
    split = split_of(n_users, 2, {f"feature {n}": 2 for n in range(n_features)})
    shared, own = (
        parts(AFM(split, AFMConfig(integration=integration)))["attention"]
        for integration in ("attention", "free")
    )
    return shared, own


def headline(statistics: Mapping[str, float]) -> str:
    """What the figures were asked, what was found, and what is computed from what.

    Args:
        statistics: of the paper's data that can be had; see ``counts``.
    """
    nodes = {node.name: node for node in read()}
    users, k = int(statistics["users"]), AFMConfig().dimension
    shared, own = attention_sizes(users, 1)
    agree = (shared, own) == (k * 2, users * 2)
    wired = (
        nodes["attention"].parents == ("attention_map", "user")
        and nodes["item"].parents == ("attention", "slots")
        and set(nodes["rating"].parents) == {"network", "user", "item"}
        and same_as_trained()
    )
    every = counts(statistics)
    all_shared, all_own = (every[ROWS[model].name]["all"] for model in ("afm", "afm-free"))
    return opening(
        "Is the module that this study trains the one that the paper draws, and does it have as "
        "many parameters as the paper counts?",
        f"Attention, item and rating are {'' if wired else 'NOT '}computed as in Figures 2 and 3, "
        f"and for {users:,} users and one feature the map that all users share has {shared:,} "
        f"numbers and an attention of each user's own {own:,}, "
        f"{'as' if agree else 'NOT as'} the paper counts.",
        [
            f"Figures 2 and 3: the attention is computed from {_told(nodes['attention'].parents)}, "
            f"the item from {_told(nodes['item'].parents)}, and the rating from "
            f"{_told(nodes['rating'].parents)}.",
            "The whole model: an attention of each user's own adds "
            f"{percent(all_own / all_shared - 1)} to its {all_shared:,} numbers.",
        ],
    )


def _told(names: tuple[str, ...]) -> str:
    words = {
        "attention_map": "the shared map",
        "attention_logits": "a row of each user's own",
        "user": "the user's vector",
        "attention": "the attention",
        "slots": "the vectors of the film and of its values",
        "item": "the item's vector",
        "network": "one sigmoid layer",
    }
    return " and ".join(words[name] for name in names) or "nothing that is learned"


def statistics() -> dict[str, float]:
    """What Table 1 measured of the paper's data; before that, what the paper prints."""
    study = stored_table(TABLE1)
    measured = [record["metrics"] for record in study.records if record["dataset"] == MAIN]
    if measured:
        return dict(measured[-1])
    printed = published_values(study.published)
    found = {name: printed["table1", DATASETS[MAIN], MAIN, name] for name in ("users", "items")}
    return found | {"genres: n_values": printed["text", "genres", MAIN, "values"]}


# --- drawings --------------------------------------------------------------------------------


def draw(nodes: list[Node]) -> Figure:
    """Figure 2: what is learned to the left, the rating to the right."""
    place = {
        "users": (0.0, 0.80),
        "attention_map": (0.0, 0.50),
        "attention_logits": (0.0, 0.50),
        "vectors": (0.0, 0.20),
        "user": (0.207, 0.80),
        "slots": (0.207, 0.20),
        "attention": (0.414, 0.50),
        "item": (0.621, 0.35),
        "network": (0.621, 0.05),
        "rating": (0.828, 0.55),
    }
    learned = {node.name for node in nodes if not node.parents} - {"attention"}
    return figures.boxes(
        [
            figures.Box(
                node.name,
                SYMBOLS[node.name],
                f"[{node.size}]",
                *place[node.name],
                "result"
                if node.name == "rating"
                else "learned"
                if node.name in learned
                else "computed",
                node.parents,
            )
            for node in nodes
        ],
        0.17,
        0.15,
        (9.2, 4.4),
    )


def draw_gate(features: int = 3) -> Figure:
    """Figure 3: the gated attention unit, one gate a slot, with the attention of one user.

    The numbers are those of an instance with random weights: an example of the computation and
    nothing that was learned.

    Args:
        features: number of features; the item's own vector is one slot more.
    """
    torch.manual_seed(3)
    split = split_of(USERS, ITEMS, {f"feature {n}": VALUES for n in range(1, features + 1)})
    model = AFM(split, AFMConfig(scale=1.0, dimension=DIMENSION))
    attention = model.attention(torch.tensor([0]))[0].tolist()
    height = 0.9 / (features + 1)
    drawn = [
        figures.Box("user", "$u_i$", "[k]", 0.0, 0.62, "learned"),
        figures.Box("map", "$W_a$", f"[{features + 1} × k]", 0.0, 0.30, "learned"),
        figures.Box("attention", r"$\mathrm{softmax}(W_a u_i)$", "Eq. 2", 0.26, 0.46, "computed",
                    ("user", "map")),
    ]  # fmt: skip
    for slot, (name, share) in enumerate(zip(model.names, attention, strict=True)):
        y = 0.98 - (slot + 1) * height
        title = rf"$\alpha_{{i{slot}}}\, x_{{j{slot}}}$"
        text = f"{name}: {percent(share, 0)}"
        drawn.append(figures.Box(text, title, text, 0.52, y, "computed", ("attention",)))
    gates = tuple(box.name for box in drawn[3:])
    drawn.append(figures.Box("item", "$v_{ij}$: their sum", "Eq. 3", 0.78, 0.46, "result", gates))
    return figures.boxes(drawn, 0.22, 0.15)
