"""Optimizers with 8-bit moments under freezing, thawing, fused backward, checkpoints and FAR's cutting.

bitsandbytes comes by `make test-peers`; torchao, which the project does not install, is tested where it is on the path.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from frostline import Tuner, prepare
from frostline.errors import CheckpointError, PlanError
from frostline.training import state_files
from tiny_models import assert_same_weights, tiny_bert, train, weights

WIDE = {"hidden_size": 64, "intermediate_size": 64}  # 64 x 64 values is the least that both keep in 8 bits


def _package(name: str) -> Any:
    return pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"{name} is not installed; see docs/choosing.md"
        ),
    )


every_package = pytest.mark.parametrize("package", [_package("bitsandbytes"), _package("torchao")])


@pytest.fixture(autouse=True)
def plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave torchao's step uncompiled: each shape takes a compiler several seconds."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def start(package: str, method: str, **how: Any) -> tuple[nn.Module, Tuner, Optimizer]:
    model = tiny_bert(**WIDE)
    tuner = prepare(model, method, **how)
    make = importlib.import_module(f"{package}.optim").AdamW8bit
    optimizer: Optimizer = make(model.parameters(), lr=1e-3, weight_decay=0.1)
    tuner.attach(optimizer)
    return model, tuner, optimizer


def in_8_bits(optimizer: Optimizer) -> int:
    """Return how many weights have 8-bit moments."""
    return sum(
        any(isinstance(v, Tensor) and (v.dtype == torch.uint8 or is_traceable_wrapper_subclass(v)) for v in s.values())
        for s in optimizer.state.values()
    )


@every_package
@pytest.mark.parametrize("policy", ["keep", "release", "offload"])
def test_fused_backward_ends_with_the_same_weights_to_the_bit(package: str, policy: str) -> None:
    results = []
    for fused in (False, True):
        model, tuner, optimizer = start(package, "lisa", count=1, every=2, optimizer_state=policy, fused_backward=fused)
        train(model, tuner, optimizer, 7)
        assert in_8_bits(optimizer) >= 6
        results.append(weights(model))
    assert_same_weights(*results)


@every_package
def test_offloading_trains_bit_for_bit_as_keeping_and_stays_in_8_bits(package: str) -> None:
    results = []
    for policy in ("keep", "offload"):
        model, tuner, optimizer = start(package, "slimfit", rate=0.75, optimizer_state=policy)
        train(model, tuner, optimizer, 12)
        results.append((in_8_bits(optimizer), weights(tuner.finish())))
        assert in_8_bits(optimizer) == results[0][0] == 13  # six matrices a block, and the pooler's
    assert_same_weights(results[0][1], results[1][1])


@every_package
@pytest.mark.parametrize("policy", ["keep", "offload"])
def test_a_checkpoint_holds_8_bit_moments_without_a_pickle(package: str, policy: str, tmp_path: Path) -> None:
    model, tuner, optimizer = start(package, "slimfit", rate=0.75, optimizer_state=policy)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    train(model, tuner, optimizer, 4)
    schedule.step()
    state_files.save(tmp_path, optimizer, schedule)
    saved, state = weights(model), tuner.state_dict()
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
    train(model, tuner, optimizer, 4, start=4)
    whole = weights(model)
    model, tuner, optimizer = start(package, "slimfit", rate=0.75, optimizer_state=policy)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    model.load_state_dict(saved)
    state_files.load_optimizer(tmp_path, optimizer, schedule)
    tuner.load_state_dict(state)
    train(model, tuner, optimizer, 4, start=4)
    assert_same_weights(weights(model), whole)


@every_package
def test_far_cannot_cut_8_bit_moments_and_says_so(package: str) -> None:
    settings = {"retention": 0.25, "priming": 0.2, "total_steps": 10}
    model, tuner, optimizer = start(package, "far", **settings)
    with pytest.raises(PlanError, match=r"AdamW8bit keeps '\w+' as a .* which cannot be cut to its learners; use"):
        train(model, tuner, optimizer, 4)


@every_package
def test_far_without_priming_has_nothing_to_cut(package: str) -> None:
    model, tuner, optimizer = start(package, "far", retention=0.25, priming=0.0, choose="random")
    before = weights(model)
    train(model, tuner, optimizer, 3)
    assert not torch.equal(weights(model)["classifier.weight"], before["classifier.weight"])


@pytest.mark.parametrize("package", [_package("torchao")])
def test_a_class_of_tensor_that_nothing_declares_safe_is_refused(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tuner, optimizer = start(package, "full")
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    train(model, tuner, optimizer, 1)
    state_files.save(tmp_path, optimizer, schedule)
    monkeypatch.setattr(torch.serialization, "get_safe_globals", list)
    with pytest.raises(CheckpointError, match=r"OptimState8bit', which is not here or not declared safe to load"):
        state_files.load_optimizer(tmp_path, optimizer, schedule)
