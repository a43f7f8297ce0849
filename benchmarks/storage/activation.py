"""One activation, forward and backward, against stock: time in turn, bytes kept, transient peak, gradient error.

    OMP_NUM_THREADS=1 python benchmarks/storage/activation.py
    OMP_NUM_THREADS=1 python benchmarks/storage/activation.py --inputs minilm --text ../shared/data/text/trec/train.txt

Error: relative L2 of the input's gradient against stock's, for inputs of N(0, 1) and independent gradients; with
`minilm`, for what MiniLM's six FFNs hand their GELU on 64 lines of the text, with the gradients that come back to it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.activations import ACT2FN

from frostline.meter.tensors import TensorTracker
from frostline.models import locate, quiet
from frostline.storage import codecs
from frostline.storage.operations.activation import activation, activation_way
from frostline.storage.operations.swiglu import gated

WAYS = ("exact", "int8", "int4", "fixed2.1", "derivative1", "derivative2", "derivative3", "derivative4", "derivative5")
KINDS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "silu": "silu", "relu": "relu"}
Run = Callable[..., Tensor]


def runs(name: str) -> dict[str, Run]:
    """Return stock's function and ours in each way."""
    if name == "swiglu":
        ours: dict[str, Run] = {
            way: lambda gate, up, way=way: gated(gate, up, F.silu, "silu", codecs.get(way), "here")
            for way in WAYS
            if "derivative" not in way
        }
        return {"stock": lambda gate, up: F.silu(gate) * up, **ours}
    forward, kind = ACT2FN[name], KINDS[name]
    ways = ("exact", "derivative1") if name == "relu" else WAYS
    return {
        "stock": forward,
        **{way: lambda x, way=way: activation(x, forward, kind, activation_way(way), "here") for way in ways},
    }


def step(run: Run, inputs: list[Tensor], slope: Tensor) -> tuple[float, float, list[Tensor]]:
    """Return seconds of the forward and of the backward pass, and the gradients; no offer of another run is taken."""
    fresh = [tensor.detach().requires_grad_() for tensor in inputs]
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter  # others' work does not count
    start = clock()
    output = run(*fresh)
    middle = clock()
    gradients = torch.autograd.grad(output, fresh, slope)
    return middle - start, clock() - middle, list(gradients)


def bytes_of(run: Run, inputs: list[Tensor], slope: Tensor) -> tuple[int, int]:
    """Return bytes kept for backward, an input that is kept as it is included, and the peak beyond the inputs."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with TensorTracker(nn.Identity()) as tracker:
        tracker.mark("other", [*inputs, slope])
        before = sum(tracker.live.values())
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            fresh = [tensor.detach().requires_grad_() for tensor in inputs]
            output = run(*fresh)
        torch.autograd.grad(output, fresh, slope)
    return sum(kept.values()), tracker.peak_bytes - before


def error(run: Run, stock: Run, inputs: list[Tensor], slope: Tensor) -> float:
    """Return the relative L2 error of the gradients."""
    own, exact = (torch.cat([g.flatten() for g in step(r, inputs, slope)[2]]) for r in (run, stock))
    return float((own - exact).norm() / exact.norm())


def minilm(text: Path) -> list[tuple[Tensor, Tensor]]:
    """Return each block's input of its GELU and the gradient of its output, tokens without padding."""
    torch.manual_seed(0)
    folder = locate("minilm")
    lines = [line.split(" ", 1) for line in text.read_text(encoding="latin1").splitlines()[:64]]
    batch = AutoTokenizer.from_pretrained(folder)([line for _, line in lines], return_tensors="pt", padding=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=6).train()
    outputs, found = [], []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)
        found.append(inputs[0].detach())

    for name, module in model.named_modules():
        if name.endswith("intermediate_act_fn"):
            module.register_forward_hook(keep)
    model(**batch, labels=torch.tensor([int(label) for label, _ in lines])).loss.backward()
    real = batch["attention_mask"].bool()
    return [(input[real], output.grad[real]) for input, output in zip(found, outputs, strict=True)]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", choices=("normal", "minilm"), default="normal")
    parser.add_argument("--text", type=Path, help="TREC's lines, label first")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    quiet()
    if args.inputs == "minilm":
        blocks = minilm(args.text)
        print("inputs by block: " + "  ".join(f"{x.mean():.2f} +- {x.std():.2f}" for x, _ in blocks))
        for name in ("gelu", "silu"):
            compared = runs(name)
            for way in WAYS:
                errors = [error(compared[way], compared["stock"], [input], grad) for input, grad in blocks]
                print(f"{name:9} {way:12} error by block {'  '.join(f'{e:.4f}' for e in errors)}")
        return
    torch.manual_seed(0)
    print(f"32 x 128 x 1536 float32, threads={torch.get_num_threads()}, medians of {args.repeats}, each run in turn")
    for name in ("gelu", "gelu_new", "silu", "relu", "swiglu"):
        inputs = [torch.randn(32, 128, 1536) for _ in range(2 if name == "swiglu" else 1)]
        slope, compared = torch.randn(32, 128, 1536), runs(name)
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in compared}
        for repeat in range(args.repeats + 1):
            for way, run in compared.items():
                seconds = step(run, inputs, slope)[:2]
                if repeat:
                    times[way].append(seconds)
        for way, run in compared.items():
            kept, peak = bytes_of(run, inputs, slope)
            forward, backward = (statistics.median(part) * 1e3 for part in zip(*times[way], strict=True))
            ratio = statistics.median(sum(a) / sum(b) for a, b in zip(times[way], times["stock"], strict=True))
            print(
                f"{name:9} {way:12} forward {forward:5.1f} ms  backward {backward:5.1f} ms  x{ratio:.2f}  "
                f"kept {kept / 1e6:6.2f} MB  peak {peak / 1e6:6.1f} MB  "
                f"error {error(run, compared['stock'], inputs, slope):.4f}"
            )


if __name__ == "__main__":
    main()
