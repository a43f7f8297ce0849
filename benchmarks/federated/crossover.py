"""The last t of l blocks against LoRA on all: operations, memory, upload and seconds, for tiny transformers.

    python benchmarks/federated/crossover.py

Operations and upload are of a rehearsed step (CAFF's tables O(l,t) and U(l,t)), memory is the peak of all tensors of
real steps, and seconds are of real steps: one of each in turn in one process, so that drift hits all alike; the ratio
to LoRA is the median of the paired ones. SGD with momentum, as the devices of a federation have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD

from frostline.federated.parts import Part
from frostline.federated.tables import make_tables
from frostline.meter.steps import Run, Steps, measure_tensors
from frostline.models import quiet
from frostline.training.versions import hardware, versions

WIDTHS, DEPTHS, RANKS = (128, 192), (6, 12), (1, 8)
BATCH, LENGTH, VOCABULARY = 32, 80, 96  # characters of Shakespeare
OPTIMIZER = partial(SGD, lr=0.01, momentum=0.9)


def config(folder: Path, width: int, depth: int) -> str:
    """Write the config of a tiny encoder, and return its path."""
    path = folder / f"tiny-{width}-{depth}" / "config.json"
    path.parent.mkdir()
    values = {
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": 2,
        "intermediate_size": 4 * width,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 128,
    }
    path.write_text(json.dumps(values), encoding="utf-8")
    return str(path)


def seconds(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each run's steps, taken in turn, without two to warm up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run.step()
            found[name].append(time.perf_counter() - began)
    return {name: taken[2:] for name, taken in found.items()}


def table(model: str, depth: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for every t, and for LoRA of each rank."""
    shape: dict[str, Any] = {"batch_size": BATCH, "sequence_length": LENGTH}
    tables = make_tables(model, [depth], **shape, make_optimizer=OPTIMIZER, ranks=RANKS)
    parts = {f"t={trained}": Part(trained) for trained in range(depth + 1)}
    parts |= {f"LoRA {rank}": Part(depth, rank) for rank in RANKS}
    steps = {
        name: Steps(model, **shape, method=part.method, settings=part.settings, make_optimizer=OPTIMIZER, count=3)
        for name, part in parts.items()
    }
    taken = seconds({name: Run.real(replace(each, count=rounds + 2)) for name, each in steps.items()}, rounds)
    rows = []
    for name, part in parts.items():
        cost = tables.costs[depth, part.layers] if part.rank is None else tables.adapters[depth, part.rank]
        ratio = statistics.median(a / b for a, b in zip(taken[name], taken[f"LoRA {RANKS[-1]}"], strict=True))
        measured = measure_tensors(steps[name])["memory"]["tensor_peak"]
        figures = {"seconds": statistics.median(taken[name]), "seconds_to_lora": ratio, "measured_memory": measured}
        rows.append({"trained": name, "layers": part.layers, "rank": part.rank, **asdict(cost), **figures})
    return rows


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of steps of all, after the warm-up")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "crossover.json")
    arguments = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS:
            for depth in DEPTHS:
                rows = table(config(Path(folder), width, depth), depth, arguments.rounds)
                found.append({"width": width, "depth": depth, "rows": rows})
                for row in rows:
                    told = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
                    print(width, depth, told, flush=True)
    shape = {"batch": BATCH, "length": LENGTH, "heads": 2, "vocabulary": VOCABULARY}
    record = {"shape": shape, "networks": found, "versions": versions(), "hardware": hardware()}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
