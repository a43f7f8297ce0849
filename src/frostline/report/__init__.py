"""What was measured, to look at: a run folder or a comparison folder as one HTML page, as Markdown and as CSV.

    frostline.report.write(folder)      -> the path of report.html

The way of the data here: reading -> summary -> document (sections of text, tables and figures) -> HTML, Markdown.
Nothing in this room imports torch; matplotlib is loaded when the first chart is drawn.
"""

from __future__ import annotations

from pathlib import Path


def write(folder: Path, output: Path | None = None) -> Path:
    """Write report.html, report.md and, for a comparison, cells.csv; return the path of report.html.

    Args:
        folder: a run folder (run.json) or a comparison folder (comparison.json, or its records without it).
        output: where the report goes, made if need be; into `folder` itself if left out.

    Raises:
        ReportError: `folder` is neither, or the report cannot be written to `output`.
    """
    from frostline.report.publish import publish

    return publish(folder, output)


__all__ = ["write"]
