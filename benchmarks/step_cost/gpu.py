"""Seconds a step of methods and storages beside full fine-tuning on a GPU: BERT-base, 32 x 128, AdamW.

    python benchmarks/step_cost/gpu.py

All in one process, one step each in turn, the clock read when the GPU is done; the ratio is the median of
the paired ratios. Weights are random: times do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from run import beside_full

from frostline.meter.process import synchronize
from frostline.meter.steps import Run, Steps
from frostline.training.versions import hardware, versions

SHAPE: dict[str, Any] = {"model": "bert-base", "batch_size": 32, "sequence_length": 128, "count": 100}
ROWS: dict[str, dict[str, Any]] = {
    "full": {},
    "far10_hidden": {"method": "far", "settings": {"retention": 0.1, "nodes": "hidden"}},
    "far10_output": {"method": "far", "settings": {"retention": 0.1, "nodes": "output"}},
    "far40_hidden": {"method": "far", "settings": {"retention": 0.4, "nodes": "hidden"}},
    "slimfit90": {"method": "slimfit", "settings": {"rate": 0.9}},
    "slimfit90_slimfit": {"method": "slimfit", "settings": {"rate": 0.9}, "storage": "slimfit"},
    "layers2": {"method": "layers", "settings": {"count": 2}},
    "lora8": {"method": "lora", "settings": {"rank": 8}},
    "full_lossless": {"storage": "lossless"},
    "full_compact": {"storage": "compact"},
    "full_smallest": {"storage": "smallest"},
}
WARM_UP, ROUNDS = 14, 20


def times(bf16: bool) -> dict[str, dict[str, float]]:
    """Return for each row the median seconds a step and the median ratio to full fine-tuning's, in turn."""
    runs = {name: Run.real(Steps(**SHAPE, **row, bf16=bf16)) for name, row in ROWS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ROWS}
    for round_ in range(WARM_UP + ROUNDS):
        for name, run in runs.items():
            synchronize()
            began = time.perf_counter()
            run.step()
            synchronize()
            if round_ >= WARM_UP:
                seconds[name].append(time.perf_counter() - began)
    return beside_full(seconds)


def main() -> None:
    """Measure in float32 and bfloat16, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This needs a GPU; python benchmarks/step_cost/run.py measures on a CPU.")
    results = {}
    for precision, bf16 in (("float32", False), ("bfloat16", True)):
        results[precision] = times(bf16)
        for name, figures in results[precision].items():
            print(precision, name, {key: round(value, 4) for key, value in figures.items()}, flush=True)
        record = {"shape": SHAPE, "results": results, "versions": versions(), "hardware": hardware()}
        output = Path(__file__).parent / "results" / "gpu.json"
        output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
