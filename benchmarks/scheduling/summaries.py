"""The table of what scheduling costs."""

from __future__ import annotations

from pathlib import Path

from table import Table, results

HERE = Path(__file__).parent


def scheduling() -> Table:
    """Time of a step whose units are chosen anew over one whose units are constant, and the tuner's own share."""
    record = results(HERE, "scheduling")
    rows = [
        [shape, f"{figures['paired_ratio']:.3f}", f"{figures['share_of_a_step']:.2%}"]
        for shape, figures in record["results"].items()
    ]
    return Table(["method, batch", "step time, scheduled / constant", "choosing and judging, of a step"], rows)


TABLES = {"costs": scheduling}
