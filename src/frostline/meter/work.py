"""The work of operations: floating-point operations, bytes moved, and how many there are, counted as they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from frostline.anatomy.quick_fakes import WHERE, Uncompiled
from frostline.flop_formulas import CPU_ATTENTION

_FORMULAS = {**flop_registry, **{operation: shape_wrapper(count) for operation, count in CPU_ATTENTION.items()}}


@dataclass(frozen=True, slots=True)
class Work:
    """What operations do.

    Attributes:
        flops: floating-point operations of matrix products, convolutions and attention; a multiply-add is two.
        bytes: read and written by all other operations.
        operations: how many that compute something.
    """

    flops: int = 0
    bytes: int = 0
    operations: int = 0

    def __add__(self, other: Work) -> Work:
        """Return both together."""
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Work:
        """Return it so many times."""
        return Work(*(times * value for value in astuple(self)))


class WorkCounter(Uncompiled, TorchDispatchMode):
    """Counts the work of every operation while it is entered; on fake tensors as on real ones.

    Attributes:
        work: done since the start, or since `take`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._flops = self._bytes = self._operations = 0

    def take(self) -> Work:
        """Return the work since the last call, and start anew."""
        work = Work(self._flops, self._bytes, self._operations)
        self._flops = self._bytes = self._operations = 0
        return work

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and count it."""
        if func is WHERE:
            return args[0].device
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        if _is_free(func):
            return result
        self._operations += 1
        formula = _FORMULAS.get(func._overloadpacket)  # type: ignore[attr-defined]  # an OpOverload
        if formula is None:
            leaves = tree_leaves((args, kwargs, result))
            self._bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        else:
            self._flops += int(formula(*args, **kwargs, out_val=result))
        return result


@cache
def _is_free(func: Any) -> bool:
    """Tell whether an operation computes nothing: a view, or a question such as where a fake tensor lies."""
    if func.namespace == "prim" or func in (torch.ops.aten.detach.default, torch.ops.aten._unsafe_view.default):
        return True
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
