"""What each storage preset keeps, what it costs in time, and how far its gradient lies from the exact one.

    python benchmarks/storage/run.py                       # MiniLM, batch 32 x 128, float32, full padding, dropout on
    python benchmarks/storage/run.py --model ../shared/data/models/vit-tiny --batch 32      # 224 px

Kept: bytes saved for backward at the end of the forward pass, and the most at any moment of the step, each storage
once. Gradient: of the whole model against stock PyTorch's with the same random numbers, over the weights that train;
the lowest of some steps. Time: stock full fine-tuning and the row, one step each in turn, median of the paired ratios.
Process: the highest resident size of some steps in a fresh process (VmHWM from a reset when the model is loaded), under
the system's allocator as it comes and under `frostline.allocator.use("compact")`. Each row is written as soon as it is
measured; `--row` measures some again and leaves the others as they are.
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
from torch import Tensor, nn
from transformers import AutoModelForImageClassification

import frostline
from frostline import allocator, meter
from frostline.models import load_classifier, quiet
from frostline.training.versions import hardware, versions

FROZEN: dict[str, Any] = {"method": "slimfit", "rate": 0.9, "optimizer_state": "release"}
ROWS: dict[str, dict[str, Any]] = {
    "exact": {},
    "lossless": {"storage": "lossless"},
    "compact": {"storage": "compact"},
    "slimfit": {"storage": "slimfit"},
    "smallest": {"storage": "smallest"},
    "exact, 90 % frozen": FROZEN,
    "lossless, 90 % frozen": {**FROZEN, "storage": "lossless"},
    "compact, 90 % frozen": {**FROZEN, "storage": "compact"},
    "slimfit, 90 % frozen": {**FROZEN, "storage": "slimfit"},
    "smallest, 90 % frozen": {**FROZEN, "storage": "smallest"},
    "smallest, 90 % frozen, fused backward": {**FROZEN, "storage": "smallest", "fused_backward": True},
}
GRADIENT_STEPS = 11  # as many as the schedule needs to visit every unit once
WARM_UP = 3


class Stepper:
    """A model under a method and storage, with one batch to train on."""

    def __init__(self, model: str, batch: int, length: int, options: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.model, self.batch = _load(model, batch, length)
        self.model.train()
        self.tuner = frostline.prepare(self.model, **options)
        self.optimizer = torch.optim.AdamW(self.tuner.candidate_parameters(), lr=1e-5, fused=True)
        self.tuner.attach(self.optimizer)

    def step(self) -> float:
        """Do one step and return its seconds."""
        began = time.perf_counter()
        self.tuner.before_step()
        self.model(**self.batch).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.tuner.after_step()
        return time.perf_counter() - began

    def gradient(self, seed: int) -> dict[str, Tensor]:
        """Return the gradients of what is active at this step; no weight moves."""
        self.tuner.before_step()
        torch.manual_seed(seed)
        self.model(**self.batch).loss.backward()
        found = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        self.model.zero_grad()
        self.tuner.after_step()
        return found


def _load(name: str, batch: int, length: int) -> tuple[nn.Module, dict[str, Tensor]]:
    labels = torch.arange(batch) % 2
    if name == "minilm":
        tokens = torch.randint(1000, 20000, (batch, length))
        return load_classifier("minilm", ("no", "yes")).model, {"input_ids": tokens, "labels": labels}
    model: Any = AutoModelForImageClassification.from_pretrained(
        name, num_labels=2, ignore_mismatched_sizes=True, dtype=torch.float32
    )
    size = model.config.image_size
    return model, {"pixel_values": torch.randn(batch, model.config.num_channels, size, size), "labels": labels}


def kept(stepper: Stepper) -> dict[str, int]:
    """Return the bytes saved at the end of a forward pass and the most at any moment of the step."""
    stepper.step()  # the optimizer's state is there
    with meter.TensorTracker(stepper.model) as tracker:
        tracker.mark_optimizer(stepper.optimizer)
        stepper.tuner.before_step()
        loss = stepper.model(**stepper.batch).loss
        after_forward = tracker.live["saved"]
        loss.backward()
        stepper.optimizer.step()
        tracker.mark_optimizer(stepper.optimizer)
        stepper.optimizer.zero_grad()
        stepper.tuner.after_step()
    return {"saved": after_forward, "saved_peak": tracker.saved_peak, "tensor_peak": tracker.peak_bytes}


def error(stepper: Stepper, reference: Stepper) -> dict[str, float]:
    """Return the lowest cosine and the largest relative error of the gradient over some steps' active sets."""
    cosines, errors = [], []
    for seed in range(GRADIENT_STEPS if stepper.tuner.plan.method != "full" else 2):
        own, exact = stepper.gradient(seed), reference.gradient(seed)
        assert own.keys() == exact.keys()
        one, other = (torch.cat([g[name].double().flatten() for name in exact]) for g in (own, exact))
        cosines.append(float(torch.dot(one, other) / (one.norm() * other.norm())))
        errors.append(float((one - other).norm() / other.norm()))
    return {"cosine": min(cosines), "relative_error": max(errors)}


def ratio(stepper: Stepper, reference: Stepper, rounds: int) -> dict[str, float]:
    """Return the median seconds a step and the median of the paired ratios to the reference's."""
    pairs = [(stepper.step(), reference.step()) for _ in range(WARM_UP + rounds)][WARM_UP:]
    return {
        "step_seconds": statistics.median(own for own, _ in pairs),
        "time_ratio": statistics.median(own / other for own, other in pairs),
    }


def process_peaks(name: str, arguments: argparse.Namespace) -> dict[str, int]:
    """Return the highest resident size of a row in a fresh process, by allocator; `inference` is a row too."""
    peaks = {}
    for allocated in ("default", "compact"):
        command = [sys.executable, __file__, "--peak-of", name, "--allocator", allocated]
        command += ["--model", arguments.model, "--batch", str(arguments.batch), "--length", str(arguments.length)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[f"process_peak_{allocated}"] = int(done.stdout.split()[-1])
    return peaks


def measure_peak(name: str, arguments: argparse.Namespace) -> int:
    """Return this process's highest resident size over some steps of a row."""
    shape = arguments.model, arguments.batch, arguments.length
    if name == "inference":
        model, batch = _load(*shape)
        model.eval()
        allocator.use(arguments.allocator)
        meter.reset_peaks()
        for _ in range(3):
            with torch.inference_mode():
                model(**batch)
        return meter.peaks().process
    stepper = Stepper(*shape, ROWS[name])
    allocator.use(arguments.allocator)
    meter.reset_peaks()
    for _ in range(GRADIENT_STEPS + 1 if stepper.tuner.plan.method != "full" else 4):
        stepper.step()
    return meter.peaks().process


def main() -> None:
    """Measure and write the result; with --peak-of, measure one row's peak and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm", help="`minilm`, or the folder of an image classifier")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="tokens")
    parser.add_argument("--rounds", type=int, default=7, help="of paired steps, after the warm-up")
    parser.add_argument("--peak-of", help="a row, or `inference`")
    parser.add_argument("--allocator", default="default", help="`default` or `compact`, for --peak-of")
    parser.add_argument("--row", action="append", choices=["inference", *ROWS], help="only this one, may be repeated")
    parser.add_argument("--output", type=Path, help="the JSON file; results/MODEL.json if left out")
    arguments = parser.parse_args()
    quiet()
    if arguments.peak_of:
        print(measure_peak(arguments.peak_of, arguments))
        return
    shape = arguments.model, arguments.batch, arguments.length
    output = arguments.output or Path(__file__).parent / "results" / f"{Path(arguments.model).name}.json"
    record: dict[str, Any] = {"model": Path(arguments.model).name, "batch": arguments.batch, "length": arguments.length}
    results: dict[str, Any] = json.loads(output.read_text())["results"] if arguments.row and output.exists() else {}
    rows = arguments.row or ["inference", *ROWS]
    if "inference" in rows:
        results["inference"] = process_peaks("inference", arguments)
    stock = Stepper(*shape, {})
    for name, options in ROWS.items():
        if name not in rows:
            continue
        own = Stepper(*shape, options)
        exact = Stepper(
            *shape, {key: value for key, value in options.items() if key not in ("storage", "fused_backward")}
        )
        figures: dict[str, Any] = {} if options.get("fused_backward") else error(own, exact)
        del exact
        figures |= ratio(own, stock, arguments.rounds) | kept(own)
        del own
        results[name] = figures | process_peaks(name, arguments)
        print(name, {key: round(value, 4) for key, value in results[name].items()}, flush=True)
        in_order = {row: results[row] for row in ("inference", *ROWS) if row in results}
        whole = record | {"results": in_order, "versions": versions(), "hardware": hardware()}
        output.parent.mkdir(exist_ok=True)
        output.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
