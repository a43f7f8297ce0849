"""`frostline plan`: from a budget in bytes to a way to train within it, before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer


def show_plan(
    model: Annotated[str, typer.Argument(help="minilm, a model folder, a config.json, or a Hub name.")],
    budget: Annotated[str, typer.Option(help="Memory: 2GiB, 600MB, a number of bytes, or auto: what is free.")],
    batch_size: Annotated[int, typer.Option(help="Examples in a step.")] = 32,
    seq_len: Annotated[int | None, typer.Option(help="Tokens of the longest text; 128 if left out.")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Pixels in height and width; the config's if left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the step shall run: cpu or cuda.")] = "cpu",
    method: Annotated[str | None, typer.Option(help="Keep this method; chosen if left out.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="A setting of the method: rate=0.9")] = None,
    storage: Annotated[str | None, typer.Option(help="Keep this storage; chosen if left out.")] = None,
    bounds: Annotated[bool, typer.Option(help="Find the smallest budget and the largest batch, too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Find the way to train that gives up least and whose peak stays within a budget.

    Each way is rehearsed on tensors that have shapes and no memory: no weights are loaded and nothing is computed. On a
    CPU the budget is of the whole process, on a GPU of its memory.
    """
    from frostline.cli.measure import read_settings
    from frostline.models import quiet
    from frostline.planner.request import Request, largest_batch, make_plan, smallest_budget

    quiet()
    request = Request(
        model,
        batch_size,
        budget,
        seq_len,
        image_size,
        device,
        method,
        read_settings(setting or []),
        storage,
    )
    found = make_plan(request)
    if bounds:
        fixed = replace(request, budget=found["budget"])
        found |= {"smallest_budget": smallest_budget(fixed), "largest_batch": largest_batch(fixed)}
    if as_json:
        print(json.dumps({"model": model, **found}))
        return
    _print(model, found)


def _print(model: str, found: dict[str, Any]) -> None:
    from rich.bar import Bar
    from rich.table import Table

    from frostline.budget import written
    from frostline.cli.site_tables import console, table

    out, budget, predicted = console(), found["budget"], found["predicted"]
    rows = [
        (rung["name"], written(rung["peak"]), "fits" if rung["fits"] else "too much", rung["costs"])
        for rung in found["rungs"]
    ]
    out.print(table(f"{model} within {written(budget)} ({budget:,} bytes)", ("way", " peak", "", "gives up"), rows))
    parts = {"runtime": found["runtime"]["bytes"], **predicted["at_peak"]}
    bars = Table(title="What the peak is made of", title_justify="left", box=None, pad_edge=False)
    for header in ("part", "size", ""):
        bars.add_column(header, justify="right" if header == "size" else "left")
    start = 0
    for name, size in parts.items():
        bars.add_row(name, written(size), Bar(max(budget, predicted["peak"]), start, start + size, width=40))
        start += size
    bars.add_row(
        "peak", written(predicted["peak"]), Bar(max(budget, predicted["peak"]), 0, predicted["peak"], width=40)
    )
    bars.add_row("budget", written(budget), "")
    out.print()
    out.print(bars)
    keys = {key: value for key, value in found["plan"].items() if key != "settings"}
    print("\n" + " ".join(f"{key}={value}" for key, value in keys.items()))
    if "smallest_budget" in found:
        size = found["smallest_budget"]
        print(f"smallest budget: {written(size)} ({size:,} bytes)")
        print(f"largest batch within the budget, unsplit: {found['largest_batch']:,}")
    for warning in found["warnings"]:
        print(f"warning: {warning}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("plan")(show_plan)
