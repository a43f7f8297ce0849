"""The rival methods of benchmarks/peers: their classes, settings for a tiny model, and what the tests measure."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers.modeling_layers import GradientCheckpointingLayer

from frostline import Tuner, methods, prepare
from frostline.methods import plugins
from frostline.methods.base import Method
from tiny_models import batch, tiny_bert

FOLDER = Path(__file__).parents[1] / "benchmarks" / "peers"

# Method -> file, settings for a tiny model, learning rate at which it learns one batch in some thirty steps.
PEERS: dict[str, tuple[str, dict[str, Any], float]] = {
    "full_checkpointing": ("checkpointing", {}, 3e-3),
    "lora_checkpointing": ("checkpointing", {"rank": 2}, 1e-2),
    "ia3": ("adapters", {}, 1e-2),
    "vera": ("adapters", {"rank": 8}, 1e-2),
    "adamw8bit": ("adamw8bit", {"smallest": 256}, 3e-3),
    "badam": ("badam", {"every": 4}, 3e-3),
    "galore": ("galore", {"rank": 4, "every": 5}, 3e-3),
    "lomo": ("lomo", {}, 0.1),
    "adalomo": ("lomo", {}, 3e-2),
    "wtacrs": ("wtacrs", {"share": 0.5}, 3e-3),
}
PACKAGES = {"adamw8bit": "bitsandbytes"}


def _without_registering() -> dict[str, type[Method]]:
    """Return the peers' classes and leave the list of methods as it was: other tests run over all that is in it."""
    before = dict(methods._registered)
    plugins.load(str(path) for path in sorted(FOLDER.glob("*.py")))
    return {name: methods._registered.pop(name) for name in set(methods._registered) - set(before)}


CLASSES = _without_registering()


def params(*names: str) -> list[Any]:
    """Return the names as pytest parameters; one whose package is not installed is skipped, and says so."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None,
                reason=f"{PACKAGES.get(name)} is not installed; `make test-peers` brings it",
            ),
        )
        for name in names or PEERS
    ]


def prepared(name: str, model: nn.Module | None = None, **settings: Any) -> tuple[nn.Module, Tuner, Optimizer]:
    """Return a tiny model under a peer with the optimizer that it brings, else AdamW, attached."""
    model = model or tiny_bert()
    tuner = prepare(model, CLASSES[name], **{**PEERS[name][1], **settings})
    optimizer = optimizer_of(tuner, PEERS[name][2])
    tuner.attach(optimizer)
    return model, tuner, optimizer


def optimizer_of(tuner: Tuner, learning_rate: float, weight_decay: float = 0.0) -> Optimizer:
    """Return the method's own optimizer over all candidates, else AdamW."""
    groups = [{"params": tuner.candidate_parameters(), "weight_decay": weight_decay}]
    return tuner.own_optimizer(groups, learning_rate) or AdamW(groups, lr=learning_rate)


def state_bytes(optimizer: Optimizer) -> int:
    """Return the bytes of all tensors in an optimizer's state, each storage counted once."""
    tensors = [v for entries in optimizer.state.values() for v in entries.values() if isinstance(v, Tensor)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def saved_bytes(model: nn.Module, *, block_inputs: bool = False, **inputs: Tensor) -> int:
    """Return the bytes that a forward pass saves for backward, without the weights, each storage counted once.

    Args:
        model: in training mode.
        block_inputs: count what goes into each block besides; checkpointing keeps it without autograd's knowing.
        inputs: of the forward pass.
    """
    weights = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    storages: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            storages[address] = tensor  # held, so that no other takes its address
        return tensor

    def note_inputs(_: nn.Module, values: tuple[Tensor, ...]) -> None:
        pack(values[0])

    blocks = [module for module in model.modules() if block_inputs and isinstance(module, GradientCheckpointingLayer)]
    hooks = [block.register_forward_pre_hook(note_inputs) for block in blocks]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**(inputs or batch())).loss  # noqa: B018  # for what the forward pass saves
    for hook in hooks:
        hook.remove()
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
