"""Linear layers, whichever way their weight lies: nn.Linear's is (out, in), that of GPT-2's Conv1D is (in, out)."""

from __future__ import annotations

from typing import TypeAlias, TypeGuard

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Linear: TypeAlias = nn.Linear | Conv1D


def is_linear(module: nn.Module) -> TypeGuard[Linear]:
    """Return whether a module is a linear map and nothing else; a subclass may be more."""
    return type(module) in (nn.Linear, Conv1D)


def by_rows(linear: Linear, tensor: Tensor) -> Tensor:
    """Return a view of a tensor that lies like the layer's weight, with an output feature in each row.

    The same call takes such a view back to how the weight lies.
    """
    return tensor.t() if isinstance(linear, Conv1D) else tensor


def features(linear: Linear) -> tuple[int, int]:
    """Return the number of input and of output features."""
    outputs, inputs = by_rows(linear, linear.weight).shape
    return inputs, outputs
