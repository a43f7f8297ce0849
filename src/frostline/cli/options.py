"""Options that several verbs have."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from frostline.heads import HEADS

Head = Annotated[str, typer.Option(help=f"What the model answers: {', '.join(HEADS)}.")]
ImageSize = Annotated[int | None, typer.Option(help="Pixels in height and width; the config's if left out.")]


def warned(text: str) -> None:
    """Say on standard error what the user should know."""
    print(f"warning: {text}", file=sys.stderr)
