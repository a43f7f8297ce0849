"""Puts structure and trace together; refuses, by name, what it does not understand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from typing import Any

from torch import nn

from frostline.anatomy.blocks import block_stacks
from frostline.anatomy.linears import features, is_linear
from frostline.anatomy.recorder import Trace, Use
from frostline.anatomy.trace import trace_forward
from frostline.anatomy.values import Anatomy, FeedForward, Kind, Region, Unit
from frostline.errors import UnsupportedModel

_NORMS = frozenset({"layer_norm", "rms_norm", "group_norm"})
_CONVOLUTIONS = frozenset({"conv1d", "conv2d"})
_TABLED = frozenset({"getitem", "index_select", "linear"})  # that pick rows of a table, or project them all
_ATTENTION_KINDS: dict[frozenset[str], Kind] = {
    frozenset({"query"}): "query",
    frozenset({"key"}): "key",
    frozenset({"value"}): "value",
    frozenset({"key", "value"}): "key_value",
    frozenset({"query", "key", "value"}): "query_key_value",
    frozenset({"output"}): "attention_output",
}


def discover(model: nn.Module, example: Mapping[str, Any] | None = None) -> Anatomy:
    """Return the anatomy of `model`, found by structure and by a trace on fake tensors.

    Args:
        model: a transformer made of repeated blocks; it is left as it was.
        example: keyword arguments for one forward pass; made up from the config for text and image models.

    Raises:
        UnsupportedModel: names the part that was not understood.
    """
    stacks = block_stacks(model)
    trace = trace_forward(model, stacks, example)
    running = _running(model, stacks, trace)
    places = _Places(running, trace)
    blocks = list(chain.from_iterable(running))
    frozen = tuple(name for name, p in model.named_parameters() if not p.requires_grad)
    feed_forwards, adapters = _pairs(model, trace, places)
    pair_kinds: dict[str, Kind] = dict.fromkeys(adapters, "adapter")
    for pair in feed_forwards:
        pair_kinds |= {f"{layer}.weight": "ffn_in" for layer in pair.widening}
        pair_kinds[f"{pair.lin2}.weight"] = "ffn_out"

    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    units: dict[str, Unit] = {}
    for use in trace.uses:
        if use.parameter in units:
            continue
        region, block = places.of(use)
        shape = shapes[use.parameter]
        kind = pair_kinds.get(use.parameter) or _kind(use, region, trace, shape)
        units[use.parameter] = Unit.of_parameter(use.parameter, block, region, kind, shape)
    return Anatomy(
        units=tuple(unit for unit in units.values() if unit.name not in frozen),
        blocks=tuple(blocks),
        feed_forwards=tuple(pair for pair in feed_forwards if f"{pair.lin1}.weight" in units),
        unused=tuple(name for name in shapes if name not in units and name not in frozen),
        frozen=frozen,
        parameter_count=sum(p.numel() for p in model.parameters()),
        attentions=tuple({_holder(unit): None for unit in units.values() if unit.kind in ("query", "query_key_value")}),
    )


def _holder(unit: Unit) -> str:
    """Return the module that holds a Linear, PEFT's wrapper around that aside."""
    return unit.name.removesuffix(".weight").removesuffix(".base_layer").rpartition(".")[0]


def _running(model: nn.Module, stacks: Sequence[Sequence[str]], trace: Trace) -> list[Sequence[str]]:
    """Return the stacks that run, in forward order; each from its first block to its last, one after the other."""
    name = type(model).__name__
    running = sorted(
        (stack for stack in stacks if set(stack) & set(trace.order)),
        key=lambda stack: min(trace.order.index(block) for block in stack if block in trace.order),
    )
    if not running:
        raise UnsupportedModel(f"{name}: the blocks {stacks[0][0]}, ... are never run by its forward pass.")
    order = [block for block, _ in groupby(trace.order)]  # a block that is shared by all depths runs again and again
    calls = Counter(order)
    for block in chain.from_iterable(running):
        if calls[block] != 1:
            raise UnsupportedModel(
                f"{name}: block {block!r} runs {trace.order.count(block)} times in one forward pass, others between; "
                "blocks that are skipped or come back are not understood."
            )
    if order != list(chain.from_iterable(running)):
        raise UnsupportedModel(f"{name}: its blocks run in the order {', '.join(order)}, not as numbered.")
    return running


class _Places:
    """Says where in the forward order a parameter is used.

    What runs between two stacks, such as the merging of Swin's patches or the embeddings of a decoder, counts to the
    block before it.
    """

    def __init__(self, running: Sequence[Sequence[str]], trace: Trace) -> None:
        self._order = trace.order
        self._depth = {block: depth for depth, block in enumerate(chain.from_iterable(running))}
        self._last = {stack[-1] for stack in running}

    def of(self, use: Use) -> tuple[Region, int | None]:
        if use.entered == 0:
            return "embeddings", None
        block = self._order[use.entered - 1]
        if use.inside:
            return "blocks", self._depth[block]
        if use.entered == len(self._order):
            return "head", None
        if block not in self._last or self._order[use.entered] == block:
            raise UnsupportedModel(f"parameter {use.parameter!r} is used between two blocks, which is not understood.")
        return "blocks", self._depth[block]


def _kind(use: Use, region: Region, trace: Trace, shape: Sequence[int]) -> Kind:
    dimensions = len(shape)
    if use.role == "bias":
        return "bias"
    if use.role == "weight":
        if use.operation in _NORMS:
            return "norm"
        if use.operation == "embedding":
            return "embedding"
        if use.operation in _CONVOLUTIONS:
            return "convolution"
        roles = frozenset(trace.attention.get(use.parameter, ()))
        if not roles or region != "blocks":
            return "linear"
        if roles in _ATTENTION_KINDS:
            return _ATTENTION_KINDS[roles]
        raise UnsupportedModel(f"weight {use.parameter!r} acts as {' and '.join(sorted(roles))} of attention at once.")
    if region == "embeddings":  # a class token, a table of positions: added or put in front, not looked up
        return "embedding"
    if use.operation in _TABLED and dimensions > 1:  # a table of positions within attention, as Swin's or DeBERTa's
        return "embedding"
    if use.operation == "mul" and dimensions == 1:  # the scale of a norm that is written out, as Llama's
        return "norm"
    if use.operation == "add" and dimensions == 1:  # a bias that is written out
        return "bias"
    if use.operation == "mul" and dimensions > 1 and max(shape) == math.prod(shape):  # scales, as IA3's
        return "adapter"
    if region == "head":  # such as a temperature: whatever it does, no block depends on it
        return "other"
    raise UnsupportedModel(
        f"parameter {use.parameter!r} is used by the operation {use.operation!r} (in the {region}), "
        "which is not understood."
    )


def _pairs(model: nn.Module, trace: Trace, places: _Places) -> tuple[list[FeedForward], list[str]]:
    """Return the FFN pairs, and the weights of pairs that are narrower within than without: adapters, as PEFT's."""
    uses: dict[str, list[Use]] = {}
    for use in trace.uses:
        uses.setdefault(use.parameter, []).append(use)
    pairs: list[FeedForward] = []
    adapters: list[str] = []
    for weight2, feeders in trace.feeds.items():
        weights1 = sorted(feeders, key=list(uses).index)
        where = _same_place([uses.get(weight, []) for weight in (*weights1, weight2)], places)
        if where is None:
            continue
        layers = [weight.removesuffix(".weight") for weight in (*weights1, weight2)]
        sizes = [features(module) for module in map(model.get_submodule, layers) if is_linear(module)]
        if len(sizes) < len(layers):
            continue
        (width, hidden), *others, second = sizes
        if not others and hidden < min(width, second[1]):
            adapters += [*weights1, weight2]
        elif trace.attention.keys() & {*weights1, weight2}:
            continue
        elif second == (hidden, width) and all(other == (width, hidden) for other in others):
            *gate, lin1, lin2 = layers
            pairs.append(FeedForward(where, lin1, lin2, width, hidden, *gate))
    return pairs, adapters


def _same_place(uses: Sequence[Sequence[Use]], places: _Places) -> int | None:
    """Return the block in which all weights are used, the same times and once at a time; None where they are not."""
    runs = [use.entered for use in uses[0]]
    if any([use.entered for use in found] != runs for found in uses) or len(set(runs)) < len(runs):
        return None  # shared with another layer
    where = {(use.inside, places.of(use)[1]) for found in uses for use in found}
    if len(where) != 1:
        return None
    ((inside, block),) = where
    return block if inside else None
