"""`frostline measure`: a few real steps, and what they keep, predicted beside measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from frostline.cli.options import Head, ImageSize
from frostline.errors import ConfigError
from frostline.heads import CLASSIFICATION


def show_measures(
    model: Annotated[str, typer.Argument(help="minilm, a model folder, a config.json, or a Hub name.")],
    batch_size: Annotated[int, typer.Option(help="Examples in a step.")] = 32,
    seq_len: Annotated[int | None, typer.Option(help="Tokens of each text; 128 if left out.")] = None,
    image_size: ImageSize = None,
    head: Head = CLASSIFICATION,
    method: Annotated[str, typer.Option(help="Which weights train; `frostline methods` lists them.")] = "full",
    setting: Annotated[list[str] | None, typer.Option("--set", help="A setting of the method: rate=0.9")] = None,
    storage: Annotated[str, typer.Option(help="How saved activations wait.")] = "exact",
    allocator: Annotated[str, typer.Option(help="Of memory on a CPU: default or compact.")] = "default",
    steps: Annotated[int, typer.Option(help="Optimizer steps, the first of which warms up.")] = 4,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 5e-5,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Run a few steps on made-up data: what they keep by site, their peaks of memory and their time.

    Weights are random and texts are of full length; dropout is on. Memory of the process and time are measured in one
    fresh process, tensors in another: to follow them takes time and memory itself.
    """
    from frostline.meter.measure import measure

    found = measure(
        model=model,
        batch_size=batch_size,
        sequence_length=seq_len,
        image_size=image_size,
        method=method,
        settings=read_settings(setting or []),
        storage=storage,
        allocator=allocator,
        count=steps,
        learning_rate=lr,
        head=head,
    )
    if as_json:
        print(json.dumps(found))
        return
    print_measures(found)


def print_measures(found: dict[str, Any]) -> None:
    """Print what `measure` returned as tables and lines."""
    from frostline.cli.site_tables import console, predicted_beside_measured

    steps, memory, out = found["steps"], found["memory"], console()
    shape = " x ".join(map(str, next(iter(found["batch"].values()))))
    name = f"{steps['model']} ({found['class']}), {shape} on {found['device']}"
    choice = f"{steps['method']}, storage {steps['storage']}"
    out.print(predicted_beside_measured(f"{name}, {choice}", ("module", "operation"), found["sites"], _site))
    out.print()
    out.print(predicted_beside_measured("By operation", ("operation",), found["sites"], _operation))
    out.print()
    out.print(predicted_beside_measured("By block", ("block",), found["sites"], _block))
    parts = ", ".join(f"{category} {_whole(size)}" for category, size in memory["at_tensor_peak"].items())
    print(f"\ntensor peak    {_whole(memory['tensor_peak'])} MiB: {parts}")
    print(f"process peak   {_whole(memory['process_peak'])} MiB, {_whole(memory['process_before'])} before the model")
    if memory["cuda_reserved"] is not None:
        reserved, allocated = _whole(memory["cuda_reserved"]), _whole(memory["cuda_allocated"])
        print(f"CUDA peak      {reserved} MiB reserved, {allocated} allocated")
    print(f"step time      {found['step_seconds']:.3f} s, median of {max(1, steps['count'] - 1)}")


def _site(site: Mapping[str, Any]) -> tuple[str, ...]:
    return site["module"] or "(the model)", f"{site['operation']} ({site['call'] + 1})" if site["call"] else site[
        "operation"
    ]


def _operation(site: Mapping[str, Any]) -> tuple[str, ...]:
    return (site["operation"],)


def _block(site: Mapping[str, Any]) -> tuple[str, ...]:
    return (site["region"] if site["block"] is None else f"block {site['block']}",)


def _whole(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def read_settings(words: list[str]) -> dict[str, Any]:
    """Return the settings that `--set key=value` says; ConfigError for a word without a value."""
    from frostline.config import parse_values

    given = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--set {word!r} is refused: write for instance --set rate=0.9")
        given[key] = value
    return parse_values(given)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("measure")(show_measures)
