"""Who learns most under the same limits: federations of `accuracy.yaml`, one after another, each a JSON of its own.

    python benchmarks/federated/accuracy.py --trials                          # of learning rates
    python benchmarks/federated/accuracy.py                                   # what is not there yet
    python benchmarks/federated/accuracy.py --only shakespeare,caff,seed0     # runs whose name has all of these words

Run from the root of the project. Of every round a record keeps the server's metrics, the bytes sent up so far, and the
operations so far (those of a rehearsed step of what each device trained, times its steps). A fleet in which some device
can train nothing is a record with the reason.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from frostline.training.versions import hardware, versions

HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
OF_THE_GRID = ("prepare", "rates", "trials", "without")
"""What a task says that is none of a federation's config."""


def frostline(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program, and return what it printed."""
    return subprocess.run([str(PROGRAMS / "frostline"), *arguments], capture_output=True, text=True, check=False)


def federation(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run one federation, and return its record.

    Args:
        values: of its config.
        folder: for the config and its output.
    """
    path = folder / "federate.yaml"
    path.write_text(yaml.safe_dump(values | {"output": str(folder / "out")}), encoding="utf-8")
    done = frostline("federate", str(path), "--json")
    if done.returncode == 3:  # no plan fits
        return {"config": values, "refused": done.stderr.strip().splitlines()[-1]}
    if done.returncode:
        raise RuntimeError(done.stderr)
    plan, *records = map(json.loads, done.stdout.splitlines())
    rounds, upload, flops = [], 0, 0
    for record in records:
        upload += record["bytes_up"]
        flops += record["flops"]
        rounds.append({**record["metrics"], "loss": record["loss"], "upload": upload, "flops": flops})
    shares = [device["layers"] if device["rank"] is None else device["rank"] for device in plan["devices"]]
    return {"config": values, "depth": plan["depth"], "shares": shares, "rounds": rounds}


def config_of(asked: dict[str, Any], task: str, limit: str, rule: str, seed: int, rate: float | None) -> dict[str, Any]:
    """Return the config of one federation; without a rate, at the one that `rates` has for its limit and rule."""
    own = {key: value for key, value in asked["tasks"][task].items() if key not in OF_THE_GRID}
    if rate is None:
        rates, kind = asked["tasks"][task]["rates"], "adapters" if rule in asked["adapters"] else "layers"
        under = rates | rates.get(limit, {})
        rate = under.get(rule, under[kind])
    values = asked["common"] | own | {"fleet": asked["limits"][limit]["fleet"], "rule": rule, "seed": seed}
    return values | asked["rules"].get(rule, {}) | {"learning_rate": rate}


def cells(asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the config of every federation by its name, seed by seed."""
    return {
        f"{task}.{limit}.{rule}.seed{seed}": config_of(asked, task, limit, rule, seed, None)
        for seed in range(asked["seeds"])
        for task in asked["tasks"]
        for limit, of_limit in asked["limits"].items()
        for rule in of_limit["rules"]
        if rule not in asked["tasks"][task].get("without", [])
    }


def trials(asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the config of every trial of a learning rate by its name."""
    return {
        f"{task}.{limit}.{rule}.rate{rate}": config_of(asked, task, limit, rule, asked["trial_seed"], rate)
        for task, of_task in asked["tasks"].items()
        for limit, of_limit in of_task["trials"].items()
        for rule, rates in of_limit.items()
        for rate in rates
    }


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", action="store_true", help="of learning rates, before the federations themselves")
    parser.add_argument("--only", default="", help="words, with commas, that a name must have")
    arguments = parser.parse_args()
    asked = yaml.safe_load((HERE / "accuracy.yaml").read_text(encoding="utf-8"))
    words = [word for word in arguments.only.split(",") if word]
    results = HERE / "results" / ("trials" if arguments.trials else "accuracy")
    results.mkdir(parents=True, exist_ok=True)
    prepared: set[str] = set()
    for name, values in (trials if arguments.trials else cells)(asked).items():
        target = results / f"{name}.json"
        if target.is_file() or not all(word in name for word in words):
            continue
        task = name.split(".")[0]
        if task not in prepared:
            prepare(asked["tasks"][task].get("prepare", []))
            prepared.add(task)
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            record = federation(values, Path(folder))
        record |= {"seconds": round(time.perf_counter() - began, 1), "versions": versions(), "hardware": hardware()}
        target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(name, record.get("refused") or record["rounds"][-1], f"{record['seconds']} s", flush=True)


def prepare(commands: list[str]) -> None:
    """Run the commands that make what a task needs, but for those whose last word, a folder, is there."""
    for command in commands:
        words = shlex.split(command)
        if not Path(words[-1]).exists():
            subprocess.run([str(PROGRAMS / words[0]), *words[1:]], check=True)


if __name__ == "__main__":
    main()
