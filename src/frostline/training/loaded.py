"""Data take memory, too: once they and the model are there, a plan is held against what the process takes by then."""

from __future__ import annotations

from dataclasses import replace

import torch
from rich.console import Console
from torch import nn

from frostline import meter
from frostline.budget import written
from frostline.errors import BudgetInfeasible
from frostline.planner.limits import MARGIN
from frostline.planner.machine import machine
from frostline.training.planned import within_budget
from frostline.training.start import Start
from frostline.training.watchdog import TOLERANCE


def with_data(start: Start, model: nn.Module, console: Console) -> Start:
    """Return the start with a plan that leaves room for what has been loaded, where the first one does not.

    What plans spare may go to data. On a GPU data take nothing. A plan that the user made is kept.

    Args:
        start: of a run whose data have been read.
        model: that has been loaded; its weights are in the prediction already.
        console: where another plan is told.

    Raises:
        BudgetInfeasible: no plan leaves room for the data.
    """
    if start.planned is None or not start.calibrates or torch.cuda.is_available():
        return start
    besides = meter.besides(model) + machine(bf16=start.asked.bf16).growth
    more = besides - int(start.planned["runtime"])
    if more <= MARGIN * start.planned["budget"]:
        return start
    found = f"with the data loaded the process takes {written(more)} more than others"
    try:
        config, planned = within_budget(start.asked, Console(quiet=True), besides)
    except BudgetInfeasible as error:
        if more <= TOLERANCE * start.planned["budget"]:  # the first step will tell
            return start
        raise BudgetInfeasible(f"{error} By then {found}.") from error
    if planned["plan"] != start.planned["plan"]:
        name = planned["rungs"][-1]["name"]
        console.print(f"{found}: planned anew, {name}")
    return replace(start, config=config, planned=planned)
