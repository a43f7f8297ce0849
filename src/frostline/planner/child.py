"""One job of the planner in a process of its own: `python -m frostline.planner.child JOB.json`."""

from __future__ import annotations

from typing import Any, TextIO

from frostline.children import serve


def do(job: dict[str, Any], parent: TextIO) -> dict[str, Any]:
    """Return a plan, or the peak of a small run's process."""
    if job["kind"] == "plan":
        from frostline.planner.request import from_json, make_plan

        return make_plan(from_json(job["request"]))
    import tempfile
    from io import StringIO

    from rich.console import Console

    from frostline.config import make_config
    from frostline.training.run import run

    with tempfile.TemporaryDirectory() as folder:
        config = make_config({**job["config"], "output": f"{folder}/run"})
        return {"process_peak": run(config, console=Console(file=StringIO()))["memory"]["process_peak"]}


if __name__ == "__main__":
    serve(do)
