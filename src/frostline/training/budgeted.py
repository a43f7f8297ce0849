"""A run within a budget: planned in a process of its own before anything is loaded, watched at every step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from frostline import meter
from frostline.budget import written
from frostline.children import run_child
from frostline.config import TrainConfig, make_config
from frostline.errors import BudgetExceeded, BudgetInfeasible, ConfigError, FrostlineError
from frostline.training.save_and_stop import SaveAndStop


def within_budget(config: TrainConfig, console: Console) -> tuple[TrainConfig, dict[str, Any]]:
    """Return the config with the keys of a plan that fits its budget, and what the planner found.

    What decides over memory and was said explicitly (`config.model_fields_set`) is kept.

    Args:
        config: with a budget.
        console: where the choice is printed.

    Returns:
        the config, and the content of `frostline.planner.request.make_plan`.

    Raises:
        BudgetInfeasible: no plan fits; names the smallest budget.
        BudgetError, ConfigError, UnsupportedModel: what was asked for is refused.
    """
    asked = config.model_fields_set
    evaluates = config.eval_strategy != "no"
    evaluation = config.eval_batch_size
    if "eval_batch_size" not in asked:
        evaluation = min(evaluation, config.batch_size)
    request = {
        "model": config.model,
        "batch_size": config.batch_size,
        "sequence_length": config.max_length,
        "budget": config.budget,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "method": config.method if "method" in asked else None,
        "settings": config.settings,
        "storage": config.storage if "storage" in asked else None,
        "optimizer_state": config.optimizer_state,
        "fused": not config.max_grad_norm and config.gradient_accumulation_steps == 1,
        "evaluation": evaluation if evaluates else 0,
    }
    code, end = run_child("frostline.planner.child", {"kind": "plan", "request": request})
    if end.result is None:
        kinds = {BudgetInfeasible.exit_code: BudgetInfeasible, ConfigError.exit_code: ConfigError}
        raise kinds.get(code, FrostlineError)(end.reason)
    keys = dict(end.result["plan"])
    keys["gradient_accumulation_steps"] *= config.gradient_accumulation_steps
    own = {key: value for key, value in keys.items() if key not in asked or key in _SPLIT or key == "method"}
    values = json.loads(config.model_dump_json()) | own | {"eval_batch_size": evaluation}
    found = end.result
    size, peak = (written(bytes) for bytes in (found["budget"], found["predicted"]["peak"]))
    console.print(f"budget {size}: {found['rungs'][-1]['name']}, predicted peak {peak}", highlight=False)
    for warning in found["warnings"]:
        console.print(f"warning: {warning}")
    return make_config({key: value for key, value in values.items() if value is not None}), found


_SPLIT = ("batch_size", "gradient_accumulation_steps", "settings", "optimizer_state")


class Watchdog(SaveAndStop):
    """Stops a run whose peak has passed its budget, at the end of that step and with a checkpoint.

    Attributes:
        exceeded: the error to raise when the Trainer has saved and stopped; None while all is well.
    """

    def __init__(self, budget: int) -> None:
        self.exceeded: BudgetExceeded | None = None
        self._budget = budget

    @property
    def asked(self) -> bool:
        """Whether the budget has been passed."""
        return self.exceeded is not None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the peak since the last step."""
        peak = meter.peaks().deciding
        if peak > self._budget and self.exceeded is None:
            self.exceeded = BudgetExceeded(
                f"step {state.global_step} took {peak:,} bytes ({written(peak)}), more than the budget of "
                f"{self._budget:,} ({written(self._budget)})."
            )
        super().on_step_end(args, state, control, **kwargs)


def enforce(budget: int) -> None:
    """Let the system itself keep the budget: an allocation beyond it fails.

    On a GPU torch's allocator keeps it. On Linux the limit is on the process's writable memory (RLIMIT_DATA), counted
    from what is resident now.

    Raises:
        ConfigError: this system has no such limit.
    """
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / torch.cuda.get_device_properties(0).total_memory))
        return
    try:
        import resource

        data = psutil.Process().memory_info().data
    except (ImportError, AttributeError) as error:
        raise ConfigError("enforce=true needs Linux: this system cannot limit a process's memory.") from error
    spare = budget - psutil.Process().memory_info().rss
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data + max(0, spare)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def prediction(plan: Mapping[str, Any], measured: int) -> dict[str, Any]:
    """Return predicted and measured peak and their ratio, for run.json."""
    predicted = int(plan["predicted"]["peak"])
    return {"budget": plan["budget"], "predicted": predicted, "measured": measured, "ratio": measured / predicted}
