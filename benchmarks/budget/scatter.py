"""Draws results/prediction.svg from the results beside it.

python benchmarks/budget/scatter.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import matplotlib

RESULTS = Path(__file__).parent / "results"
TOTALS = ("tensors", "process")


def draw() -> None:
    """Draw every case: what was predicted against what was measured."""
    cases = json.loads((RESULTS / "prediction.json").read_text(encoding="utf-8"))["cases"]
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "frostline", "font.size": 9}
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 4))
    for axis, kind, width in zip(axes, TOTALS, (0.05, 0.07), strict=True):
        points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for record in cases:
            points[record["case"]["model"]].append(
                (record[kind]["predicted"] / 2**20, record[kind]["measured"] / 2**20)
            )
        ends = [
            min(p for all_ in points.values() for p, _ in all_),
            max(p for all_ in points.values() for p, _ in all_),
        ]
        axis.fill_between(
            ends, [e * (1 - width) for e in ends], [e * (1 + width) for e in ends], color="0.85", label=f"±{width:.0%}"
        )
        for model, pairs in points.items():
            axis.scatter(*zip(*pairs, strict=True), s=12, label=model)
        axis.set(xscale="log", yscale="log", title=kind, xlabel="predicted, MiB", ylabel="measured, MiB")
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(RESULTS / "prediction.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw()
