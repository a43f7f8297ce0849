"""Several processes that train one model together."""

from __future__ import annotations

from torch import distributed

from frostline.errors import ConfigError


def require_alone(why: str, processes: int | None = None) -> None:
    """Raise ConfigError where there is more than one process.

    Args:
        why: several cannot do it.
        processes: how many there are; what `torch.distributed` says if None.
    """
    if processes is None:
        started = distributed.is_available() and distributed.is_initialized()
        processes = distributed.get_world_size() if started else 1
    if processes > 1:
        raise ConfigError(f"Frostline does not support {processes} processes here: {why}; run one process.")
