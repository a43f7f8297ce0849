"""Budgets: bytes as people write them, and what this machine has to give."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
from pydantic import ByteSize, TypeAdapter, ValidationError

from frostline.errors import BudgetError, BudgetExceeded

AUTO = "auto"
_SIZES = TypeAdapter(ByteSize)
_CGROUP = Path("/sys/fs/cgroup")
# Pydantic's looks no further than where the amount ends.
_AMOUNT = re.compile(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([kmgtpe]i?)?b?\s*", re.IGNORECASE)
_TIMES = re.compile(r"(\d+(?:\.\d+)?) ?[x×]")


def parse_budget(text: str | int, what: str = "budget") -> int:
    """Return the bytes of a budget: a number of bytes, or one with a unit.

    `kB`, `MB`, `GB` count in thousands, `KiB`, `MiB`, `GiB` in 1024s. `auto` is what is free now.

    Args:
        text: of the budget.
        what: it is, for messages.

    Raises:
        BudgetError: it is no amount of bytes, or not above 0.
    """
    if is_auto(text):
        return free_memory()
    none = BudgetError(
        f"the {what} {text!r} is no amount of memory; write for instance 2GiB, 600MB, a number of bytes, or auto."
    )
    if isinstance(text, bool) or (isinstance(text, str) and not _AMOUNT.fullmatch(text)):
        raise none
    try:
        size = int(_SIZES.validate_python(text))
    except (ValidationError, OverflowError) as error:
        raise none from error
    if size <= 0:
        raise BudgetError(f"the {what} {text!r} is {size} bytes; give more than 0.")
    return size


def is_auto(text: str | int) -> bool:
    """Tell whether a budget is what is free."""
    return isinstance(text, str) and text.strip().casefold() == AUTO


def times_inference(text: str | int) -> float | None:
    """Return how many times what inference takes a budget such as `1.5x` is; None if it is written otherwise.

    Raises:
        BudgetError: it is 0 times.
    """
    found = _TIMES.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    if not float(found[1]):
        raise BudgetError(f"the budget {text!r} is nothing; write for instance 1.5x, which is 1.5 times inference.")
    return float(found[1])


def free_memory() -> int:
    """Return the bytes of memory that a process could take now: what is free, or what its container still allows."""
    free = int(psutil.virtual_memory().available)
    allowed = _container_limit()
    return free if allowed is None else max(0, min(free, allowed))


def total_memory() -> int:
    """Return the bytes of memory that this machine, or its container, has."""
    total = int(psutil.virtual_memory().total)
    limit = _number(_CGROUP / "memory.max")
    return total if limit is None else min(total, limit)


def written(size: int) -> str:
    """Return bytes as people read them, in 1024s: `1.50 GiB`, `600 MiB`."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB")):
        if size >= unit:
            return f"{size / unit:,.2f} {name}"
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size:,} bytes"


def exceeded(what: str, peak: int, budget: int, why: str = "") -> BudgetExceeded:
    """Return the error of a step, or an evaluation, that took `peak` bytes of a smaller budget; then `why`."""
    return BudgetExceeded(
        f"{what} took {peak:,} bytes ({written(peak)}), more than the budget of {budget:,} ({written(budget)}){why}."
    )


def _container_limit() -> int | None:
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    return None if limit is None or used is None else limit - used


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or `max`: no limit
        return None
