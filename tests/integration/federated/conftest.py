"""A federation of a tiny BERT: its config, and plans that are rehearsed once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.supercore.task_identity import TaskIdentity

from federation import Make
from frostline.federated.config import FederateConfig, make_federate_config
from frostline.federated.server_app import Planned, plan

torch.set_num_threads(1)

HALF = [{"name": "strong", "count": 2}, {"name": "weak", "count": 2, "upload": "50%"}]


@pytest.fixture(autouse=True)
def run_of_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("task_id", "run_id", "node_id"):  # Flower's messages belong to a run
        monkeypatch.setattr(TaskIdentity, f"_{part}", 1)


@pytest.fixture
def make(tiny: Path, task: Path, tmp_path: Path) -> Make:
    def config(groups: Any = HALF, **changes: Any) -> FederateConfig:
        values: dict[str, Any] = {
            "model": str(tiny),
            "depths": [2],
            "data": str(task),
            "output": str(tmp_path / "out"),
            "fleet": {"groups": groups},
            "partition": "iid",
            "rounds": 2,
            "devices_per_round": 4,
            "batch_size": 4,
            "max_length": 16,
            "wave": 3,
            "optimizer": "sgd",
            "seed": 5,
        }
        return make_federate_config(values | changes)

    return config


@pytest.fixture(scope="session")
def plans() -> dict[str, Planned]:
    return {}


@pytest.fixture
def planned(plans: dict[str, Planned]) -> Callable[[FederateConfig], Planned]:
    """Plan, but rehearse each model and fleet once: the plan does not depend on the rest."""

    def of(config: FederateConfig) -> Planned:
        key = json.dumps([config.fleet, config.depths, config.model])
        if key not in plans:
            plans[key] = plan(config)
        found = plans[key]
        return Planned(config, found.data, found.tables, found.choice)

    return of
