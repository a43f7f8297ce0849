"""`frostline plan` and `frostline train --budget`: what is predicted is measured, and what cannot be is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from frostline.config import make_config
from frostline.errors import BudgetExceeded
from frostline.training.run import run

COMMAND = Path(sys.executable).with_name("frostline")


def test_a_plan_before_anything_is_loaded(command, tiny):
    done = command("plan", tiny, "--batch-size", 4, "--seq-len", 16, "--budget", "30GiB", "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["budget"] == 30 * 2**30
    assert found["plan"]["method"] == "full"
    assert found["plan"]["storage"] == "exact"
    assert found["predicted"]["peak"] == found["predicted"]["tensors"] + found["runtime"]["bytes"]
    assert 2 * 2**20 < found["smallest_budget"] < found["predicted"]["peak"]
    assert found["largest_batch"] > 4
    assert any("memory that this machine has" in warning for warning in found["warnings"])


def test_a_plan_to_read(command, tiny):
    done = command("plan", tiny, "--batch-size", 4, "--seq-len", 16, "--budget", "2GiB", "--no-bounds")
    assert done.code == 0, done.stderr
    for words in ("full, stock storage", "fits", "What the peak is made of", "runtime", "2.00 GiB"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("budget", "code", "said"),
    [
        ("2 bananas", 2, "the budget '2 bananas' is no amount of memory"),
        ("-1GB", 2, "the budget '-1GB' is no amount of memory"),
        ("0", 2, "give more than 0"),
        ("20MiB", 3, "the smallest that"),
    ],
)
def test_refused(command, tiny, budget, code, said):
    done = command("plan", tiny, "--batch-size", 2, "--seq-len", 8, "--method", "full", "--budget", budget)
    assert done.code == code
    assert said in done.stderr


def test_a_run_keeps_its_budget_and_says_how_well_it_was_predicted(tmp_path):
    output = tmp_path / "run"
    options = ["--max-steps", "4", "--batch-size", "8", "--max-length", "32", "--no-report"]
    words = [COMMAND, "train", "--output", output, "--budget", "1100MiB", *options]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    assert record["prediction"]["measured"] <= record["prediction"]["budget"] == 1100 * 2**20
    assert 0.93 < record["prediction"]["ratio"] < 1.07
    assert record["planned"]["rungs"][-1]["fits"]
    assert record["config"]["allocator"] == "compact"


def test_a_run_that_passes_its_budget_is_stopped_with_a_checkpoint(tmp_path, task, tiny, monkeypatch):
    plan = {"budget": 2**20, "predicted": {"peak": 2**20}}
    monkeypatch.setattr("frostline.training.run.within_budget", lambda config, console: (config, plan))
    output = tmp_path / "run"
    shape = {"max_steps": 5, "batch_size": 4, "max_length": 32, "budget": "1MiB"}
    config = make_config({"model": str(tiny), "data": str(task), "output": output, **shape})
    with pytest.raises(BudgetExceeded, match=r"step 1 took .* more than the budget of 1,048,576.*checkpoint-1"):
        run(config, console=Console(quiet=True))
    assert json.loads((output / "run.json").read_text(encoding="utf-8"))["status"] == "budgetexceeded"


def test_a_run_that_cannot_fit_is_refused_before_anything_is_written(command, tmp_path):
    output = tmp_path / "run"
    done = command("train", "--output", output, "--budget", "300MiB", "--method", "full", "--batch-size", 2)
    assert done.code == 3
    assert "too small: the smallest that minilm can be trained in is" in done.stderr
    assert not output.exists()


_BEYOND = """
import torch
from frostline.training.budgeted import enforce
import psutil
enforce(psutil.Process().memory_info().rss + 200 * 2**20)
kept = torch.ones(100 * 2**18)
print("within")
torch.ones(400 * 2**18)
print("beyond")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only")
def test_the_system_itself_keeps_an_enforced_budget():
    done = subprocess.run([sys.executable, "-c", _BEYOND], capture_output=True, text=True)
    assert done.stdout.split() == ["within"]
    assert "can't allocate memory" in done.stderr
