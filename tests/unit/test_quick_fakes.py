"""Fake tensors made quickly are those that torch makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from frostline.anatomy.quick_fakes import QuickFakes
from frostline.meter.tensors import TensorTracker

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": lambda a, b: a + b,
    "add a number": lambda a, b: a + 2,
    "compare": lambda a, b: a > b,
    "matmul": lambda a, b: a @ b.transpose(-1, -2),
    "sum": lambda a, b: (a.sum(), a.sum(-1), a.sum(-1, keepdim=True)),
    "layer norm": lambda a, b: functional.layer_norm(a, a.shape[-1:]),
    "dropout": lambda a, b: functional.dropout(a, 0.1),
    "no dropout": lambda a, b: torch.native_dropout(a, 0.0, False),
    "softmax in float32": lambda a, b: a.softmax(-1, dtype=torch.float32),
    "to another dtype": lambda a, b: a.to(torch.float64),
    "to its own dtype": lambda a, b: a.to(a.dtype),
    "views": lambda a, b: (a.transpose(0, 1), a.reshape(-1), a[..., :1], a.unsqueeze(0), a.split(1), a.detach()),
    "reshape that copies": lambda a, b: a.transpose(0, -1).reshape(-1),
    "clone": lambda a, b: a.transpose(0, -1).clone(),
    "in place": lambda a, b: a.mul_(2).add_(b),
    "into another": lambda a, b: (c := torch.empty_like(a), torch.mul(a, b, out=c)),
    "into several": lambda a, b: (
        (c := torch.empty_like(a), d := a.new_empty(a.shape, dtype=torch.int64)),
        torch.sort(a, out=(c, d)),
    ),
    "several at once": lambda a, b: torch._foreach_add([a, b], 1.0),
    "several in place": lambda a, b: (torch._foreach_mul_([a, b], 2.0), a, b),
    "cat": lambda a, b: torch.cat([a, b], -1),
    "new": lambda a, b: (a.new_zeros(3), torch.empty_like(a), torch.zeros(2, 3), torch.arange(4), a.new_full((), 2.0)),
    "index": lambda a, b: a[torch.arange(1)],
    "extremes": lambda a, b: (a.amax(-1), a.max(-1), a.topk(1)),
}
SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=3)


def described(results: Any, given: tuple[Tensor, Tensor]) -> list[Any]:
    """Return what results are, and which of all tensors share memory."""
    tensors = [leaf for leaf in (*given, *tree_leaves(results)) if isinstance(leaf, Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors]
    shared = [[one._cdata == other._cdata for other in storages] for one in storages]
    kinds = [(t.shape, t.stride(), t.storage_offset(), t.dtype, t.device, t.requires_grad) for t in tensors]
    return [kinds, [storage.nbytes() for storage in storages], shared]


def run(mode: FakeTensorMode, operation: Callable[[Tensor, Tensor], Any], shape: list[int], turned: bool) -> list[Any]:
    with mode:
        made = tuple(torch.empty(shape).transpose(0, -1) if turned else torch.empty(shape) for _ in range(2))
        return described(operation(*made), made)


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, turned=st.booleans())
def test_the_first_time_and_remembered(name: str, shape: list[int], turned: bool) -> None:
    expected = run(FakeTensorMode(), OPERATIONS[name], shape, turned)
    assert run(QuickFakes(), OPERATIONS[name], shape, turned) == expected
    assert run(QuickFakes(), OPERATIONS[name], shape, turned) == expected


def test_backward_too() -> None:
    def gradients(a: Tensor, b: Tensor) -> Any:
        weight = torch.empty(8, a.shape[-1], requires_grad=True)
        functional.cross_entropy(functional.gelu(functional.linear(a, weight)), b.argmax(-1)).backward()
        return weight.grad

    for _ in range(2):
        assert run(QuickFakes(), gradients, [4, 6], False) == run(FakeTensorMode(), gradients, [4, 6], False)


def test_what_is_written_into_another_takes_no_memory() -> None:
    for _ in range(2):
        with QuickFakes(), TensorTracker(nn.Module()) as tracker:
            a, out = torch.empty(64, 64), torch.empty(64, 64)
            torch.mul(a, a, out=out)
        assert tracker.peak_bytes == 2 * 64 * 64 * 4


def test_values_that_are_known_stay_so() -> None:
    for _ in range(2):
        with QuickFakes():
            constant = torch.tensor(3.0)
            assert (constant * 2).item() == 6.0
            with pytest.raises(DataDependentOutputException):
                torch.ones(1).item()


def test_what_is_refused_is_so_each_time() -> None:
    for _ in range(2):
        with QuickFakes(), pytest.raises(RuntimeError, match=r"size|shape"):
            torch.empty(2, 3) + torch.empty(2, 4)
