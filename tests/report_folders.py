"""Comparison folders and run folders made up for the tests of the report: no training, the files only."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

COLUMNS = ("step", "loss", "learning_rate", "active_units", "trainable_parameters", "tokens", "seconds", "active")
TOTAL = 22_713_986
MIB = 2**20
# label -> (method, settings, loss of score, share of full's peak, time ratio, share of parameters that train)
METHODS: dict[str, tuple[str, dict[str, Any], float, float, float, float]] = {
    "full": ("full", {}, 0.0, 1.0, 1.0, 1.0),
    "head": ("head", {}, 0.21, 0.36, 0.31, 0.007),
    "bitfit": ("bitfit", {}, 0.062, 0.74, 0.66, 0.01),
    "lora4": ("lora", {"rank": 4}, 0.03, 0.72, 0.67, 0.01),
    "lora8": ("lora", {"rank": 8}, 0.024, 0.725, 0.68, 0.013),
    "layers1": ("layers", {"count": 1}, 0.071, 0.43, 0.38, 0.09),
    "layers2": ("layers", {"count": 2}, 0.038, 0.51, 0.5, 0.17),
    "layers3": ("layers", {"count": 3}, 0.021, 0.6, 0.62, 0.25),
    "layers4": ("layers", {"count": 4}, 0.01, 0.71, 0.74, 0.33),
    "lisa1": ("lisa", {"count": 1, "every": 10}, 0.033, 0.82, 0.71, 0.6),
    "lisa2": ("lisa", {"count": 2, "every": 10}, 0.019, 0.86, 0.78, 0.68),
    "random90": ("random", {"rate": 0.9}, 0.027, 0.83, 0.72, 0.11),
    "random95": ("random", {"rate": 0.95}, 0.041, 0.81, 0.7, 0.06),
    "slimfit50": ("slimfit", {"rate": 0.5}, 0.002, 0.93, 0.88, 0.5),
    "slimfit75": ("slimfit", {"rate": 0.75}, 0.003, 0.87, 0.79, 0.26),
    "slimfit90": ("slimfit", {"rate": 0.9}, 0.005, 0.81, 0.73, 0.11),
    "slimfit95": ("slimfit", {"rate": 0.95}, 0.017, 0.8, 0.71, 0.06),
    "far10": ("far", {"retention": 0.1, "nodes": "hidden"}, 0.012, 0.95, 0.84, 0.5),
    "far40": ("far", {"retention": 0.4, "nodes": "hidden"}, 0.006, 0.985, 0.88, 0.67),
    "far10 batch_size=16": ("far", {"retention": 0.1, "nodes": "hidden"}, 0.015, 0.66, 0.9, 0.5),
}
# task -> (metric, full's score, full's peak in MiB)
TASKS = {"cola": ("matthews", 0.52, 1130), "rte": ("accuracy", 0.66, 2480), "stsb": ("pearson", 0.87, 1810)}
SEEDS = (0, 1, 2)
VERSIONS = {"python": "3.12.4", "frostline": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "numpy": "2.4.6"}
HARDWARE = {"processor": "Example 7003", "cpu_count": 2, "memory_bytes": 25 << 30, "accelerator": None}


def write(path: Path, values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def units(blocks: int = 6) -> list[str]:
    parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    parts += ["attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"]
    inner = [f"bert.encoder.layer.{block}.{part}.weight" for block in range(blocks) for part in parts]
    embeddings = [f"bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    return [*embeddings, *inner, "bert.pooler.dense.weight", "classifier.weight"]


def record(kind: str, name: str, task: str, method: str, **changes: Any) -> dict[str, Any]:
    """Return a finished record; `changes` replaces or adds keys."""
    base, settings = (METHODS.get(method) or (method, {}))[:2]
    size = {"batch_size": 16} if "batch_size=16" in method else {"batch_size": 32}
    rate = changes.pop("learning_rate", 1e-4)
    digest = f"{kind} {task} " * 64 if kind == "trial" else task * 64  # of train alone, as it is split
    data = {"name": task, "sha256": digest[:64], "train": 1000, "validation": 277, "label_names": ["no", "yes"]}
    words = [f"data=glue/{task}", f"method={base}", *(f"{k}={v}" for k, v in settings.items())]
    values = {
        "format": "frostline-cell/1",
        "kind": kind,
        "name": name,
        "task": task,
        "method": method,
        "seed": 0,
        "status": "finished",
        "reason": None,
        "config": {"data": task, "method": base, "settings": settings, "learning_rate": rate, "epochs": 3, **size},
        "run_info": {
            "command": f"frostline train {' '.join(words)} learning_rate={rate:g} output=runs/{name.replace(' ', '-')}",
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 100.0,
            "threads": 1,
            "jobs": 2,
        },
        "train_info": {},
        "meta_info": {"versions": VERSIONS, "hardware": HARDWARE, "data": data, "model_sha256": "6f" * 32},
    }
    return values | changes


def results(task: str, score: float, peak: float, method: str, steps: int) -> dict[str, Any]:
    """Return the results of a training run."""
    _, _, _, _, time, share = METHODS.get(method, METHODS["full"])
    metric = TASKS[task][0] if task in TASKS else "accuracy"
    return {
        "metric": metric,
        "metrics": {"loss": 0.5, metric: score},
        "trainable_parameters": int(share * TOTAL),
        "active_share": share,
        "steps": steps,
        "step_seconds": 0.32 * time,
        "train_seconds": steps * 0.33 * time,
        "tokens_per_second": 900 / time,
        "train_loss": 0.31,
        "memory": {"process_peak": int(peak * MIB), "cuda_allocated": None, "cuda_reserved": None},
    }


def tracked(full_peak: float, peak: float, share: float) -> dict[str, Any]:
    """Return what a tracker of tensors found in some steps."""
    saved = int(full_peak * MIB * (0.25 * peak + 0.1 * (peak - 0.3)))
    split = {"weights": 87 * MIB, "gradients": int(87 * share * MIB), "optimizer": int(174 * share * MIB)}
    split |= {"saved": saved, "other": 21 * MIB}
    absent = dict.fromkeys(("process_peak", "cuda_allocated", "cuda_reserved"))
    memory = {**absent, "tensor_peak": sum(split.values()), "at_tensor_peak": split, "saved_activations": saved}
    return {"memory": memory, "steps": 20}


def write_steps(path: Path, method: str, steps: int, seed: int) -> None:
    draw, names, base = random.Random(f"{method}{seed}"), units(), METHODS.get(method, METHODS["full"])[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        before: list[str] = []
        weights = [3.0 if "query" in name or "output.dense" in name else 1.0 for name in names]
        for step in range(steps):
            if base in ("slimfit", "random"):
                active = sorted(set(draw.choices(names, weights if base == "slimfit" else None, k=6)))
            elif base == "lisa" and step % 10:
                active = before
            elif base == "lisa":
                block = f".{draw.randrange(6)}."
                active = [name for name in names if block in name or "embeddings" in name or "classifier" in name]
            elif base == "far":
                active = names if step < steps // 20 else [n for n in names if n.count("intermediate") == 0]
            else:
                active = names if base == "full" else names[-2:]
            loss = 0.2 + 0.5 * math.exp(-3 * step / steps) + draw.gauss(0, 0.05)
            seconds, shown = 0.3 + draw.random() / 20, "" if active == before else " ".join(active)
            writer.writerow([step + 1, loss, 1e-4 * (1 - step / steps), len(active), 10, 500, f"{seconds:.6f}", shown])
            before = active


def comparison(
    folder: Path,
    *,
    tasks: tuple[str, ...] = tuple(TASKS),
    methods: tuple[str, ...] = tuple(METHODS),
    seeds: tuple[int, ...] = SEEDS,
    steps: int = 120,
    caption: str | None = None,
) -> Path:
    """Write a whole comparison folder: cells with steps, trials, memory and time; return the folder."""
    expected: dict[str, list[str]] = {"cell": [], "trial": [], "memory": [], "time": []}
    draw = random.Random(7)

    def put(kind: str, name: str, task: str, method: str, train_info: dict[str, Any], **changes: Any) -> None:
        expected[kind].append(name)
        write(folder / f"{name}.json", record(kind, name, task, method, train_info=train_info, **changes))

    for task in tasks:
        _, best, full_peak = TASKS[task]
        passes = {"process_peak": int(0.31 * full_peak * MIB), "tensor_peak": 120 * MIB}
        put("memory", f"{task}.inference.memory", task, "inference", {"memory": passes, "steps": 20})
        for method in methods:
            _, _, loss, peak, time, share = METHODS[method]
            for seed in seeds:
                score, name = best - loss + draw.gauss(0, 0.006), f"{task}.{method}.seed{seed}"
                mine = full_peak * peak * (1 + draw.gauss(0, 0.004))
                put("cell", name, task, method, results(task, score, mine, method, steps), seed=seed)
                write_steps(folder / "steps" / f"{name}.csv", method, steps, seed)
            for rate in (5e-5, 1e-4, 2e-4):
                score = best - loss - 0.01 * abs(math.log2(rate / 1e-4)) - 0.01
                made = results(task, score, full_peak * peak, method, steps)
                put("trial", f"{task}.{method}.lr{rate:g}", task, method, made, learning_rate=rate)
            put("memory", f"{task}.{method}.memory", task, method, tracked(full_peak, peak, share))
            if method != "full" and "full" in methods:
                bounds = [time * 0.97, time * 1.04]
                made = {"ratio": time, "ratio_quartiles": bounds, "pairs": 40, "seconds": 0.32 * time}
                made |= {"reference_seconds": 0.32, "reference": "full"}
                put("time", f"{task}.{method}.time", task, method, made)
    plan = {
        "format": "frostline-comparison/1",
        "name": "methods on three tasks",
        "started": "2026-01-02T03:04:05+00:00",
        "reference": "full" if "full" in methods else None,
        "tasks": list(tasks),
        "methods": list(methods),
        "seeds": list(seeds),
        "caption": caption,
        "inference": True,
        "expected": expected,
        "config": {"epochs": 3},
        "hardware": HARDWARE,
        "versions": VERSIONS,
    }
    write(folder / "comparison.json", plan)
    return folder


def change(path: Path, **changes: Any) -> Path:
    """Replace keys of a JSON file."""
    return write(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def run_folder(folder: Path, method: str = "slimfit90", steps: int = 60, **changes: Any) -> Path:
    """Write what `frostline train` leaves (run.json and steps.csv), without the model; return the folder."""
    base, settings = METHODS[method][:2]
    made = results("cola", 0.51, 915, method, steps)
    values: dict[str, Any] = {
        "status": "finished",
        "name": folder.name,
        "config": {"model": "minilm", "data": "glue/CoLA", "method": base, "settings": settings, "learning_rate": 5e-5},
        "plan": {"method": base, "settings": settings, "total_parameters": TOTAL, "model": "BertModel", "blocks": 6},
        "data": {"name": "cola", "sha256": "ab" * 32, "train": 1000, "validation": 277, "label_names": ["no", "yes"]},
        "model_sha256": "6f" * 32,
        "seed": 0,
        "versions": VERSIONS,
        "hardware": HARDWARE,
        "command": ["/usr/bin/frostline", "train", f"method={base}", f"output={folder.name}"],
        **made,
        "peak_bytes": made["memory"]["process_peak"],
    }
    write(folder / "run.json", values | changes)
    write_steps(folder / "steps.csv", method, steps, 0)
    return folder
