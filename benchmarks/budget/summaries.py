"""The tables of what a plan predicts, and what was kept."""

from __future__ import annotations

import statistics
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

from table import Table, results

from frostline.report import numbers

HERE = Path(__file__).parent
TOTALS = ("tensors", "process")


def prediction() -> Table:
    """Measured over predicted peaks: the range over all cases of a model."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in results(HERE, "prediction")["cases"]:
        for kind in TOTALS:
            for name in (record["case"]["model"], "all"):
                found[name][kind].append(record[kind]["measured"] / record[kind]["predicted"])
    names = [*(name for name in found if name != "all"), "all"]
    rows = [[name, str(len(found[name]["tensors"])), *(_range(found[name][kind]) for kind in TOTALS)] for name in names]
    return Table(["model", "cases", "tensors, measured / predicted", "process, measured / predicted"], rows)


def obedience() -> Table:
    """What ran under each hard limit."""
    rows = []
    for run in results(HERE, "obedience")["runs"]:
        ours, full = run["ours"].get("peak"), run["full"].get("peak")
        peaks = [numbers.mebibytes(size) if size else "dies" for size in (ours, full)]
        budget = f"{numbers.mebibytes(run['budget'])} ({run['of_full']:.0%})"
        rows.append([run["model"], budget, run["plan"], numbers.mebibytes(run["predicted"]), *peaks])
    return Table(["model", "budget (of full's peak)", "plan", "predicted", "measured", "full fine-tuning"], rows)


def headline() -> Table:
    """Full fine-tuning, the plan for 32 GB, and the smallest budgets."""
    rows = []
    for case in results(HERE, "headline")["cases"]:
        sizes = (case["full"], case["plan"]["predicted"], case["smallest"]["budget"], case["smallest_split"])
        full, plan, least, split = (f"{size / 1e9:.1f} GB" for size in sizes)
        precision = "bfloat16" if case["bf16"] else "float32"
        rows.append([f"{case['case']}, {precision}", full, f"{case['plan']['way']}: {plan}", least, split])
    return Table(["", "full fine-tuning", "plan for 32 GB", "smallest budget", "with the batch split"], rows)


def prediction_gpu() -> Table:
    """What torch handed out and reserved on a GPU beyond the predicted tensors: the range over all cases of a model."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in results(HERE, "prediction_gpu")["cases"]:
        of_model = found[record["case"]["model"]]
        of_model["allocated"].append((record["compact"]["allocated"] - record["predicted"]) / 2**20)
        for name in ("default", "compact"):
            of_model[name].append((record[name]["reserved"] - record["predicted"]) / 2**20)
    rows = [
        [model, str(len(ones["allocated"])), *(f"{min(ones[k]):.0f}–{max(ones[k]):.0f} MiB" for k in ones)]
        for model, ones in found.items()
    ]
    return Table(["model", "cases", "allocated", "reserved, default", "reserved, compact"], rows)


def headline_gpu() -> Table:
    """The headline's plans, run; of the caps under which a smallest budget was tried, the one that was kept."""
    kept: dict[tuple[str, bool, str], dict[str, Any]] = {}
    for run in results(HERE, "headline_gpu")["runs"]:
        kept[run["case"], run["bf16"], run["run"]] = run  # the last of those under rising caps
    rows = []
    for case, which in product({case: None for case, _, _ in kept}, (False, True)):
        for run in [run for (name, bf16, _), run in kept.items() if (name, bf16) == (case, which)]:
            memory, seconds = run["measured"].get("memory"), run["measured"].get("step_seconds", [])
            sizes = ["dies", ""]
            if memory:
                sizes = [f"{memory[key] / 1e9:.2f} GB" for key in ("cuda_allocated", "cuda_reserved")]
            cap = "none" if run["cap"] is None else f"{run['cap'] / 1e9:.2f} GB"
            name = f"{case}, {'bfloat16' if which else 'float32'}: {run['run']}"
            pace = f"{statistics.median(seconds[1:]):.2f}" if seconds else ""
            rows.append([name, cap, f"{run['predicted'] / 1e9:.2f} GB", *sizes, pace])
    return Table(["", "cap", "predicted", "allocated", "reserved", "seconds a step"], rows)


def planning() -> Table:
    """How long it takes to plan."""
    rows = [
        [case["shape"], f"{case['share']:.0%}", case["way"], f"{case['seconds']:.1f}", f"{case['command']:.0f}"]
        for case in results(HERE, "planning")["cases"]
    ]
    return Table(["model", "budget", "plan", "planning, seconds", "command, seconds"], rows)


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.3f}–{max(ratios):.3f}"


TABLES = {"prediction": prediction, "obedience": obedience, "planning": planning, "headline": headline}
TABLES |= {"prediction_gpu": prediction_gpu, "headline_gpu": headline_gpu}
