"""The runs that a comparison asks for, as values, in the order in which they are made."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from frostline import methods
from frostline.comparison.config import METHOD_KEYS, ComparisonConfig
from frostline.config import TrainConfig, make_config
from frostline.errors import ConfigError, nearest
from frostline.methods import plugins
from frostline.methods.base import validate_settings

Kind = Literal["trial", "cell", "memory", "time"]
INFERENCE = "inference"
# What no cell needs: its scores come at the end, once, and its weights are not kept.
QUIET = {"eval_strategy": "no", "save_strategy": "no"}


@dataclass(frozen=True)
class Run:
    """One process of a comparison.

    Attributes:
        name: of its record, unique in the folder.
        method: label of the row it belongs to, columns included.
        config: keys of `frostline train`, without `output`; JSON values.
        group: the row whose trials choose the learning rate, None if it is given.
    """

    kind: Kind
    name: str
    task: str
    method: str
    seed: int
    config: dict[str, Any]
    group: str | None = None

    def at(self, learning_rate: float) -> Run:
        """Return the same run with this learning rate."""
        return replace(self, config={**self.config, "learning_rate": learning_rate})


@dataclass(frozen=True)
class Row:
    """A method with its settings and the values of the columns: a row of the table."""

    label: str
    keys: dict[str, Any]
    group: str | None
    grid: tuple[float, ...]


_INFERENCE_ROW = Row(INFERENCE, {"method": "full"}, None, ())


def slug(text: str) -> str:
    """Return the text as a part of a file name: letters, digits, `_` and `-` stay, the rest becomes `-`."""
    return re.sub(r"[^\w-]+", "-", text).strip("-") or "-"


class Runs:
    """All runs of a comparison.

    Raises:
        ConfigError: a key, a method or a setting is refused, or two runs would have the same name.
    """

    def __init__(self, config: ComparisonConfig) -> None:
        self.config = config
        self.tasks = config.tasks or {_task_name(config): {}}
        self.rows = list(_rows(config))
        self.reference = config.reference or next((r.label for r in self.rows if r.keys["method"] == "full"), None)
        if config.reference is not None and config.reference not in [row.label for row in self.rows]:
            self.reference = next(row.label for row in self.rows if row.label.startswith(config.reference))
        seen: dict[str, Run] = {}
        for run in (*self.trials(), *self.cells(), *self.memory(), *self.time()):
            former = seen.setdefault(run.name.casefold(), run)
            if former is not run:
                raise ConfigError(
                    f"two runs would share the record {run.name!r}: {former.task}, {former.method}, seed {former.seed} "
                    f"and {run.task}, {run.method}, seed {run.seed}. Rename one, or leave the repeated value out."
                )

    def trials(self) -> Iterator[Run]:
        """Yield the runs that choose the learning rates, on a split of train."""
        if self.config.learning_rates is None:
            return
        asked = self.config.learning_rates.train
        for place in range(len(self.config.learning_rates.grid)):
            for task, row in self._pairs():
                if row.group == row.label:
                    rate = row.grid[place]
                    keys = asked | {"validation": "split", "learning_rate": rate}
                    yield self._run("trial", task, row, f"lr{rate:g}", keys)

    def cells(self) -> Iterator[Run]:
        """Yield the training runs, seed by seed and in turn, so that drift of the machine hits all alike."""
        for seed in self.config.seeds:
            for task, row in self._pairs():
                yield self._run("cell", task, row, f"seed{seed}", {}, seed)

    def memory(self) -> Iterator[Run]:
        """Yield the runs under the tracker of tensors, and the forward passes alone."""
        steps = self.config.memory_steps
        # Batches of like lengths come longest first: the first steps hold the run's peak.
        keys = {"max_steps": steps, "sampling": "group_by_length"}
        for task, row in self._pairs() if steps else ():
            yield self._run("memory", task, row, "memory", keys)
        for task in self.tasks if self.config.inference else ():
            yield self._run(
                "memory", task, Row(INFERENCE, {"method": "full"}, None, ()), "memory", keys | {"max_steps": 1}
            )

    def time(self) -> Iterator[Run]:
        """Yield the runs whose steps are paired with the reference's."""
        for task, row in self._pairs() if self.config.time_pairs else ():
            if self.reference is not None and row.label != self.reference:
                yield self._run("time", task, row, "time", {"max_steps": self.config.time_pairs + WARM_UP})

    def reference_of(self, run: Run) -> Run:
        """Return the reference's run to pair with `run`."""
        row = next(row for row in self.rows if row.label == self.reference)
        return self._run("time", run.task, row, "time", {"max_steps": self.config.time_pairs + WARM_UP})

    def _pairs(self) -> Iterator[tuple[str, Row]]:
        return itertools.product(self.tasks, self.rows)

    def _run(self, kind: Kind, task: str, row: Row, suffix: str, keys: dict[str, Any], seed: int | None = None) -> Run:
        seed = self.config.seeds[0] if seed is None else seed
        values = {**QUIET, **self.config.train, **self.tasks[task], **row.keys, **keys, "seed": seed}
        config = self._normalised(task, row.label, values)
        return Run(kind, f"{slug(task)}.{slug(row.label)}.{suffix}", task, row.label, seed, config, row.group)

    def _normalised(self, task: str, label: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return the keys of a run as JSON values of the types they are meant to have, checked as for training."""
        try:
            config = make_config({**values, "output": "-"})
            plugins.load(config.plugins)
            validate_settings(methods.get(config.method), config.settings)
        except ConfigError as error:
            raise ConfigError(f"{task}, {label}: {error}") from error
        kept: dict[str, Any] = json.loads(config.model_dump_json(include=set(values)))
        return kept


WARM_UP = 5  # steps before the first pair: caches, the allocator, FAR's priming


def _task_name(config: ComparisonConfig) -> str:
    data = str(config.train.get("data", TrainConfig.model_fields["data"].default))
    return data.rstrip("/").rpartition("/")[2] or data


def _rows(config: ComparisonConfig) -> Iterator[Row]:
    """Yield every method with every choice of the columns' values."""
    for key in config.columns:
        if key not in TrainConfig.model_fields or key in ("output", "seed", "method"):
            raise ConfigError(f"columns: {key!r} is no key that can vary{nearest(key, TrainConfig.model_fields)}")
    for values in itertools.product(*config.columns.values()):
        chosen = dict(zip(config.columns, values, strict=True))
        ending = "".join(f" {key}={value}" for key, value in chosen.items())
        for label, entry in config.methods.items():
            keys = {key: value for key, value in entry.items() if key not in METHOD_KEYS}
            group, grid = None, tuple[float, ...]()
            if config.learning_rates is not None:
                source = entry.get("learning_rate_of", label)
                group = source + ending
                grid = config.grid_of(source)
            yield Row(label + ending, keys | chosen, group, grid)
