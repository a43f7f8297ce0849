"""The table of scores on CoLA and TREC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from table import Table

from frostline.report import numbers

HERE = Path(__file__).parent


def real_text() -> Table:
    """Score of each seed, in points, on TREC (accuracy) and CoLA (Matthews correlation), and the learning rates."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (HERE / "results").glob("*.json")]
    cells: dict[tuple[str, str, int], dict[str, Any]] = {}
    for record in records:
        task, _, rest = record["config"]["output"].partition("_")
        method, marker, seed = rest.rpartition("_seed")
        if task in ("trec", "cola") and marker:
            cells[task, method, int(seed)] = record
    rows = []
    for method in yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))["methods"]:
        row = [method]
        for task in ("trec", "cola"):
            found = [cells.get((task, method, seed)) for seed in (0, 1)]
            row += [numbers.points(cell["metrics"][cell["metric"]] if cell else None) for cell in found]
            row.append(f"{found[0]['config']['learning_rate']:.0e}" if found[0] else numbers.DASH)
        rows.append(row)
    head = ["method", "TREC, seed 0", "seed 1", "rate", "CoLA, seed 0", "seed 1", "rate"]
    return Table(head, rows)


TABLES = {"scores": real_text}
