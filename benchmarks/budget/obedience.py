"""Runs under a hard limit: at each of eight budgets ours finishes, and full fine-tuning dies.

    python benchmarks/budget/obedience.py              # goes on where it stopped

The budgets lie evenly between the smallest that a plan fits and what stock full fine-tuning takes. Each run is a fresh
process in which the system refuses memory beyond the budget (RLIMIT_DATA, 64 MiB above it for what is reserved and not
touched, see `frostline.meter.enforce`; the peak is of resident memory): the planned way, a dozen steps, of which two
with the heaviest set that its schedule may come to; then full fine-tuning, three steps. What such a process takes
besides its tensors is measured first, by a small step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from frostline import allocator, meter
from frostline.children import ending, serve
from frostline.meter.enforce import enforce
from frostline.meter.steps import Run, Steps
from frostline.planner.rehearsal import rehearse
from frostline.planner.request import Request, full_fine_tuning, make_plan, smallest_budget, steps_of
from frostline.training.versions import versions

RESULTS = Path(__file__).parent / "results" / "obedience.json"
CASES: dict[str, dict[str, Any]] = {
    "minilm": {"batch_size": 32, "sequence_length": 128},
    "deit-tiny": {"batch_size": 32},
}
BUDGETS = 8


def do(job: dict[str, Any], parent: Any) -> dict[str, Any]:
    """Run some steps in this process under a hard limit, and return its peak."""
    enforce(job["budget"])
    allocator.use("compact")
    keys = job["plan"]
    count = 3 if job["full"] else 12
    run = Run.real(steps_of(Request(**job["shape"], budget=job["budget"]), keys, count=count))
    parts = keys["gradient_accumulation_steps"]
    for step in range(count):
        run.tuner.force(run.tuner.heaviest() if step >= count - 2 else None)
        run.tuner.before_step()
        for _ in range(parts - 1):
            run.loss().backward()
        run.finish_step(run.loss())
    return {"peak": meter.peaks().process}


def main() -> None:
    """Plan and run at every budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS)
    output = parser.parse_args().output
    found: dict[str, Any] = {"versions": versions(), "runs": []}
    if output.exists():
        found = json.loads(output.read_text(encoding="utf-8"))
    besides = found.setdefault("besides", 0) or _besides()
    found["besides"] = besides
    known = {(record["model"], record["budget"]) for record in found["runs"]}
    for model, shape in CASES.items():
        request = Request(model, budget=2**50, runtime=besides, **shape)
        least, most = smallest_budget(request), full_fine_tuning(request)["peak"]
        for budget in np.linspace(least, most, BUDGETS, endpoint=False, dtype=int).tolist():
            if (model, budget) in known:
                continue
            plan = make_plan(Request(model, budget=budget, runtime=besides, **shape))
            full = {"method": "full", "settings": {}, "storage": "exact", "optimizer_state": "keep"}
            full |= {"fused_backward": False, "batch_size": shape["batch_size"], "gradient_accumulation_steps": 1}
            ours, stock = (
                _run({"budget": budget, "plan": keys, "shape": {"model": model, **shape}, "full": keys is full})
                for keys in (plan["plan"], full)
            )
            record = {
                "model": model,
                "budget": budget,
                "of_full": budget / most,
                "plan": plan["rungs"][-1]["name"],
                "predicted": plan["predicted"]["peak"],
                "ours": ours,
                "full": stock,
            }
            found["runs"].append(record)
            print(json.dumps(record), flush=True)
            output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _besides() -> int:
    """Return the bytes of such a process besides its tensors."""
    small = {"model": "minilm", "batch_size": 2, "sequence_length": 16}
    keys = {"method": "full", "settings": {}, "storage": "exact", "optimizer_state": "keep", "fused_backward": False}
    job = {"budget": 2**50, "plan": {**keys, "batch_size": 2, "gradient_accumulation_steps": 1}, "full": True}
    peak = int(_run({**job, "shape": small})["peak"])
    return peak - rehearse(Steps(**small, count=2)).peak


def _run(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.json")
        path.write_text(json.dumps({**job, "parent": os.getpid()}), encoding="utf-8")
        done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True)
    end = ending(done.returncode, done.stdout, done.stderr)
    return end.result or {"status": end.status, "reason": end.reason}


if __name__ == "__main__":
    if sys.argv[-1].endswith("job.json"):
        serve(do)
    else:
        main()
