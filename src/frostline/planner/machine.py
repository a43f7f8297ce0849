"""What a plan needs to know of this machine: what a process takes besides its tensors, and how fast it works.

With the compact allocator, what is freed goes back to the system, so the peak of a process is the peak of its tensors
and a constant: the interpreter, libraries, threads. It is found by a small training run in a fresh process, less what
its tensors took, once for these versions and this number of threads, and once more for bfloat16, whose kernels are
compiled and kept. The speed is measured when the user asks for it.

On a GPU it is what torch's allocator reserves besides tensors: the workspaces of cuBLAS, and gaps.
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
from frostline.planner.timing import Speed, fit
from frostline.training.versions import versions

_BATCH, _LENGTH = 2, 16
_CONFIG = {
    "max_steps": 12,  # texts of some lengths: in sixteen bits each has its own kernels
    "batch_size": _BATCH,
    "max_length": _LENGTH,
    "eval_strategy": "no",
    "save_strategy": "no",
    "allocator": "compact",
}
ON_A_GPU = 192 * 2**20
"""Bytes that torch reserves on a GPU besides tensors, with the compact allocator (benchmarks/budget, on an H200)."""

_TIMED: tuple[dict[str, Any], ...] = (
    {"batch_size": 32, "sequence_length": 128},
    {"batch_size": 32, "sequence_length": 128, "storage": "compact"},
    {"batch_size": 16, "sequence_length": 128, "storage": "smallest"},
    {"batch_size": 32, "sequence_length": 64, "method": "layers", "settings": {"count": 2}},
    {"batch_size": 8, "sequence_length": 64},
    {"batch_size": 2, "sequence_length": 16, "storage": "compact"},
    {"batch_size": 2, "sequence_length": 16},
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of this machine.

    Attributes:
        runtime: bytes of a training process besides its tensors.
        growth: bytes by which a process that has all libraries loaded grows in its first steps, besides its tensors.
        speed: None where it was not measured.
    """

    runtime: int
    growth: int = 0
    speed: Speed | None = None


def machine(device: str = "cpu", *, bf16: bool = False) -> Machine:
    """Return what is known of this machine; measures `runtime` if it is not.

    Of a GPU `ON_A_GPU` is taken.

    Args:
        device: `cpu` or `cuda`.
        bf16: whether steps run in bfloat16 autocast.

    Raises:
        FrostlineError: the step could not be run.
    """
    if device != "cpu":
        return Machine(ON_A_GPU)
    known = _read(bf16)
    if not is_known(bf16=bf16):
        known = _write({**known, **_measure_memory(bf16)}, bf16)
    speed = _read(False).get("speed")
    return Machine(known["runtime"], known["growth"], None if speed is None else Speed.from_json(speed))


def is_known(*, bf16: bool = False) -> bool:
    """Tell whether what a process takes has been measured here, so that `machine` need not do it."""
    return {"runtime", "growth"} <= _read(bf16).keys()


def calibrate() -> Machine:
    """Measure both anew, and keep them in the cache folder.

    Raises:
        FrostlineError: a step could not be run.
    """
    speed, memory = _measure_speed(), _measure_memory(False)
    _write({**memory, "speed": speed.to_json()}, False)
    if _read(True):
        _write(_measure_memory(True), True)
    return Machine(**memory, speed=speed)


def _measure_memory(bf16: bool) -> dict[str, int]:
    shape: dict[str, Any] = {"model": "minilm", "batch_size": _BATCH, "sequence_length": _LENGTH, "bf16": bf16}
    tensors = rehearse(Steps(**shape, count=2)).peak
    run = _measured({"kind": "runtime", "config": {**_CONFIG, "bf16": bf16}})["process_peak"]
    steps = _measured({"kind": "steps", "steps": shape})
    return {"runtime": int(run) - tensors, "growth": max(0, int(steps["growth"]) - tensors)}


def _measure_speed() -> Speed:
    works, seconds = [], []
    for case in _TIMED:
        values = {"model": "minilm", **case}
        works.append(rehearse(Steps(**values, count=2)).work)
        seconds.append(float(_measured({"kind": "steps", "steps": values})["seconds"]))
    return fit(works, seconds)


def _measured(job: dict[str, Any]) -> dict[str, Any]:
    _, end = run_child("frostline.planner.child", job)
    if end.result is None:
        raise FrostlineError(f"this machine could not be measured: {end.reason}")
    return end.result


def _path() -> Path:
    return user_cache_path("frostline") / "machine.json"


def _key(bf16: bool) -> str:
    made_of = {"run": {**_CONFIG, "bf16": bf16}, "threads": torch.get_num_threads(), "processors": os.cpu_count()}
    return json.dumps({**versions(), **made_of}, sort_keys=True)


def _all() -> dict[str, Any]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _read(bf16: bool) -> dict[str, Any]:
    return dict(_all().get(_key(bf16), {}))


def _write(values: dict[str, Any], bf16: bool) -> dict[str, Any]:
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**_all(), _key(bf16): values}), encoding="utf-8")
    except OSError:  # a home that cannot be written to: it is then measured every time
        pass
    return values
