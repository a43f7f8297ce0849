"""The device for which a step is traced, on a machine that need not have it.

Fake tensors always lie on the CPU. Where they stand for tensors on a GPU, `device_type` says so to whoever works
differently there, and what CUDA does otherwise takes the place of what the CPU does: attention with dropout is a fused
kernel that keeps no matrix of probabilities, dropout keeps a mask of one byte a value, and autocast has norms and
losses computed in float32. So a prediction is the same with a GPU and without one; fake tensors on a real GPU come to
the same bytes, and not every model runs on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional

from frostline.errors import ConfigError

_attention = functional.scaled_dot_product_attention
_dropout = functional.dropout
_stands_for_a_gpu: ContextVar[bool] = ContextVar("stands_for_a_gpu", default=False)
_IN_FLOAT32 = ("layer_norm", "cross_entropy", "nll_loss", "mse_loss", "softmax", "log_softmax")


def device_type(tensor: Tensor) -> str:
    """Return the kind of device on which a tensor lies, `cpu` or `cuda`; for a fake one, on which it would lie."""
    if isinstance(tensor, FakeTensor) and _stands_for_a_gpu.get():
        return "cuda"
    return tensor.device.type


@contextmanager
def traced_for(device: str) -> Iterator[torch.device]:
    """Have operations on fake tensors keep what they keep on `device`; gives the device to make them on.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        ConfigError: it is neither.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r} is not understood: say cpu or cuda.")
    with ExitStack() as stack:
        if device == "cuda":
            stack.callback(_stands_for_a_gpu.reset, _stands_for_a_gpu.set(True))
            stack.enter_context(patch.object(functional, "scaled_dot_product_attention", _fused_attention))
            stack.enter_context(patch.object(functional, "dropout", _masked_dropout))
            for name in _IN_FLOAT32:
                stack.enter_context(patch.object(functional, name, _in_float32(getattr(functional, name))))
        yield torch.device("cpu")


def _fused_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
) -> Tensor:
    """Attend as the fused kernels of CUDA do: they replay dropout in backward, as the CPU's cannot."""
    return _attention(query, key, value, attn_mask, 0.0, **options)


def _masked_dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if inplace or not training or p == 0.0:
        return _dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]


def _in_float32(stock: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return an operation as CUDA's autocast does it; the CPU's leaves it in sixteen bits."""

    @wraps(stock)
    def operation(input: Tensor, *others: Any, **options: Any) -> Tensor:
        return stock(input.float() if torch.is_autocast_enabled("cpu") else input, *others, **options)

    return operation
