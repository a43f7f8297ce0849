"""A federation's state after a round, in one file that is there whole or not at all; safetensors, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from frostline.errors import CheckpointError
from frostline.federated.server_optimizers import FedAvg

_FILE = "checkpoint.safetensors"
_VALUES, _DIGEST = "values", "sha256"
"""Tensors of bytes, and not the file's header, which a long log would not fit."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a federation goes on from; all that is random follows from the seed and the round.

    Attributes:
        round: the last that is done.
        agreed: the config and the layers of each device, as JSON values; a resumed run must have the same.
        log: the records of the rounds so far.
        state: of the network.
        optimizer: arrays of the server's optimizer.
        trained: of each tensor, how many rounds trained it.
    """

    round: int
    agreed: dict[str, Any]
    log: list[dict[str, Any]]
    state: dict[str, NDArray[Any]]
    optimizer: dict[str, NDArray[Any]]
    trained: dict[str, int]


def save(folder: Path, checkpoint: Checkpoint, optimizer: FedAvg) -> None:
    """Write a checkpoint in place of the one before, with the state that the optimizer has now."""
    arrays = {f"state:{name}": value for name, value in checkpoint.state.items()}
    arrays |= {f"optimizer:{name}": value for name, value in optimizer.state.items()}
    values = {
        "round": checkpoint.round,
        "agreed": checkpoint.agreed,
        "log": checkpoint.log,
        "trained": optimizer.rounds,
    }
    arrays[_VALUES] = np.frombuffer(json.dumps(values).encode(), np.uint8)
    beside = folder / f"{_FILE}.new"
    save_file({**arrays, _DIGEST: _digest(arrays)}, beside)
    with beside.open("rb") as stream:
        os.fsync(stream.fileno())
    beside.replace(folder / _FILE)


def load(folder: Path, agreed: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint of a folder.

    Raises:
        CheckpointError: there is none, it cannot be read, or it was made under another config or another plan.
    """
    path = folder / _FILE
    if not path.is_file():
        raise CheckpointError(f"there is no {path} to resume from; start the federation without --resume.")
    try:
        arrays = load_file(path)
        if arrays.pop(_DIGEST).tobytes() != _digest(arrays).tobytes():
            raise ValueError("its bytes are not those that were written")
        values = json.loads(arrays.pop(_VALUES).tobytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error}); start the federation anew."
        ) from error
    if values["agreed"] != agreed:
        before, now = values["agreed"], agreed
        different = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        raise CheckpointError(f"{path} was written with other values of {', '.join(different)}; resume with the same.")
    state, optimizer = (
        {name.removeprefix(kind): value for name, value in arrays.items() if name.startswith(kind)}
        for kind in ("state:", "optimizer:")
    )
    return Checkpoint(values["round"], agreed, values["log"], state, optimizer, values["trained"])


def _digest(arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).data)
    return np.frombuffer(found.digest(), np.uint8)
