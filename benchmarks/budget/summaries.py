"""The tables of what a plan predicts, and what was kept."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

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


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.3f}–{max(ratios):.3f}"


TABLES = {"prediction": prediction, "obedience": obedience, "headline": headline}
