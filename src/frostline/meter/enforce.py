"""Lets the system itself keep a budget: an allocation beyond it fails."""

from __future__ import annotations

import psutil
import torch

from frostline.errors import ConfigError


def enforce(budget: int) -> None:
    """Limit this process, or what torch may reserve on the GPU, to `budget` bytes.

    On Linux the limit is on the process's writable memory (RLIMIT_DATA), counted from what is resident now.

    Raises:
        ConfigError: this system has no such limit.
    """
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / torch.cuda.get_device_properties(0).total_memory))
        return
    try:
        import resource

        data = psutil.Process().memory_info().data
    except (ImportError, AttributeError) as error:
        raise ConfigError("enforce=true needs Linux: this system cannot limit a process's memory.") from error
    spare = budget - psutil.Process().memory_info().rss
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data + max(0, spare)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
