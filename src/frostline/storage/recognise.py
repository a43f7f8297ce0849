"""Says which kind of operation a module is, by the forward function of its class; None is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from frostline.anatomy import Anatomy
from frostline.storage.operations.activation import StoredActivation, kind_of
from frostline.storage.operations.cross_entropy import in_chunks
from frostline.storage.operations.dropout import StoredDropout
from frostline.storage.operations.linear import StoredConv1D, StoredLinear
from frostline.storage.operations.norm import StoredLayerNorm, StoredRMSNorm
from frostline.storage.operations.swiglu import StoredGatedMLP, is_gated

_LINEAR = (nn.Linear.forward, Conv1D.forward, StoredLinear.forward, StoredConv1D.forward)
_NORM = (nn.LayerNorm.forward, nn.RMSNorm.forward, StoredLayerNorm.forward, StoredRMSNorm.forward)
_DROPOUT = (nn.Dropout.forward, StoredDropout.forward)


def kinds(model: nn.Module, anatomy: Anatomy) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield every module that can keep less: its name, itself and its kind, a field of `Ways`.

    Args:
        model: as it is now, a method's structure and storage included.
        anatomy: of the model when it was plain.
    """
    if chunked_loss(model) is not None:
        yield "loss", model, "loss"
    second = {pair.lin2 for pair in anatomy.feed_forwards}
    for name, module in model.named_modules():
        if name in anatomy.blocks:
            yield name, module, "block"
        elif name in anatomy.attentions:
            yield name, module, "attention"
        else:
            kind = _kind(module)
            if kind is not None:
                yield (
                    name,
                    module,
                    "ffn_out" if kind == "linear" and name.removesuffix(".base_layer") in second else kind,
                )


def _kind(module: nn.Module) -> str | None:
    forward = type(module).forward
    if hasattr(module, "keeps_as_linear") or forward in _LINEAR:
        return "linear"
    if forward in _NORM:
        return "norm"
    if forward in _DROPOUT:
        return "dropout"
    if isinstance(module, StoredGatedMLP) or is_gated(module):
        return "gated"
    return "activation" if _is_activation(module) else None


def chunked_loss(model: nn.Module) -> Callable[..., Any] | None:
    """Return the loss in chunks that stands for the model's own, None if there is none."""
    loss = getattr(model, "loss_function", None)
    return None if loss is None else in_chunks(loss)


def consumer(model: nn.Module, anatomy: Anatomy, activation: str) -> Callable[[], bool] | None:
    """Return a function that tells whether the Linear behind an FFN's activation needs its whole input; or None.

    None where a gate lies between: what is multiplied with the activation's output reads it, whatever trains.
    """
    for pair in anatomy.feed_forwards:
        if pair.gate is not None:
            continue
        block = anatomy.blocks[pair.block]
        inside = [name for name, m in model.get_submodule(block).named_modules(prefix=block) if _is_activation(m)]
        if inside == [activation]:
            return lambda: _needs_whole_input(model.get_submodule(pair.lin2))
    return None


def _needs_whole_input(module: nn.Module) -> bool:
    if getattr(module, "keeps_part_of_input", False):
        return False
    return any(p.requires_grad and p.ndim > 1 for p in module.parameters())


def _is_activation(module: nn.Module) -> bool:
    return isinstance(module, StoredActivation) or kind_of(module) is not None
