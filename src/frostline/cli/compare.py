"""`frostline compare`: methods side by side on the user's own data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from frostline.cli.report import draw
from frostline.cli.train import parse
from frostline.errors import ConfigError

_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}


def compare(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG.yaml] [key=value]...", help="A config file and keys that override it."),
    ] = None,
    methods: Annotated[str, typer.Option(help="Only these, as full,lora,far; others than the file's, too.")] = "",
    tasks: Annotated[str, typer.Option(help="Only these of the file's tasks.")] = "",
    seeds: Annotated[str | None, typer.Option(help="How many, or which: 3, or 0,7,12.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Every method with each value of a key: batch_size=16,32.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Every method with each of these: exact,compact,smallest.")] = "",
    budgets: Annotated[str, typer.Option(help="Every method within each of these: 800MiB,1GiB.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make records of other keys anew.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Make runs that failed anew.")] = False,
) -> None:
    """Train every method with every seed, each run in a process of its own; then measure memory and time.

    Started again, it goes on: finished runs are kept. Every key of `frostline train` can be given, for all runs.
    """
    from frostline.comparison.config import make_comparison
    from frostline.config import parse_values, read_yaml

    path, given = parse([*(arguments or []), *context.args])
    overrides = parse_values(given)
    if seeds is not None:
        overrides["seeds"] = _seeds(seeds)
    flags = {"storage": storage, "budget": budgets}
    columns: dict[str, Any] = {}
    for text in (*(column or ()), *(f"{key}={values}" for key, values in flags.items() if values)):
        columns |= _column(text)
    file = read_yaml(path) if path else {}
    config = make_comparison(file, overrides, _names(methods), _names(tasks), columns)

    from rich.console import Console

    from frostline.comparison.compare import compare as run_all

    console = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
    cells = run_all(config, overwrite=overwrite, retry=retry, console=console)
    failed = [cell for cell in cells if cell["status"] != "finished"]
    print(f"{len(cells) - len(failed)} of {len(cells)} cells finished  |  {config.output}")
    for cell in failed:
        print(f"  {cell['name']} {cell['status']}: {cell['reason']}")
    draw(config.output)
    if len(failed) == len(cells):
        raise ConfigError(f"no cell finished; the first reason: {failed[0]['reason']}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> int | list[int]:
    try:
        numbers = [int(word) for word in text.strip("[] ").split(",")]
    except ValueError as error:
        raise ConfigError(f"--seeds {text!r} is refused: give a number of seeds, or some: 0,7,12") from error
    return numbers if len(numbers) > 1 or text.startswith("[") else numbers[0]


def _column(text: str) -> dict[str, list[Any]]:
    from frostline.config import parse_values

    key, equals, values = text.partition("=")
    key = key.replace("-", "_")
    if not equals or not values:
        raise ConfigError(f"--column {text!r} is refused: write for instance --column batch_size=16,32")
    return {key: [parse_values({key: value})[key] for value in values.split(",")]}


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("compare", context_settings=_OPTIONS)(compare)
