"""Optimizer, schedule and random state go to files and come back to the bit, without a pickle."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor

from frostline.training import state_files

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "sgd-plain": lambda p: torch.optim.SGD(p, lr=0.01),
    "adafactor": lambda p: Adafactor(p, lr=0.01, relative_step=False, scale_parameter=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
}


def make(kind: str) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    optimizer = OPTIMIZERS[kind](
        [{"params": model[0].parameters(), "weight_decay": 0.1}, {"params": [model[1].weight]}]
    )
    return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, seed: int) -> None:
    torch.manual_seed(seed)
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_restored_optimizer_goes_on_as_the_saved_one(tmp_path: Path, kind: str) -> None:
    model, optimizer, scheduler = make(kind)
    for seed in range(3):
        step(model, optimizer, scheduler, seed)
    state_files.save(tmp_path, optimizer, scheduler)
    other, other_optimizer, other_scheduler = make(kind)
    other.load_state_dict(model.state_dict())
    state_files.load_optimizer(tmp_path, other_optimizer, other_scheduler)
    assert other_scheduler.get_last_lr() == scheduler.get_last_lr()
    for seed in (7, 8):
        step(model, optimizer, scheduler, seed)
        step(other, other_optimizer, other_scheduler, seed)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    # One more step is one more: the comparison is not of models that stand still.
    step(model, optimizer, scheduler, 9)
    assert not torch.equal(model.state_dict()["0.weight"], other.state_dict()["0.weight"])


def test_parameter_without_state_has_none_afterwards(tmp_path: Path) -> None:
    model, optimizer, scheduler = make("adamw")
    model[1].weight.requires_grad_(False)
    step(model, optimizer, scheduler, 0)
    state_files.save(tmp_path, optimizer, scheduler)
    other, restored, other_scheduler = make("adamw")
    state_files.load_optimizer(tmp_path, restored, other_scheduler)
    assert set(restored.state) == {other[0].weight, other[0].bias}
    assert restored.param_groups[0]["weight_decay"] == 0.1


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float, float, float]:
        return (
            random.random(),
            random.gauss(0, 1),
            float(np.random.random()),
            float(np.random.standard_normal()),
            float(torch.rand(())),
        )

    _, optimizer, scheduler = make("sgd")
    draw()  # numpy and random each keep the second of two normal numbers
    state_files.save(tmp_path, optimizer, scheduler)
    expected = draw()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    assert draw() != expected
    state_files.load_random(tmp_path)
    assert draw() == expected


def test_saving_draws_no_random_number(tmp_path: Path) -> None:
    _, optimizer, scheduler = make("adamw")
    before = torch.get_rng_state()
    state_files.save(tmp_path, optimizer, scheduler)
    assert torch.equal(torch.get_rng_state(), before)


def test_files_are_safetensors_and_json(tmp_path: Path) -> None:
    _, optimizer, scheduler = make("adamw")
    state_files.save(tmp_path, optimizer, scheduler)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
