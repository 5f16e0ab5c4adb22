"""Figure 1, the architecture: read off a real instance of the module and drawn from that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch

from replication import figures
from replication.errors import ReplicationError
from replication.page import opening
from replication.papers.amp_cf.model import AMP, AMPConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the paper calls each tensor of the module.
SYMBOLS = {
    "personas": "$U$: personas",
    "items": "$V$: items",
    "attention_user": "$A^u$: to the attention space",
    "attention_item": "$A^v$: to the attention space",
    "item_bias": "$b$: item bias",
    "user_bias": "user bias",
    "similarity": r"$s(u_k, v)$: similarity of each persona",
    "attention": "$a$: softmax over personas",
    "score": r"$y = \sum_k a_k\, s(u_k, v) + b$  (Eq. 1)",
}
STEPS = ("attention", "similarity", "score")
# All different, so that a size says what it is of.
SIZES = {"users": 101, "items": 103, "batch": 13, "candidates": 17}
ATTENTION_DIMENSION = 48  # d_a; the paper's 64 could not be told from d


@dataclass(frozen=True)
class Node:
    """A tensor of the module: its name, shape in symbols, and what it is computed from."""

    name: str
    shape: str
    parents: tuple[str, ...] = ()


def read(personas: int = 4) -> list[Node]:
    """The parameters of an AMP and what its forward pass makes of them.

    The shapes are those of the tensors themselves; which parameter a result depends on is what
    autograd says (a gradient that is not zero). The score is the sum over personas of attention
    times similarity (a test recomputes it), and what else it depends on stands beside these two.

    Raises:
        ReplicationError: fewer than two personas.
    """
    if personas < 2:
        raise ReplicationError(f"one persona has no attention to draw; personas is {personas}")
    config = AMPConfig(personas=personas, attention_dimension=ATTENTION_DIMENSION)
    torch.manual_seed(0)
    amp = AMP(SIZES["users"], SIZES["items"], config).double()
    with torch.no_grad():
        for parameter in amp.parameters():
            parameter.normal_(0, 0.1)
    batch, wide = SIZES["batch"], SIZES["candidates"]
    scores = amp(torch.arange(batch), torch.randint(SIZES["items"], (batch, wide)))
    named = dict(amp.named_parameters())
    names = {
        SIZES["users"]: "users",
        SIZES["items"]: "items",
        SIZES["batch"]: "B",
        SIZES["candidates"]: "C",
        personas: "r",
        personas * config.dimension: "r·d",
        config.dimension: "d",
        ATTENTION_DIMENSION: "d_a",
    }

    def shape(size: torch.Size) -> str:
        return " × ".join(names[n] for n in size)

    nodes = [Node(name, shape(p.shape)) for name, p in named.items()]
    needs: dict[str, set[str]] = {}
    for step in STEPS:
        result = getattr(scores, step)
        weights = torch.randn(result.shape, dtype=result.dtype)
        gradients = torch.autograd.grad(
            (result * weights).sum(), list(named.values()), retain_graph=True, allow_unused=True
        )
        needs[step] = {
            name
            for name, g in zip(named, gradients, strict=True)
            if g is not None and bool(g.any())
        }
    for step in STEPS:
        parents = [name for name in named if name in needs[step]]
        if step == "score":
            inner = needs["attention"] | needs["similarity"]
            parents = ["attention", "similarity", *(n for n in parents if n not in inner)]
        result = getattr(scores, step)
        nodes.append(Node(step, shape(result.shape), tuple(parents)))
    return nodes


WORDS = {  # for a sentence
    "personas": "the personas $U^i$",
    "items": "the item vectors $v^j$",
    "attention_user": "the projection $A^u$",
    "attention_item": "the projection $A^v$",
    "item_bias": "the item biases $b^j$",
}


def _told(names: Iterable[str]) -> str:
    *most, last = (WORDS.get(name, f"the {name}") for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def headline(nodes: list[Node]) -> str:
    """What the figure was asked, what was found, and what is used twice."""
    learned = [node.name for node in nodes if not node.parents]
    by_name = {node.name: node for node in nodes}
    attention, similarity = (set(by_name[n].parents) for n in ("attention", "similarity"))
    only = sorted(attention - similarity)
    through = f"through {_told(only)} for the attention" if only else "for the attention"
    return opening(
        "Is the module that this study trains the architecture that the paper draws?",
        f"As in Section 3, it learns only {_told(learned)}, and computes its score from "
        f"{_told(by_name['score'].parents)}.",
        [
            f"Used twice: {_told(sorted(attention & similarity))} enter {through} and as they are "
            "for the similarity, as in Section 3."
        ],
    )


def table(nodes: list[Node]) -> pd.DataFrame:
    """The tensors as a table: name in the code, shape, computed from."""
    lines = [
        {
            "tensor": node.name,
            "shape": node.shape,
            "computed from": ", ".join(node.parents) or "learned",
        }
        for node in nodes
    ]
    return pd.DataFrame(lines).set_index("tensor")


def draw(nodes: list[Node]) -> Figure:
    """The tensors as boxes, what is learned to the left, and an arrow for each dependence."""
    learned = [node for node in nodes if not node.parents]
    place = {node.name: (0.02, 0.86 - 0.2 * rank) for rank, node in enumerate(learned)}
    # The bias goes below the similarity and straight to the score.
    place |= {"attention": (0.385, 0.78), "similarity": (0.385, 0.46), "score": (0.72, 0.3)}
    kinds = {node.name: "learned" for node in learned} | {"score": "result"}
    return figures.boxes(
        [
            figures.Box(
                node.name,
                SYMBOLS[node.name],
                f"{node.name}  [{node.shape}]",
                *place[node.name],
                kinds.get(node.name, "computed"),
                node.parents,
            )
            for node in nodes
        ]
    )
