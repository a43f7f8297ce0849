"""Goes down the ladder until a way to train fits the budget, and finds the smallest budget that any fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from frostline.budget import written
from frostline.errors import BudgetInfeasible
from frostline.meter.steps import Steps
from frostline.planner.ladder import Rung
from frostline.planner.pricing import Prices, heaviest, prices
from frostline.planner.rehearsal import Rehearsal, rehearse

MOST = 2**14
"""Examples beyond which nobody asks how many fit."""
_CORRECTIONS = 4


@dataclass(frozen=True, slots=True)
class Tried:
    """A rung that was rehearsed.

    Attributes:
        rung: which.
        steps: what would run, for a part of the batch.
        rehearsal: what it takes; of a budgeted rung within the budget, or the least that it can take.
    """

    rung: Rung
    steps: Steps
    rehearsal: Rehearsal


@dataclass(frozen=True, slots=True)
class Found:
    """What the search found.

    Attributes:
        tried: the rungs, in order; the last is the choice.
        runtime: bytes of the process besides tensors.
    """

    tried: tuple[Tried, ...]
    runtime: int

    @property
    def chosen(self) -> Tried:
        """The first rung that fits."""
        return self.tried[-1]

    @property
    def peak(self) -> int:
        """The predicted peak of the choice, of the whole process."""
        return self.chosen.rehearsal.peak + self.runtime


def search(
    steps: Steps, budget: int, runtime: int, rungs: Sequence[Rung], device: str = "cpu", evaluation: int = 0
) -> Found:
    """Return the first rung whose predicted peak is within the budget.

    Args:
        steps: model, batch and what else the user asked for.
        budget: bytes, of the whole process on a CPU.
        runtime: bytes of the process besides tensors.
        rungs: as `ladder` gives them.
        device: `cpu` or `cuda`.
        evaluation: examples in a forward pass of the evaluation, 0 for none.

    Raises:
        BudgetInfeasible: none fits; names the smallest budget that one would.
    """
    attempt = _Attempt(steps, device, evaluation)
    tried: list[Tried] = []
    for rung in rungs:
        tried.append(attempt.at(rung, budget - runtime))
        if tried[-1].rehearsal.peak + runtime <= budget:
            return Found(tuple(tried), runtime)
    least = min(tried, key=lambda t: t.rehearsal.peak)
    needed = least.rehearsal.peak + runtime
    parts = ", ".join(f"{name} {written(size)}" for name, size in least.rehearsal.at_peak.items() if size)
    raise BudgetInfeasible(
        f"a budget of {written(budget)} ({budget:,} bytes) is too small: the smallest that {steps.model} can be "
        f"trained in is {needed:,} bytes ({written(needed)}), by {least.rung.name}. What binds: the process without "
        f"tensors {written(runtime)}, {parts}."
    )


def smallest(steps: Steps, rungs: Sequence[Rung], device: str = "cpu", evaluation: int = 0) -> Tried:
    """Return the rung that takes least: the last one, or the last that splits no batch, where splitting is vain."""
    attempt = _Attempt(steps, device, evaluation)
    ends = [*[rung for rung in rungs if rung.parts == 1][-1:], rungs[-1]]
    return min((attempt.at(rung, 0) for rung in ends), key=lambda tried: tried.rehearsal.peak)


def largest(steps: Steps, tensors: int, rung: Rung, device: str = "cpu", evaluation: int = 0) -> int:
    """Return the most examples in a step of a rung whose tensors stay within so many bytes, `MOST` at most; 0 if none.

    The peak grows nearly evenly with the examples, so a line through two rehearsals says how many, and a rehearsal of
    those corrects the line.
    """

    def peak(examples: int) -> int:
        return _Attempt(replace(steps, batch_size=examples), device, evaluation).at(rung, 0).rehearsal.peak

    low, high = (steps.batch_size, peak(steps.batch_size)), (2 * steps.batch_size, peak(2 * steps.batch_size))
    for _ in range(_CORRECTIONS):
        each = max(1.0, (high[1] - low[1]) / (high[0] - low[0]))
        found = min(int(low[0] + (tensors - low[1]) / each), MOST)
        if found < 1 or found == low[0]:
            return max(0, found)
        taken = peak(found)
        if taken <= tensors:
            return found
        high = found, taken
    return 0


@dataclass
class _Attempt:
    steps: Steps
    device: str
    evaluation: int
    priced: dict[str, Prices] = field(default_factory=dict)

    def at(self, rung: Rung, tensors: int) -> Tried:
        """Rehearse a rung; a budgeted one so that its tensors stay within so many bytes, if it can."""
        part = replace(self.steps, **rung.changes, batch_size=-(-self.steps.batch_size // rung.parts))
        parts = rung.parts > 1
        if not rung.budgeted:
            return Tried(
                rung, part, rehearse(part, None, self.device, worst=True, parts=parts, evaluation=self.evaluation)
            )
        key = f"{part.optimizer_state} {part.batch_size}"
        if key not in self.priced:
            self.priced[key] = prices(part, self.device, parts=parts, evaluation=self.evaluation)
        paid = self.priced[key]
        settings, peak = heaviest(part, paid, tensors, self.device, parts=parts, evaluation=self.evaluation)
        return Tried(rung, replace(part, settings=settings), peak)
