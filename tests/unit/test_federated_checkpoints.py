"""A federation's checkpoint: as long a log as there is, and no byte that was not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from frostline.errors import CheckpointError
from frostline.federated import checkpoints
from frostline.federated.checkpoints import Checkpoint
from frostline.federated.merging import Arrays
from frostline.federated.server_optimizers import FedAvg

AGREED = {"rounds": 3}


def saved(folder: Path, log: list[dict[str, Any]] | None = None) -> Checkpoint:
    made = Checkpoint(2, AGREED, log or [], {"weight": np.arange(6, dtype=np.float32)}, {}, {})
    checkpoints.save(folder, made, FedAvg())
    return made


def test_a_log_longer_than_a_header_of_safetensors_may_be(tmp_path: Path) -> None:
    record = {"devices": [{"device": f"device-{place}", "detail": "x" * 300} for place in range(1000)]}
    made = saved(tmp_path, [record] * 330)  # 100 MB is the limit
    found = checkpoints.load(tmp_path, AGREED)
    assert (found.round, found.log) == (2, made.log)
    assert found.state["weight"].tobytes() == made.state["weight"].tobytes()


SPOILT: dict[str, Callable[[Arrays], Arrays]] = {
    "another value": lambda arrays: {**arrays, "state:weight": arrays["state:weight"] + 1},
    "no weight": lambda arrays: {"values": arrays["values"]},
    "no values": lambda arrays: {"state:weight": arrays["state:weight"]},
    "a list": lambda arrays: {**arrays, "values": np.frombuffer(b"[]", np.uint8)},
    "an empty mapping": lambda arrays: {**arrays, "values": np.frombuffer(b"{}", np.uint8)},
    "no JSON": lambda arrays: {**arrays, "values": np.frombuffer(b"{", np.uint8)},
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT.keys())
def test_what_was_not_written_so_is_refused(tmp_path: Path, change: Callable[[Arrays], Arrays]) -> None:
    saved(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    save_file(dict(change(load_file(path))), path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load(tmp_path, AGREED)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load(tmp_path, AGREED)
