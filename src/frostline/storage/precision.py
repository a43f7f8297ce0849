"""The dtype in which an operation computes, and autocast switched off around an arithmetic of our own.

An operation inside an autograd Function must not go through autocast: autocast would remember the weight's cast,
made without a gradient, and hand it to the next operation that uses the weight.
"""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(input: Tensor) -> torch.dtype:
    """Return the dtype in which a matrix product of `input` runs: autocast's while it is on, else the input's."""
    kind = input.device.type
    casts = torch.is_autocast_enabled(kind) and input.dtype != torch.float64  # autocast leaves float64 alone
    return torch.get_autocast_dtype(kind) if casts else input.dtype


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast is off for the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)
