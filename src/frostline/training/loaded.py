"""Data take memory, too: once they and the model are there, a plan is held against what the process takes by then."""

from __future__ import annotations

import math
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

_STEP = 4 * 2**20
"""Bytes: what a process takes differs by less from one run to the next, so a budget that is named is taken then."""


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
    besides = math.ceil(besides / _STEP) * _STEP
    more = besides - int(start.planned["runtime"])
    if more <= MARGIN * start.planned["budget"]:
        return start
    found = f"data and libraries take {written(more)} beyond what was planned with"
    try:
        config, planned = within_budget(start.asked, Console(quiet=True), start.planned, besides)
    except BudgetInfeasible as error:
        if more <= TOLERANCE * start.planned["budget"]:  # the first step will tell
            return start
        raise BudgetInfeasible(
            f"{error} When they had been loaded, {found}: give a larger budget, or less data (max_train)."
        ) from error
    name, peak = planned["rungs"][-1]["name"], written(planned["predicted"]["peak"])
    console.print(f"{found}: planned anew, {name}, predicted peak {peak}", highlight=False)
    return replace(start, config=config, planned=planned)
