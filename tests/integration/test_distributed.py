"""Two processes that share gradients (DistributedDataParallel on gloo) train as one on the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_training import train

JOBS: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("slimfit", {"rate": 0.75}),
    ("slimfit", {"rate": 0.75, "storage": "smallest", "optimizer_state": "release"}),
    ("slimfit", {"rate": 0.75, "gradient_checkpointing": True, "ddp_find_unused_parameters": True}),
    ("auto", {}),
    ("lisa", {"count": 1}),
    ("lora", {"rank": 2, "dropout": 0.0}),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of each of two processes, 4 rows a step each."""
    folder = tmp_path_factory.mktemp("processes")
    script = Path(__file__).with_name("distributed_training.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*launch, str(script), str(folder), "4", json.dumps(JOBS)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return folder


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((value - other[key]).abs().max()) for key, value in one.items())


@pytest.mark.parametrize(("index", "job"), list(enumerate(JOBS)), ids=[f"{name}-{options}" for name, options in JOBS])
def test_both_end_with_the_weights_of_one(
    both: Path, tmp_path: Path, index: int, job: tuple[str, dict[str, Any]]
) -> None:
    first, second = (torch.load(both / f"{index}.{rank}.pt") for rank in (0, 1))
    assert furthest(first, second) == 0.0
    name, options = job
    alone = train(tmp_path, 8, name, options)
    rounding = 1e-3 if options.get("storage") == "smallest" else 1e-6  # of codes: other groups of values
    assert furthest(first, alone) < rounding
    begun = train(tmp_path / "other", 4, name, options)
    assert furthest(begun, alone) > 10 * rounding  # half the batch would not have done


def test_a_run_folder_has_one_writer(command: Any, tiny: Path, task: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = command("train", "--model", tiny, "--data", task, "--output", tmp_path / "run")
    assert done.code == 2
    assert "does not support 2 processes here: a run folder has one writer" in done.said
    assert not (tmp_path / "run").exists()
