"""What a training process takes besides its tensors: the interpreter, libraries, threads. Measured once a machine.

With the compact allocator, what is freed goes back to the system, so the peak of a process is the peak of its tensors
and a constant. The constant is found by a small training run in a fresh process, less what its tensors took.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path

from frostline.children import run_child
from frostline.errors import FrostlineError
from frostline.meter.steps import Steps
from frostline.planner.rehearsal import rehearse
from frostline.training.versions import versions

_BATCH, _LENGTH = 2, 16
_CONFIG = {
    "max_steps": 3,
    "batch_size": _BATCH,
    "max_length": _LENGTH,
    "eval_strategy": "no",
    "save_strategy": "no",
    "allocator": "compact",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """Bytes of a process besides its tensors.

    Attributes:
        bytes: how many.
        measured: whether by running it now; else from an earlier time.
    """

    bytes: int
    measured: bool


def runtime(device: str = "cpu", *, again: bool = False) -> Runtime:
    """Return what a training process takes besides its tensors.

    On a GPU the budget is of the GPU's memory, in which there is nothing else.

    Args:
        device: `cpu` or `cuda`.
        again: measure even if it is known.

    Raises:
        FrostlineError: the step could not be run.
    """
    if device != "cpu":
        return Runtime(0, False)
    path, key = user_cache_path("frostline") / "runtime.json", _key()
    known = _read(path)
    if key in known and not again:
        return Runtime(known[key], False)
    _, end = run_child("frostline.planner.child", {"kind": "runtime", "config": _CONFIG})
    if end.result is None:
        raise FrostlineError(f"what a process takes besides its tensors could not be measured: {end.reason}")
    size = int(end.result["process_peak"]) - rehearse(Steps("minilm", _BATCH, _LENGTH, count=2)).peak
    _write(path, {**known, key: size})
    return Runtime(size, True)


def _key() -> str:
    made_of = {"run": _CONFIG, "threads": torch.get_num_threads(), "processors": os.cpu_count()}
    return json.dumps({**versions(), **made_of}, sort_keys=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    except OSError:  # a home that cannot be written to: it is then measured every time
        return
