"""`frostline pretrain`: small networks from nothing, for characters or images, at several depths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.allocator import relaunch
from frostline.cli.report import draw
from frostline.cli.train import OPTIONS, parse, show
from frostline.errors import ConfigError


def pretrain(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG.yaml] [key=value]...", help="A config file and keys that override it."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what a former call left.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace run folders that exist.")] = False,
) -> None:
    """Train small networks from random weights, one for each of `depths`, into OUTPUT/depth-N.

    Keys: model, a mapping of a model type of transformers and keys of its config ({type: gpt2, n_layer: 6, n_embd: 128,
    n_head: 4}); depths, a list of numbers of blocks; and the keys of `frostline train`, but for the method's.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other: go on with the runs, or start them anew.")
    from frostline.config import parse_values, read_yaml

    path, overrides = parse([*(arguments or []), *context.args])
    own = ("model", "depths")
    mappings = {key: text for key, text in overrides.items() if key in own}
    overrides = {key: text for key, text in overrides.items() if key not in own}
    values: dict[str, Any] = {**(read_yaml(path) if path else {}), **parse_values(overrides), **_read(mappings)}
    relaunch(str(values.get("allocator")))  # before anything heavy is loaded

    from rich.console import Console

    from frostline.training.pretraining import make_pretraining
    from frostline.training.pretraining import pretrain as pretrain_all

    def finished(record: dict[str, Any], folder: Path) -> None:
        show(record, folder)
        draw(folder)

    console = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
    pretrain_all(make_pretraining(values), resume=resume, overwrite=overwrite, console=console, finished=finished)


def _read(texts: dict[str, str]) -> dict[str, Any]:
    import yaml

    try:
        return {key: yaml.safe_load(text) for key, text in texts.items()}
    except yaml.YAMLError as error:
        raise ConfigError(f"{texts} cannot be read: {' '.join(str(error).split())}") from error


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("pretrain", context_settings=OPTIONS)(pretrain)
