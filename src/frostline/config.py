"""Every key of `frostline train`, with its default and meaning. No key without a reader; unknown keys are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from frostline.allocator import Allocator
from frostline.budget import is_auto, parse_budget, times_inference
from frostline.errors import ConfigError, nearest
from frostline.tasks.kinds import AskedKind

Model = TypeVar("Model", bound=BaseModel)
Strategy = Literal["no", "steps", "epoch"]
Sampling = Literal["group_by_length", "random", "sequential"]
_NUMBERS = (int, int | None, float, float | None)


class Keys(BaseModel):
    """Keys of a file: unknown ones are refused, and so is a yes or no in place of a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_booleans(cls, value: object, info: ValidationInfo) -> object:
        asked = cls.model_fields[str(info.field_name)].annotation
        several = isinstance(value, list | tuple) and any(isinstance(each, bool) for each in value)
        if (isinstance(value, bool) and asked in _NUMBERS) or (several and get_origin(asked) is tuple):
            raise ValueError("a number is needed, not a yes or no")
        return value


class TrainConfig(Keys):
    """One training run."""

    model: str = Field("minilm", description="`minilm` (embedded), a Hugging Face folder, or a Hub name")
    data: str = Field("acceptability", description="`acceptability` (embedded), a GLUE folder, a file, or a Hub name")
    output: Path = Field(description="the run folder, to be made")

    method: str = Field("full", description="what trains: see `frostline methods`")
    settings: dict[str, Any] = Field(default_factory=dict, description="the method's own, for instance {rate: 0.9}")
    plugins: list[str] = Field(default_factory=list, description="Python files or modules with methods of your own")
    optimizer_state: Literal["keep", "release", "offload"] = Field("keep", description="of units while they are frozen")
    storage: str | dict[str, str] = Field(
        "exact", description="of saved activations: exact, lossless, compact, slimfit, smallest, or {preset: ..., ...}"
    )
    fused_backward: bool = Field(False, description="move each weight within backward; needs max_grad_norm=0")

    budget: str | int | None = Field(
        None,
        description="of memory: 2GiB, 600MB, 1.5x (of inference), auto; of method and storage the rest is then chosen",
    )
    plan: Path | None = Field(None, description="a file that `frostline plan --output` wrote, perhaps edited since")
    enforce: bool = Field(False, description="let the system itself keep the budget: an allocation beyond it fails")

    allocator: Allocator = Field("default", description="of memory on a CPU: default, compact, jemalloc (if installed)")

    text: str | None = Field(None, description="column of the text, where it is not obvious")
    text_pair: str | None = Field(None, description="column of the second text of a pair")
    image: str | None = Field(None, description="column of the image, where it is not obvious")
    label: str | None = Field(None, description="column of the label")
    delimiter: str | None = Field(None, description="between columns, where it is not obvious")
    task: AskedKind = Field(
        "auto", description="what the model is to answer; auto: classes, or scores where labels have fractions"
    )
    validation: str | None = Field(
        None, description="a file to validate on; `split`: part of train; the data's own if left out"
    )
    validation_share: float = Field(0.1, gt=0, lt=1, description="of train, where that is split")
    max_train: int | None = Field(None, ge=1, description="train on this many examples only")
    metric: str | None = Field(
        None,
        description="`accuracy`, `matthews`, `f1`, `macro_f1`; `pearson`, `spearman`, `mse`, `mae`; `squad_f1`, "
        "`exact_match`; `perplexity`, `token_accuracy`; `entity_f1`; the task's own if left out",
    )
    max_length: int = Field(128, ge=1, description="tokens; longer texts are cut, and counted")
    image_size: int | None = Field(None, ge=1, description="pixels in height and width; the model's own if left out")
    augmentation: Literal["none", "flip", "crop", "resized_crop"] | None = Field(
        None, description="of images that train: none, flip, crop (the default), resized_crop"
    )

    stride: int | None = Field(
        None, ge=0, description="tokens that two windows of a passage share; a third of max_length if left out"
    )
    null_threshold: float | None = Field(
        None, description="how much better than the best answer none has to be to be given; 0 if left out"
    )

    epochs: float = Field(3.0, gt=0, description="passes over the training data")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps; overrides epochs")
    batch_size: int = Field(32, ge=1, description="examples in a forward pass")
    eval_batch_size: int = Field(64, ge=1, description="examples in a forward pass of the evaluation")
    gradient_accumulation_steps: int = Field(1, ge=1, description="forward passes for one optimizer step")
    learning_rate: float = Field(5e-5, gt=0, le=1e30, description="at its highest")
    lr_scheduler_type: str = Field("linear", description="as in transformers: linear, cosine, constant, ...")
    warmup_steps: float = Field(0, ge=0, description="steps, or a share of all steps if below 1")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's, on all but biases and norms")
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0 leaves them")
    optim: str = Field("adamw_torch_fused", description="as in transformers: adamw_torch, sgd, adafactor, ...")
    bf16: bool = Field(False, description="bfloat16 autocast")
    sampling: Sampling = Field("group_by_length", description="random, sequential, or group_by_length: less padding")
    seed: int = Field(0, ge=0, lt=2**32, description="of everything random: head, order, dropout, method")

    eval_strategy: Strategy = Field("epoch", description="when to evaluate: no, steps, epoch")
    eval_steps: int = Field(100, ge=1, description="for eval_strategy: steps")
    save_strategy: Strategy = Field("epoch", description="when to write a checkpoint: no, steps, epoch")
    save_steps: int = Field(100, ge=1, description="for save_strategy: steps")
    save_total_limit: int = Field(1, ge=1, description="checkpoints kept, the best one besides")
    early_stopping_patience: int | None = Field(None, ge=1, description="evaluations without gain before stopping")
    load_best_model_at_end: bool = Field(False, description="end with the best checkpoint instead of the last weights")
    logging_steps: int = Field(20, ge=1, description="a line of progress every so many steps")
    report_to: list[str] = Field(default_factory=list, description="trackers known to transformers: tensorboard, ...")

    @field_validator("budget", mode="before")
    @classmethod
    def _amount(cls, value: Any) -> Any:
        """Refuse what is no amount of memory now, before anything is read or started."""
        if value is not None and not is_auto(value) and times_inference(value) is None:
            parse_budget(value)
        return value

    @field_validator("eval_strategy", "save_strategy", mode="before")
    @classmethod
    def _yaml_no(cls, value: object) -> object:
        return "no" if value is False else value  # YAML reads a bare `no` as false

    @model_validator(mode="after")
    def _together(self) -> TrainConfig:
        if (self.early_stopping_patience or self.load_best_model_at_end) and self.eval_strategy == "no":
            raise ValueError("early stopping and the best model need evaluations: set eval_strategy to epoch or steps")
        if (self.early_stopping_patience or self.load_best_model_at_end) and self.save_strategy != self.eval_strategy:
            raise ValueError("early stopping and the best model need save_strategy equal to eval_strategy")
        if self.enforce and self.budget is None and self.plan is None:
            raise ValueError("enforce needs a budget to keep, for instance budget=2GiB")
        if self.fused_backward and (self.max_grad_norm or self.gradient_accumulation_steps > 1):
            raise ValueError(
                "fused_backward moves each weight and drops its gradient within backward, so nothing can clip the "
                "gradients or add them up: set max_grad_norm=0 and gradient_accumulation_steps=1"
            )
        return self


# What may differ between a run and its resumption: where to look and how often to report, nothing that trains.
FREE_ON_RESUME = frozenset({"output", "logging_steps", "report_to", "save_total_limit", "allocator"})


def make_config(values: Mapping[str, Any]) -> TrainConfig:
    """Return the config of plain values.

    Raises:
        ConfigError: names the key, the value and the nearest valid key.
    """
    return checked(TrainConfig, values)


def checked(cls: type[Model], values: Mapping[str, Any]) -> Model:
    """Return plain values as a pydantic model; ConfigError names the key, the value and the nearest valid key."""
    fields = cls.model_fields
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {key!r}{nearest(str(key), fields)}")
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            way = f"; say for instance {where}=runs/first" if where == "output" else ""
            raise ConfigError(f"the key {where!r} is missing{way}") from error
        value = f"={first['input']!r}" if where else ""
        raise ConfigError(f"{where or 'the config'}{value} is refused: {told(first)}") from error


def told(error: Mapping[str, Any]) -> str:
    """Return what an error of pydantic says; of one that a validator of ours raised, that alone."""
    return str(error["msg"]).removeprefix("Value error, ")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the values of a YAML file; a file that cannot be read or holds no mapping raises ConfigError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {str(path)!r}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {_problem(error)}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` lines; it holds {type(values).__name__}.")
    return {str(key): value for key, value in values.items()}


def _problem(error: Exception) -> str:
    """Return in one line what is wrong, and where in the text."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return str(error)


def parse_values(overrides: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that YAML reads from the command line's text; ConfigError names a text it cannot read.

    Where the key wants text it stays as it is (a folder `2024`, a delimiter `|`), unless it is empty, null or quoted.
    """
    values: dict[str, Any] = {}
    for key, text in overrides.items():
        field = TrainConfig.model_fields.get(key)
        wants_text = field is not None and field.annotation in (str, str | None, Path)
        if wants_text and not text.startswith(("'", '"')):
            values[key] = None if text in ("", "~", "null") else text
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            if not wants_text:
                raise ConfigError(f"{key}={text!r} cannot be read: {_problem(error)}") from error
            value = text
        values[key] = text if wants_text and value is not None and not isinstance(value, str) else value
    return values


def merge(values: Mapping[str, Any], overrides: Mapping[str, Any], setting_names: frozenset[str]) -> dict[str, Any]:
    """Return `values` with `overrides` put over them.

    Args:
        values: of a file.
        overrides: from the command line; `settings.rate` and plain `rate` both reach the settings.
        setting_names: the names of all settings of the chosen method.

    Raises:
        ConfigError: a key that is neither the config's nor a setting of the method, or settings that are no mapping.
    """
    merged = {key: value for key, value in values.items() if key != "settings"}
    settings: dict[str, Any] = {}
    for given in (values.get("settings"), overrides.get("settings")):
        if not isinstance(given, Mapping | None):
            raise ConfigError(f"settings={given!r} is refused: write for instance settings: {{rate: 0.9}}")
        settings.update(given or {})
    for key in setting_names.intersection(values).difference(TrainConfig.model_fields):
        raise ConfigError(
            f"unknown key {key!r}; in a file the method's own go under settings: {{{key}: {values[key]}}}"
        )
    for key, value in overrides.items():
        name = key.removeprefix("settings.")
        if key == "settings":
            continue
        if key in TrainConfig.model_fields:
            merged[key] = value
        elif key.startswith("settings.") or name in setting_names:
            settings[name] = value
        else:
            raise ConfigError(f"unknown key {key!r}{nearest(key, {*TrainConfig.model_fields, *setting_names})}")
    if settings:
        merged["settings"] = settings
    return merged
