"""Goes down the ladder until a way to train fits the budget, and finds the smallest budget that any fits.

Of loss nothing is known beforehand, so it is taken to be what does not train: a rung of method `auto` under which
hardly any weights train at a step is passed over for one that splits the batch and trains more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from frostline.budget import written
from frostline.errors import BudgetInfeasible
from frostline.meter.steps import Steps
from frostline.planner.ladder import Rung
from frostline.planner.limits import MARGIN, Limits
from frostline.planner.pricing import heaviest, prices, traced
from frostline.planner.rehearsal import Rehearsal, rehearse
from frostline.profile import Profile

MOST = 2**14
"""Examples beyond which nobody asks how many fit."""
ENOUGH = 0.1
"""Share of the weights outside the head that has to train at a step for a rung to be taken at once: what SlimFit trains
on most tasks."""
_CORRECTIONS = 4


@dataclass(frozen=True, slots=True)
class Tried:
    """A rung that was rehearsed.

    Attributes:
        rung: which.
        steps: what would run, for a part of the batch.
        rehearsal: what it takes; of a budgeted rung within the budget, or the least that it can take.
        share: of the bytes outside the head that train at a step, in a budgeted rung; else 1.
    """

    rung: Rung
    steps: Steps
    rehearsal: Rehearsal
    share: float = 1.0


def search(
    steps: Steps, limits: Limits, rungs: Sequence[Rung], *, whole: bool = False, **how: Any
) -> tuple[Tried, ...]:
    """Return the rungs that were tried, in order; the last is the choice: the first that is within the limits.

    Args:
        steps: model, batch and what else the user asked for.
        limits: of a step.
        rungs: as `ladder` gives them.
        whole: the batch is not split.
        how: `device`, `evaluation` and `source`, as for `rehearse`.

    Raises:
        BudgetInfeasible: none fits; names the smallest budget that one would, or the limit that cannot be kept.
    """
    attempt = _Attempt(steps, how)
    tried: list[Tried] = []
    for rung in rungs:
        for found in attempt.with_splits(rung, limits, 1 if whole else steps.batch_size):
            tried.append(found)
            if not limits.broken(found.rehearsal) and found.share >= ENOUGH:
                return tuple(tried)
    best = max((t for t in tried if not limits.broken(t.rehearsal)), key=lambda t: t.share, default=None)
    if best is not None:
        return (*(t for t in tried if t is not best), best)
    fitting = [t for t in tried if limits.memory_fits(t.rehearsal)]
    if fitting:
        nearest = min(fitting, key=lambda t: len(limits.broken(t.rehearsal)))
        raise BudgetInfeasible(
            f"no way to train {steps.model} within the limits was found: {nearest.rung.name}, the nearest within the "
            f"memory, takes {' and '.join(limits.broken(nearest.rehearsal))}. Loosen that limit, or the memory's."
        )
    least = min(tried, key=lambda t: t.rehearsal.peak)
    needed, budget = limits.budget_for(least.rehearsal.peak), limits.budget
    parts = ", ".join(f"{name} {written(size)}" for name, size in least.rehearsal.at_peak.items() if size)
    raise BudgetInfeasible(
        f"a budget of {written(budget)} ({budget:,} bytes) is too small: the smallest that {steps.model} can be "
        f"trained in is {needed:,} bytes ({written(needed)}), by {least.rung.name}. What binds: the process without "
        f"tensors {written(limits.runtime)}, {parts}; {MARGIN:.0%} stay free."
    )


def smallest(steps: Steps, rungs: Sequence[Rung], *, whole: bool = False, **how: Any) -> Tried:
    """Return what takes least: the last rung, or the last that splits the batch, whole or in the most parts."""
    attempt = _Attempt(steps, how)
    last = next(rung for rung in reversed(rungs) if rung.splittable or rung is rungs[0])
    most = [] if whole or not last.splittable else _splits(steps.batch_size)[-1:]
    ends = [rungs[-1], *([] if last is rungs[-1] else [last]), *(last.in_parts(split) for split in most)]
    return min((attempt.at(rung, Limits(0)) for rung in ends), key=lambda tried: tried.rehearsal.peak)


def largest(steps: Steps, limits: Limits, rung: Rung, **how: Any) -> int:
    """Return the most examples in a step of a rung whose peak stays within the limits, `MOST` at most; 0 if none.

    The peak grows nearly evenly with the examples, so a line through two rehearsals says how many, and a rehearsal of
    those corrects the line.
    """

    def peak(examples: int) -> int:
        return _Attempt(replace(steps, batch_size=examples), how).at(rung, Limits(0)).rehearsal.peak

    low, high = (steps.batch_size, peak(steps.batch_size)), (2 * steps.batch_size, peak(2 * steps.batch_size))
    for _ in range(_CORRECTIONS):
        each = max(1.0, (high[1] - low[1]) / (high[0] - low[0]))
        found = min(int(low[0] + (limits.tensors - low[1]) / each), MOST)
        if found < 1 or found == low[0]:
            return max(0, found)
        taken = peak(found)
        if taken <= limits.tensors:
            return found
        high = found, taken
    return 0


@dataclass
class _Attempt:
    steps: Steps
    how: dict[str, Any]
    profiles: dict[int, Profile] = field(default_factory=dict)

    def with_splits(self, rung: Rung, limits: Limits, examples: int) -> Iterator[Tried]:
        """Give a rung, and where it may split a batch of so many examples, the same in ever more parts.

        If not even the most parts fit, those alone follow.
        """
        whole = self.at(rung, limits)
        yield whole
        splits = _splits(examples) if rung.splittable else []
        if not splits or (limits.memory_fits(whole.rehearsal) and not limits.work_fits(whole.rehearsal)):
            return  # in parts it is no less work
        finest = self.at(rung.in_parts(splits[-1]), Limits(0))
        if limits.broken(finest.rehearsal):
            yield finest
            return
        for split in splits:
            yield self.at(rung.in_parts(split), limits)

    def at(self, rung: Rung, limits: Limits) -> Tried:
        """Rehearse a rung; a budgeted one so that it stays within the limits, if it can."""
        part = replace(self.steps, **rung.changes, batch_size=-(-self.steps.batch_size // rung.split))
        how = {**self.how, "parts": rung.parts}
        if not rung.budgeted:
            return Tried(rung, part, rehearse(part, worst=True, **how))
        if part.batch_size not in self.profiles:
            self.profiles[part.batch_size] = traced(part, **how)
        paid = prices(self.profiles[part.batch_size], part.optimizer_state)
        settings, taken = heaviest(part, paid, limits, **how)
        return Tried(rung, replace(part, settings=settings), taken, paid.share(settings["capacity"]))


def _splits(examples: int) -> list[int]:
    """Return the powers of 2 above 1 up to the number of examples."""
    return [2**power for power in range(1, examples.bit_length())]
