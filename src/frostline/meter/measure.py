"""Measures a few training steps in fresh processes, so that nothing of the caller's counts."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

from frostline.children import run_child
from frostline.errors import ConfigError, FrostlineError, OutOfMemory
from frostline.meter.steps import Steps


def measure(**steps: Any) -> dict[str, Any]:
    """Return what a few real steps take, predicted and measured; JSON values, bytes and seconds.

    Args:
        steps: fields of `frostline.meter.steps.Steps`, JSON values.

    Returns:
        `steps` as given, with the defaults; `class`, `device` and `batch` (shapes); `memory` (process_peak,
        process_before, tensor_peak, at_tensor_peak, saved_activations, cuda_allocated, cuda_reserved); `predicted` and
        `measured` bytes at the end of a forward pass and `sites` with both for each site; `step_seconds`, the median
        without the first step, and `all_step_seconds`.

    Raises:
        ConfigError: something that was asked for is refused.
        OutOfMemory: the steps do not fit into this machine.
    """
    asked = asdict(Steps(**steps))  # refuses here what needs no model to be refused
    process = _fresh("process", steps)
    tensors = _fresh("tensors", steps)
    seconds = process["step_seconds"]
    both = {key: value if value is not None else process["memory"].get(key) for key, value in tensors["memory"].items()}
    return {
        "steps": asked,
        **tensors,
        "device": process["device"],
        "memory": {**process["memory"], **both},
        "step_seconds": statistics.median(seconds[1:] or seconds),
        "all_step_seconds": seconds,
    }


def _fresh(kind: str, steps: dict[str, Any]) -> dict[str, Any]:
    code, end = run_child("frostline.meter.child", {"kind": kind, "steps": steps})
    if end.result is not None:
        return end.result
    if end.status == "out_of_memory":
        raise OutOfMemory(
            f"the steps do not fit into this machine's memory: {end.reason} Lower the batch size, the sequence length "
            "or the image size; `frostline sites` says, without running it, what a step keeps and where."
        )
    if code == ConfigError.exit_code:
        raise ConfigError(end.reason)
    raise FrostlineError(f"the measurement failed: {end.reason}")
