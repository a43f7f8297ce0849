"""Which operations a step of full fine-tuning spends its time in, by PyTorch's profiler.

python benchmarks/step_cost/shares.py
"""

from __future__ import annotations

from collections import Counter

from run import SHAPES, Stepper
from torch.profiler import ProfilerActivity, profile

from frostline.models import quiet

MATRIX_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def main() -> None:
    """Print the eight largest shares of a step for each shape."""
    quiet()
    for shape, (batch, length, _) in SHAPES.items():
        stepper = Stepper({"method": "full"}, batch, length)
        for _ in range(2):
            stepper.step()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            stepper.step()
        seconds: Counter[str] = Counter()
        for event in profiler.key_averages():
            name = "matrix products" if event.key in MATRIX_PRODUCTS else event.key
            seconds["AdamW" if "adam" in name.lower() else name] += event.self_cpu_time_total
        total = sum(seconds.values())
        print(shape, ", ".join(f"{name} {value / total:.1%}" for name, value in seconds.most_common(8)))


if __name__ == "__main__":
    main()
