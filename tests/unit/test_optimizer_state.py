"""What becomes of the optimizer's state of frozen units: kept, released or offloaded."""

from __future__ import annotations

import copy
import gc
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from frostline import Tuner, prepare
from frostline.errors import ConfigError
from frostline.tuner.optimizer_state import POLICIES, OptimizerState
from tiny_models import assert_same_weights, make_optimizer, same_bits, tiny_bert, train, weights


def start(policy: str, kind: str = "adamw", method: str = "slimfit") -> tuple[Any, Tuner, Optimizer]:
    model = tiny_bert()
    settings: dict[str, Any] = {"count": 1, "every": 2} if method == "lisa" else {"rate": 0.75}
    tuner = prepare(model, method, optimizer_state=policy, **settings)
    optimizer = make_optimizer(model.parameters(), kind)
    tuner.attach(optimizer)
    return model, tuner, optimizer


def frozen_parameters(model: Any) -> list[Any]:
    return [p for p in model.parameters() if not p.requires_grad]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder in which temporary files are made during the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("method", ["slimfit", "lisa"])
def test_offloading_trains_bit_for_bit_as_keeping(method: str, kind: str, temporary: Path) -> None:
    results = []
    for policy in ("keep", "offload"):
        model, tuner, optimizer = start(policy, kind, method)
        train(model, tuner, optimizer, 12)
        tuner.finish()
        results.append((weights(model), copy.deepcopy(optimizer.state_dict())))
    assert_same_weights(results[0][0], results[1][0])
    kept, offloaded = (state["state"] for _, state in results)
    assert set(kept) == set(offloaded)
    for index, values in kept.items():
        assert all(same_bits(offloaded[index][k], v) for k, v in values.items() if isinstance(v, torch.Tensor))


def test_offloaded_state_is_mapped_from_a_file_and_thawed_state_is_not(temporary: Path) -> None:
    model, tuner, optimizer = start("offload")
    train(model, tuner, optimizer, 6)
    tuner.before_step()
    away = [optimizer.state[p]["exp_avg"] for p in frozen_parameters(model) if p in optimizer.state]
    here = [optimizer.state[p]["exp_avg"] for p in model.parameters() if p.requires_grad and p in optimizer.state]
    assert away
    assert here
    addresses = mapped_addresses(temporary)
    assert all(any(low <= t.data_ptr() < high for low, high in addresses) for t in away)
    assert not any(low <= t.data_ptr() < high for low, high in addresses for t in here)


def mapped_addresses(folder: Path) -> list[tuple[int, int]]:
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(folder) in line:
            low, high = line.split()[0].split("-")
            found.append((int(low, 16), int(high, 16)))
    return found


def test_temporary_files_are_removed(temporary: Path) -> None:
    model, tuner, optimizer = start("offload")
    train(model, tuner, optimizer, 6)
    (folder,) = temporary.iterdir()
    assert folder.name.startswith("frostline-")
    assert list(folder.iterdir()) == []  # files without a name: a killed run leaves nothing but an empty folder
    tuner.finish()
    assert list(temporary.iterdir()) == []
    gc.collect()
    assert mapped_addresses(temporary) == []  # and nothing holds their blocks any more
    assert all(torch.isfinite(v).all() for s in optimizer.state.values() for v in s.values())


def test_temporary_files_go_with_a_tuner_that_was_never_finished(temporary: Path) -> None:
    model, tuner, optimizer = start("offload")
    train(model, tuner, optimizer, 6)
    del model, tuner, optimizer
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_releasing_drops_the_state_of_what_is_frozen() -> None:
    model, tuner, optimizer = start("release")
    for index in range(8):
        train(model, tuner, optimizer, 1, start=index)
        held = {p for p, state in optimizer.state.items() if state}
        assert held == {p for p in model.parameters() if p.requires_grad}
        assert not held & set(frozen_parameters(model))


def test_what_thaws_after_a_release_starts_with_fresh_moments() -> None:
    model, tuner, optimizer = start("release", method="lisa")
    parameters = dict(model.named_parameters())
    ages: dict[str, int] = {}
    for index in range(12):
        due = {name for unit in (*tuner.units, *tuner.always) for name in unit.parameters} & (
            tuner.active | {unit.name for unit in tuner.always}
        )
        train(model, tuner, optimizer, 1, start=index)
        ages = {name: ages.get(name, 0) + 1 for name in due}  # forgotten once frozen
        assert {name: int(optimizer.state[parameters[name]]["step"]) for name in due} == ages
    assert max(ages.values()) == 12


def test_keeping_keeps_the_moments_of_what_is_frozen() -> None:
    model, tuner, optimizer = start("keep")
    train(model, tuner, optimizer, 4)
    before = {p: {k: v.clone() for k, v in optimizer.state[p].items()} for p in optimizer.state}
    tuner.before_step()
    frozen = [p for p in frozen_parameters(model) if p in before]
    assert frozen
    assert all(same_bits(optimizer.state[p][k], v) for p in frozen for k, v in before[p].items())


@pytest.mark.parametrize("policy", ["keep", "offload"])
def test_the_optimizers_own_state_dict_is_complete(policy: str) -> None:
    model, tuner, optimizer = start(policy)
    train(model, tuner, optimizer, 8)  # every unit was active by now
    state = copy.deepcopy(optimizer.state_dict())
    assert set(state["state"]) == set(range(len(list(model.parameters()))))
    for index, parameter in enumerate(model.parameters()):
        assert state["state"][index]["exp_avg"].shape == parameter.shape
        assert same_bits(state["state"][index]["exp_avg"], optimizer.state[parameter]["exp_avg"])


def test_the_state_of_a_wrapped_optimizer_is_followed() -> None:
    """Accelerate hands its own wrapper to callbacks."""

    class Wrapper:
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer = optimizer

    model = tiny_bert()
    tuner = prepare(model, "slimfit", rate=0.75, optimizer_state="release")
    optimizer = make_optimizer(model.parameters())
    tuner.attach(Wrapper(optimizer))
    train(model, tuner, optimizer, 5)
    assert {p for p, state in optimizer.state.items() if state} == {p for p in model.parameters() if p.requires_grad}


def test_an_unknown_policy_names_the_nearest() -> None:
    assert POLICIES == ("keep", "release", "offload")
    with pytest.raises(ConfigError, match="'relese' is unknown; did you mean 'release'"):
        OptimizerState(make_optimizer(tiny_bert().parameters()), "relese")
