"""Which activations are understood, told by class, and the kernels of their gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_QUICK = 1.702  # QuickGELU(x) = SiLU(1.702 x) / 1.702
_OURS = ("frostline.storage.operations.activation",)

_KINDS: dict[str, str] = {
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.SiLU": "silu",
    "transformers.activations.SiLUActivation": "silu",
    "transformers.activations.GELUActivation": "gelu",
    "transformers.activations.GELUTanh": "gelu_tanh",
    "transformers.activations.NewGELUActivation": "gelu_tanh",
    "transformers.activations.FastGELUActivation": "gelu_tanh",
    "transformers.activations.AccurateGELUActivation": "gelu_tanh",
    "transformers.activations.QuickGELUActivation": "quick_gelu",
}


def kind_of(module: nn.Module) -> str | None:
    """Return which activation a module is: `gelu`, `gelu_tanh`, `silu`, `relu`, `quick_gelu`, or None.

    Told by the class whose forward function it runs, so that a subclass with a function of its own is not taken for
    what it derives from. One that works in place is None: it leaves no input to keep.
    """
    if getattr(module, "inplace", False):
        return None
    cls = next(cls for cls in type(module).__mro__ if "forward" in vars(cls) and cls.__module__ not in _OURS)
    if cls is nn.GELU:
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    return _KINDS.get(f"{cls.__module__}.{cls.__qualname__}")


def multiply_by_derivative(kind: str, grad: Tensor, input: Tensor, out: Tensor | None = None) -> Tensor:
    """Return `grad` f'(`input`) by PyTorch's own kernel, in `out` (it may be `input`) if there is one."""
    aten = torch.ops.aten
    to = {} if out is None else {"grad_input": out}
    if kind in ("gelu", "gelu_tanh"):
        kernel = aten.gelu_backward if out is None else aten.gelu_backward.grad_input
        result: Tensor = kernel(grad, input, approximate="tanh" if kind == "gelu_tanh" else "none", **to)
    elif kind == "relu":
        kernel = aten.threshold_backward if out is None else aten.threshold_backward.grad_input
        result = kernel(grad, input, 0, **to)
    else:
        if kind == "quick_gelu":
            input = input * _QUICK if out is None else torch.mul(input, _QUICK, out=out)
            to = {"grad_input": input}
        kernel = aten.silu_backward.grad_input if to else aten.silu_backward
        result = kernel(grad, input, **to)
    return result
