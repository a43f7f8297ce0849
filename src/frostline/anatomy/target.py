"""The device for which a step is traced, on a machine that need not have it.

Where torch is built with CUDA, fake tensors lie on a GPU that need not be there. Where it is not, they lie on the CPU,
and what CUDA does otherwise takes the place of what the CPU does: attention with dropout is a fused kernel that keeps
no matrix of probabilities, and dropout keeps a mask of one byte a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from frostline.errors import ConfigError

_attention = functional.scaled_dot_product_attention
_dropout = functional.dropout


@contextmanager
def traced_for(device: str) -> Iterator[torch.device]:
    """Give the device on which fake tensors shall lie so that operations keep what they keep on `device`.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        ConfigError: it is neither.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r} is not understood: say cpu or cuda.")
    with ExitStack() as stack:
        if device == "cuda" and not torch.backends.cuda.is_built():
            device = "cpu"
            stack.enter_context(patch.object(functional, "scaled_dot_product_attention", _fused_attention))
            stack.enter_context(patch.object(functional, "dropout", _masked_dropout))
        yield torch.device(device)


def _fused_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
) -> Tensor:
    """Attend as the fused kernels of CUDA do: they replay dropout in backward, as the CPU's cannot."""
    return _attention(query, key, value, attn_mask, 0.0, **options)


def _masked_dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if inplace or not training or p == 0.0:
        return _dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]
