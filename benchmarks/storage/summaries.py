"""The tables of storage."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from table import Table, results

from frostline.report import numbers

HERE = Path(__file__).parent


def storage(model: str) -> Table:
    """What each storage preset keeps, costs and loses, beside stock full fine-tuning and inference."""
    found = results(HERE, model)["results"]
    stock, inference = found["exact"], found["inference"]
    rows = []
    for name, figures in found.items():
        if name == "inference":
            continue
        kept = [f"{100 * figures[key] / stock['saved']:.1f} %" for key in ("saved", "saved_peak")]
        cosine = f"{figures['cosine']:.5f}" if "cosine" in figures else numbers.DASH
        row = [name, *kept, cosine, numbers.times(figures["time_ratio"])]
        for key in ("process_peak_default", "process_peak_compact"):
            row += [numbers.mebibytes(figures[key]), numbers.times(figures[key] / inference[key])]
        rows.append(row)
    head = [
        "storage",
        "kept",
        "at most",
        "cosine",
        "time",
        "process",
        "/ inference",
        "compact allocator",
        "/ inference",
    ]
    return Table(head, rows)


def models() -> Table:
    """What models keep under each preset, traced."""
    rows = []
    for case, figures in results(HERE, "models")["results"].items():
        for key, kept in figures.items():
            preset, method = key.split(", ")
            share = f"{100 * kept / figures['exact, full']:.1f} %"
            rows.append([f"{case}, {method}", preset, numbers.mebibytes(kept), share])
    return Table(["", "storage", "kept", "of stock's"], rows)


def operations() -> Table:
    """Milliseconds of each operation of a block, forward and backward, under each preset."""
    found = results(HERE, "operations")["results"]
    kinds = list(next(iter(found.values())))
    rows = [[name, *(f"{1e3 * figures[kind]:.1f}" for kind in kinds)] for name, figures in found.items()]
    return Table(["milliseconds", *kinds], rows)


TABLES = {
    "minilm": partial(storage, "minilm"),
    "vit-tiny": partial(storage, "vit-tiny"),
    "models": models,
    "operations": operations,
}
