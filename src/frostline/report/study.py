"""A report with its numbers worked out once: what the sections are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from frostline.report.means import MEAN, over_tasks
from frostline.report.summary import Entry, summarize
from frostline.report.values import Record, Report


@dataclass(frozen=True)
class Study:
    """A report, its entries by task, and those of the mean over the tasks.

    Attributes:
        report: what was read.
        entries: by task; a task without a finished cell has none.
        means: over tasks, for the methods that are complete on all.
        numbers: of the methods, from 1, as in all tables and small charts.
    """

    report: Report
    entries: Mapping[str, tuple[Entry, ...]]
    means: tuple[Entry, ...]
    numbers: Mapping[str, int]

    @property
    def scopes(self) -> list[tuple[str, tuple[Entry, ...]]]:
        """What there are results for, the mean over the tasks first."""
        found = [(MEAN, self.means)] if self.means else []
        return found + [(task, entries) for task, entries in self.entries.items() if entries]

    @property
    def main(self) -> tuple[Entry, ...]:
        """The entries that the headline speaks of: the mean's, else those of the first task with a complete method."""
        complete = (entries for _, entries in self.scopes if any(entry.complete for entry in entries))
        return next(complete, ())

    @property
    def finished(self) -> tuple[Record, ...]:
        """The finished cells."""
        return tuple(cell for cell in self.report.cells if cell.finished)

    @property
    def not_finished(self) -> tuple[Record, ...]:
        """The records of any kind that did not come to their end."""
        return tuple(record for record in self.report.records if not record.finished)


def study(report: Report) -> Study:
    """Return the report with its numbers worked out."""
    entries = {task: summarize(report, task) for task in report.tasks}
    numbers = {method: index for index, method in enumerate(report.methods, 1)}
    return Study(report, entries, over_tasks(report, entries), numbers)
