"""What other tools may not have made of a model whose units freeze and thaw."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from frostline.errors import UnsupportedModel


def require_plain(model: nn.Module) -> None:
    """Raise UnsupportedModel where the model is compiled, or its weights are shards."""
    if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()):
        _refuse_compiled()
    require_whole(model)


def refuse_compilation(module: nn.Module, arguments: Any) -> None:
    """Raise UnsupportedModel in a forward pass that is being compiled: `torch.compile` around the model shows there.

    A forward pre-hook of the model. What is decided while compiling is part of what is compiled, so the call stays.
    """
    if torch.compiler.is_compiling():
        _refuse_compiled()


@torch.compiler.disable(reason="raises to the caller, not to the compiler")  # type: ignore[untyped-decorator]  # torch leaves it untyped
def _refuse_compiled() -> None:
    raise UnsupportedModel(
        "the model is compiled: units that freeze and thaw would recompile it; leave torch.compile out, before "
        "prepare() and after."
    )


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
