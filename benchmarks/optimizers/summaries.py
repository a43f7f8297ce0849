"""The tables of gradients and optimizers' state."""

from __future__ import annotations

from pathlib import Path

from table import Table, results

from frostline.report import numbers

HERE = Path(__file__).parent


def fused_backward() -> Table:
    """Peaks and step time with each weight moved within backward, beside stock."""
    rows = []
    for shape, cases in results(HERE, "fused")["results"].items():
        for case, figures in cases.items():
            stock, fused = figures["stock"], figures["fused"]
            peaks = [numbers.mebibytes(how[key]) for key in ("tensor_peak", "process_peak") for how in (stock, fused)]
            rows.append([f"{case}, {shape}", *peaks, numbers.times(fused["ratio"])])
    return Table(["", "tensors", "fused", "process", "fused", "step time"], rows)


def optimizers() -> Table:
    """Bytes of state for a weight, and step time where the step is mostly the optimizer's."""
    rows = [
        [f"`{name}`", f"{figures['state_bytes'] / figures['weights']:.2f}", numbers.times(figures["ratio"])]
        for name, figures in results(HERE, "optimizers")["results"].items()
    ]
    return Table(["`optim`", "bytes of state a weight", "step time, 4 x 16"], rows)


TABLES = {"fused": fused_backward, "optimizers": optimizers}
