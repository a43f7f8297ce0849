"""Runs every cell of config.yaml in a fresh process and keeps its run.json; finished cells are not repeated.

python benchmarks/real_text/run.py --data ../shared/data [--tasks trec] [--jobs 2 --threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


def train(path: Path, keys: dict[str, Any], threads: int) -> dict[str, Any]:
    """Train one cell in a process of its own and return its record; keep it in a file."""
    name = path.stem
    if path.exists():
        return json.loads(path.read_text())
    with tempfile.TemporaryDirectory(prefix="frostline-") as folder:
        flags = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
        command = [sys.executable, "-m", "frostline", "train", *flags, f"output={folder}/{name}", "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        )
    if done.returncode != 0:
        print(f"{name} FAILED: {done.stderr.strip().splitlines()[-1]}", flush=True)
        return {"metrics": {}, "status": "failed", "error": done.stderr[-2000:]}
    record = json.loads(done.stdout.splitlines()[-1])
    for key in ("command", "name"):
        record.pop(key)  # they hold paths of the machine
    record["config"] |= {"data": keys["data"].rpartition("/data/")[2], "output": name}
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(name, record["metrics"], f"{record['step_seconds']:.3f} s", flush=True)
    return record


def quality(record: dict[str, Any]) -> tuple[float, float]:
    """Return what trials are ranked by: the task's own metric, then the loss; a failed run is below every other."""
    metrics = record["metrics"]
    return metrics.get(record.get("metric", ""), float("-inf")), -metrics.get("loss", float("inf"))


def main() -> None:
    """Choose the learning rates, then run the cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="a folder")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tasks", nargs="+", help="of config.yaml; all if left out")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    tasks = {name: task for name, task in config["tasks"].items() if name in (arguments.tasks or config["tasks"])}
    arguments.output.mkdir(exist_ok=True)
    common = {"save_strategy": "no", "eval_strategy": "no"}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        trials = {}
        for task, source in tasks.items():
            for name, method in config["methods"].items():
                if "as" in method:
                    continue
                rates = source["learning_rates"]
                for rate in rates.get(name, rates["default"]):
                    keys = {"data": str(arguments.data / source["train_file"]), "method": method["method"]}
                    keys |= {"settings": method.get("settings", {}), "learning_rate": rate} | common | source["grid"]
                    cell = arguments.output / f"grid_{task}_{name}_{rate:.0e}.json"
                    trials[task, name, rate] = pool.submit(train, cell, keys, arguments.threads)
        best: dict[tuple[str, str], float] = {}
        for (task, name, rate), trial in trials.items():
            chosen = best.get((task, name))
            if chosen is None or quality(trial.result()) > quality(trials[task, name, chosen].result()):
                best[task, name] = rate
        for task, source in tasks.items():
            for seed in config["seeds"]:
                for name, method in config["methods"].items():
                    rate = best[task, method.get("as", name)]
                    keys = {"data": str(arguments.data / source["data"]), "method": method["method"], "seed": seed}
                    keys |= {"settings": method.get("settings", {}), "learning_rate": rate} | common
                    keys |= {"epochs": config["epochs"], "max_train": source.get("max_train")}
                    cell = arguments.output / f"{task}_{name}_seed{seed}.json"
                    pool.submit(train, cell, keys, arguments.threads)


if __name__ == "__main__":
    main()
