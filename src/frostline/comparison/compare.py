"""All of a comparison: trials that choose the learning rates, then the cells, then what they cost."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from frostline.comparison.config import ComparisonConfig
from frostline.comparison.folder import COMPARISON_FORMAT, ComparisonFolder
from frostline.comparison.pairing import pair
from frostline.comparison.processes import Outcome, Processes, run_info
from frostline.comparison.progress import Progress
from frostline.comparison.records import command_of, make_record
from frostline.comparison.runs import INFERENCE, Kind, Run, Runs
from frostline.config import make_config
from frostline.errors import CheckpointError, ConfigError, Interrupted
from frostline.models import quiet
from frostline.tasks import task_of
from frostline.tasks.base import Origin
from frostline.tasks.metrics import METRICS
from frostline.training.versions import hardware, versions

Record = dict[str, Any]


def compare(
    config: ComparisonConfig, *, overwrite: bool = False, retry: bool = False, console: Console
) -> list[Record]:
    """Make every run that the comparison lacks and return the records of its cells.

    Args:
        config: what to compare.
        overwrite: make records anew that were made with other keys.
        retry: make records anew that failed.
        console: where progress is printed.

    Raises:
        ConfigError: see `Runs` and `ComparisonFolder`.
        Interrupted: after Ctrl-C; what is finished is kept.
    """
    quiet()
    runs = Runs(config)
    folder = ComparisonFolder(config.output)
    _require_data(runs, folder)
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.jobs)
    _require_same(runs, folder, threads, console, overwrite=overwrite, retry=retry)
    folder.open()
    try:
        folder.write_plan(_plan(config, runs, threads))
        with Processes(config.output / ".running", threads) as processes:
            return _Comparison(config, runs, folder, processes, console, overwrite=overwrite, retry=retry).run()
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped; what is finished is kept in {config.output}. The same command goes on from there."
        ) from error
    except OSError as error:
        raise CheckpointError(f"a record cannot be written: {error}. What is finished is kept.") from error


def _require_same(
    runs: Runs, folder: ComparisonFolder, threads: int, console: Console, *, overwrite: bool, retry: bool
) -> None:
    """Refuse records of other keys, and say where the choice of a learning rate is open again."""
    how: dict[str, Any] = {"threads": threads, "overwrite": overwrite, "retry": retry}
    open_again = {(run.task, run.method) for run in runs.trials() if folder.read(run, **how) is None}
    there: Counter[tuple[str, str]] = Counter()
    for run in runs.cells():
        ignore = frozenset[str]() if run.group is None else _CHOSEN
        if folder.read(run, **how, ignore=ignore) is not None and (run.task, run.group) in open_again:
            there[run.task, run.group or ""] += 1
    for (task, group), count in there.items():
        console.print(
            f"warning: {task}, {group}: not all of its trials are there, so its learning rate is chosen anew; if it is "
            f"another, the cells made with the former ({count}) are refused, or made anew with --overwrite."
        )


def _require_data(runs: Runs, folder: ComparisonFolder) -> None:
    """Refuse data that cannot be read or have changed, and trials that could see the rows that cells are scored on."""
    read: dict[str, Origin] = {}
    for cell in (*runs.trials(), *runs.cells()):
        config = make_config({**cell.config, "output": "-"})
        task = task_of(config)
        columns = [getattr(config, name) for name in task.columns]
        key = json.dumps([type(task).__name__, config.data, config.validation, *columns])
        if key not in read:
            read[key] = task.origin(config)
        origin = read[key]
        if cell.kind == "cell" and cell.group is not None and not origin.own_validation:
            raise ConfigError(
                f"{cell.task}: {config.data!r} brings no validation data (validation={config.validation}), so "
                "learning-rate trials could see the rows that the cells are scored on. Name a file with `validation`, "
                "or give learning_rate and leave learning_rates out."
            )
        if folder.data_of(cell) not in (None, origin.sha256):
            raise ConfigError(
                f"{cell.task}: the data {config.data!r} are not those that {cell.name} was made with (SHA-256 "
                "differs). Restore them, or take another output."
            )


def _plan(config: ComparisonConfig, runs: Runs, threads: int) -> Record:
    return {
        "format": COMPARISON_FORMAT,
        "name": config.title or config.output.resolve().name,
        "caption": config.caption,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "reference": runs.reference,
        "inference": config.inference,
        "tasks": list(runs.tasks),
        "methods": [row.label for row in runs.rows],
        "seeds": list(config.seeds),
        "expected": {
            "trial": [run.name for run in runs.trials()],
            "cell": [run.name for run in runs.cells()],
            "memory": [run.name for run in runs.memory()],
            "time": [run.name for run in runs.time()],
        },
        "config": {**json.loads(config.model_dump_json(exclude={"output"}))},
        "versions": versions(),
        "hardware": hardware() | {"torch_threads": threads},
    }


class _Comparison:
    def __init__(
        self,
        config: ComparisonConfig,
        runs: Runs,
        folder: ComparisonFolder,
        processes: Processes,
        console: Console,
        *,
        overwrite: bool,
        retry: bool,
    ) -> None:
        self._config, self._runs, self._folder, self._processes = config, runs, folder, processes
        self._overwrite, self._retry = overwrite, retry
        plan = {kind: list(getattr(runs, name)()) for kind, name in _PHASES.items()}
        self._progress = Progress({kind: len(found) for kind, found in plan.items()}, config.jobs, console)

    def run(self) -> list[Record]:
        trials = self._phase(self._runs.trials(), self._train, self._config.jobs)
        self._rates = choose_learning_rates(trials)
        self._lost = {(t["task"], t["method"]): t["reason"] for t in trials if t["status"] != "finished"}
        cells = self._phase(map(self._tuned, self._runs.cells()), self._train, self._config.jobs)
        self._phase(map(self._tuned, self._runs.memory()), self._train, self._config.jobs)
        self._phase(map(self._tuned, self._runs.time()), self._pair, self._config.jobs)
        return cells

    def _tuned(self, run: Run) -> Run:
        rate = self._rates.get((run.task, run.group or ""))
        tuned = run if rate is None else run.at(rate)
        return tuned if run.reference is None else replace(tuned, reference=self._tuned(run.reference))

    def _phase(self, runs: Iterable[Run], do: Callable[[Run], Outcome], jobs: int) -> list[Record]:
        """Make the runs that are not made yet, `jobs` at a time; return the records of all, in order."""
        wanted = list(runs)
        records: dict[str, Record] = {}
        how: dict[str, Any] = {"threads": self._processes.threads, "overwrite": self._overwrite, "retry": self._retry}
        for run in wanted:
            found = self._folder.read(run, **how, ignore=_CHOSEN if self._without_rate(run) else frozenset())
            if found is not None:
                records[run.name] = found
                self._progress.found(found)
        waiting = [run for run in wanted if run.name not in records]
        pool = ThreadPoolExecutor(jobs)
        try:
            under_way: set[Future[Record]] = {pool.submit(self._make, run, do, jobs) for run in waiting}
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    record = future.result()
                    self._folder.write(record)
                    records[record["name"]] = record
                    self._progress.made(record)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return [records[run.name] for run in wanted]

    def _make(self, run: Run, do: Callable[[Run], Outcome], jobs: int) -> Record:
        began, clock = time.time(), time.perf_counter()
        if self._without_rate(run):
            reason = f"no trial for the learning rate finished: {self._lost.get((run.task, run.group or ''))}"
            outcome = Outcome("failed", reason, None, self._folder.path)
        else:
            outcome = do(run)
            if outcome.reason is not None and os.strerror(errno.ENOSPC) in outcome.reason:
                raise OSError(errno.ENOSPC, outcome.reason)  # the next run would fail for the same reason
        seconds = time.perf_counter() - clock
        info = run_info(began, seconds, threads=self._processes.threads, jobs=jobs)
        command = command_of(run.config, run.name) if run.kind in ("trial", "cell") else _invocation()
        return make_record(
            run,
            command=command,
            status=outcome.status,
            reason=outcome.reason,
            result=outcome.result,
            run_info=info,
        )

    def _without_rate(self, run: Run) -> bool:
        """Tell whether no trial has found a learning rate for it."""
        return run.kind != "trial" and run.group is not None and (run.task, run.group) not in self._rates

    def _train(self, run: Run) -> Outcome:
        kind = INFERENCE if run.method == INFERENCE else run.kind
        with self._processes.start(kind, run.name, run.config) as child:
            outcome = child.outcome()
            if run.kind == "cell" and outcome.result is not None:
                (outcome.folder / "steps.csv").replace(self._folder.steps / f"{run.name}.csv")
        return outcome

    def _pair(self, run: Run) -> Outcome:
        assert run.reference is not None
        return pair(run, run.reference, self._processes)


_CHOSEN = frozenset({"learning_rate"})
_PHASES: dict[Kind, str] = {"trial": "trials", "cell": "cells", "memory": "memory", "time": "time"}


def _invocation() -> str:
    """Return the command under way: it makes what is missing, so a probe again whose record was removed."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def choose_learning_rates(trials: Iterable[Record]) -> dict[tuple[str, str], float]:
    """Return the learning rate of each (task, method): best score, then lowest loss, then lowest rate.

    Trials that did not finish, or whose score is no number, do not count.
    """
    best: dict[tuple[str, str], tuple[float, float, float]] = {}
    for trial in trials:
        if trial["status"] != "finished":
            continue
        info, rate = trial["train_info"], float(trial["config"]["learning_rate"])
        sign = 1 if info["metric"] not in METRICS or METRICS[info["metric"]].greater_is_better else -1
        quality = sign * float(info["metrics"][info["metric"]]), -float(info["metrics"].get("loss", 0.0)), -rate
        key = trial["task"], trial["method"]
        if quality[0] == quality[0] and (key not in best or quality > best[key]):
            best[key] = quality
    return {key: -quality[2] for key, quality in best.items()}
