"""The table of the costs of a step."""

from __future__ import annotations

from pathlib import Path

from table import Table, results

from frostline.report import numbers

HERE = Path(__file__).parent


def step_cost() -> Table:
    """Step time beside full fine-tuning and process peak, on batches of two lengths."""
    record = results(HERE, "step_cost")
    shapes = list(record["results"])
    rows = []
    for method in record["results"][shapes[0]]:
        row = [method]
        for shape in shapes:
            figures = record["results"][shape][method]
            row += [numbers.times(figures["ratio"]), numbers.mebibytes(figures["peak_bytes"])]
        rows.append(row)
    return Table(["method", *(f"{what}, {shape}" for shape in shapes for what in ("time", "peak"))], rows)


def gpu() -> Table:
    """Step time beside full fine-tuning on a GPU, in both precisions."""
    found = results(HERE, "gpu")["results"]
    rows = []
    for name in found["float32"]:
        cells = [found[precision][name] for precision in ("float32", "bfloat16")]
        pairs = [(f"{cell['step_seconds']:.3f}", numbers.times(cell["ratio"])) for cell in cells]
        rows.append([name, *pairs[0], *pairs[1]])
    return Table(["", "float32, seconds a step", "over full", "bfloat16, seconds a step", "over full"], rows)


TABLES = {"costs": step_cost, "gpu": gpu}
