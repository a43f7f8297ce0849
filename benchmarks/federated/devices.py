"""Does the server's memory grow with the number of devices? A federation of few and one of many, over the simulation.

    python benchmarks/federated/devices.py

Each in a fresh process, MiniLM cut to two blocks on the embedded corpus, ten devices a round; the figure is the peak of
the server's process (VmHWM) after the last round. The devices run in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from frostline.training.versions import hardware, versions

COUNTS = (10, 100, 1000)


def federate(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Run a federation of so many devices, and return what it took."""
    config = {
        "model": "minilm",
        "depths": [2],
        "data": "acceptability",
        "output": str(folder / f"run-{count}"),
        "fleet": {"groups": [{"name": "device", "count": count}]},
        "partition": "iid",
        "rounds": rounds,
        "devices_per_round": 10,
        "max_length": 16,
    }
    path = folder / f"{count}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("frostline")), "federate", str(path), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    log = json.loads((folder / f"run-{count}" / "rounds.json").read_text(encoding="utf-8"))
    return {
        "devices": count,
        "replies": [record["replies"] for record in log],
        "server_process": [record["server_process"] for record in log],
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "devices.json")
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            found.append(federate(count, arguments.rounds, Path(folder)))
            print(found[-1], flush=True)
    record = {"federations": found, "versions": versions(), "hardware": hardware()}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
