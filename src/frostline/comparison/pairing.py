"""The ratio of two methods' step times: two runs on the same batches, one step each in turn."""

from __future__ import annotations

import statistics
from typing import Any

from frostline.comparison.processes import Child, Outcome, Processes
from frostline.comparison.runs import WARM_UP, Run


def pair(run: Run, reference: Run, processes: Processes) -> Outcome:
    """Return the paired times of `run` and `reference`, which have the same seed and so the same batches.

    One process computes while the other waits, and they change places in every pair: a machine that slows down, or
    speeds up, does so for both.
    """
    with (
        processes.start("time", run.name, run.config) as first,
        processes.start("time", reference.name, reference.config) as second,
    ):
        seconds: list[tuple[float, float]] = []
        for child in (first, second):
            if _hear(child) is None:
                return child.outcome()
        for turn in range(int(run.config["max_steps"])):
            taken: dict[bool, float] = {}
            for is_first in (True, False) if turn % 2 else (False, True):
                child = first if is_first else second
                answer = _step(child)
                if answer is None:
                    return child.outcome()
                taken[is_first] = answer
            if turn >= WARM_UP:
                seconds.append((taken[True], taken[False]))
        outcomes = [child.outcome() for child in (first, second)]
    failed = next((outcome for outcome in outcomes if outcome.result is None), None)
    if failed is not None:
        return failed
    own = outcomes[0]
    assert own.result is not None
    return Outcome("finished", None, own.result | {"train_info": _figures(seconds, reference.method)}, own.folder)


def _figures(seconds: list[tuple[float, float]], reference: str) -> dict[str, Any]:
    ratios = [first / second for first, second in seconds]
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {
        "ratio": median,
        "ratio_quartiles": [lower, upper],
        "pairs": len(ratios),
        "seconds": statistics.median(first for first, _ in seconds),
        "reference_seconds": statistics.median(second for _, second in seconds),
        "reference": reference,
    }


def _step(child: Child) -> float | None:
    assert child.process.stdin is not None
    try:
        child.process.stdin.write("go\n")
        child.process.stdin.flush()
    except BrokenPipeError:
        return None
    return _hear(child)


def _hear(child: Child) -> float | None:
    """Return the seconds that the child tells, None if it has ended."""
    assert child.process.stdout is not None
    for line in child.process.stdout:
        if line.startswith("step "):
            return float(line.split()[1])
    return None
