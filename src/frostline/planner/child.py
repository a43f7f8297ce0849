"""One job of the planner in a process of its own: `python -m frostline.planner.child JOB.json`."""

from __future__ import annotations

from typing import Any, TextIO

from frostline.children import serve


def do(job: dict[str, Any], parent: TextIO) -> dict[str, Any]:
    """Return a plan, or what a process with everything that a training run loads takes for a small step."""
    if job["kind"] == "plan":
        from frostline.planner.request import from_json, make_plan

        return make_plan(from_json(job["request"]))
    import frostline.training.run  # noqa: F401
    from frostline.meter.steps import Steps, measure_process

    memory: dict[str, Any] = measure_process(Steps(**job["steps"]))["memory"]
    return memory


if __name__ == "__main__":
    serve(do)
