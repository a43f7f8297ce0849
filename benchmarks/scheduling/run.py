"""What SlimFit's and `auto`'s scheduling costs: a scheduled step beside a plain one with the same set, in turn.

    python benchmarks/scheduling/run.py [--pairs 40]

Each pair is one step with the tuner's before_step (choose, freeze, thaw, copy the active units) and after_step (measure
how far they moved), and one step without, on the same model, batch and active set.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import frostline
from frostline.models import load_classifier, quiet
from frostline.training.versions import hardware, versions

SHAPES = {"32 x 128": (32, 128), "32 x 16": (32, 16)}
METHODS: dict[str, dict[str, Any]] = {"slimfit": {"rate": 0.9}, "auto": {}}
WARM_UP = 12  # more than ceil(t / k): every unit has its moments before the clock starts


def measure(method: str, batch: int, length: int, pairs: int) -> dict[str, float]:
    """Return medians: of both kinds of step, in seconds, of their paired ratio, of the tuner's share of a step."""
    torch.manual_seed(0)
    model = load_classifier("minilm", ("no", "yes")).model.train()
    tuner = frostline.prepare(model, method, **METHODS[method])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=True)
    tuner.attach(optimizer)
    tokens = torch.randint(1000, 20000, (batch, length))
    labels = torch.randint(0, 2, (batch,))

    def plain() -> None:
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def scheduled() -> None:
        tuner.before_step()
        plain()
        tuner.after_step()

    def timed(step: Callable[[], None]) -> float:
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    def alone() -> float:
        before = timed(tuner.before_step)
        plain()
        return before + timed(tuner.after_step)

    for _ in range(WARM_UP):
        scheduled()
    times = [(timed(scheduled), timed(plain), alone()) for _ in range(pairs)]
    return {
        "scheduled_step_seconds": statistics.median(a for a, _, _ in times),
        "plain_step_seconds": statistics.median(b for _, b, _ in times),
        "paired_ratio": statistics.median(a / b for a, b, _ in times),
        "share_of_a_step": statistics.median(c / b for _, b, c in times),
        "ratio_of_totals": sum(a for a, _, _ in times) / sum(b for _, b, _ in times),
    }


def main() -> None:
    """Measure each shape and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scheduling.json")
    arguments = parser.parse_args()
    pairs = arguments.pairs
    quiet()
    results = {
        f"{method}, {name}": measure(method, *shape, pairs) for method in METHODS for name, shape in SHAPES.items()
    }
    record = {"pairs": pairs, "results": results, "versions": versions(), "hardware": hardware()}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    for name, figures in results.items():
        print(name, {key: round(value, 4) for key, value in figures.items()})


if __name__ == "__main__":
    main()
