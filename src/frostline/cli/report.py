"""`frostline report`: what a run or a comparison came to, as a page, as Markdown and as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder or a comparison folder, finished or not.")],
    output: Annotated[Path | None, typer.Option(help="Where to write; into FOLDER itself if left out.")] = None,
) -> None:
    """Write report.html and report.md (and cells.csv for a comparison), and print the path of the page."""
    from frostline.report import write

    print(write(folder, output))


def draw(folder: Path) -> None:
    """Draw the report of what has just finished and print its path; nothing fails for want of a picture."""
    from frostline.report import write

    try:
        print(write(folder))
    except Exception as error:
        print(f"warning: no report was drawn: {type(error).__name__}: {error}", file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("report")(report)
