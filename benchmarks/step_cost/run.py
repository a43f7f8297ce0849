"""Seconds a step and peak memory of every method beside full fine-tuning, MiniLM, AdamW.

    python benchmarks/step_cost/run.py

Time: all methods in one process, one step each in turn, so that drift hits all alike; the ratio is the median of the
paired ratios. Peak: each method in a fresh process, highest resident size over some steps (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import frostline
from frostline import meter
from frostline.models import load_classifier, quiet
from frostline.training.versions import hardware, versions

METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "far10_hidden": {"method": "far", "retention": 0.1, "nodes": "hidden", "total_steps": 100},
    "far10_output": {"method": "far", "retention": 0.1, "nodes": "output", "total_steps": 100},
    "far40_hidden": {"method": "far", "retention": 0.4, "nodes": "hidden", "total_steps": 100},
    "far40_output": {"method": "far", "retention": 0.4, "nodes": "output", "total_steps": 100},
    "far90_output": {"method": "far", "retention": 0.9, "nodes": "output", "total_steps": 100},
    "slimfit90": {"method": "slimfit", "rate": 0.9},
    "layers2": {"method": "layers", "count": 2},
    "lora8": {"method": "lora", "rank": 8},
}
SHAPES = {"32 x 16": (32, 16, 25), "32 x 128": (32, 128, 8)}  # batch, tokens, rounds
WARM_UP = 12


class Stepper:
    """A model under a method, with one batch to train on."""

    def __init__(self, settings: dict[str, Any], batch: int, length: int) -> None:
        torch.manual_seed(0)
        self.model = load_classifier("minilm", ("no", "yes")).model.train()
        self.tuner = frostline.prepare(self.model, **settings)
        self.optimizer = torch.optim.AdamW(self.tuner.candidate_parameters(), lr=5e-5, fused=True)
        self.tuner.attach(self.optimizer)
        self.batch = {"input_ids": torch.randint(1000, 20000, (batch, length)), "labels": torch.zeros(batch).long()}

    def step(self) -> float:
        """Do one step and return its seconds."""
        began = time.perf_counter()
        self.tuner.before_step()
        self.model(**self.batch).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.tuner.after_step()
        return time.perf_counter() - began


def times(batch: int, length: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return for each method the median seconds a step and the median ratio to full fine-tuning's, in turn."""
    steppers = {name: Stepper(settings, batch, length) for name, settings in METHODS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for round_ in range(rounds + WARM_UP):
        for name, stepper in steppers.items():
            taken = stepper.step()
            if round_ >= WARM_UP:
                seconds[name].append(taken)
    return beside_full(seconds)


def beside_full(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return for each row the median seconds a step, and of its ratios to full fine-tuning's in the same round."""
    return {
        name: {
            "step_seconds": statistics.median(own),
            "ratio": statistics.median(a / b for a, b in zip(own, seconds["full"], strict=True)),
        }
        for name, own in seconds.items()
    }


def main() -> None:
    """Measure and write the result; with --peak-of, measure one method's peak and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak-of", nargs=3, metavar=("METHOD", "BATCH", "LENGTH"))
    parser.add_argument("--rounds", type=int, help="of steps of all methods, after the warm-up")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "step_cost.json")
    arguments = parser.parse_args()
    quiet()
    if arguments.peak_of:
        name, batch, length = arguments.peak_of
        stepper = Stepper(METHODS[name], int(batch), int(length))
        meter.reset_peaks()
        for _ in range(WARM_UP):
            stepper.step()
        print(meter.peaks().deciding)
        return
    results: dict[str, Any] = {}
    for shape, (batch, length, rounds) in SHAPES.items():
        results[shape] = times(batch, length, arguments.rounds or rounds)
        for name, figures in results[shape].items():
            command = [sys.executable, __file__, "--peak-of", name, str(batch), str(length)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures["peak_bytes"] = int(done.stdout.split()[-1])
            print(shape, name, {k: round(v, 3) for k, v in figures.items()}, flush=True)
    record = {"shapes": SHAPES, "results": results, "versions": versions(), "hardware": hardware()}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
