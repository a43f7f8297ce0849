"""The rungs from full fine-tuning down: each takes less memory than the one before, and costs more of something else.

First what costs no quality, by what it costs in time; then what costs some. The last resort is to split the batch: the
gradients are the same, but every part pays anew for what does not depend on its size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to train.

    Attributes:
        name: in words.
        costs: what it gives up for its memory, in words.
        changes: fields of `Steps` that differ from what the user asked for.
        parts: into which a batch is split.
        budgeted: whether its settings are made for a budget (method `auto`).
    """

    name: str
    costs: str
    changes: dict[str, Any] = field(default_factory=dict)
    parts: int = 1
    budgeted: bool = False


_STORAGE = {
    "exact": ("stock storage", "nothing"),
    "lossless": ("storage lossless", "a few percent of time; gradients equal to rounding"),
    "compact": ("storage compact", "a tenth of time; gradients nearly the same"),
    "smallest": ("storage smallest", "one more forward pass; gradients nearly the same"),
}
_POLICIES = {"keep": "not all weights train at a step", "release": "the same, and moments that start anew"}


def ladder(method: str | None, batch_size: int, storage: Any = None, *, fused: bool = True) -> list[Rung]:
    """Return the rungs, the one that gives up least first.

    Args:
        method: the user's, which is kept; None to choose among full fine-tuning and `auto`.
        batch_size: examples, which can be split into as many parts.
        storage: the user's, which is kept; None to choose.
        fused: whether each weight may move within backward: not where gradients are clipped or added up.
    """
    first = "full" if method is None else method
    ways = _STORAGE if storage is None else {storage if isinstance(storage, str) else "yours": ("your storage", "")}
    kept = list(ways)[-1] if storage is None else storage
    rungs = []
    if first != AUTO:
        rungs = [
            Rung(f"{first}, {name}", costs, {"method": first, "storage": way if storage is None else storage})
            for way, (name, costs) in ways.items()
        ]
        if fused:
            changes = {"method": first, "storage": kept, "fused_backward": True}
            rungs.append(Rung(f"{rungs[-1].name}, fused backward", "the clipping of gradients", changes))
    if method in (None, AUTO):
        for policy, costs in _POLICIES.items():
            changes = {"method": AUTO, "storage": kept, "optimizer_state": policy}
            name = f"auto, {ways[list(ways)[-1]][0]}, optimizer state: {policy}"
            rungs.append(Rung(name, costs, changes, budgeted=True))
    whole = [rung for rung in rungs if not rung.changes.get("fused_backward")][-1]
    parts = 2
    while parts <= batch_size:
        rungs.append(Rung(f"{whole.name}, batch in {parts} parts", "time", whole.changes, parts, whole.budgeted))
        parts *= 2
    return rungs
