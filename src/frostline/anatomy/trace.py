"""Watches one forward pass on fake tensors: which operation uses which parameter, in which block, fed by what.

Fake tensors carry shapes and no data, so a trace costs no memory and no arithmetic; a model on the meta device
can be traced as well as a loaded one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from frostline.anatomy.batches import LABELS, example_batch, with_decoder_inputs
from frostline.anatomy.fakes import fakes
from frostline.anatomy.recorder import Recorder, Trace
from frostline.errors import UnsupportedModel


def trace_forward(model: nn.Module, stacks: Iterable[Sequence[str]], example: Mapping[str, Any] | None) -> Trace:
    """Run `model` once on fake tensors and return what was seen.

    Args:
        model: any device, meta included; neither its weights, mode, buffers nor random state change.
        stacks: module names of the candidate blocks.
        example: keyword arguments of `model.forward`; made up from the config when None.

    Raises:
        UnsupportedModel: the forward pass cannot run on fake tensors, or no example could be made up.
    """
    batch = with_decoder_inputs(model, example if example is not None else example_batch(model))
    recorder = Recorder({id(p): name for name, p in model.named_parameters()})
    training = {module: module.training for module in model.modules()}
    with ExitStack() as cleanup:
        for name in itertools.chain.from_iterable(stacks):
            _watch(model.get_submodule(name), name, recorder, cleanup)
        try:
            model.eval()
            with fakes() as known, torch.no_grad():
                device = next(model.parameters()).device
                inputs = {key: known.like(value, device) for key, value in batch.items() if key not in LABELS}
                with recorder:
                    model(**inputs)
        except UnsupportedModel:
            raise
        except Exception as error:
            raise UnsupportedModel(
                f"{type(model).__name__}'s forward pass could not be traced with inputs "
                f"{', '.join(sorted(batch))}: {type(error).__name__}: {error}. "
                "Give a batch it accepts as `example=`; a forward pass that depends on the data cannot be traced."
            ) from error
        finally:
            for module, mode in training.items():
                module.training = mode
    return recorder.finish()


def _watch(block: nn.Module, name: str, recorder: Recorder, cleanup: ExitStack) -> None:
    def enter(*_: Any) -> None:
        recorder.inside = True
        recorder.trace.order.append(name)

    def leave(*_: Any) -> None:
        recorder.inside = False

    cleanup.callback(block.register_forward_pre_hook(enter).remove)
    cleanup.callback(block.register_forward_hook(leave).remove)
