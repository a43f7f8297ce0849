"""What gradients and the optimizer's state cost on MiniLM: fused backward, and optimizers side by side.

    python benchmarks/optimizers/run.py
    PYTHONPATH=build/peers python benchmarks/optimizers/run.py optimizers

Fused backward with and without, by case and batch: tensor peak (`meter.TensorTracker`, AdamW's moments included),
process peak (VmHWM, a fresh process each, freed memory given back) and seconds a step in turn (median of the paired
ratios). Optimizers, by the names that `frostline train optim=` takes: bytes of state, seconds a step. Packages that are
not there are left out: PYTHONPATH brings them, see docs/choosing.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves
from transformers import Trainer, TrainingArguments

import frostline
from frostline import meter
from frostline.models import load_classifier, quiet
from frostline.training.versions import hardware, versions

RESULTS = Path(__file__).parent / "results"
WARM_UP = 2
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # else glibc keeps what was freed, and the peak is mostly its holes
CASES: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "full, gradient checkpointing": {"method": "full", "checkpointing": True},
    "slimfit90": {"method": "slimfit", "rate": 0.9},
}
SHAPES = {"32 x 128": (32, 128, 3), "32 x 16": (32, 16, 21), "4 x 16": (4, 16, 60)}  # batch, tokens, rounds
OPTIMIZERS = (
    *("adamw_torch_fused", "adamw_torch", "sgd", "adafactor"),
    *("adamw_8bit", "lion_8bit"),  # bitsandbytes
    *("adamw_torch_8bit", "adamw_torch_4bit"),  # torchao
)


class Stepper:
    """A model under a method, with one batch to train on."""

    def __init__(self, case: str, shape: str, *, fused: bool = False, optim: str = "adamw_torch_fused") -> None:
        batch, length, _ = SHAPES[shape]
        settings = dict(CASES[case])
        checkpointing = settings.pop("checkpointing", False)
        torch.manual_seed(0)
        self.model = load_classifier("minilm", ("no", "yes")).model.train()
        if checkpointing:
            self.model.activation_checkpointing_enable()
        self.tuner = frostline.prepare(self.model, fused_backward=fused, **settings)
        make, options = Trainer.get_optimizer_cls_and_kwargs(TrainingArguments(optim=optim, use_cpu=True), self.model)
        self.optimizer = make(self.tuner.candidate_parameters(), **options)
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

    def tensor_peak(self) -> int:
        """Return the highest sum of live tensors in two steps, moments and all, after the first."""
        self.step()
        with meter.TensorTracker(self.model) as tracker:
            tracker.mark("optimizer", self.state())
            self.step()
            self.step()
        return tracker.peak_bytes

    def state(self) -> list[Tensor]:
        """Return the tensors of the optimizer's state; of a quantised one, those that it is made of."""
        return [t for leaf in tree_leaves(dict(self.optimizer.state)) if isinstance(leaf, Tensor) for t in _parts(leaf)]

    def state_bytes(self) -> int:
        """Return their bytes, each storage once."""
        storages = [t.untyped_storage() for t in self.state()]
        return sum({s._cdata: s.nbytes() for s in storages}.values())


def _parts(tensor: Tensor) -> list[Tensor]:
    if not is_traceable_wrapper_subclass(tensor):
        return [tensor]
    return [part for name in tensor.__tensor_flatten__()[0] for part in _parts(getattr(tensor, name))]


def in_turn(steppers: dict[str, Stepper], rounds: int, reference: str) -> dict[str, dict[str, Any]]:
    """Return for each the median seconds a step, and the median ratio to the reference's."""
    seconds = {name: [stepper.step() for _ in range(WARM_UP)] and [] for name, stepper in steppers.items()}
    for _ in range(rounds):
        for name, stepper in steppers.items():
            seconds[name].append(stepper.step())
    ratios = {name: [a / b for a, b in zip(own, seconds[reference], strict=True)] for name, own in seconds.items()}
    return {
        name: {"step_seconds": statistics.median(own), "ratio": statistics.median(ratios[name])}
        for name, own in seconds.items()
    }


def process_peak(*words: str) -> int:
    """Return the highest resident size of a fresh process over some steps."""
    command = [sys.executable, __file__, "--peak", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **ALLOCATOR})
    return int(done.stdout.split()[-1])


def fused() -> None:
    """Measure every case at every shape, with and without."""
    results = _results("fused")  # goes on with what is missing
    for shape, (_, _, rounds) in SHAPES.items():
        for case in (case for case in CASES if case not in results.get(shape, {})):
            steppers = {how: Stepper(case, shape, fused=how == "fused") for how in ("stock", "fused")}
            figures = in_turn(steppers, rounds, "stock")
            for how in steppers:
                figures[how]["process_peak"] = process_peak(case, shape, how)
                figures[how]["tensor_peak"] = Stepper(case, shape, fused=how == "fused").tensor_peak()
            results.setdefault(shape, {})[case] = figures
            print(shape, case, json.dumps(figures), flush=True)
            _write("fused", results)


def optimizers() -> None:
    """Measure every optimizer that is there, full fine-tuning, few tokens: the step is mostly the optimizer's."""
    steppers: dict[str, Stepper] = {}
    for optim in OPTIMIZERS:
        try:
            steppers[optim] = Stepper("full", "4 x 16", optim=optim)
        except ImportError:
            print(f"{optim} is not there")
    figures = in_turn(steppers, SHAPES["4 x 16"][2] // 4, "adamw_torch_fused")
    for optim, stepper in steppers.items():
        weights = sum(p.numel() for p in stepper.model.parameters())
        figures[optim] |= {"state_bytes": stepper.state_bytes(), "weights": weights}
        _write("optimizers", figures)
        print(optim, f"{figures[optim]['state_bytes'] / weights:.2f} bytes a weight", figures[optim], flush=True)


def main() -> None:
    """Measure and write the results; with --peak, one process's peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="fused", choices=("fused", "optimizers"))
    parser.add_argument("--peak", nargs=3, metavar=("CASE", "SHAPE", "HOW"))
    arguments = parser.parse_args()
    quiet()
    if arguments.peak:
        case, shape, how = arguments.peak
        stepper = Stepper(case, shape, fused=how == "fused")
        meter.reset_peaks()
        for _ in range(WARM_UP):
            stepper.step()
        print(meter.peaks().deciding)
        return
    {"fused": fused, "optimizers": optimizers}[arguments.what]()


def _results(what: str) -> dict[str, Any]:
    path = RESULTS / f"{what}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else {}
    return found


def _write(what: str, results: dict[str, Any]) -> None:
    record = {"shapes": SHAPES, "results": results, "versions": versions(), "hardware": hardware()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{what}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
