"""What the tests of storage share: gradients under one and the same output gradient, and bytes kept for backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def gradients(output: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of `tensors` for an output gradient that depends on its shape alone."""
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(output.shape, dtype=torch.float64, generator=generator).to(output.dtype)
    return list(torch.autograd.grad(output, list(tensors), grad, retain_graph=True))


def saved_bytes(run: Callable[[], Any], model: nn.Module) -> int:
    """Return the bytes that `run` leaves for backward, each storage once, `model`'s weights aside."""
    weights = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    storages: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = run()
    total = sum(size for size, _ in storages.values())
    del outputs
    return total


def model_gradients(model: nn.Module, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the logits, and the gradients of the loss by name; dropout draws the same each time."""
    torch.manual_seed(5)
    output: Any = model(**values)
    output.loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return output.logits.detach(), found


def cosine(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the cosine between gradients of the same weights, in float64."""
    assert one.keys() == other.keys()
    first, second = (torch.cat([g[name].flatten().double() for name in one]) for g in (one, other))
    return float(torch.dot(first, second) / (first.norm() * second.norm()))
