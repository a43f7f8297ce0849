"""Every error that Frostline raises on purpose.

    FrostlineError
    ├── ConfigError           a key, a value or a combination of settings is wrong
    ├── DataError             the data cannot be read, or cannot be learnt from
    ├── UnsupportedModel      the model's structure was not understood; names what was not
    ├── PlanError             a plan does not fit the model it is put on
    ├── StorageError          a tensor cannot wait for backward in the way that was asked for
    ├── BudgetError           a budget is no amount of memory
    │   ├── BudgetInfeasible  no plan fits the budget; names the smallest that one fits
    │   └── BudgetExceeded    a run took more than its budget; names the step
    ├── OutOfMemory           this machine's memory is too small for what was asked for
    ├── CheckpointError       a run or a checkpoint cannot be written, read or resumed
    ├── TrainingDiverged      the loss is no longer finite
    ├── ReportError           a folder is none that a report can be made of
    └── Interrupted           the user stopped the run; it can be resumed

Each message names the thing, the value, and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FrostlineError(Exception):
    """Base of all errors raised on purpose; the command line prints it and exits with `exit_code`."""

    exit_code = 2


class ConfigError(FrostlineError):
    """A key, a value or a combination of settings is wrong."""


class DataError(FrostlineError):
    """The data cannot be read, or cannot be learnt from."""


class UnsupportedModel(FrostlineError):
    """The model's structure was not understood; the message names what was not."""


class PlanError(FrostlineError):
    """A plan does not fit the model it is put on."""


class StorageError(FrostlineError):
    """A tensor cannot wait for backward in the way that was asked for; names the site."""


class BudgetError(FrostlineError):
    """A budget is no amount of memory."""


class BudgetInfeasible(BudgetError):
    """No plan fits the budget; the message names the smallest budget that one fits, and what binds."""

    exit_code = 3


class BudgetExceeded(BudgetError):
    """A run took more memory than its budget; the message names the step, and a checkpoint was written."""

    exit_code = 3


class OutOfMemory(FrostlineError):
    """What was asked for does not fit into this machine's memory; says what to make smaller."""

    exit_code = 3


class CheckpointError(FrostlineError):
    """A run folder or a checkpoint cannot be written, read or resumed."""


class TrainingDiverged(FrostlineError):
    """The loss is no longer finite; names the step and the last good checkpoint."""


class ReportError(FrostlineError):
    """A folder is none that a report can be made of, or the report cannot be written."""


class Interrupted(FrostlineError):
    """The user stopped the run; a checkpoint was written and the message says how to resume."""

    exit_code = 130


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the valid name closest to `name`, else the list of valid names."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid names: {', '.join(names)}" if names else ""
