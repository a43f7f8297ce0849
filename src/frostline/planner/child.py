"""One job of the planner in a process of its own: `python -m frostline.planner.child JOB.json`."""

from __future__ import annotations

from typing import Any, TextIO

from frostline.children import serve


def do(job: dict[str, Any], parent: TextIO) -> dict[str, Any]:
    """Return a plan, the tensors of a first step, the peak of a small run, or what steps take."""
    return _KINDS[job["kind"]](job)


def _plan(job: dict[str, Any]) -> dict[str, Any]:
    from frostline.planner.request import from_json, make_plan

    return make_plan(from_json(job["request"]))


def _first_step(job: dict[str, Any]) -> dict[str, Any]:
    from frostline.planner.rehearsal import rehearse
    from frostline.planner.request import from_json, steps_of

    request, keys = from_json(job["request"]), job["plan"]
    sets = None if job["active"] is None else [frozenset(job["active"])]
    steps = steps_of(request, keys, **job["sizes"], count=1)
    parts, ahead = keys["gradient_accumulation_steps"], request.device == "cpu"
    found = rehearse(steps, sets, request.device, parts=parts, fresh=True, ahead=ahead)
    return {"peak": found.peak}


def _runtime(job: dict[str, Any]) -> dict[str, Any]:
    import tempfile
    from io import StringIO

    from rich.console import Console

    from frostline.config import make_config
    from frostline.training.run import run

    with tempfile.TemporaryDirectory() as folder:
        config = make_config({**job["config"], "output": f"{folder}/run"})
        return {"process_peak": run(config, console=Console(file=StringIO()))["memory"]["process_peak"]}


def _steps(job: dict[str, Any]) -> dict[str, Any]:
    import statistics

    from frostline.meter.steps import Steps, measure_process

    measured = measure_process(Steps(**job["steps"], allocator="compact"))
    memory = measured["memory"]
    return {
        "seconds": statistics.median(measured["step_seconds"][1:]),
        "growth": memory["process_peak"] - memory["process_before"],
    }


_KINDS = {"plan": _plan, "first_step": _first_step, "runtime": _runtime, "steps": _steps}


if __name__ == "__main__":
    serve(do)
