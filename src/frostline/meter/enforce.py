"""Lets the system itself keep a budget: an allocation beyond it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from frostline.errors import ConfigError


def enforce(budget: int) -> None:
    """Limit this process, or what torch may reserve on the GPU, to `budget` bytes.

    On Linux the limit is on the process's writable memory (RLIMIT_DATA), counted from what is resident now, and lies
    `RESERVED` above the budget: the system counts what is reserved, too.

    Raises:
        ConfigError: this system has no such limit.
    """
    if torch.cuda.is_available():
        limit_gpu(budget)
    else:
        _limit_process(budget)


def limit_gpu(budget: int | None) -> None:
    """Let torch reserve no more than `budget` bytes on the GPU; None lifts the limit.

    Told its limit, the allocator gives back what it only caches before it would pass it.
    """
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(1.0 if budget is None else min(1.0, budget / total))


@contextmanager
def enforced(budget: int | None) -> Iterator[None]:
    """Limit this process to `budget` bytes for a while, whatever it is on; None for no limit.

    Raises:
        ConfigError: this system has no such limit.
    """
    if budget is None:
        yield
        return
    before = _limit_process(budget)
    try:
        yield
    finally:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, before)


RESERVED = 64 * 2**20
"""Bytes of address space that the first step takes and does not touch, which RLIMIT_DATA counts and a budget does not:
the stacks of threads (8 MiB each), scratch that kernels ask for and leave. Without it runs die whose resident peak is
within their budget (benchmarks/budget/obedience.py, where the processor has AMX)."""


def _limit_process(budget: int) -> tuple[int, int]:
    """Limit the process's writable memory and return the limits before."""
    try:
        import resource

        data = psutil.Process().memory_info().data
    except (ImportError, AttributeError) as error:
        raise ConfigError("enforce=true needs Linux: this system cannot limit a process's memory.") from error
    spare = budget - psutil.Process().memory_info().rss
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit, hard = data + max(0, spare) + RESERVED, before[1]
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    return before
