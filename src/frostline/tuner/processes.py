"""Several processes that train one model together."""

from __future__ import annotations

from torch import distributed, nn

from frostline.errors import ConfigError, UnsupportedModel


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


def require_whole(model: nn.Module) -> None:
    """Raise UnsupportedModel where a weight is a shard (DTensor), as FSDP2's `fully_shard` makes each.

    Shards take the place of the weights that units are made of, and are gathered and put away by hooks of their own.
    """
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "full_tensor"):
            raise UnsupportedModel(
                f"the weight {name!r} is a shard ({type(parameter).__name__}), as FSDP2's fully_shard makes it: units "
                "freeze and thaw whole weights. Leave fully_shard out, before prepare() and after; processes that each "
                "hold the whole model (DistributedDataParallel) can train it."
            )
