"""The runs that a comparison asks for, as values, in the order in which they are made."""

from __future__ import annotations

import hashlib
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
_LONGEST = 80  # bytes of a part of a file name; file systems allow 255 for all parts
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
        reference: of a pair, the run that the other steps are of.
    """

    kind: Kind
    name: str
    task: str
    method: str
    seed: int
    config: dict[str, Any]
    group: str | None = None
    reference: Run | None = None

    def at(self, learning_rate: float) -> Run:
        """Return the same run with this learning rate."""
        return replace(self, config={**self.config, "learning_rate": learning_rate})


@dataclass(frozen=True)
class Row:
    """A method with its settings and the values of the columns: a row of the table.

    Attributes:
        label: the method's name, and the columns' values.
        method: its name alone.
        values: of the columns.
        keys: of `frostline train`.
        group: label of the row whose trials choose the learning rate, None if it is given.
        grid: the learning rates to try.
    """

    label: str
    method: str
    values: dict[str, Any]
    keys: dict[str, Any]
    group: str | None
    grid: tuple[float, ...]


_INFERENCE_ROW = Row(INFERENCE, INFERENCE, {}, {"method": "full"}, None, ())
# Two steps are worth a ratio only if these are the same for both.
_OF_A_BATCH = (
    "data",
    "batch_size",
    "max_length",
    "image_size",
    "augmentation",
    "sampling",
    "gradient_accumulation_steps",
    "max_train",
    "seed",
)


def slug(text: str) -> str:
    """Return the text as a part of a file name: letters, digits, `_` and `-` stay, the rest becomes `-`."""
    short = re.sub(r"[^\w-]+", "-", text).strip("-") or "-"
    if len(short.encode()) <= _LONGEST:
        return short
    return short.encode()[: _LONGEST - 9].decode(errors="ignore") + "-" + hashlib.sha256(text.encode()).hexdigest()[:8]


class Runs:
    """All runs of a comparison.

    Raises:
        ConfigError: a key, a method or a setting is refused, or two runs would have the same name.
    """

    def __init__(self, config: ComparisonConfig) -> None:
        self.config = config
        self.tasks = config.tasks or {_task_name(config): {}}
        self.rows = list(_rows(config))
        named = config.reference or next((row.method for row in self.rows if row.keys.get("method") == "full"), None)
        self._reference = named
        self.reference = next((row.label for row in self.rows if row.method == named), None)
        if any(row.label == INFERENCE for row in self.rows):
            raise ConfigError(f"a method cannot be called {INFERENCE!r}: that is the row of forward passes alone.")
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
        # Batches of like lengths come longest first, and the probe repeats the first.
        keys = {"max_steps": self.config.memory_steps or 1, "sampling": "group_by_length"}
        for task, row in self._measured_pairs() if self.config.memory_steps else ():
            yield self._run("memory", task, row, "memory", keys)
        for task in self._measured_tasks() if self.config.inference else ():
            yield self._run("memory", task, _INFERENCE_ROW, "memory", keys)

    def time(self) -> Iterator[Run]:
        """Yield the runs whose steps are paired with the reference's, where both have the same batches."""
        for task, row in self._measured_pairs() if self.config.time_pairs else ():
            if self._reference is None or row is self._reference_row(row):
                continue
            # On the same batches, each other column at its first value.
            run, other = self._timed(task, row), self._timed(task, self._reference_row(row))
            if all(run.config.get(key) == other.config.get(key) for key in _OF_A_BATCH):
                yield replace(run, reference=other)

    def _reference_row(self, row: Row) -> Row:
        columns = self.config.columns
        values = {key: row.values[key] if key in _OF_A_BATCH else columns[key][0] for key in columns}
        return next(r for r in self.rows if (r.method, r.values) == (self._reference, values))

    def _timed(self, task: str, row: Row) -> Run:
        return self._run("time", task, row, "time", {"max_steps": self.config.time_pairs + WARM_UP})

    def _pairs(self) -> Iterator[tuple[str, Row]]:
        return itertools.product(self.tasks, self.rows)

    def _measured_tasks(self) -> list[str]:
        asked = self.config.measured_tasks
        return [task for task in self.tasks if asked is None or task in asked]

    def _measured_pairs(self) -> Iterator[tuple[str, Row]]:
        return itertools.product(self._measured_tasks(), self.rows)

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
        if config.learning_rates is not None and key in ("learning_rate", *config.learning_rates.train):
            raise ConfigError(f"columns: {key!r} is what learning_rates chooses or sets; leave one of the two out")
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
            yield Row(label + ending, label, chosen, keys | chosen, group, grid)
