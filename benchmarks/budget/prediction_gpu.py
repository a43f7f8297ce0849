"""Predicted and measured peaks on a GPU, case by case.

    python benchmarks/budget/prediction_gpu.py             # predicts; needs no GPU
    python benchmarks/budget/prediction_gpu.py --measure   # on a GPU, what was predicted

What torch hands out and reserves is measured over three steps from the first, all cases in one process whose cache is
emptied between them: once with torch's segments as they come, and, in another process beside it, with those that grow
by pages (`compact`), as plans have them.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from prediction import METHODS, STORAGES

from frostline import allocator
from frostline.meter.process import peaks, reset_peaks
from frostline.meter.steps import Run, Steps
from frostline.planner.rehearsal import rehearse
from frostline.training.versions import hardware, versions

RESULTS = Path(__file__).parent / "results" / "prediction_gpu.json"
COUNT = 3
TEXTS: dict[str, Any] = {"model": "bert-base", "batch_size": 16, "sequence_length": 128}
IMAGES: dict[str, Any] = {"model": "vit-base-patch16-224", "batch_size": 16}
SMALL: dict[str, Any] = {"model": "minilm", "batch_size": 32, "sequence_length": 96}
LARGE: dict[str, Any] = {"model": "llama-3.2-1b", "batch_size": 2, "sequence_length": 256}
PRESETS = ("exact", "lossless", "compact", "smallest", "slimfit")


def cases() -> list[dict[str, Any]]:
    """Return what to run, as keyword arguments of `Steps`."""
    found = [{**TEXTS, **how, "storage": storage} for how in METHODS.values() for storage in PRESETS]
    sixteen = [METHODS[name] for name in ("full", "lora", "slimfit")]
    found += [{**TEXTS, **how, "storage": storage, "bf16": True} for how in sixteen for storage in PRESETS]
    kept = {**METHODS["slimfit"], "optimizer_state": "keep"}
    found += [{**IMAGES, **how, "storage": storage} for how in (METHODS["full"], kept) for storage in STORAGES]
    found += [{**SMALL, **METHODS["full"], "storage": storage, "bf16": True} for storage in STORAGES]
    for storage in ("exact", "compact"):
        found += [{**LARGE, **METHODS["lora"], "storage": storage, "bf16": bf16} for bf16 in (False, True)]
    return found


def measured(case: dict[str, Any]) -> dict[str, int | None]:
    """Return the peaks of a few steps."""
    gc.collect()
    torch.cuda.empty_cache()
    reset_peaks()
    run = Run.real(Steps(**case, count=COUNT))
    for _ in range(COUNT):
        run.step()
    found = peaks()
    run.tuner.finish()
    return {"allocated": found.cuda_allocated, "reserved": found.cuda_reserved}


def main() -> None:
    """Predict, or have each allocator measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the cases in results/prediction_gpu.json")
    parser.add_argument("--allocator", help="measure with this one, and print")
    arguments = parser.parse_args()
    if (arguments.measure or arguments.allocator) and not torch.cuda.is_available():
        raise SystemExit("Measuring needs a GPU; python benchmarks/budget/prediction.py compares on a CPU.")
    if arguments.allocator is not None:
        allocator.use(arguments.allocator)
        print(json.dumps([measured(record["case"]) for record in _read()["cases"]]))
        return
    if not arguments.measure:
        records = [
            {"case": case, "predicted": rehearse(Steps(**case, count=COUNT), device="cuda", fresh=True).peak}
            for case in cases()
        ]
        _write({"predicted_with": versions(), "cases": records})
        return
    found = _read()
    commands = {name: [sys.executable, __file__, "--allocator", name] for name in ("default", "compact")}
    started = {name: subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for name, command in commands.items()}
    for name, process in started.items():
        printed, _ = process.communicate()
        for record, peaks_of in zip(found["cases"], json.loads(printed.splitlines()[-1]), strict=True):
            record[name] = peaks_of
    _write(found | {"versions": versions(), "hardware": hardware()})


def _read() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text(encoding="utf-8")))


def _write(found: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
