"""Optimizer, learning-rate schedule and random state as safetensors and JSON: no pickle is written or read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from frostline.errors import CheckpointError
from frostline.training.packing import pack, unpack

_TENSORS = "training_state.safetensors"
_VALUES = "training_state.json"


def save(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Write the state of optimizer, scheduler and all random number generators into `folder`."""
    tensors: dict[str, Tensor] = {}
    _, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    generators = {
        "python": [version, list(internal), gauss_next],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "random": generators}
    values = {part: pack(content, part, tensors) for part, content in state.items()}
    save_file(tensors, folder / _TENSORS)
    (folder / _VALUES).write_text(json.dumps(values), encoding="utf-8")


def load_optimizer(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Load the state of optimizer and scheduler that `save` wrote; CheckpointError if this version cannot read it."""
    optimizer.load_state_dict(_read(folder, "optimizer"))
    scheduler.load_state_dict(_read(folder, "scheduler"))


def load_random(folder: Path) -> None:
    """Set every random number generator to the state that `save` wrote."""
    state = _read(folder, "random")
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _read(folder: Path, part: str) -> Any:
    values = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
    if part not in values:
        raise CheckpointError(f"{folder} was written by an earlier version of Frostline; start the run anew.")
    with safe_open(folder / _TENSORS, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(part)]  # noqa: SIM118  # it is no mapping
        tensors = {name: file.get_tensor(name) for name in names}
    return unpack(values[part], tensors)
