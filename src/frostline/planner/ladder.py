"""The rungs from full fine-tuning down: each takes less memory than the one before, and costs more of something else.

First what costs no quality, by what it costs in time; then what costs some. The last resort is to split the batch: the
gradients are the same, but every part pays anew for what does not depend on its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to train.

    Attributes:
        name: in words.
        costs: what it gives up for its memory, in words.
        changes: fields of `Steps` that differ from what the user asked for.
        split: parts into which a batch is split.
        accumulation: batches that are added up for one step in any case.
        budgeted: whether its settings are made for a budget (method `auto`).
    """

    name: str
    costs: str
    changes: dict[str, Any] = field(default_factory=dict)
    split: int = 1
    accumulation: int = 1
    budgeted: bool = False

    @property
    def parts(self) -> int:
        """Forward passes whose gradients are added up for one step."""
        return self.split * self.accumulation


_STORAGE = {
    "exact": ("stock storage", "nothing"),
    "lossless": ("storage lossless", "a few percent of time; gradients equal to rounding"),
    "compact": ("storage compact", "a tenth of time; gradients nearly the same"),
    "smallest": ("storage smallest", "one more forward pass; gradients nearly the same"),
}
_POLICIES = {"keep": "not all weights train at a step", "release": "the same, and moments that start anew"}


def ladder(
    method: str | None,
    batch_size: int,
    storage: Any = None,
    *,
    fused: bool = True,
    lighter: Sequence[dict[str, Any]] = (),
    accumulation: int = 1,
) -> list[Rung]:
    """Return the rungs, the one that gives up least first.

    Args:
        method: the user's, which is kept; None to choose among full fine-tuning and `auto`.
        batch_size: examples, which can be split into as many parts.
        storage: the user's, which is kept; None to choose.
        fused: whether each weight may move within backward: not where gradients are clipped or added up.
        lighter: settings of the user's method that train less and less, where he has said none.
        accumulation: batches that the user adds up for one step; each may be split further.
    """
    ways = _STORAGE if storage is None else {storage if isinstance(storage, str) else "yours": ("your storage", "")}
    kept, (last, _) = list(ways)[-1] if storage is None else storage, list(ways.values())[-1]
    rungs: list[Rung] = []
    if method != AUTO:
        rungs = _at_its_most(method or "full", ways, kept, lighter, storage, fused)
        for settings in lighter[1:]:
            words = " ".join(f"{key}={value}" for key, value in settings.items())
            changes = {"method": method, "storage": kept, "settings": settings}
            rungs.append(Rung(f"{method} {words}, {last}", "fewer weights train", changes))
    if method in (None, AUTO):
        for policy, costs in _POLICIES.items():
            changes = {"method": AUTO, "storage": kept, "optimizer_state": policy}
            rungs.append(Rung(f"auto, {last}, optimizer state: {policy}", costs, changes, budgeted=True))
    whole = [rung for rung in rungs if not rung.changes.get("fused_backward")][-1]
    parts = 2
    while parts <= batch_size:
        rungs.append(replace(whole, name=f"{whole.name}, batch in {parts} parts", costs="time", split=parts))
        parts *= 2
    return [replace(rung, accumulation=accumulation) for rung in rungs]


def suffixes(storage: Any, blocks: int) -> list[Rung]:
    """Return a rung for each number of last blocks that train, most first: what fits a limit on the upload (CAFF)."""
    kept = "smallest" if storage is None else storage
    return [
        Rung(
            f"layers count={count}",
            "fewer weights train",
            {"method": "layers", "settings": {"count": count}, "storage": kept},
        )
        for count in range(blocks, -1, -1)
    ]


def _at_its_most(
    method: str,
    ways: dict[str, tuple[str, str]],
    kept: Any,
    lighter: Sequence[dict[str, Any]],
    storage: Any,
    fused: bool,
) -> list[Rung]:
    settings = {"settings": lighter[0]} if lighter else {}
    rungs = [
        Rung(f"{method}, {name}", costs, {"method": method, "storage": way if storage is None else storage, **settings})
        for way, (name, costs) in ways.items()
    ]
    if fused:
        changes = {"method": method, "storage": kept, "fused_backward": True, **settings}
        rungs.append(Rung(f"{rungs[-1].name}, fused backward", "the clipping of gradients", changes))
    return rungs
