"""A stock transformers.Trainer with our callback and nothing else: it trains, resumes, and refuses what cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from frostline import Tuner, prepare
from frostline.errors import CheckpointError, ConfigError
from tiny_models import METHOD_IDS, METHOD_SETTINGS, assert_same_weights, batch, same_bits, tiny_bert, weights

every_method = pytest.mark.parametrize(("name", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)


class Rows(Dataset[dict[str, torch.Tensor]]):
    """48 rows of 6 tokens."""

    def __init__(self) -> None:
        self.columns = batch(0, size=48)

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


class Stream(IterableDataset[dict[str, torch.Tensor]]):
    """The same rows, of which nobody knows how many there are."""

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        yield from Rows()


def trainer(model: nn.Module, output: Path, tuner: Tuner | None, *more: TrainerCallback, **arguments: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
    }
    callbacks = [tuner.callback()] if tuner is not None else []
    rows: Any = Stream() if arguments.pop("streaming", False) else Rows()
    return Trainer(
        model=model,
        args=TrainingArguments(str(output), **{**defaults, **arguments}),
        train_dataset=rows,
        eval_dataset=Rows(),
        callbacks=[*callbacks, *more],
    )


class Watch(TrainerCallback):
    """Checks at every optimizer step that what does not train has no gradient and keeps its bits."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.steps, self.moved = model, 0, set[str]()
        self.before: dict[str, torch.Tensor] = {}
        self.sets: set[frozenset[str]] = set()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.before = {n: p.detach().clone() for n, p in self.model.named_parameters()}

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        assert all(p.grad is None for p in self.model.parameters() if not p.requires_grad)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps += 1
        parameters = dict(self.model.named_parameters())
        assert list(parameters) == list(self.before)
        changed = {n for n, p in parameters.items() if not same_bits(self.before[n], p.detach())}
        trainable = frozenset(n for n, p in parameters.items() if p.requires_grad)
        assert changed <= trainable
        self.sets.add(trainable)
        self.moved |= changed


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@every_method
def test_every_method_trains(name: str, settings: dict[str, Any], bf16: bool, tmp_path: Path) -> None:
    """With gradient accumulation, clipping and dropout; with bf16 autocast as well."""
    model = tiny_bert(dropout=0.1)
    names = list(model.state_dict())
    tuner = prepare(model, name, **{k: v for k, v in settings.items() if k != "total_steps"})
    watch = Watch(model)
    run = trainer(model, tmp_path, tuner, watch, gradient_accumulation_steps=2, max_grad_norm=0.5, bf16=bf16)
    run.train()
    assert tuner.step == watch.steps == 6
    assert watch.moved
    assert (len(watch.sets) > 1) == (name in ("slimfit", "random", "lisa", "auto"))
    if name == "far":  # the Trainer said how long the run is
        assert tuner.trainable_parameters == tuner.plan.trainable_parameters
    assert tuner.finish() is model
    assert list(model.state_dict()) == names
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


STACK: list[dict[str, Any]] = [
    {},
    {"gradient_accumulation_steps": 2},
    {"bf16": True},
    {"label_smoothing_factor": 0.1},
    {"gradient_checkpointing": True},
    {"train_sampling_strategy": "group_by_length"},
    {"eval_strategy": "steps", "eval_steps": 2},
    {"lr_scheduler_type": "cosine", "warmup_steps": 2, "max_grad_norm": 0.1},
    {"streaming": True},
]


@pytest.mark.parametrize("arguments", STACK, ids=str)
def test_full_is_the_stock_trainer_bit_for_bit(arguments: dict[str, Any], tmp_path: Path) -> None:
    results = []
    for tuned in (True, False):
        model = tiny_bert(dropout=0.1)
        tuner = prepare(model, "full") if tuned else None
        trainer(model, tmp_path, tuner, **arguments).train()
        results.append(weights(model))
    assert_same_weights(*results)


@pytest.mark.parametrize("storage", ["exact", "compact"])
@pytest.mark.parametrize("arguments", STACK, ids=str)
def test_what_is_frozen_stays_with_the_rest_of_the_stack(
    arguments: dict[str, Any], storage: str, tmp_path: Path
) -> None:
    model = tiny_bert(dropout=0.1)
    tuner, watch = prepare(model, "slimfit", rate=0.75, storage=storage), Watch(model)
    trainer(model, tmp_path, tuner, watch, **arguments).train()
    assert watch.steps == tuner.step == 6
    assert len(watch.sets) > 1
    assert watch.moved


@pytest.mark.parametrize("at", [2, 4])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("full", {}),
        ("slimfit", {"rate": 0.75}),
        ("far", {"retention": 0.25, "priming": 0.5, "nodes": "hidden"}),  # decides after step 3
        ("far", {"retention": 0.25, "priming": 0.5, "nodes": "output"}),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("nodes", ""),
)
def test_resuming_from_a_stock_checkpoint_equals_never_having_stopped(
    name: str, settings: dict[str, Any], at: int, tmp_path: Path
) -> None:
    def make(**arguments: Any) -> tuple[nn.Module, Tuner, Trainer]:
        model = tiny_bert(dropout=0.1)
        tuner = prepare(model, name, **settings)
        run = trainer(model, tmp_path, tuner, save_strategy="steps", save_steps=at, **arguments)
        return model, tuner, run

    model, tuner, run = make()
    run.train()
    whole, state = weights(model), tuner.state_dict()
    for folder in tmp_path.glob("checkpoint-*"):
        if folder.name != f"checkpoint-{at}":
            folder.rename(tmp_path / f"later-{folder.name}")
    model, tuner, run = make()
    run.train(resume_from_checkpoint=True)
    assert tuner.step == 6
    assert_same_weights(weights(model), whole)
    assert tuner.state_dict() == state


def test_slimfit_resumes_within_gradient_accumulation_and_bf16(tmp_path: Path) -> None:
    arguments = {"gradient_accumulation_steps": 2, "bf16": True, "save_strategy": "steps", "save_steps": 3}
    results = []
    for resume in (False, True):
        model = tiny_bert(dropout=0.1)
        tuner = prepare(model, "slimfit", rate=0.75, optimizer_state="release")
        run = trainer(model, tmp_path, tuner, **arguments)
        run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3") if resume else None)
        results.append(weights(model))
    assert_same_weights(*results)


def test_a_checkpoint_without_our_state_is_refused(tmp_path: Path) -> None:
    trainer(tiny_bert(), tmp_path, None, max_steps=2, save_strategy="steps", save_steps=1).train()
    model = tiny_bert()
    run = trainer(model, tmp_path, prepare(model, "slimfit"), max_steps=2)
    with pytest.raises(CheckpointError, match="at step 1 was made without Frostline's callback"):
        run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_tuner_that_is_ahead_of_the_trainer_is_refused(tmp_path: Path) -> None:
    model = tiny_bert()
    tuner = prepare(model, "full")
    trainer(model, tmp_path, tuner, max_steps=2).train()
    with pytest.raises(CheckpointError, match="the schedule is at step 2, the Trainer at step 0"):
        trainer(model, tmp_path, tuner, max_steps=2).train()


def test_an_optimizer_that_lacks_candidates_is_refused(tmp_path: Path) -> None:
    from frostline.errors import PlanError

    model = tiny_bert()
    tuner = prepare(model, "full")
    run = trainer(model, tmp_path, tuner)
    run.optimizer = torch.optim.SGD(list(model.parameters())[1:], lr=0.1)
    with pytest.raises(PlanError, match=r"lacks 1 .*word_embeddings"):
        run.train()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"torch_compile": True}, r"torch\.compile"),
        ({"restore_callback_states_from_checkpoint": True}, "restore_callback_states_from_checkpoint"),
    ],
    ids=["compile", "restore-callbacks"],
)
def test_what_cannot_work_together_is_refused(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = tiny_bert()
    with pytest.raises(ConfigError, match=f"Frostline does not support {said}"):
        trainer(model, tmp_path, prepare(model, "full"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fsdp": "full_shard"}, "FSDP"),
        ({"deepspeed": "zero.json"}, "DeepSpeed"),
        ({"n_gpu": 2}, "DataParallel on 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_several_devices_are_refused(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Asked of the callback itself: to build such a Trainer takes the devices."""
    given: Any = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")

    class Arguments:
        def __getattr__(self, name: str) -> Any:
            return arguments[name] if name in arguments else getattr(given, name)

    callback = prepare(tiny_bert(), "full").callback()
    callback.on_init_end(given, None, None)
    with pytest.raises(ConfigError, match=f"Frostline does not support {said}"):
        callback.on_init_end(Arguments(), None, None)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [("far", {}, "method 'far' puts other weights"), ("full", {"fused_backward": True}, "fused_backward=True moves")],
)
def test_processes_that_could_not_share_gradients_are_refused(name: str, options: dict[str, Any], why: str) -> None:
    class Arguments:
        world_size = 2

    with pytest.raises(ConfigError, match=f"does not support 2 processes here: {why}"):
        prepare(tiny_bert(), name, **options).callback().on_init_end(Arguments(), None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ddp_find_unused_parameters": False}, "ddp_find_unused_parameters=False"),
        ({"gradient_checkpointing": True}, "gradient checkpointing, which turns it off"),
    ],
)
def test_processes_that_would_wait_for_frozen_weights_are_refused(
    arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    given: Any = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", **arguments)

    class Arguments:
        world_size, n_gpu = 2, 1

        def __getattr__(self, name: str) -> Any:
            return getattr(given, name)

    asked: Any = Arguments()
    prepare(tiny_bert(), "layers", count=1).callback().on_init_end(asked, None, None)
    changing = prepare(tiny_bert(), "slimfit", rate=0.5).callback()
    with pytest.raises(ConfigError, match=rf"method 'slimfit'.*\({said}\); set ddp_find_unused_parameters=True"):
        changing.on_init_end(asked, None, None)
    given.ddp_find_unused_parameters = True
    changing.on_init_end(asked, None, None)
