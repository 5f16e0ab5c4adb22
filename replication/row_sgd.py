"""Plain SGD that touches only the rows of a table that a batch looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RowSGD(torch.optim.Optimizer):
    """Stochastic gradient descent for models made of large look-up tables.

    A parameter whose gradient is sparse (``F.embedding(..., sparse=True)``) is changed in the rows
    of the batch alone: the step of ``torch.optim.SGD``, which sorts these rows first and takes
    longer. ``tests/models/test_afm.py`` holds the two equal.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient; ``closure`` is not supported."""
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                if gradient.is_sparse:
                    values = gradient._values() * -group["lr"]  # [m, d]
                    add_rows(parameter, gradient._indices()[0], values)
                else:
                    parameter.add_(gradient, alpha=-group["lr"])


def add_rows(table: Tensor, rows: Tensor, changes: Tensor) -> None:
    """Add changes [m, d] to rows [m] of a table [R, d]; a row may occur again."""
    table.scatter_add_(0, rows[:, None].expand_as(changes), changes)
