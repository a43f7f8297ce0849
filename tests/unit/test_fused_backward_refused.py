"""Fused backward where it cannot be exact is refused, with the reason."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from frostline import prepare
from frostline.errors import ConfigError
from tiny_models import batch, make_optimizer, tiny_bert


class Counting(SGD):
    """Counts its steps in the parameter group, as schedule-free optimizers do."""

    def step(self, closure: Any = None) -> None:  # torch types step() by overloads
        super().step(closure)
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1


def test_an_optimizer_that_keeps_something_of_the_whole_step_is_refused() -> None:
    model = tiny_bert()
    tuner = prepare(model, "full", fused_backward=True)
    tuner.attach(Counting(model.parameters(), lr=0.1))
    tuner.before_step()
    with pytest.raises(ConfigError, match="Counting changes 'k' of a parameter group at every step"):
        model(**batch(0)).loss.backward()


def test_an_optimizer_that_needs_all_gradients_is_refused() -> None:
    model = tiny_bert()
    tuner = prepare(model, "full", fused_backward=True)
    assert inspect.signature(torch.optim.LBFGS.step).parameters["closure"].default is inspect.Parameter.empty
    with pytest.raises(ConfigError, match="LBFGS needs all gradients at once"):
        tuner.attach(torch.optim.LBFGS(model.parameters()))


def test_a_gradient_scaler_is_refused() -> None:
    class Wrapper:
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer, self.scaler = optimizer, torch.amp.GradScaler("cpu")

    model = tiny_bert()
    tuner = prepare(model, "full", fused_backward=True)
    with pytest.raises(ConfigError, match="GradScaler"):
        tuner.attach(Wrapper(make_optimizer(model.parameters())))


def test_weights_on_several_devices_are_refused() -> None:
    model = tiny_bert()
    tuner = prepare(model, "full", fused_backward=True)
    elsewhere = nn.Parameter(torch.empty(2, device="meta"))
    with pytest.raises(ConfigError, match=r"several devices \(cpu, meta\)"):
        tuner.attach(make_optimizer([*model.parameters(), elsewhere]))


def test_a_method_that_moves_weights_by_itself_is_refused() -> None:
    from frostline.methods.full import Full

    class Own(Full):
        name = "own"
        updates_in_backward = True

    with pytest.raises(ConfigError, match="fused_backward=True is refused: method 'own' moves the weights"):
        prepare(tiny_bert(), Own, fused_backward=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, r"max_grad_norm=1\.0 is refused: fused_backward=True .* set max_grad_norm=0"),
        ({"max_grad_norm": 0.0, "gradient_accumulation_steps": 2}, "gradient_accumulation_steps=2 is refused"),
    ],
    ids=["clipping", "accumulation"],
)
def test_a_trainer_that_needs_the_gradients_is_refused(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    from test_trainer_callback import trainer

    model = tiny_bert()
    with pytest.raises(ConfigError, match=said):
        trainer(model, tmp_path, prepare(model, "full", fused_backward=True), **arguments).train()
