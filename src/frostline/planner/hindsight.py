"""What a plan would have said of a run without a budget: its predicted peak beside the measured one."""

from __future__ import annotations

from typing import Any

from frostline.config import TrainConfig
from frostline.errors import FrostlineError
from frostline.planner import machine
from frostline.planner.request import Request, make_plan
from frostline.training.planned import as_it_is, prediction

_NO_LIMIT = 2**62


def hindsight(config: TrainConfig, record: dict[str, Any]) -> dict[str, Any]:
    """Return the bytes that a run was to take, for the `prediction` of its run.json.

    Predicted is the peak at a batch of rows as long as the longest, under the compact allocator: what freed memory
    another allocator keeps comes on top.

    Args:
        config: of the run, as it was asked for.
        record: run.json's content.

    Returns:
        `predicted`, `measured` and their `ratio`, and the `allocator` of the run; or `reason`, why nothing can be said.
    """
    peak = record["peak_bytes"]
    try:
        sizes = {"sequence_length": record["longest"]} if "longest" in record else {}
        request = Request(**(as_it_is(config) | sizes), budget=_NO_LIMIT)
        if request.device == "cpu" and not machine.is_known(bf16=request.bf16):
            reason = "what a process takes besides its tensors is not known here: run `frostline calibrate` once"
            return {"measured": peak, "reason": reason}
        found = make_plan(request)
    except FrostlineError as error:
        return {"measured": peak, "reason": str(error)}
    return {**prediction(found, peak), "budget": None, "allocator": record["allocator"]["in_force"]}
