"""Predicted and measured peaks, case by case: of tensors, and of the whole process in a fresh one.

    python benchmarks/budget/prediction.py             # goes on where it stopped
    python benchmarks/budget/prediction.py --only minilm

Four architectures, five methods, three storages, two shapes: 75 cases. What is predicted is what is measured: four
steps of the method's own schedule, from the first. The process is predicted as its tensors and a constant, which is
measured once, by a small step of MiniLM under the compact allocator.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from frostline.children import run_child
from frostline.meter.steps import Steps, measure_tensors
from frostline.planner.rehearsal import rehearse
from frostline.training.versions import versions

RESULTS = Path(__file__).parent / "results" / "prediction.json"
TEXTS: tuple[dict[str, int], ...] = (
    {"batch_size": 16, "sequence_length": 128},
    {"batch_size": 32, "sequence_length": 48},
)
SHAPES: dict[str, tuple[dict[str, int], ...]] = {
    "minilm": TEXTS,
    "electra-small": TEXTS,
    "distilbert-base": ({"batch_size": 8, "sequence_length": 128}, {"batch_size": 16, "sequence_length": 48}),
    "deit-tiny": ({"batch_size": 8}, {"batch_size": 20}),
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "lora": {"method": "lora"},
    "layers": {"method": "layers", "settings": {"count": 2}},
    "slimfit": {"method": "slimfit", "settings": {"rate": 0.9}, "optimizer_state": "release"},
    "far": {"method": "far", "settings": {"retention": 0.1}, "optimizer_state": "release"},
}
STORAGES = ("exact", "compact", "smallest")
COUNT = 4


def cases() -> list[dict[str, Any]]:
    """Return what to run, as keyword arguments of `Steps`: one shape and the other in turn, MiniLM both."""
    found = []
    for model, shapes in SHAPES.items():
        for index, (method, storage) in enumerate(product(METHODS.values(), STORAGES)):
            chosen = shapes if model == "minilm" else (shapes[index % 2],)
            found += [{"model": model, **shape, **method, "storage": storage} for shape in chosen]
    return found


def main() -> None:
    """Run every case that has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="this model only")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    found: dict[str, Any] = {"versions": versions(), "cases": []}
    if options.output.exists():
        found = json.loads(options.output.read_text(encoding="utf-8"))
    if "besides" not in found:
        small = {"model": "minilm", "batch_size": 2, "sequence_length": 16}
        tensors = rehearse(Steps(**small, count=COUNT), fresh=True).peak
        found["besides"] = _process_peak(small) - tensors
    known = {json.dumps(record["case"], sort_keys=True) for record in found["cases"]}
    for case in cases():
        if json.dumps(case, sort_keys=True) in known or (options.only and case["model"] != options.only):
            continue
        steps = Steps(**case, count=COUNT)
        predicted = rehearse(steps, fresh=True).peak
        record = {
            "case": case,
            "tensors": {"predicted": predicted, "measured": measure_tensors(steps)["memory"]["tensor_peak"]},
            "process": {"predicted": predicted + found["besides"], "measured": _process_peak(case)},
        }
        found["cases"].append(record)
        ratios = [f"{key} {record[key]['measured'] / record[key]['predicted']:.3f}" for key in ("tensors", "process")]
        print(*case.values(), *ratios, flush=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _process_peak(case: dict[str, Any]) -> int:
    """Return the peak of a fresh process that does these steps."""
    job = {"kind": "process", "steps": {**case, "count": COUNT, "allocator": "compact"}}
    _, end = run_child("frostline.meter.child", job)
    if end.result is None:
        raise SystemExit(f"{case}: {end.reason}")
    return int(end.result["memory"]["process_peak"])


if __name__ == "__main__":
    main()
