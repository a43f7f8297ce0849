"""What an operation is called: torch's functions by the field's names, and autograd Functions by theirs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch

_APPLY = torch.autograd.Function.__dict__["apply"].__func__.__code__
_REFLECTED = {"radd": "add", "rmul": "mul", "rmatmul": "matmul", "rpow": "pow", "rtruediv": "div", "truediv": "div"}
_NAMES = {**_REFLECTED, "native_dropout": "dropout"}
# Functions that others wrote and whose names say little.
_FOREIGN = {"_NoopSaveInputs": "checkpoint", "CheckpointFunction": "checkpoint"}


def operation_name(func: Callable[..., Any]) -> str:
    """Return the field's name of a torch function: `__rmul__` is `mul`."""
    name = str(getattr(func, "__name__", func)).strip("_")
    return _NAMES.get(name, name)


def function_name(cls: type) -> str:
    """Return what an autograd Function calls its `operation`, else its class's name as functions are written."""
    operation = getattr(cls, "operation", None) or _FOREIGN.get(cls.__name__)
    if operation is not None:
        return str(operation)
    plain = cls.__name__.strip("_").removesuffix("Function") or cls.__name__
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain).lower()


def running_function() -> type | None:
    """Return the innermost autograd Function whose `apply` runs now.

    Its tensors are saved inside `apply`, after its forward function, with no word of which Function it is.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _APPLY:
            cls: type = frame.f_locals["cls"]
            return cls
        frame = frame.f_back
    return None
