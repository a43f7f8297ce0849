"""From a folder to the files of its report, each written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from frostline.errors import ReportError
from frostline.report.cells_csv import cells_csv
from frostline.report.content import document
from frostline.report.markdown import markdown
from frostline.report.page import page
from frostline.report.reading import read
from frostline.report.study import study


def publish(folder: Path, output: Path | None = None) -> Path:
    """Write the report of `folder` into `output` (`folder` itself if None); return the path of report.html.

    Raises:
        ReportError: there is nothing to report on, or `output` cannot be written.
    """
    found = study(read(folder))
    made = document(found)
    files = {"report.html": page(made), "report.md": markdown(made)}
    if not found.report.single:
        files["cells.csv"] = cells_csv(found.report)
    target = folder if output is None else output
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            _write(target / name, text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportError(
            f"the report cannot be written to {str(target)!r}: {reason}; name another folder with --output FOLDER."
        ) from error
    return target / "report.html"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
