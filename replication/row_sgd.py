"""Plain SGD that touches only the rows of a table that a batch looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

DECAY_EVERY = 64  # steps whose decay of whole tables is made up for at once


class RowSGD(torch.optim.Optimizer):
    """Stochastic gradient descent with an L2 penalty, for models made of large look-up tables.

    A parameter whose gradient is sparse (``F.embedding(..., sparse=True)``) is changed in the rows
    of the batch alone: the same step as ``torch.optim.SGD``'s without writing a gradient of the
    table's size. The penalty shrinks every row, looked up or not: for such tables it is applied
    for ``decay_every`` steps together, which differs from every step by terms of the order of
    ``lr * weight_decay * decay_every``. Dense gradients are treated as ``torch.optim.SGD`` does.
    ``tests/models/test_afm.py`` holds the two optimisers equal.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        weight_decay: float = 0.0,
        decay_every: int = DECAY_EVERY,
    ) -> None:
        # "since" belongs to a group so that a checkpoint holds it.
        defaults = {"lr": lr, "weight_decay": weight_decay, "every": decay_every, "since": 0}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient; ``closure`` is not supported."""
        for group in self.param_groups:
            lr, shrink = group["lr"], 1.0 - group["lr"] * group["weight_decay"]
            group["since"] += 1
            due = group["since"] == group["every"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                if gradient.is_sparse:
                    if due and shrink != 1.0:
                        parameter.mul_(shrink ** group["every"])
                    add_rows(parameter, gradient, -lr)
                else:
                    if shrink != 1.0:
                        parameter.mul_(shrink)
                    parameter.add_(gradient, alpha=-lr)
            if due:
                group["since"] = 0


def add_rows(table: Tensor, rows: Tensor, factor: float) -> None:
    """Add ``factor`` times a sparse tensor to a table [n, d], in place.

    The same as ``table.add_(rows, alpha=factor)``, which sorts the rows first and then takes two
    and a half times as long on a CPU.
    """
    index = rows._indices()[0]  # [m], a row may occur again
    values = rows._values() * factor  # [m, d]
    table.scatter_add_(0, index[:, None].expand_as(values), values)
