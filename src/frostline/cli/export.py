"""`frostline export`: the plain model of a run or a checkpoint, or only what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[Path, typer.Argument(help="A run folder, or one of its checkpoints.")],
    output: Annotated[Path, typer.Argument(help="The folder to make.")],
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16; as it is if left out.")] = None,
    delta: Annotated[bool, typer.Option("--delta", help="Only the tensors that differ from the base model.")] = False,
) -> None:
    """Write a plain Hugging Face folder, or a file with only the tensors that changed."""
    from frostline.training.exporting import export_run

    print(export_run(source, output, dtype=dtype, delta=delta))


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("export")(export)
