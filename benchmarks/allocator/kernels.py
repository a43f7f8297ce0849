"""What oneDNN's kernels take of a process that trains in bfloat16 on texts of many lengths, and what few of them cost.

    python benchmarks/allocator/kernels.py          # few, as the compact allocator sets it

With ONEDNN_PRIMITIVE_CACHE_CAPACITY=1024 and LRU_CACHE_CAPACITY=1024 in the environment: as many as are kept otherwise.
MiniLM, batch 32, storage `compact`, one thread: steps of one length, then of 34 others, twice. Prints the resident
memory before and after, and the seconds of each round of 34.
"""

from __future__ import annotations

import time

import psutil
import torch

import frostline
from frostline import allocator
from frostline.models import load_classifier, quiet

LENGTHS = range(6, 40)


def main() -> None:
    """Train, and print."""
    quiet()
    torch.set_num_threads(1)
    allocator.use("compact")
    model = load_classifier("minilm", ["a", "b"]).model.train()
    tuner = frostline.prepare(model, "full", storage="compact")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tuner.attach(optimizer)

    def step(length: int) -> None:
        ids = torch.randint(1000, 20000, (32, length))
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(32, dtype=torch.long)}
        tuner.before_step()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        tuner.after_step()

    def resident() -> str:
        return f"{psutil.Process().memory_info().rss / 2**20:,.0f} MiB"

    for _ in range(4):
        step(LENGTHS.stop)
    print("one length:", resident())
    for _ in range(2):
        began = time.perf_counter()
        for length in LENGTHS:
            step(length)
        print(f"{len(LENGTHS)} more: {resident()}, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
