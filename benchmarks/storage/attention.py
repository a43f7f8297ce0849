"""One attention, forward and backward, against stock: time in turn, bytes kept, transient peak.

Run it as `OMP_NUM_THREADS=1 python benchmarks/storage/attention.py --repeats 10`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.meter.tensors import TensorTracker
from frostline.storage import codecs
from frostline.storage.operations.attention import AttentionStorage, attention

SHAPES = {"MiniLM 32 x 128": (32, 12, 128, 32), "BERT-base 8 x 384": (8, 12, 384, 64)}
Run = Callable[..., Tensor]


def runs(dropout: float) -> dict[str, Run]:
    """Return the attentions to compare, by name."""
    found: dict[str, Run] = {"stock": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, None, dropout)}
    for codec, keep, noise in (
        ("exact", "inputs", "replay"),
        ("exact", "inputs", "mask"),
        ("int8", "inputs", "replay"),
        ("int8", "inputs", "mask"),
        ("fixed3.4", "probabilities", "mask"),
    ):
        if noise == "mask" and not dropout and keep == "inputs":
            continue
        how = AttentionStorage(codecs.get(codec), keep, "attention", noise)
        name = f"{codec} {keep} {noise}" if dropout else f"{codec} {keep}"
        found[name] = lambda q, k, v, how=how: attention(q, k, v, storage=how, dropout=dropout)
    return found


def timed(run: Run, inputs: list[Tensor], slope: Tensor, clock: Callable[[], float]) -> tuple[float, float]:
    """Return seconds of the forward and of the backward pass."""
    start = clock()
    output = run(*inputs)
    middle = clock()
    torch.autograd.grad(output, inputs, slope)
    return middle - start, clock() - middle


def bytes_of(run: Run, inputs: list[Tensor], slope: Tensor) -> tuple[int, int]:
    """Return bytes kept for backward, query, key and value included, and the peak beyond what was there before."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with TensorTracker(nn.Identity()) as tracker:
        tracker.mark("other", [*inputs, slope])
        before = sum(tracker.live.values())
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            output = run(*inputs)
        torch.autograd.grad(output, inputs, slope)
    return sum(kept.values()), tracker.peak_bytes - before


def main() -> None:
    """Measure every shape and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--dropout", type=float, nargs="*", default=[0.1, 0.0])
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    threads = torch.get_num_threads()
    clock = time.thread_time if threads == 1 else time.perf_counter  # one thread: others' work does not count
    print(f"threads={threads}, medians of {args.repeats}, each run in turn; ratio of paired times")
    for name, (batch, heads, length, width) in SHAPES.items():
        torch.manual_seed(0)
        dtype = getattr(torch, args.dtype)
        inputs = [torch.randn(batch, length, heads, width, dtype=dtype).transpose(1, 2) for _ in range(3)]
        slope = torch.randn(batch, length, heads, width, dtype=dtype).transpose(1, 2)
        for tensor in inputs:
            tensor.requires_grad_()
        for dropout in args.dropout:
            compared = runs(dropout)
            times: dict[str, list[tuple[float, float]]] = {key: [] for key in compared}
            for repeat in range(args.repeats + 1):
                for key, run in compared.items():
                    seconds = timed(run, inputs, slope, clock)
                    if repeat:
                        times[key].append(seconds)
            print(f"\n{name}, dropout {dropout}")
            for key, run in compared.items():
                kept, peak = bytes_of(run, inputs, slope)
                forward, backward = (statistics.median(part) * 1e3 for part in zip(*times[key], strict=True))
                pairs = zip(times[key], times["stock"], strict=True)
                ratio = statistics.median(sum(own) / sum(stock) for own, stock in pairs)
                print(
                    f"  {key:34} forward {forward:6.1f} ms  backward {backward:6.1f} ms  x{ratio:.2f}"
                    f"  kept {kept / 1e6:7.2f} MB  peak {peak / 1e6:6.1f} MB"
                )


if __name__ == "__main__":
    main()
