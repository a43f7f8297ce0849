"""How long it takes to plan, each time in a fresh process.

    python benchmarks/budget/planning.py

`seconds` are those of planning alone, `command` those of `frostline plan` as a user waits for it: with libraries to
load and, beside the plan, full fine-tuning, the smallest budget and the largest batch. Budgets are shares of what lies
between the smallest and the peak of full fine-tuning; near the smallest, more has to be tried.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from frostline.training.versions import hardware, versions

RESULTS = Path(__file__).parent / "results" / "planning.json"
FROSTLINE = str(Path(sys.executable).parent / "frostline")
SHAPES: dict[str, dict[str, Any]] = {
    "bert-base, 32 x 128": {"model": "bert-base-uncased", "batch_size": 32, "sequence_length": 128},
    "llama-3.2-1b, 4 x 512": {"model": "llama-3.2-1b", "batch_size": 4, "sequence_length": 512},
}
SHARES = (0.01, 0.1, 0.3, 0.6, 0.9)
ALONE = """
import json, sys, time
from frostline.planner.machine import machine
from frostline.planner.request import from_json, make_plan
request = from_json(json.loads(sys.argv[1]) | {"runtime": machine().runtime})
began = time.perf_counter()
make_plan(request)
print(time.perf_counter() - began)
"""


def alone(request: dict[str, Any]) -> float:
    """Return the seconds of planning, in a process that has loaded all that it needs."""
    command = [sys.executable, "-c", ALONE, json.dumps(request)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def command(request: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Return a plan as JSON, and the seconds of the whole command."""
    sizes = ["--batch-size", str(request["batch_size"]), "--seq-len", str(request["sequence_length"])]
    words = [FROSTLINE, "plan", request["model"], *sizes, "--budget", str(request["budget"]), "--json"]
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), time.perf_counter() - began


def main() -> None:
    """Time every case, and write the result."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found: dict[str, Any] = {"versions": versions(), "hardware": hardware(), "cases": []}
    for name, shape in SHAPES.items():
        ample, _ = command({**shape, "budget": "200GiB"})
        least, most = ample["smallest_budget"], ample["full"]["peak"]
        for share in SHARES:
            request = {**shape, "budget": int(least + share * (most - least))}
            plan, whole = command(request)
            record = {"shape": name, "share": share, "budget": request["budget"], "way": plan["rungs"][-1]["name"]}
            found["cases"].append({**record, "seconds": alone(request), "command": whole})
            print(json.dumps(found["cases"][-1]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
