"""What models share that write their derivative out: ``Differentiable.accumulate_gradients``."""

from __future__ import annotations

import torch
from torch import Tensor


def grad_of(parameter: Tensor) -> Tensor:
    """The gradient buffer of a tensor, of its shape: zeros when it is first asked for."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def through_relu_(gradient: Tensor, output: Tensor) -> None:
    """Make of the gradient of y = max(x, 0) that of x, in place, with autograd's own kernel.

    Args:
        gradient: of y; any shape.
        output: y, of the same shape.
    """
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
