"""Finds the stacks of repeated blocks by structure: numbered siblings of one class with the same weights."""

from __future__ import annotations

from torch import nn

from frostline.errors import UnsupportedModel


def block_stacks(model: nn.Module) -> list[list[str]]:
    """Return the candidate stacks of blocks, outermost only, each as module names in order.

    A stack is a module whose children are numbered 0, 1, ... and are alike: same class, and the parameter names and
    shapes of one, which has at least two matrices, are in all; some may have more, as T5's first block has its table of
    positions. Whether its members run in order is for the trace to say.

    Raises:
        UnsupportedModel: no module of this model has such children.
    """
    stacks: list[list[str]] = []
    inside: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(prefix) for prefix in inside):
            continue
        children = list(module.named_children())
        if not children or [child for child, _ in children] != [str(i) for i in range(len(children))]:
            continue
        members = [member for _, member in children]
        if not _alike(members) or min(sum(p.ndim > 1 for p in m.parameters()) for m in members) < 2:
            continue
        prefix = f"{name}." if name else ""
        stacks.append([prefix + child for child, _ in children])
        inside.append(prefix)
    if not stacks:
        raise UnsupportedModel(
            f"{type(model).__name__} has no stack of identical blocks: no module has numbered children of one class "
            "with the same weights. Frostline understands transformers made of repeated blocks."
        )
    return stacks


def _alike(modules: list[nn.Module]) -> bool:
    layouts = [{(name, tuple(p.shape)) for name, p in module.named_parameters()} for module in modules]
    common = min(layouts, key=len)
    # Storage that is on some of them has given those a class of its own.
    classes = {getattr(type(module), "stands_for", type(module)) for module in modules}
    return len(classes) == 1 and all(common <= layout for layout in layouts)
