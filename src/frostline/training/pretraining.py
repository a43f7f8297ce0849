"""Small networks from nothing: a folder with random weights for each depth, and a run of `train` from each."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from frostline.config import TrainConfig, make_config
from frostline.errors import ConfigError, FrostlineError, nearest
from frostline.fresh import EXAMPLE, at_depth, fresh_config, head_to_pretrain, with_labels, write_fresh
from frostline.heads import LANGUAGE_MODELING
from frostline.model_configs import of_images, set_image_size
from frostline.models import quiet
from frostline.tasks import task_of
from frostline.tasks.characters import character_tokenizer
from frostline.training.run import run
from frostline.training.run_folder import RunFolder

DEFAULTS = {"learning_rate": 1e-3}
"""Where they differ from a run's: random weights have farther to go."""
DECIDED: dict[str, Any] = {"method": "full", "settings": {}, "plugins": [], "plan": None, "optimizer_state": "keep"}
"""Keys of a run that pretraining decides."""


@dataclass(frozen=True)
class Pretraining:
    """What to pretrain.

    Attributes:
        model: config of the network.
        head: one of `frostline.heads.HEADS`.
        depths: blocks of the networks to be made.
        train: the run of each, but for its model and output: `output` is the folder that holds all of them.
    """

    model: Any
    head: str
    depths: tuple[int, ...]
    train: TrainConfig

    def folder(self, depth: int) -> Path:
        """Return the run folder of a depth."""
        return self.train.output / f"depth-{depth}"

    def start(self, depth: int) -> Path:
        """Return the folder of the same network with the random weights that it starts from."""
        return self.train.output / f"depth-{depth}-random"


def make_pretraining(values: Mapping[str, Any]) -> Pretraining:
    """Return what the keys of `frostline pretrain` say: `model` and `depths`, and the keys of a run.

    Raises:
        ConfigError: a key or the model's type is not known, or a value is refused; the message names it.
    """
    rest = {key: value for key, value in values.items() if key not in ("model", "depths")}
    known = (set(TrainConfig.model_fields) | {"depths"}) - {*DECIDED, "task"}
    for key in rest:
        if key in DECIDED or key == "task":
            raise ConfigError(f"{key}={rest[key]!r} is not for pretraining, which moves all weights; leave it out.")
        if key not in known:
            raise ConfigError(f"unknown key {key!r}{nearest(key, known)}")
    model = values.get("model")
    if not isinstance(model, Mapping):
        raise ConfigError(f"model={model!r} is refused: write for instance {EXAMPLE}")
    config = fresh_config(model)
    head = head_to_pretrain(config)
    positions = type(config).attribute_map.get("max_position_embeddings", "max_position_embeddings")
    train = make_config({**DEFAULTS, **rest, **DECIDED, "task": head, "model": str(model["type"])})
    if head == LANGUAGE_MODELING:
        known = {field.name for field in dataclasses.fields(config)}
        if positions in known and not {positions, "max_position_embeddings"} & set(model):
            setattr(config, positions, train.max_length)
    elif not hasattr(of_images(config), "image_size"):
        raise ConfigError(
            f"the model type {model['type']!r} reads images of any size; pretrain one that has a size: vit"
        )
    elif train.image_size is not None:
        set_image_size(str(model["type"]), config, train.image_size)
    return Pretraining(config, head, _depths(values.get("depths"), config), train)


def pretrain(
    wanted: Pretraining,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console,
    finished: Callable[[dict[str, Any], Path], None],
) -> None:
    """Make and train the networks, one after the other.

    Args:
        wanted: what to make.
        resume: go on with what a former call left: networks that are finished stay, others go on or begin.
        overwrite: replace run folders that exist.
        console: where progress is printed.
        finished: is called with run.json's content and the folder of each.

    Raises:
        FrostlineError: as `run`; what had been refused leaves no folder.
    """
    quiet()
    if resume and overwrite:
        raise ConfigError("resume and overwrite contradict each other: go on with the runs, or start them anew.")
    begun = {depth: resume and RunFolder(wanted.folder(depth)).run.is_file() for depth in wanted.depths}
    for depth in wanted.depths:
        if not begun[depth]:
            RunFolder(wanted.folder(depth)).require_new(overwrite=overwrite, keep=[wanted.train.data])
    config, processor = _fitted(wanted)
    for depth in wanted.depths:
        folder, start = wanted.folder(depth), wanted.start(depth)
        if not begun[depth]:
            shutil.rmtree(start, ignore_errors=True)
            write_fresh(at_depth(config, depth), wanted.head, processor, start, wanted.train.seed)
        train = wanted.train.model_copy(update={"model": str(start), "output": folder})
        try:
            record = run(train, resume=begun[depth], overwrite=overwrite, console=console)
        except FrostlineError:
            if not folder.exists():
                shutil.rmtree(start)
            raise
        finished(record, folder)


def _depths(asked: Any, config: Any) -> tuple[int, ...]:
    if asked is None:
        return (int(at_depth(config, None).num_hidden_layers),)
    depths = asked if isinstance(asked, list) else [asked]
    if not depths or len(set(depths)) < len(depths) or not all(type(depth) is int and depth > 0 for depth in depths):
        raise ConfigError(f"depths={asked!r} is refused: give different numbers of blocks, such as [2, 4, 6].")
    at_depth(config, depths[0])
    return tuple(sorted(depths))


def _fitted(wanted: Pretraining) -> tuple[Any, Any]:
    """Return the config with what follows from the data, and what makes the model's inputs."""
    with tempfile.TemporaryDirectory() as folder:  # a task is found by what its model's config says
        wanted.model.save_pretrained(folder)
        data = task_of(wanted.train.model_copy(update={"model": folder})).read(wanted.train)
    config = with_labels(wanted.model, data.label_names) if data.label_names else at_depth(wanted.model, None)
    if wanted.head != LANGUAGE_MODELING:
        from transformers import ViTImageProcessorPil

        factory: Any = ViTImageProcessorPil  # which carries no types
        side = of_images(config).image_size
        return config, factory(size={"height": side, "width": side})
    tokenizer = character_tokenizer(data.train["text"])
    config.vocab_size = len(tokenizer)
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    config.bos_token_id = None
    return config, tokenizer
