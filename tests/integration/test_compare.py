"""Comparisons of tiny runs: complete, resumed after a kill, the same to the bit, with rows for what failed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO

import pytest
import yaml
from rich.console import Console

from frostline.comparison.compare import compare
from frostline.comparison.config import make_comparison
from frostline.errors import ConfigError

pytestmark = pytest.mark.slow  # dozens of processes; `make test-long` runs it, and so does CI

PLUGIN = '''
import torch
from frostline import methods
from frostline.methods import base

@methods.register
class Talkative(base.ConstantMethod):
    """The head alone, with a word about it."""

    name = "talkative"
    summary = "prints"
    source = "a test"

    def trained(self, anatomy):
        print("what a method prints is not the protocol's")
        return anatomy.in_region("head")

@methods.register
class Greedy(Talkative):
    name = "greedy"

    def before(self, step, parameters):
        torch.empty(1 << 50)

@methods.register
class Faulty(Talkative):
    name = "faulty"

    def before(self, step, parameters):
        raise ValueError("as <b>bold</b> as brass")
'''


@pytest.fixture(scope="module")
def values(base, tmp_path_factory):
    """The keys that all comparisons here share: one thread, one epoch."""
    plain = {key: value for key, value in base.items() if key not in ("output", "method", "settings")}
    plain = {key: str(value) if hasattr(value, "parts") else value for key, value in plain.items()}
    return {**plain, "epochs": 1, "threads": 1, "jobs": 2, "memory_steps": 0, "time_pairs": 0, "inference": False}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A file with a method that wants too much memory and one that fails."""
    path = tmp_path_factory.mktemp("plugins") / "broken.py"
    path.write_text(PLUGIN)
    return path


def run(values, output, **changes):
    stream = StringIO()
    compare(make_comparison({**values, "output": output, **changes}, {}), console=Console(file=stream, soft_wrap=True))
    return stream.getvalue()


def records(folder):
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.*.json")}
    return dict(sorted(found.items()))


@pytest.fixture(scope="module")
def whole(values, plugin, tmp_path_factory):
    """A comparison with everything in it, and what was printed."""
    folder = tmp_path_factory.mktemp("compare") / "whole"
    printed = run(
        values,
        folder,
        title="All of it",
        plugins=[str(plugin)],
        methods={"full": {}, "talkative": {"learning_rate_of": "full"}, "greedy": {}, "faulty": {}},
        learning_rates={"grid": [1e-3, 1e-2], "train": {"validation_share": 0.25}},
        memory_steps=2,
        time_pairs=3,
        inference=True,
    )
    return folder, printed


def test_every_run_leaves_a_record_with_what_it_was_made_of(whole):
    folder, _ = whole
    plan = json.loads((folder / "comparison.json").read_text())
    expected = plan["expected"]
    assert plan["name"] == "All of it"
    found = records(folder)
    assert sorted(found) == sorted(name for names in expected.values() for name in names)
    assert {kind: len(names) for kind, names in expected.items()} == {"trial": 6, "cell": 4, "memory": 5, "time": 3}
    cell = next(record for name, record in found.items() if name.endswith("full.seed0"))
    assert cell["status"] == "finished"
    assert cell["train_info"]["memory"]["process_peak"] > 10 * 2**20
    assert set(cell["meta_info"]) == {"versions", "hardware", "allocator", "data", "model_sha256", "plan"}
    assert cell["run_info"]["command"].startswith("frostline train ")
    assert cell["run_info"]["threads"] == cell["meta_info"]["hardware"]["torch_threads"] == 1
    assert (folder / "steps" / f"{cell['name']}.csv").is_file()
    assert not (folder / ".running").exists()


def test_what_failed_is_a_row_with_its_reason(whole):
    found = records(whole[0])
    by_method = {record["method"]: record for record in found.values() if record["kind"] == "trial"}
    assert by_method["greedy"]["status"] == "out_of_memory"
    assert "allocate memory" in by_method["greedy"]["reason"]
    assert by_method["faulty"]["status"] == "failed"
    assert "as <b>bold</b> as brass" in by_method["faulty"]["reason"]
    cell = next(r for r in found.values() if r["kind"] == "cell" and r["method"] == "faulty")
    assert cell["status"] == "failed"
    assert "no trial" in cell["reason"]
    assert "bold" in cell["reason"]


def test_the_learning_rate_comes_from_the_trials(whole):
    found = records(whole[0])
    trials = [r for r in found.values() if r["kind"] == "trial" and r["method"] == "full"]
    for method in ("full", "talkative"):
        cell = next(r for r in found.values() if r["kind"] == "cell" and r["method"] == method)
        scores = {r["config"]["learning_rate"]: r["train_info"]["metrics"]["accuracy"] for r in trials}
        assert scores[cell["config"]["learning_rate"]] == max(scores.values())
        # A quarter of the 40 training rows; the 12 validation rows were not touched.
        assert {r["meta_info"]["data"]["validation"] for r in trials} == {10}
        assert cell["meta_info"]["data"]["validation"] == 12


def test_memory_is_told_apart_and_times_are_paired(whole):
    found = records(whole[0])
    full, head = (
        next(r for r in found.values() if r["kind"] == "memory" and r["method"] == m)["train_info"]["memory"]
        for m in ("full", "talkative")
    )
    for memory in (full, head):
        assert sum(memory["at_tensor_peak"].values()) == memory["tensor_peak"]
    assert head["saved_activations"] < full["saved_activations"]
    assert head["tensor_peak"] < full["tensor_peak"]
    assert full["at_tensor_peak"]["optimizer"] > head["at_tensor_peak"]["optimizer"] > 0
    alone = next(r for r in found.values() if r["method"] == "inference")["train_info"]["memory"]
    assert alone["saved_activations"] == 0
    assert alone["process_peak"] > 10 * 2**20
    time_ = next(r for r in found.values() if r["kind"] == "time" and r["method"] == "talkative")["train_info"]
    assert time_["pairs"] == 3
    assert 0.05 < time_["ratio"] < 1.5
    assert time_["reference"] == "full"


def test_progress_says_what_is_left(whole):
    lines = whole[1].splitlines()
    assert lines[0].startswith("[1/18] ")
    assert any("left" in line for line in lines)
    assert lines[-1].startswith("[18/18] ")


def test_killed_in_the_middle_it_repeats_nothing_and_ends_the_same(values, tmp_path):
    methods = {"full": {}, "head": {}}
    run(values, tmp_path / "once", methods=methods)
    config = tmp_path / "compare.yaml"
    config.write_text(yaml.safe_dump({**values, "jobs": 1, "output": str(tmp_path / "killed"), "methods": methods}))
    command = [sys.executable, "-m", "frostline", "compare", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 120
        while not records(tmp_path / "killed") and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.*.json")}
    assert len(before) == 1
    assert "1 run was made before" in run(values, tmp_path / "killed", methods=methods)
    assert all(path.stat().st_mtime_ns == made for path, made in before.items())
    once, again = records(tmp_path / "once"), records(tmp_path / "killed")
    assert list(once) == list(again)
    for name in once:
        assert once[name]["train_info"]["metrics"] == again[name]["train_info"]["metrics"]
        assert once[name]["train_info"]["train_loss"] == again[name]["train_info"]["train_loss"]


def test_other_keys_are_refused_and_overwritten_only_on_demand(whole, values, plugin):
    before = (whole[0] / "comparison.json").read_text()
    with pytest.raises(ConfigError, match="max_length"):
        run(values, whole[0], plugins=[str(plugin)], methods={"full": {}}, max_length=9, learning_rate=1e-3)
    assert (whole[0] / "comparison.json").read_text() == before


def test_changed_data_are_refused(values, task, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(task, data)
    changes = {"data": str(data), "methods": {"head": {}}, "max_steps": 1}
    run(values, tmp_path / "x", **changes)
    (data / "train.csv").write_text((data / "train.csv").read_text().replace("good", "fine"))
    with pytest.raises(ConfigError, match="SHA-256 differs"):
        run(values, tmp_path / "x", **changes)


def test_trials_need_validation_data_of_the_source_s_own(values, task, tmp_path):
    for changes in (
        {"data": str(task / "train.csv"), "methods": {"full": {}}},
        {"methods": {"full": {}, "head": {"validation": "split"}}},
    ):
        with pytest.raises(ConfigError, match="brings no validation data"):
            run(values, tmp_path / "x", learning_rates=[1e-3], **changes)
    assert not (tmp_path / "x").exists()
