"""`frostline report`: what a run or a comparison came to, as a page, as Markdown and as a table."""

from __future__ import annotations

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


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("report")(report)
