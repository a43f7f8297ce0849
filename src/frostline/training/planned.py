"""A run within a budget: its plan is made in a process of its own, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from frostline.budget import written
from frostline.children import run_child
from frostline.config import TrainConfig, make_config
from frostline.errors import BudgetInfeasible, ConfigError, FrostlineError, PlanError, nearest
from frostline.planner.request import PLAN, bytes_of
from frostline.tasks import task_of

_SPLIT = ("batch_size", "gradient_accumulation_steps", "settings", "optimizer_state", "method")
_EVALUATION = "eval_batch_size"


def within_budget(
    config: TrainConfig, console: Console, former: Mapping[str, Any] | None = None, runtime: int | None = None
) -> tuple[TrainConfig, dict[str, Any]]:
    """Return the config with the keys of a plan that fits its budget, and what the planner found.

    What decides over memory and was said explicitly (`config.model_fields_set`) is kept. A plan that is there already
    (`config.plan`) is predicted anew, and kept as it is.

    Args:
        config: with a budget or a plan.
        console: where the choice is printed.
        former: what the planner found before; its budget stays, which as `1.5x` or `auto` would be another by now.
        runtime: bytes of the process besides its tensors, where they are known better than by calibration.

    Returns:
        the config, and the content of `frostline.planner.request.make_plan`.

    Raises:
        BudgetInfeasible: no plan fits; names the smallest budget.
        PlanError: the file holds no plan.
        BudgetError, ConfigError, UnsupportedModel: what was asked for is refused.
    """
    file = None if config.plan is None else read_plan(config.plan)
    request = _of_plan(config, file) if file is not None else _of_config(config)
    if former is not None:
        request["budget"] = former["budget"]
    console.print("planning within the budget ...")
    try:
        found = ask({"kind": "plan", "request": {**request, "runtime": runtime}})
    except ConfigError as error:
        if config.plan is None:
            raise
        raise PlanError(f"plan={str(config.plan)!r}: {error}") from error
    size, peak = (written(bytes) for bytes in (found["budget"], found["predicted"]["peak"]))
    console.print(f"budget {size}: {found['rungs'][-1]['name']}, predicted peak {peak}", highlight=False)
    for warning in found["warnings"]:
        console.print(f"warning: {warning}")
    asked = config.model_fields_set
    allocator = config.allocator if "allocator" in asked else found["plan"]["allocator"]
    if allocator != "compact":
        console.print(
            f"warning: allocator={allocator} keeps some of what is freed, and the prediction is of "
            "allocator=compact: the run may pass its budget. Leave allocator out.",
            highlight=False,
        )
    own = {key: value for key, value in found["plan"].items() if key not in asked or key in _SPLIT}
    values = json.loads(config.model_dump_json()) | own | {_EVALUATION: _evaluation(config)}
    return make_config({key: value for key, value in values.items() if value is not None}), found


def with_budget(planned: Mapping[str, Any], budget: str | int) -> dict[str, Any]:
    """Return what the planner found under another budget, which changes nothing but what the run is held to.

    Args:
        planned: what it found.
        budget: as a user writes it.

    Raises:
        BudgetError: it is no amount of memory; BudgetInfeasible if the plan does not fit it.
    """
    size, peak = bytes_of(budget, planned["request"]["device"], planned["inference"]), planned["predicted"]["peak"]
    if peak > size:
        raise BudgetInfeasible(
            f"a budget of {written(size)} ({size:,} bytes) is too small for the plan that the run was started with, "
            f"which takes {written(peak)} ({peak:,} bytes); give more, or start another run folder."
        )
    return {**planned, "budget": size}


def as_started(config: TrainConfig, former: Mapping[str, Any]) -> TrainConfig:
    """Return the config with what the plan of the run that is resumed has decided, where nothing else is said.

    Args:
        config: of the resumption.
        former: run.json's content.
    """
    if "planned" not in former:
        return config
    keys = (*former["planned"]["plan"], _EVALUATION)
    own = {key: former["config"][key] for key in keys if key not in config.model_fields_set}
    return make_config({**json.loads(config.model_dump_json(exclude_none=True)), **own})


def read_plan(path: Path) -> dict[str, Any]:
    """Return the plan in a file that `frostline plan --output` wrote, perhaps edited since; PlanError if it is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = {"budget": values["budget"], "plan": dict(values["plan"])}
        if "method" not in found["plan"]:
            raise ValueError("no method under plan")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(
            f"plan={str(path)!r} holds no plan ({type(error).__name__}: {error}); make one with: "
            f"frostline plan MODEL --budget 1GiB --output {path}"
        ) from error
    for key in found["plan"]:
        if key not in PLAN:
            raise PlanError(
                f"plan={str(path)!r}: a plan does not say {key!r}{nearest(key, PLAN)}; it says {', '.join(PLAN)}, and "
                "the rest belongs to the config of the run."
            )
    return found


def as_it_is(config: TrainConfig) -> dict[str, Any]:
    """Return the request, but for its budget, that predicts a config in which nothing is to be chosen."""
    keys = ("method", "settings", "storage", "optimizer_state", "fused_backward")
    return {
        **_common(config),
        "batch_size": config.batch_size,
        "accumulation": config.gradient_accumulation_steps,
        "keys": {key: getattr(config, key) for key in keys},
    }


def ask(job: dict[str, Any]) -> dict[str, Any]:
    """Return what the planner finds in a process of its own; its errors are raised here."""
    code, end = run_child("frostline.planner.child", job)
    if end.result is None:
        kinds = {BudgetInfeasible.exit_code: BudgetInfeasible, ConfigError.exit_code: ConfigError}
        raise kinds.get(code, FrostlineError)(end.reason)
    return end.result


def prediction(plan: Mapping[str, Any], measured: int) -> dict[str, Any]:
    """Return predicted and measured peak and their ratio, for run.json."""
    predicted = int(plan["predicted"]["peak"])
    return {"budget": plan["budget"], "predicted": predicted, "measured": measured, "ratio": measured / predicted}


def _of_config(config: TrainConfig) -> dict[str, Any]:
    asked = config.model_fields_set
    return {
        **_common(config),
        "budget": config.budget,
        "batch_size": config.batch_size,
        "accumulation": config.gradient_accumulation_steps,
        "method": config.method if "method" in asked else None,
        "settings": config.settings,
        "storage": config.storage if "storage" in asked else None,
        "optimizer_state": config.optimizer_state if "optimizer_state" in asked else None,
        "fused": not config.max_grad_norm and config.gradient_accumulation_steps == 1,
    }


def _of_plan(config: TrainConfig, file: dict[str, Any]) -> dict[str, Any]:
    """Return the request for a prediction of a plan; what was said on the command line comes before it."""
    asked, values = config.model_fields_set, json.loads(config.model_dump_json())
    try:
        whole = make_config({**values, **file["plan"], **{key: values[key] for key in asked}})
    except ConfigError as error:
        raise PlanError(f"plan={str(config.plan)!r}: {error}") from error
    return {
        **_common(whole),
        "budget": file["budget"] if config.budget is None else config.budget,
        "batch_size": whole.batch_size,
        "accumulation": whole.gradient_accumulation_steps,
        "keys": {key: getattr(whole, key) for key in file["plan"]},
    }


def _common(config: TrainConfig) -> dict[str, Any]:
    task = task_of(config)
    return {
        "model": config.model,
        "head": task.head,
        **task.step_sizes(config),
        "optim": config.optim,
        "bf16": config.bf16,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "evaluation": 0 if config.eval_strategy == "no" else _evaluation(config),
    }


def _evaluation(config: TrainConfig) -> int:
    """Return the examples of an evaluation's forward pass: no more than a step's, unless the user says so."""
    if _EVALUATION in config.model_fields_set:
        return config.eval_batch_size
    return min(config.eval_batch_size, config.batch_size)
