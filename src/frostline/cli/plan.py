"""`frostline plan`: from a budget in bytes to a way to train within it, before anything is loaded."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.cli.options import Head, ImageSize
from frostline.errors import ConfigError
from frostline.heads import CLASSIFICATION

_WIDTH = 60
_LETTERS = {
    "runtime": ("R", "bright_black"),
    "weights": ("W", "blue"),
    "gradients": ("G", "yellow"),
    "optimizer": ("O", "magenta"),
    "saved": ("S", "cyan"),
    "saved: linear": ("L", "cyan"),
    "saved: attention": ("A", "bright_cyan"),
    "saved: activation": ("F", "cyan"),
    "saved: norm": ("N", "bright_cyan"),
    "saved: dropout": ("D", "cyan"),
    "saved: recompute": ("C", "bright_cyan"),
    "other": ("T", "green"),
}
_MEANING = {
    "runtime": "interpreter, libraries, threads",
    "saved": "activations kept for backward; each kind has its share of when backward begins",
    "saved: recompute": "what is made again from these",
    "other": "transient: what operations compute with",
}
_KINDS = {
    "saved: linear": ("linear", "addmm", "conv1d", "conv2d", "matmul"),
    "saved: attention": ("attention", "scaled_dot_product_attention", "softmax"),
    "saved: activation": ("activation", "gelu", "relu", "silu", "tanh"),
    "saved: norm": ("layer_norm", "rms_norm", "group_norm", "batch_norm"),
    "saved: dropout": ("dropout",),
    "saved: recompute": ("recompute",),
}


def show_plan(
    model: Annotated[
        str, typer.Argument(help="minilm, a well-known name (bert-base), a folder, a config.json, a Hub name.")
    ],
    budget: Annotated[str, typer.Option(help="Memory: 2GiB, 600MB, 1.5x (of inference), or auto: what is free.")],
    batch_size: Annotated[int, typer.Option(help="Examples in a step.")] = 32,
    seq_len: Annotated[int | None, typer.Option(help="Tokens of the longest text; 128 if left out.")] = None,
    image_size: ImageSize = None,
    head: Head = CLASSIFICATION,
    device: Annotated[str, typer.Option(help="Where the step shall run: cpu or cuda.")] = "cpu",
    method: Annotated[str | None, typer.Option(help="Keep this method; chosen if left out.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="A setting of the method: rate=0.9")] = None,
    storage: Annotated[str | None, typer.Option(help="Keep this storage; chosen if left out.")] = None,
    optim: Annotated[str, typer.Option(help="The optimizer, as transformers names it.")] = "adamw_torch_fused",
    bf16: Annotated[bool, typer.Option("--bf16", help="Plan for bfloat16 autocast.")] = False,
    max_grad_norm: Annotated[
        float, typer.Option(help="At which the run clips gradients, as it does by itself; 0 lets each go once used.")
    ] = 1.0,
    seconds: Annotated[float | None, typer.Option(help="Of a step, at most; see `frostline calibrate`.")] = None,
    flops: Annotated[float | None, typer.Option(help="Of a step, at most: 2e12.")] = None,
    upload: Annotated[str | None, typer.Option(help="Bytes of all that may ever train, at most: 5MiB.")] = None,
    bounds: Annotated[bool, typer.Option(help="Full fine-tuning beside it, smallest budget, largest batch.")] = True,
    output: Annotated[Path | None, typer.Option(help="Write the plan here, for `frostline train --plan`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Find the way to train that gives up least and whose peak stays within a budget.

    First no loss of quality, then the least expected loss, then the least time. Each way is rehearsed on tensors that
    have shapes and no memory: no weights are loaded and nothing is computed. On a CPU the budget is of the whole
    process, on a GPU of its memory.
    """
    from frostline.cli.measure import read_settings
    from frostline.models import quiet
    from frostline.planner.machine import is_known
    from frostline.planner.request import (
        Request,
        full_fine_tuning,
        largest_batch,
        make_plan,
        saved_by_operation,
        smallest_budget,
    )

    quiet()
    if output is not None:
        _require_writable(output)
    request = Request(
        model,
        batch_size,
        budget,
        seq_len,
        image_size,
        seconds=seconds,
        flops=flops,
        upload=upload,
        device=device,
        method=method,
        settings=read_settings(setting or []),
        storage=storage,
        optim=optim,
        bf16=bf16,
        head=head,
        fused=not max_grad_norm,
    )
    if device == "cpu" and not is_known(bf16=bf16):
        print("measuring once what a process takes besides its tensors, about half a minute ...", file=sys.stderr)
    found = make_plan(request)
    found["predicted"]["saved_by_operation"] = saved_by_operation(request, found["plan"])
    if bounds:
        fixed = replace(request, budget=found["budget"])
        found |= {"full": {**full_fine_tuning(fixed), "saved_by_operation": saved_by_operation(fixed)}}
        found |= {"smallest_budget": smallest_budget(fixed), "largest_batch": largest_batch(fixed)}
    if output is not None:
        _write(output, found)
    if as_json:
        print(json.dumps(found))
        return
    _print(model, found)
    if output is not None:
        print(f"written to {output}; use it with: frostline train ... --plan {output}")


def _require_writable(output: Path) -> None:
    """Refuse a file that cannot be written before anything is planned; ConfigError."""
    if output.is_dir():
        raise ConfigError(f"--output {str(output)!r} is a folder; name a file: --output {output / 'plan.json'}")
    folder = next(place for place in output.absolute().parents if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"--output {str(output)!r} cannot be written: {str(folder)!r} is no folder to write in.")


def _write(output: Path, found: dict[str, Any]) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {str(output)!r} cannot be written: {error}") from error


def _print(model: str, found: dict[str, Any]) -> None:
    from frostline.budget import written
    from frostline.cli.site_tables import console, table

    out, budget = console(), found["budget"]
    first = found.get("full") or found["rungs"][0]
    rows = [
        (rung["name"], written(rung["peak"]), _verdict(rung), _time(rung, first), rung["costs"])
        for rung in found["rungs"]
    ]
    timed = " a step" if first["seconds"] is not None else " FLOPs"
    title = f"{model} within {written(budget)} ({budget:,} bytes)"
    out.print(table(title, ("way", " peak", "", timed, "gives up"), rows))
    peak, inference = found["predicted"]["peak"], found["inference"]
    print(f"{peak / inference:.2f} times what inference takes on such a batch, {written(inference)}")
    out.print()
    _print_peaks({"plan": found["predicted"]} | ({"full": found["full"]} if "full" in found else {}), budget, out)
    keys = {key: value for key, value in found["plan"].items() if key != "settings"}
    short = {key: value for key, value in found["plan"]["settings"].items() if not isinstance(value, dict | list)}
    print("\n" + " ".join(f"{key}={_typed(value)}" for key, value in (keys | short).items()))
    if "smallest_budget" in found:
        size = found["smallest_budget"]
        print(f"smallest budget: {written(size)} ({size:,} bytes)")
        print(f"largest batch within the budget, unsplit: {found['largest_batch']:,}")
    for warning in found["warnings"]:
        print(f"warning: {warning}")


def _typed(value: Any) -> str:
    """Return a value as it is typed behind a key."""
    if not isinstance(value, dict):
        return str(value)
    return '"{' + ", ".join(f"{name}: {way}" for name, way in value.items()) + '}"'


def _verdict(rung: dict[str, Any]) -> str:
    if not rung["fits"]:
        return "too much"
    return "fits" if rung["share"] == 1 else f"{rung['share']:.0%} at a step"


def _time(rung: dict[str, Any], first: dict[str, Any]) -> str:
    """Return the seconds of a step if the machine was calibrated, else its operations beside the first's."""
    if rung["seconds"] is not None:
        return f"{rung['seconds']:.2f} s"
    return f"{rung['flops'] / first['flops']:.2f}x" if first["flops"] else ""


def _print_peaks(peaks: dict[str, dict[str, Any]], budget: int, out: Any) -> None:
    """Draw what each peak is made of, a letter a part, and say the sizes."""
    from rich.text import Text

    from frostline.budget import written
    from frostline.cli.site_tables import table

    parts = {name: {"runtime": peak["peak"] - peak["tensors"], **_by_kind(peak)} for name, peak in peaks.items()}
    scale = max(budget, *(peak["peak"] for peak in peaks.values())) / _WIDTH
    for name, sizes in parts.items():
        bar, end, drawn = Text(f"{name:>7} "), 0.0, 0
        for part, size in sizes.items():
            end += size / scale
            letter, colour = _LETTERS[part]
            bar.append(letter * (round(end) - drawn), style=colour)
            drawn = round(end)
        out.print(bar.append(f"  {written(peaks[name]['peak'])}"))
    out.print(Text(f"{'budget':>7} " + " " * (round(budget / scale) - 1) + f"|  {written(budget)}"))
    rows = [
        (_LETTERS[part][0], part, *(written(sizes[part]) for sizes in parts.values()), _MEANING.get(part, ""))
        for part in next(iter(parts.values()))
        if any(sizes[part] for sizes in parts.values())
    ]
    out.print(table("", ("", "at the peak", *(f" {name}" for name in parts), ""), rows))


def _by_kind(peak: dict[str, Any]) -> dict[str, int]:
    """Return the bytes at a peak, those that are saved by kind, each with its share of those when backward begins."""
    found: dict[str, int] = {}
    for part, size in peak["at_peak"].items():
        if part == "saved":
            waits = peak["saved_by_operation"]
            whole = sum(waits.values()) or 1
            kinds = {kind: sum(waits.get(name, 0) for name in names) * size // whole for kind, names in _KINDS.items()}
            found |= {part: size - sum(kinds.values()), **kinds}
        else:
            found[part] = size
    return found


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("plan")(show_plan)
