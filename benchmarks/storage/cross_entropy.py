"""The loss of a large vocabulary, forward and backward, against transformers': time in turn, bytes kept, peak.

    OMP_NUM_THREADS=1 python benchmarks/storage/cross_entropy.py --rows 2048 --classes 32000

Kept and peak are beyond the logits themselves, which the model returns and so holds in either case.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.loss.loss_utils import ForCausalLMLoss

from frostline.meter.tensors import TensorTracker
from frostline.storage.operations.cross_entropy import causal_lm_loss

LOSSES: dict[str, Callable[..., Tensor]] = {"stock": ForCausalLMLoss, "chunks": causal_lm_loss}


def step(loss: Callable[..., Tensor], logits: Tensor, labels: Tensor) -> Tensor:
    """Run forward and backward; return the gradient of the logits."""
    fresh = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(fresh, labels, logits.shape[-1]), fresh)[0]


def main() -> None:
    """Measure both dtypes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=32000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        logits = torch.randn(1, args.rows, args.classes, dtype=dtype)
        labels = torch.randint(args.classes, (1, args.rows))
        times: dict[str, list[float]] = {name: [] for name in LOSSES}
        for _ in range(args.repeats):
            for name, loss in LOSSES.items():
                start = clock()
                step(loss, logits, labels)
                times[name].append(clock() - start)
        for name, loss in LOSSES.items():
            with TensorTracker(nn.Identity()) as tracker:
                tracker.mark("other", [logits, labels])
                before = sum(tracker.live.values())
                fresh = logits.detach().requires_grad_()
                value = loss(fresh, labels, args.classes)
                kept = sum(tracker.live.values()) - before
                torch.autograd.grad(value, fresh)
            print(
                f"{str(dtype).removeprefix('torch.'):9} {name:7} {statistics.median(times[name]):5.2f} s  "
                f"kept {kept / 1e6:6.1f} MB  peak {(tracker.peak_bytes - before) / 1e6:6.1f} MB"
            )


if __name__ == "__main__":
    main()
