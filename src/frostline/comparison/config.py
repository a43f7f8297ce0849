"""What a comparison is made of, as the user writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from frostline.config import TrainConfig, told
from frostline.errors import ConfigError, nearest

METHOD_KEYS = ("learning_rates", "learning_rate_of")  # in a method's entry, beside the keys of `frostline train`

_NOT_A_TRIAL_S = frozenset({"method", "settings", "seed", "learning_rate", "data", "validation", "output", "plugins"})


class LearningRates(BaseModel):
    """How each method finds its learning rate: the same number of trials for all, on a split of train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: list[float] = Field(min_length=1, description="tried for every method that names no `learning_rates` itself")
    train: dict[str, Any] = Field(default_factory=dict, description="keys of a trial, such as max_train and epochs")


class ComparisonConfig(BaseModel):
    """One comparison. Keys of `frostline train` at the top level belong to `train`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    output: Path = Field(description="the comparison's folder; one that exists is gone on with")
    title: str | None = Field(None, min_length=1, description="of the report; the folder's name if left out")
    caption: str | None = Field(None, description="what a reader must know, such as what was cut short")
    train: dict[str, Any] = Field(default_factory=dict, description="keys of `frostline train` for every run")
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict, description="name -> keys over those of train")
    methods: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="name -> keys over those of the task; with a `budget` and no `method`, what the planner chooses",
    )
    columns: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="train key -> values; every method is run with each of them"
    )
    seeds: list[int] = Field([0], min_length=1, description="a number of seeds (0, 1, ...), or a list")
    learning_rates: LearningRates | None = Field(None, description="left out, learning_rate is as given")
    reference: str | None = Field(None, description="the method that others are measured by; `full` if it is there")
    jobs: int = Field(1, ge=1, description="runs at a time; of a pair that takes turns only one computes")
    threads: int | None = Field(None, ge=1, description="of torch in each run; the cores shared out if left out")
    memory_steps: int = Field(6, ge=0, description="steps under the tracker of tensors; 0 leaves it out")
    time_pairs: int = Field(20, ge=0, description="steps paired with the reference's; 0 leaves it out")
    inference: bool = Field(True, description="also measure the peak of forward passes alone")
    measured_tasks: list[str] | None = Field(
        None, description="the tasks of which tensors, times and inference are measured; all if left out"
    )

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, value: object) -> object:
        if isinstance(value, bool) or (isinstance(value, int) and value < 1):
            raise ValueError("a number of seeds, at least 1, or a list of them is needed: 3, or [0, 7, 12]")
        return list(range(value)) if isinstance(value, int) else value

    @field_validator("learning_rates", mode="before")
    @classmethod
    def _grid_alone(cls, value: object) -> object:
        return {"grid": value} if isinstance(value, list) else value

    @field_validator("memory_steps")
    @classmethod
    def _two_steps(cls, value: int) -> int:
        if value == 1:
            raise ValueError("give at least 2 (the optimizer's state is there from the second step on), or 0 for none")
        return value

    def grid_of(self, label: str) -> tuple[float, ...]:
        """Return the learning rates that a method tries; none if they are given."""
        if self.learning_rates is None:
            return ()
        return tuple(_rates(label, self.methods[label].get("learning_rates", self.learning_rates.grid)))

    @model_validator(mode="after")
    def _together(self) -> ComparisonConfig:
        if self.learning_rates:
            for key in _NOT_A_TRIAL_S.intersection(self.learning_rates.train):
                raise ValueError(f"learning_rates.train: {key!r} is not a trial's to set; leave it out")
            for label, keys in self.methods.items():
                of, own = keys.get("learning_rate_of"), keys.get("learning_rates")
                if "learning_rate" in keys:
                    raise ValueError(
                        f"{label}: learning_rate={keys['learning_rate']!r} is given, and learning_rates chooses one; "
                        f"give it learning_rates, a list of {len(self.learning_rates.grid)}"
                    )
                if of is not None and (of not in self.methods or "learning_rate_of" in self.methods[of]):
                    raise ValueError(f"{label}: learning_rate_of={of!r} is no method that has trials of its own")
                if own is not None and len(_rates(label, own)) != len(self.learning_rates.grid):
                    raise ValueError(
                        f"{label}: learning_rates={own!r} must be a list of {len(self.learning_rates.grid)}, as many "
                        "as in learning_rates.grid: every method gets the same number of trials"
                    )
        if any(not label.strip() for label in (*self.methods, *self.tasks)):
            raise ValueError("a method or a task has an empty name; every row and every task needs one")
        for task in self.measured_tasks or ():
            if task not in self.tasks:
                raise ValueError(f"measured_tasks: {task!r} is none of the tasks{nearest(task, self.tasks)}")
        if self.reference is not None and self.reference not in self.methods:
            raise ValueError(
                f"reference={self.reference!r} is none of the methods{nearest(self.reference, self.methods)}"
            )
        return self


def make_comparison(
    values: Mapping[str, Any],
    overrides: Mapping[str, Any],
    methods: Iterable[str] = (),
    tasks: Iterable[str] = (),
    columns: Mapping[str, Any] = MappingProxyType({}),
) -> ComparisonConfig:
    """Return the comparison of plain values.

    Args:
        values: of a file; a config of `frostline train` will do.
        overrides: keys over those of the file.
        methods: of the file's, these only, in this order; a name that the file lacks is a method with its defaults.
        tasks: of the file's, these only.
        columns: besides those of the file.

    Raises:
        ConfigError: names the key or the method, the value and the way out.
    """
    merged: dict[str, Any] = {"train": dict(_mapping("train", values.get("train")))}
    for source in (values, overrides, {"columns": columns} if columns else {}):
        for key, value in source.items():
            if key in ComparisonConfig.model_fields:
                added = merged.get(key, {}) | _mapping(key, value) if key in ("train", "columns") else value
                merged[key] = added
            elif key in TrainConfig.model_fields:
                merged["train"][key] = value
            else:
                known = {*ComparisonConfig.model_fields, *TrainConfig.model_fields}
                raise ConfigError(f"unknown key {key!r}{nearest(str(key), known)}")
    merged["methods"] = _choose_methods(merged, list(methods))
    merged["tasks"] = _choose("task", _mapping("tasks", merged.get("tasks")), list(tasks))
    if tasks and isinstance(merged.get("measured_tasks"), list):
        merged["measured_tasks"] = [task for task in merged["measured_tasks"] if task in merged["tasks"]]
    try:
        return ComparisonConfig(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ConfigError(f"the key {where!r} is missing; say for instance output=runs/compare") from error
        value = f"={first['input']!r}" if where else ""
        raise ConfigError(f"{where or 'the comparison'}{value} is refused: {told(first)}") from error


def _choose_methods(merged: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the entries of the methods asked for; all of the file's if none are."""
    from frostline import methods

    entries = {
        label: dict(_mapping(f"methods.{label}", entry))
        for label, entry in _mapping("methods", merged.get("methods")).items()
    }
    given = merged["train"].pop("method", None), merged["train"].pop("settings", {})
    if given[0] is not None and given[0] not in entries:
        entries[given[0]] = {"method": given[0], "settings": given[1]}
    for name in names:
        if name not in entries:
            if name not in methods.names():
                raise ConfigError(f"there is no method {name!r}{nearest(name, (*entries, *methods.names()))}")
            entries[name] = {"method": name}
    if not entries:
        raise ConfigError("there is no method to compare; say for instance --methods full,far,slimfit")
    for label, entry in entries.items():
        if "budget" not in entry or label in methods.names():  # else the method is the plan's to choose
            entry.setdefault("method", label)
    return {name: entries[name] for name in names} if names else entries


def _rates(label: str, value: Any) -> list[float]:
    """Return a list of learning rates; YAML reads 1e-4, without a point, as text."""
    try:
        if not isinstance(value, list):
            raise ValueError("a list is needed")
        return [float(rate) for rate in value]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{label}: learning_rates={value!r} is refused: a list of numbers is needed") from error


def _choose(what: str, entries: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    for name in names:
        if name not in entries:
            raise ConfigError(f"there is no {what} {name!r} in the config{nearest(name, entries)}")
    chosen = {name: entries[name] or {} for name in names or entries}
    return {name: {"data": keys} if isinstance(keys, str) else keys for name, keys in chosen.items()}


def _mapping(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping | None):
        raise ConfigError(f"{key}={value!r} is refused: `name: value` lines are needed")
    return {str(name): entry for name, entry in (value or {}).items()}
