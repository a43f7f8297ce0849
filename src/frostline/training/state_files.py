"""Optimizer, learning-rate schedule and random state as safetensors and JSON: no pickle is written or read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_TENSORS = "training_state.safetensors"
_VALUES = "training_state.json"


def save(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Write the state of optimizer, scheduler and all random number generators into `folder`."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        scalars[str(index)] = {}
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value.detach().cpu().contiguous().clone()
            else:
                scalars[str(index)][key] = value
    _, keys, position, has_gauss, gauss = np.random.get_state()
    tensors["random.numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    version, internal, gauss_next = random.getstate()
    values = {
        "param_groups": state["param_groups"],
        "optimizer_scalars": scalars,
        "scheduler": scheduler.state_dict(),
        "random": {"python": [version, list(internal), gauss_next], "numpy": [int(position), int(has_gauss), gauss]},
    }
    save_file(tensors, folder / _TENSORS)
    (folder / _VALUES).write_text(json.dumps(values), encoding="utf-8")


def load_optimizer(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Load the state of optimizer and scheduler that `save` wrote."""
    values = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in _scalars(values).items()}
    for name, tensor in load_file(folder / _TENSORS).items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state[int(index)][key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": values["param_groups"]})
    scheduler.load_state_dict(values["scheduler"])


def load_random(folder: Path) -> None:
    """Set every random number generator to the state that `save` wrote."""
    values = json.loads((folder / _VALUES).read_text(encoding="utf-8"))["random"]
    tensors = load_file(folder / _TENSORS)
    version, internal, gauss_next = values["python"]
    random.setstate((version, tuple(internal), gauss_next))
    position, has_gauss, gauss = values["numpy"]
    keys = tensors["random.numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, position, has_gauss, gauss))
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _scalars(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    scalars: dict[str, dict[str, Any]] = values["optimizer_scalars"]
    return scalars
