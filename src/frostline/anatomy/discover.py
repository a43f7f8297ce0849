"""Puts structure and trace together; refuses, by name, what it does not understand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from frostline.anatomy.blocks import block_stacks
from frostline.anatomy.trace import Trace, Use, trace_forward
from frostline.anatomy.values import Anatomy, FeedForward, Kind, Region, Unit
from frostline.errors import UnsupportedModel

_NORMS = frozenset({"layer_norm", "rms_norm", "group_norm"})
_CONVOLUTIONS = frozenset({"conv1d", "conv2d"})
_ATTENTION_KINDS: dict[frozenset[str], Kind] = {
    frozenset({"query"}): "query",
    frozenset({"key"}): "key",
    frozenset({"value"}): "value",
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
    blocks = _the_stack(model, stacks, trace)
    frozen = tuple(name for name, p in model.named_parameters() if not p.requires_grad)
    feed_forwards = _feed_forwards(model, trace)
    ffn_kinds: dict[str, Kind] = {}
    for pair in feed_forwards:
        ffn_kinds[f"{pair.lin1}.weight"] = "ffn_in"
        ffn_kinds[f"{pair.lin2}.weight"] = "ffn_out"

    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    units: dict[str, Unit] = {}
    for use in trace.uses:
        if use.parameter in units:
            continue
        region, block = _whereabouts(use)
        shape = shapes[use.parameter]
        kind = ffn_kinds.get(use.parameter) or _kind(use, region, trace, len(shape))
        units[use.parameter] = Unit.of_parameter(use.parameter, block, region, kind, shape)
    return Anatomy(
        units=tuple(unit for unit in units.values() if unit.name not in frozen),
        blocks=tuple(blocks),
        feed_forwards=tuple(pair for pair in feed_forwards if f"{pair.lin1}.weight" in units),
        unused=tuple(name for name in shapes if name not in units and name not in frozen),
        frozen=frozen,
        parameter_count=sum(p.numel() for p in model.parameters()),
    )


def _the_stack(model: nn.Module, stacks: Sequence[Sequence[str]], trace: Trace) -> Sequence[str]:
    name = type(model).__name__
    running = [stack for stack in stacks if any(trace.calls.get(block) for block in stack)]
    if not running:
        raise UnsupportedModel(f"{name}: the blocks {stacks[0][0]}, ... are never run by its forward pass.")
    if len(running) > 1:
        heads = ", ".join(stack[0].rsplit(".", 1)[0] or "the model itself" for stack in running)
        raise UnsupportedModel(f"{name} has {len(running)} stacks of blocks ({heads}); one is understood.")
    (stack,) = running
    for block in stack:
        calls = trace.calls.get(block, 0)
        if calls != 1:
            raise UnsupportedModel(
                f"{name}: block {block!r} runs {calls} times in one forward pass; blocks that are shared or skipped "
                "are not understood."
            )
    if trace.order != list(stack):
        raise UnsupportedModel(f"{name}: its blocks run in the order {', '.join(trace.order)}, not as numbered.")
    return stack


def _whereabouts(use: Use) -> tuple[Region, int | None]:
    if isinstance(use.place, int):
        return "blocks", use.place
    if use.place == "between":
        raise UnsupportedModel(f"parameter {use.parameter!r} is used between two blocks, which is not understood.")
    return ("embeddings", None) if use.place == "before" else ("head", None)


def _kind(use: Use, region: Region, trace: Trace, dimensions: int) -> Kind:
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
    if use.operation == "mul" and dimensions == 1:  # the scale of a norm that is written out, as Llama's
        return "norm"
    raise UnsupportedModel(
        f"parameter {use.parameter!r} is used by the operation {use.operation!r} (in the {region}), "
        "which is not understood."
    )


def _feed_forwards(model: nn.Module, trace: Trace) -> list[FeedForward]:
    places: dict[str, list[int | str]] = {}
    for use in trace.uses:
        places.setdefault(use.parameter, []).append(use.place)
    pairs: list[FeedForward] = []
    for weight2, weight1 in trace.feeds.items():
        where = places.get(weight1, []) + places.get(weight2, [])
        if len(where) != 2 or where[0] != where[1] or not isinstance(where[0], int):
            continue  # shared, in two places, or in the head
        if weight1 in trace.attention or weight2 in trace.attention:
            continue
        lin1, lin2 = weight1.removesuffix(".weight"), weight2.removesuffix(".weight")
        first, second = model.get_submodule(lin1), model.get_submodule(lin2)
        if type(first) is not nn.Linear or type(second) is not nn.Linear:
            continue
        if (first.in_features, first.out_features) == (second.out_features, second.in_features):
            pairs.append(FeedForward(where[0], lin1, lin2, first.in_features, first.out_features))
    return pairs
