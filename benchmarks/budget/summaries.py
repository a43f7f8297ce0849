"""The tables and the picture of this folder, from its results.

python benchmarks/budget/summaries.py              # draws results/prediction.svg; `make tables` writes the tables
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

from frostline.report import numbers

RESULTS = Path(__file__).parent / "results"
TOTALS = ("tensors", "process")
Rows = list[list[str]]


def prediction() -> tuple[list[str], Rows]:
    """Measured over predicted peaks: the range over all cases of a model."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in _read("prediction")["cases"]:
        for kind in TOTALS:
            for name in (record["case"]["model"], "all"):
                found[name][kind].append(record[kind]["measured"] / record[kind]["predicted"])
    names = [*(name for name in found if name != "all"), "all"]
    rows = [[name, str(len(found[name]["tensors"])), *(_range(found[name][kind]) for kind in TOTALS)] for name in names]
    return ["model", "cases", "tensors, measured / predicted", "process, measured / predicted"], rows


def obedience() -> tuple[list[str], Rows]:
    """What ran under each hard limit."""
    rows = []
    for run in _read("obedience")["runs"]:
        ours, full = run["ours"].get("peak"), run["full"].get("peak")
        peaks = [numbers.mebibytes(size) if size else "dies" for size in (ours, full)]
        budget = f"{numbers.mebibytes(run['budget'])} ({run['of_full']:.0%})"
        rows.append([run["model"], budget, run["plan"], numbers.mebibytes(run["predicted"]), *peaks])
    return ["model", "budget (of full's peak)", "plan", "predicted", "measured", "full fine-tuning"], rows


def headline() -> tuple[list[str], Rows]:
    """Full fine-tuning, the plan for 32 GB, and the smallest budgets."""
    rows = []
    for case in _read("headline")["cases"]:
        sizes = (case["full"], case["plan"]["predicted"], case["smallest"]["budget"], case["smallest_split"])
        full, plan, least, split = (f"{size / 1e9:.1f} GB" for size in sizes)
        precision = "bfloat16" if case["bf16"] else "float32"
        rows.append([f"{case['case']}, {precision}", full, f"{case['plan']['way']}: {plan}", least, split])
    return ["", "full fine-tuning", "plan for 32 GB", "smallest budget", "with the batch split"], rows


def draw() -> None:
    """Draw every case: what was predicted against what was measured."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "frostline", "font.size": 9}
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 4))
    for axis, kind, width in zip(axes, TOTALS, (0.05, 0.07), strict=True):
        points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for record in _read("prediction")["cases"]:
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


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.3f}–{max(ratios):.3f}"


TABLES = {"prediction": prediction, "obedience": obedience, "headline": headline}

if __name__ == "__main__":
    draw()
