"""Goes down the ladder until a way to train fits the budget, and finds the smallest budget that any fits.

Of loss nothing is known beforehand, so it is taken to be what does not train: a rung of method `auto` under which
hardly any weights train at a step is passed over for one that splits the batch and trains more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from frostline.anatomy import Anatomy, discover
from frostline.budget import written
from frostline.errors import BudgetInfeasible, UnsupportedModel
from frostline.meter.steps import Steps, meta_step
from frostline.planner.ladder import AS_PLANNED, Rung
from frostline.planner.limits import MARGIN, Limits
from frostline.planner.pricing import heaviest, priceable, prices, traced
from frostline.planner.rehearsal import Rehearsal, rehearse
from frostline.profile import Profile

MOST = 2**14
"""Examples beyond which nobody asks how many fit."""
ENOUGH = 0.1
"""Share of the weights outside the head that has to train at a step for a rung to be taken at once: what SlimFit trains
on most tasks."""
_WORTH_SPLITTING = 1.5
"""Times the share of the whole batch that a split one has to train, if neither reaches `ENOUGH`."""
_CORRECTIONS = 4


@dataclass(frozen=True, slots=True)
class Tried:
    """A rung that was rehearsed.

    Attributes:
        rung: which.
        steps: what would run, for a part of the batch.
        rehearsal: what it takes; of a budgeted rung within the budget, or the least that it can take.
        share: of the bytes outside the head that train at a step, in a budgeted rung; else 1.
        memory_is_ample: whether no rung that takes less memory would train more, as all else that is limited binds.
    """

    rung: Rung
    steps: Steps
    rehearsal: Rehearsal
    share: float = 1.0
    memory_is_ample: bool = True


def search(
    steps: Steps, limits: Limits, rungs: Sequence[Rung], *, whole: bool = False, **how: Any
) -> tuple[Tried, ...]:
    """Return the rungs that were tried, in order; the last is the choice.

    Args:
        steps: model, batch and what else the user asked for.
        limits: of a step.
        rungs: as `ladder` gives them.
        whole: the batch is not split.
        how: `device`, `evaluation`, `source` and `anatomy`, as for `rehearse`.

    Raises:
        BudgetInfeasible: none fits; names the smallest budget that one would, or the limit that cannot be kept.
    """
    attempt = _Attempt(steps, limits, 1 if whole else steps.batch_size, how)
    rungs = attempt.possible(rungs)
    found: list[Tried] = []
    for rung in attempt.hopeful(rungs):
        for candidate in attempt.whole_and_split(rung):
            if attempt.fits(candidate):
                found.append(candidate)
            if attempt.fits(candidate) and candidate.share >= ENOUGH and candidate.memory_is_ample:
                return attempt.down_to(attempt.filled(candidate), rungs)
    if found:
        return attempt.down_to(max(found, key=lambda tried: tried.share), rungs)
    tried = tuple(attempt.tried.values())
    fitting = [t for t in tried if limits.memory_fits(t.rehearsal)]
    if fitting:
        nearest = min(fitting, key=lambda t: (len(limits.broken(t.rehearsal)), t.rehearsal.work.flops))
        raise BudgetInfeasible(
            f"no way to train {steps.model} within the limits was found: {nearest.rung.name}, the nearest within the "
            f"memory, takes {' and '.join(limits.broken(nearest.rehearsal))}. Loosen that limit, or the memory's."
        )
    least = min(tried, key=lambda t: t.rehearsal.peak)
    needed, budget = limits.budget_for(least.rehearsal.peak), limits.budget
    parts = ", ".join(f"{name} {written(size)}" for name, size in least.rehearsal.at_peak.items() if size)
    size = f"{needed:,} bytes ({written(needed)})"
    smallest = f"the smallest that {steps.model} can be trained in is {size}, by {least.rung.name}"
    if least.rung.way == AS_PLANNED:
        smallest = f"this plan of {steps.model} takes {size}; give as much, or have the budget planned for anew"
    raise BudgetInfeasible(
        f"a budget of {written(budget)} ({budget:,} bytes) is too small: {smallest}. What binds: the process without "
        f"tensors {written(limits.runtime)}, {parts}; {MARGIN:.0%} stay free."
    )


def smallest(steps: Steps, rungs: Sequence[Rung], *, whole: bool = False, **how: Any) -> Tried:
    """Return what takes least: the last rung, or the last that splits the batch, whole or in the most parts."""
    attempt = _Attempt(steps, Limits(0), 1 if whole else steps.batch_size, how)
    return min(map(attempt.at, attempt.ends(attempt.possible(rungs))), key=lambda tried: tried.rehearsal.peak)


def largest(steps: Steps, limits: Limits, rungs: Sequence[Rung], **how: Any) -> int:
    """Return the most examples in a step of the last rung whose peak stays within the limits, `MOST` at most, or 0.

    The peak grows nearly evenly with the examples, so a line through two rehearsals says how many, and a rehearsal of
    those corrects the line.
    """
    rung = _Attempt(steps, limits, 1, how).possible(rungs)[-1]

    def peak(examples: int) -> int:
        return _Attempt(replace(steps, batch_size=examples), Limits(0), 1, how).at(rung).rehearsal.peak

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
    """What has been rehearsed within some limits.

    Attributes:
        steps: what the user asked for.
        limits: of a step.
        examples: of a batch that may be split; 1 if it may not.
        how: as for `search`.
        tried: by the names of the rungs.
        profiles: of the budgeted rungs' model, by the examples in a part and the storage.
    """

    steps: Steps
    limits: Limits
    examples: int
    how: dict[str, Any]
    tried: dict[str, Tried] = field(default_factory=dict)
    profiles: dict[tuple[int, str], Profile] = field(default_factory=dict)

    def possible(self, rungs: Sequence[Rung]) -> Sequence[Rung]:
        """Return the rungs without those made for a budget, where a model allows no prices and there are others."""
        plain = [rung for rung in rungs if not rung.budgeted]
        return rungs if len(plain) in (0, len(rungs)) or priceable(self._anatomy) else plain

    def hopeful(self, rungs: Sequence[Rung]) -> Iterator[Rung]:
        """Yield the rungs in order, without those that have no chance.

        After the first, those of a family have one if what stays is not too much by itself, and what the least of them
        takes is not.
        """
        families = [list(rungs) for _, rungs in groupby(rungs, key=lambda rung: rung.family)]
        yield families[0][0]
        for family in families:
            if family[0].budgeted or self._has_a_chance(family, family is families[-1]):
                yield from (rung for rung in family if rung is not families[0][0])

    def _has_a_chance(self, family: Sequence[Rung], is_last: bool) -> bool:
        stays = self.at(family[0]).rehearsal.at_peak
        if not is_last and stays["weights"] + stays["optimizer"] > self.limits.tensors:
            return False  # no storage and no split makes these fewer; but should none fit, the last says what would
        return any(self.limits.memory_fits(self.at(end).rehearsal) for end in self.ends(family))

    def ends(self, rungs: Sequence[Rung]) -> list[Rung]:
        """Return the rungs of which one takes least: the last, or the last that splits the batch, whole or in parts."""
        split = next((rung for rung in reversed(rungs) if rung.splittable), rungs[-1])
        ends = {rungs[-1].name: rungs[-1], split.name: split}
        if split.splittable and self.examples > 1:
            ends["in parts"] = split.in_parts(self.examples)
        return list(ends.values())

    def whole_and_split(self, rung: Rung) -> Iterator[Tried]:
        """Give a rung; and where it may split the batch and that helps, the same in the fewest parts that do."""
        whole = self.at(rung)
        yield whole
        splits = _splits(self.examples) if rung.splittable else []
        in_memory = self.limits.memory_fits(whole.rehearsal)
        if not splits or (in_memory and (whole.share >= ENOUGH or not self.limits.work_fits(whole.rehearsal))):
            return  # in parts it is no less work
        least = min(ENOUGH, _WORTH_SPLITTING * whole.share) if in_memory else 0.0

        def helps(split: int) -> bool:
            found = self.at(rung.in_parts(split))
            return self.fits(found) and found.share >= least

        def has_a_chance(split: int) -> bool:
            return self.limits.memory_fits(self._least.at(rung.in_parts(split)).rehearsal)

        first = 0
        if not helps(splits[0]):
            first = bisect_left(splits, True, lo=1, key=has_a_chance if rung.budgeted else helps)
        for split in splits[first:]:
            if helps(split):
                yield self.at(rung.in_parts(split))
                return

    def filled(self, chosen: Tried) -> Tried:
        """Return the same with the storage of the rung above in as many of the last blocks as there is memory for."""
        rung, blocks = chosen.rung, self._anatomy.blocks
        if rung.above is None or rung.split > 1:
            return chosen
        counts = range(len(blocks), 0, -1)

        def fits(count: int) -> bool:
            return self.fits(self.at(rung.with_better(blocks[-count:])))

        place = bisect_left(counts, True, key=fits)
        return chosen if place == len(counts) else self.at(rung.with_better(blocks[-counts[place] :]))

    def at(self, rung: Rung) -> Tried:
        """Rehearse a rung; a budgeted one so that it stays within the limits, if it can."""
        if rung.name not in self.tried:
            self.tried[rung.name] = self._rehearsed(rung)
        return self.tried[rung.name]

    def fits(self, found: Tried) -> bool:
        """Tell whether no limit is broken."""
        return not self.limits.broken(found.rehearsal)

    def down_to(self, chosen: Tried, rungs: Sequence[Rung]) -> tuple[Tried, ...]:
        """Return what was tried above a rung in the order of the ladder, and the rung."""
        place = {rung.way: index for index, rung in enumerate(rungs)}

        def depth(tried: Tried) -> tuple[int, int, int]:
            return place[tried.rung.way], tried.rung.split, -tried.rung.better

        return tuple(sorted((t for t in self.tried.values() if depth(t) <= depth(chosen)), key=depth))

    def _rehearsed(self, rung: Rung) -> Tried:
        part = replace(self.steps, **rung.changes, batch_size=self.steps.batch_size // rung.split)
        how = {**self.how, "parts": rung.parts, "anatomy": self._anatomy}
        if not rung.budgeted:
            return Tried(rung, part, rehearse(part, worst=True, **how))
        if not priceable(self._anatomy):
            raise UnsupportedModel(
                f"method 'auto' cannot be held to a budget on {self.steps.model}: tables of positions train within its "
                "blocks, and attention then keeps more than the sum of their prices; choose another method."
            )
        key = part.batch_size, str(part.storage)  # the same for every policy
        if key not in self.profiles:
            self.profiles[key] = traced(part, **how)
        paid = prices(self.profiles[key], part.optimizer_state, self._anatomy, rung.parts)
        settings, taken, by_work = heaviest(part, paid, self.limits, **how)
        own = replace(part, settings={**part.settings, **settings})
        ample = by_work or not self.limits.limits_work
        return Tried(rung, own, taken, paid.share(settings["capacity"]), ample)

    @cached_property
    def _least(self) -> _Attempt:
        """The same with no memory at all: of a budgeted rung the cheapest set is rehearsed, and not what fits."""
        return _Attempt(self.steps, Limits(0), self.examples, self.how, profiles=self.profiles)

    @cached_property
    def _anatomy(self) -> Anatomy:
        return self.how.get("anatomy") or discover(*self.how.get("source", meta_step)(self.steps))


def _splits(examples: int) -> list[int]:
    """Return into how many parts above 1 examples can be split: equal ones, which together have the same gradient."""
    return [parts for parts in range(2, examples + 1) if examples % parts == 0]
