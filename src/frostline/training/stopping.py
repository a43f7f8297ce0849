"""What becomes of a run that ends before its time: its folder says why, and the user how to go on."""

from __future__ import annotations

import errno
import os
from typing import Any

import torch
from safetensors import SafetensorError

from frostline.budget import written
from frostline.errors import (
    BudgetExceeded,
    CheckpointError,
    FrostlineError,
    Interrupted,
    OutOfMemory,
    TrainingDiverged,
)
from frostline.training import checkpoints
from frostline.training.run_folder import RunFolder, write_json

_REFUSED = "can't allocate memory"  # torch's allocator on a CPU
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def explained(error: BaseException, folder: RunFolder, record: dict[str, Any]) -> BaseException:
    """Return the error to raise in place of `error`, having noted it in run.json."""
    if isinstance(error, KeyboardInterrupt):
        return stopped(Interrupted("stopped at once."), folder, record)
    if is_out_of_memory(error):
        return stopped(_out_of_memory(error, record), folder, record)
    if isinstance(error, (OSError, SafetensorError)):
        full = isinstance(error, OSError) and error.errno in _FULL
        full = full or any(os.strerror(code) in str(error) for code in _FULL)
        reason = "there is no space left" if full else str(error)
        return stopped(CheckpointError(f"saving failed: {reason}."), folder, record)
    if isinstance(error, TrainingDiverged):
        hint = "Lower the learning rate or add warm-up."
        return stopped(TrainingDiverged(f"{error} {hint}"), folder, record)
    _note(folder, record, "failed", f"{type(error).__name__}: {error}")
    return error


def _out_of_memory(error: BaseException, record: dict[str, Any]) -> FrostlineError:
    said = what_was_refused(error)
    if "planned" in record:
        budget = record["planned"]["budget"]
        return BudgetExceeded(f"{said}, with a budget of {written(budget)}: give a larger one, or a smaller batch.")
    return OutOfMemory(f"{said}: give what there is as the budget, --budget auto, or a smaller batch.")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the system, or torch's allocator, refused memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _REFUSED in str(error)


def what_was_refused(error: BaseException) -> str:
    """Return the sentence that says so: torch puts a line of its source before it, and advice behind it."""
    text = str(error) or "out of memory"
    return (text.partition("DefaultCPUAllocator: ")[2] or text).partition(". ")[0]


def stopped(error: FrostlineError, folder: RunFolder, record: dict[str, Any]) -> FrostlineError:
    """Return `error` with the way to go on, having noted it in run.json and removed a half-written checkpoint."""
    checkpoints.discard_partial(folder.checkpoints)
    found = checkpoints.latest(folder.checkpoints)
    if found is None:
        where = " No checkpoint had been written yet."
    elif isinstance(error, TrainingDiverged):  # resumed, it would diverge again
        where = f" The last whole checkpoint is {found}; to use it: frostline export {found} FOLDER"
    else:
        where = f" The last whole checkpoint is {found}; go on with: frostline train --resume --output {folder.path}"
        where += " --budget MORE" if isinstance(error, BudgetExceeded) else ""
    _note(folder, record, type(error).__name__.lower(), str(error))
    return type(error)(f"{error}{where}")


def _note(folder: RunFolder, record: dict[str, Any], status: str, message: str) -> None:
    try:
        write_json(folder.run, record | {"status": status, "message": message})
    except OSError:
        folder.run.with_name("run.json.tmp").unlink(missing_ok=True)  # a full disk: run.json goes on saying `running`
