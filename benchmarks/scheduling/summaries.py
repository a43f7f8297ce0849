"""The table of what scheduling costs."""

from __future__ import annotations

from pathlib import Path

from table import Table, results

HERE = Path(__file__).parent


def scheduling() -> Table:
    """Time of a step whose units are chosen anew over one whose units are constant."""
    record = results(HERE, "scheduling")
    rows = [[shape, f"{figures['paired_ratio']:.3f}"] for shape, figures in record["results"].items()]
    return Table(["batch", "step time, scheduled / constant"], rows)


TABLES = {"costs": scheduling}
