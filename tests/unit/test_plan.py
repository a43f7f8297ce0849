"""A plan is a value: JSON there and back, and an error for what is none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from frostline import Plan, prepare
from frostline.errors import PlanError
from tiny_models import METHOD_IDS, METHOD_SETTINGS, tiny_bert

PLAN = Plan(
    method="slimfit",
    settings={"rate": 0.9},
    seed=3,
    optimizer_state="keep",
    storage="exact",
    model="BertForSequenceClassification",
    blocks=2,
    total_parameters=100,
    candidate_parameters=90,
    trainable_parameters=20,
)


@pytest.mark.parametrize(("name", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)
def test_a_plan_survives_json_and_a_file(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    plan = prepare(tiny_bert(), name, **settings).plan
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    assert Plan.load(path) == plan
    assert plan.same_schedule(Plan.load(path))


def test_a_plan_says_every_setting_defaults_included() -> None:
    plan = prepare(tiny_bert(), "far", retention=0.5, seed=7).plan
    assert plan.settings == {
        "retention": 0.5,
        "priming": 0.01,
        "nodes": "hidden",
        "choose": "learned",
        "total_steps": None,
    }
    assert (plan.method, plan.seed, plan.blocks) == ("far", 7, 2)
    assert plan.model == "BertForSequenceClassification"


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused(version: object) -> None:
    with pytest.raises(PlanError, match=f"version {version!r}; version 1 is understood"):
        Plan.from_json({**PLAN.to_json(), "version": version})


def test_missing_and_unknown_values_are_refused_by_name() -> None:
    values = PLAN.to_json()
    with pytest.raises(PlanError, match="'seed'"):
        Plan.from_json({key: value for key, value in values.items() if key != "seed"})
    with pytest.raises(PlanError, match="'sead'"):
        Plan.from_json({**values, "sead": 1})


@pytest.mark.parametrize(("content", "said"), [("{", "cannot be read"), ("[1]", "holds no plan but a list")])
def test_a_file_that_is_no_plan_is_named(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(PlanError, match=rf"plan\.json {said}"):
        Plan.load(path)
    with pytest.raises(PlanError, match=r"elsewhere\.json cannot be read"):
        Plan.load(tmp_path / "elsewhere.json")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "random"},
        {"settings": {"rate": 0.5}},
        {"seed": 4},
        {"storage": "int8"},
        {"model": "ViTForImageClassification"},
        {"blocks": 3},
        {"total_parameters": 101},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_another_schedule(change: dict[str, object]) -> None:
    assert not PLAN.same_schedule(dataclasses.replace(PLAN, **change))


def test_how_the_optimizers_state_waits_may_change_between_runs() -> None:
    assert PLAN.same_schedule(dataclasses.replace(PLAN, optimizer_state="offload"))


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.seed = 5
