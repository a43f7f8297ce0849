"""Floating-point operations of one forward pass, module by module: torch's own counter, on fake tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from frostline.anatomy.batches import LABELS
from frostline.anatomy.fakes import fakes
from frostline.errors import UnsupportedModel
from frostline.flop_formulas import CPU_ATTENTION


def module_flops(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, int]:
    """Return the floating-point operations of each module with all that it calls, the model's own under "".

    Counted are matrix products, convolutions and attention; a multiply-add is two. Backward takes as many again for the
    error signal through a module, and for a Linear as many for its weight's gradient.

    Args:
        model: any device, meta included; it is left as it was.
        batch: keyword arguments of `model.forward`; only shapes count.

    Raises:
        UnsupportedModel: the forward pass cannot run on fake tensors.
    """
    inputs = {name: value for name, value in batch.items() if name not in LABELS and name != "attention_mask"}
    try:
        with fakes() as known, torch.no_grad():
            place = torch.device("cpu")
            state = {
                name: known.like(value, place) for name, value in (*model.named_parameters(), *model.named_buffers())
            }
            with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
                functional_call(model, state, (), tree_map(lambda value: known.like(value, place), inputs))
    except Exception as error:
        raise UnsupportedModel(
            f"{type(model).__name__}'s forward pass could not be traced: {type(error).__name__}: {error}. A forward "
            "pass that depends on the data cannot be."
        ) from error
    root = type(model).__name__
    return {
        name.removeprefix(root).removeprefix("."): sum(operations.values())
        for name, operations in counter.get_flop_counts().items()
        if name == root or name.startswith(f"{root}.")
    }
