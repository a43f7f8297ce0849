"""The rungs from full fine-tuning down: each takes less memory than the one before, and costs more of something else.

First what costs no quality, by what it costs in time: storage, then the batch in parts, whose gradients are the same
but of which every part pays anew for what does not depend on its size. Then what costs some: the embeddings stay as
they are, whose tables hold up to half of a small model's weights and seldom move; then not all weights train at a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from frostline.storage import with_blocks

AUTO = "auto"


AS_PLANNED = "as planned"
"""The one rung of a plan that is there already."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to train.

    Attributes:
        way: in words, of the whole batch.
        costs: what it gives up for its memory, in words.
        changes: fields of `Steps` that differ from what the user asked for.
        splittable: whether the batch may be split before the next rung is tried.
        budgeted: whether its settings are made for a budget (method `auto`).
        family: rungs that differ in storage alone have the same.
        above: the rung before, where it differs from this one in storage alone.
        better: so many of the last blocks have the storage of that, as there is memory left.
        split: parts into which a batch is split.
        accumulation: batches that are added up for one step in any case.
    """

    way: str
    costs: str
    changes: dict[str, Any] = field(default_factory=dict)
    splittable: bool = False
    budgeted: bool = False
    family: str = ""
    above: Rung | None = None
    better: int = 0
    split: int = 1
    accumulation: int = 1

    @property
    def name(self) -> str:
        """In words."""
        blocks = "" if self.better == 0 else f", {self.better} of the blocks {self.above_words}"
        return f"{self.way}{blocks}" + ("" if self.split == 1 else f", batch in {self.split} parts")

    @property
    def parts(self) -> int:
        """Forward passes whose gradients are added up for one step."""
        return self.split * self.accumulation

    @property
    def above_words(self) -> str:
        """The storage of the rung before, in words."""
        return "" if self.above is None else _STORAGE[self.above.changes["storage"]][0]

    def with_better(self, blocks: Sequence[str]) -> Rung:
        """Return the same, some blocks with the storage of the rung before."""
        assert self.above is not None
        storage = with_blocks(self.changes["storage"], blocks, self.above.changes["storage"])
        return replace(self, changes={**self.changes, "storage": storage}, splittable=False, better=len(blocks))

    def in_parts(self, split: int) -> Rung:
        """Return the same with the batch in so many parts."""
        return replace(self, costs="a little time", splittable=False, split=split)


_STORAGE = {
    "exact": ("stock storage", "nothing"),
    "lossless": ("storage lossless", "a few percent of time; gradients equal to rounding"),
    "compact": ("storage compact", "a tenth of time; gradients nearly the same"),
    "smallest": ("storage smallest", "one more forward pass; gradients nearly the same"),
}
_POLICIES = {
    "keep": "not all weights train at a step, tables of embeddings never",
    "release": "not all weights train at a step, and moments start anew",
    "offload": "not all weights train at a step, and moments are fetched",
}
_BLOCKS = "the training of the embeddings"


def ladder(
    method: str | None,
    storage: Any = None,
    *,
    blocks: int = 0,
    fused: bool = True,
    lighter: Sequence[dict[str, Any]] = (),
    accumulation: int = 1,
    optimizer_state: str | None = None,
    work_is_limited: bool = False,
) -> list[Rung]:
    """Return the rungs, the one that gives up least first.

    Args:
        method: the user's, which is kept; None to choose among full fine-tuning, all blocks and `auto`.
        storage: the user's, which is kept; None to choose.
        blocks: how many the model has; needed where the method is chosen.
        fused: whether each weight may move within backward: not where gradients are clipped or added up.
        lighter: settings of the user's method that train less and less, where he has said none.
        accumulation: batches that the user adds up for one step; each may be split further.
        optimizer_state: the user's, which is kept; None to choose that of `auto`.
        work_is_limited: then `auto` has a rung for each storage, as what takes least memory does the most work.
    """
    ways = _STORAGE if storage is None else {storage if isinstance(storage, str) else "yours": ("your storage", "")}
    kept, (last, _) = list(ways)[-1] if storage is None else storage, list(ways.values())[-1]
    rungs: list[Rung] = []
    if method != AUTO:
        settings = {"settings": lighter[0]} if lighter else {}
        rungs = _family(method or "full", {"method": method or "full", **settings}, ways, storage, fused=fused)
        for less in lighter[1:]:
            words = " ".join(f"{key}={value}" for key, value in less.items())
            changes = {"method": method, "storage": kept, "settings": less}
            rungs.append(Rung(f"{method} {words}, {last}", "fewer weights train", changes, less == lighter[-1]))
    if method is None:
        changes = {"method": "layers", "settings": {"count": blocks}}
        rungs += _family("all blocks", changes, ways, storage, costs=_BLOCKS, fused=fused)
    if method in (None, AUTO):
        policies = ["keep", "release"] if optimizer_state is None else [optimizer_state]
        for policy in policies:
            for way, (words, _) in list(ways.items())[0 if work_is_limited else -1 :]:
                changes = {"method": AUTO, "storage": way if storage is None else storage, "optimizer_state": policy}
                name, splittable = f"auto, {words}, optimizer state: {policy}", policy == policies[-1]
                rungs.append(Rung(name, _POLICIES[policy], changes, splittable, budgeted=True, family=AUTO))
    return [replace(rung, accumulation=accumulation) for rung in rungs]


def suffixes(storage: Any, blocks: int) -> list[Rung]:
    """Return a rung for each number of last blocks that train, most first: what fits a limit on the upload (CAFF)."""
    kept = "smallest" if storage is None else storage
    return [
        Rung(
            f"layers count={count}",
            "fewer weights train",
            {"method": "layers", "settings": {"count": count}, "storage": kept},
            family="suffixes",
        )
        for count in range(blocks, -1, -1)
    ]


def _family(
    name: str, changes: dict[str, Any], ways: dict[str, tuple[str, str]], storage: Any, *, costs: str = "", fused: bool
) -> list[Rung]:
    """Return a rung for each storage, the last of which may split the batch, and one with fused backward."""

    def given_up(more: str) -> str:
        return "; ".join(filter(None, (costs, "" if costs and more == "nothing" else more)))

    rungs: list[Rung] = []
    for way, (words, more) in ways.items():
        own = {**changes, "storage": way if storage is None else storage}
        above = rungs[-1] if rungs else None
        last = way == list(ways)[-1]
        rungs.append(Rung(f"{name}, {words}", given_up(more), own, splittable=last, family=name, above=above))
    if fused:
        own = {**rungs[-1].changes, "fused_backward": True}
        rungs.append(Rung(f"{rungs[-1].name}, fused backward", given_up("the clipping of gradients"), own, family=name))
    return rungs
