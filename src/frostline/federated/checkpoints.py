"""A federation's state after a round, in one file that is there whole or not at all; safetensors, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from frostline.errors import CheckpointError
from frostline.federated.server_optimizers import FedAvg

_FILE = "checkpoint.safetensors"
_VALUES = "values"


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
    digest = _digest(arrays)
    values = {
        "round": checkpoint.round,
        "agreed": checkpoint.agreed,
        "log": checkpoint.log,
        "trained": optimizer.rounds,
        "sha256": digest,
    }
    told = np.frombuffer(json.dumps(values).encode(), np.uint8)  # a log that is longer than a header may be
    beside = folder / f"{_FILE}.new"
    save_file({**arrays, _VALUES: told}, beside)
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
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        values = json.loads(arrays.pop(_VALUES).tobytes())
        if values["sha256"] != _digest(arrays):
            raise ValueError("its bytes are not those that were written")
        done = Checkpoint(values["round"], values["agreed"], values["log"], {}, {}, values["trained"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
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
    return replace(done, state=state, optimizer=optimizer)


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()
