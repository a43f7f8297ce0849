"""Resume equals never having stopped: the same weights to the bit and the same steps.csv, wherever it was killed."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import CheckpointError

Steps = Callable[[Path], list[dict[str, str]]]

# 2 epochs of 5 steps, a checkpoint every 3: 3, 6, 9, 10.
OFTEN = {"save_strategy": "steps", "save_steps": 3}
SLIMFIT = {"method": "slimfit", "settings": {"rate": 0.7}}
FAR = {"method": "far", "settings": {"priming": 0.5, "retention": 0.3}}
LISA = {"method": "lisa", "settings": {"count": 1, "every": 3}}
LORA = {"method": "lora", "settings": {"rank": 2, "dropout": 0.1}}
STOPPING = {"early_stopping_patience": 2, "epochs": 6, "learning_rate": 1e-7}  # nothing is learnt: it does stop


def _child(values: dict[str, Any], where: str, step: int) -> None:
    """Train, and meet a signal at a step: `after` it, `within` it, while `saving` its checkpoint, or at the `end`."""
    import torch
    from rich.console import Console

    from frostline.config import make_config
    from frostline.errors import FrostlineError
    from frostline.training import run, state_files
    from frostline.training.recorder import Recorder, StopOnInterrupt

    torch.set_num_threads(1)
    number = signal.SIGINT if where == "interrupt" else signal.SIGKILL
    owner: Any
    owner, name = {
        "after": (Recorder, "on_step_end"),
        "within": (Recorder, "on_pre_optimizer_step"),
        "interrupt": (Recorder, "on_pre_optimizer_step"),
        "saving": (state_files, "save"),
        "end": (run, "_save_model"),
    }[where]
    stock = getattr(owner, name)
    seen = {"step": 0}
    begin = StopOnInterrupt.on_step_begin

    def count(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        seen["step"] = state.global_step + 1
        begin(self, args, state, control, **kwargs)

    def with_signal(*args: Any, **kwargs: Any) -> Any:
        if seen["step"] != step:
            return stock(*args, **kwargs)
        if where == "after":
            stock(*args, **kwargs)
        os.kill(os.getpid(), number)
        return stock(*args, **kwargs)

    StopOnInterrupt.on_step_begin = count  # in a process of its own
    setattr(owner, name, with_signal)
    try:
        run.run(make_config(values), console=Console(file=io.StringIO()))
    except FrostlineError as error:
        Path(values["output"]).with_suffix(".said").write_text(str(error), encoding="utf-8")
        os._exit(error.exit_code)


@pytest.fixture(scope="module")
def killed(base: dict[str, Any]) -> Callable[..., int]:
    """Return a function that trains in a process of its own which a signal hits, and returns its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["frostline.training.run", "sklearn.metrics", "peft"])

    def start(output: Path, where: str, step: int, **changes: Any) -> int:
        child = context.Process(target=_child, args=({**base, **changes, "output": str(output)}, where, step))
        child.start()
        child.join(60)
        assert child.exitcode is not None
        return child.exitcode

    return start


@pytest.fixture(scope="module")
def whole(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives the folder of a run that nothing stopped; each config is trained once."""
    folders: dict[str, Path] = {}

    def get(**changes: Any) -> Path:
        key = json.dumps(changes, sort_keys=True)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("whole") / "run"
            train(folders[key], **changes)
        return folders[key]

    return get


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


@pytest.mark.parametrize(
    ("where", "step", "changes"),
    [
        pytest.param("within", 5, {}, id="full-mid-step"),
        pytest.param("after", 8, LORA, id="lora"),
        pytest.param("after", 4, FAR, id="far-before-reconfiguration", marks=pytest.mark.slow),
        pytest.param("after", 8, FAR, id="far-after-reconfiguration", marks=pytest.mark.slow),
        pytest.param("within", 6, FAR, id="far-at-reconfiguration"),
        pytest.param("after", 5, SLIMFIT, id="slimfit", marks=pytest.mark.slow),
        pytest.param(
            "after", 7, {**SLIMFIT, "optimizer_state": "offload"}, id="slimfit-offload", marks=pytest.mark.slow
        ),
        pytest.param("within", 7, {**SLIMFIT, "fused_backward": True, "max_grad_norm": 0}, id="slimfit-fused-backward"),
        pytest.param("after", 6, {**SLIMFIT, "storage": "smallest"}, id="slimfit-smallest"),
        pytest.param("within", 8, LISA, id="lisa", marks=pytest.mark.slow),
        pytest.param(
            "after",
            4,
            {"method": "random", "gradient_accumulation_steps": 2, "epochs": 4},
            id="accumulation",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "after",
            7,
            {"optim": "adafactor", "lr_scheduler_type": "cosine"},
            id="adafactor-cosine",
            marks=pytest.mark.slow,
        ),
        pytest.param("after", 7, {"sampling": "random", "max_steps": 8, "warmup_steps": 0.25}, id="random-order"),
    ],
)
def test_run_killed_at_a_step_ends_as_if_it_had_not_been(
    train: Any, killed: Any, whole: Any, steps: Steps, tmp_path: Path, where: str, step: int, changes: dict[str, Any]
) -> None:
    changes = {**OFTEN, **changes}
    expected = whole(**changes)
    output = tmp_path / "run"
    assert killed(output, where, step, **changes) == -signal.SIGKILL
    assert not (output / "model.safetensors").exists()
    result = train(output, resume=True, **changes)
    assert steps(output) == steps(expected)
    assert weights(output) == weights(expected)
    assert result["status"] == "finished"
    assert result["steps"] == len(steps(expected))


def test_run_killed_right_after_an_epoch(train: Any, killed: Any, whole: Any, steps: Steps, tmp_path: Path) -> None:
    expected = whole(epochs=3)
    output = tmp_path / "run"
    assert killed(output, "within", 6, epochs=3) == -signal.SIGKILL
    assert checkpoints(output) == {"checkpoint-5"}
    train(output, resume=True, epochs=3)
    assert (weights(output), steps(output)) == (weights(expected), steps(expected))


@pytest.mark.parametrize(
    ("where", "step"),
    [
        pytest.param("after", 13, id="killed"),
        pytest.param("interrupt", 10, id="interrupted-at-epoch"),
        pytest.param("end", 15, id="at-end", marks=pytest.mark.slow),
    ],
)
def test_early_stopping_counts_on_after_a_resume(
    train: Any, killed: Any, whole: Any, steps: Steps, tmp_path: Path, where: str, step: int
) -> None:
    changes = STOPPING
    expected = whole(**changes)
    assert len(steps(expected)) == 15  # the first evaluation and two without gain
    output = tmp_path / "run"
    killed(output, where, step, **changes)
    result = train(output, resume=True, **changes)
    assert steps(output) == steps(expected)
    assert weights(output) == weights(expected)
    assert result["peak_bytes"] > 0


def test_run_killed_while_it_saved_its_model_has_only_that_left_to_do(
    train: Any, killed: Any, whole: Any, steps: Steps, tmp_path: Path
) -> None:
    expected = whole()
    output = tmp_path / "run"
    assert killed(output, "end", 10) == -signal.SIGKILL
    train(output, resume=True)
    assert (weights(output), steps(output)) == (weights(expected), steps(expected))


def test_run_killed_while_it_wrote_a_checkpoint_resumes_from_the_one_before(
    train: Any, killed: Any, whole: Any, steps: Steps, tmp_path: Path
) -> None:
    expected = whole(**OFTEN)
    output = tmp_path / "run"
    assert killed(output, "saving", 6, **OFTEN) == -signal.SIGKILL
    assert checkpoints(output) == {"checkpoint-3", "checkpoint-6"}
    assert not (output / "checkpoints" / "checkpoint-6" / "manifest.json").exists()
    train(output, resume=True, **OFTEN)
    assert (weights(output), steps(output)) == (weights(expected), steps(expected))


@pytest.mark.parametrize("damage", ["no manifest", "truncated", "manifest cut short"])
def test_damaged_checkpoint_is_passed_over(
    train: Any, killed: Any, whole: Any, steps: Steps, tmp_path: Path, damage: str
) -> None:
    changes = {**OFTEN, "save_total_limit": 5}
    expected = whole(**changes)
    output = tmp_path / "run"
    killed(output, "after", 8, **changes)
    newest = output / "checkpoints" / "checkpoint-6"
    tensors, manifest = newest / "training_state.safetensors", newest / "manifest.json"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "truncated":
        os.truncate(tensors, tensors.stat().st_size // 2)
    else:
        os.truncate(manifest, 20)
    train(output, resume=True, **changes)
    assert (weights(output), steps(output)) == (weights(expected), steps(expected))


def test_the_only_checkpoint_damaged_is_refused_with_the_way_out(killed: Any, train: Any, tmp_path: Path) -> None:
    output = tmp_path / "run"
    killed(output, "after", 4, **OFTEN)
    (output / "checkpoints" / "checkpoint-3" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no whole checkpoint to resume from; start it anew with --overwrite"):
        train(output, resume=True, **OFTEN)


@pytest.mark.parametrize("step", [4, 5], ids=["in-an-epoch", "at-its-end"])
def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(
    train: Any, killed: Any, whole: Any, steps: Steps, record: Any, tmp_path: Path, step: int
) -> None:
    output = tmp_path / "run"
    assert killed(output, "interrupt", step, **FAR) == 130
    checkpoint = output / "checkpoints" / f"checkpoint-{step}"
    assert output.with_suffix(".said").read_text() == (
        f"stopped after step {step}. The last whole checkpoint is {checkpoint}; "
        f"go on with: frostline train --resume --output {output}"
    )
    assert record(output)["status"] == "interrupted"
    assert checkpoints(output) == {checkpoint.name}
    train(output, resume=True, **FAR)
    assert (weights(output), steps(output)) == (weights(whole(**FAR)), steps(whole(**FAR)))


def test_moved_folder_still_ends_with_its_best_checkpoint(
    train: Any, killed: Any, whole: Any, steps: Steps, tmp_path: Path
) -> None:
    # The rate is next to nothing and the scores stand still, so the first checkpoint stays the best.
    changes = {"load_best_model_at_end": True, "learning_rate": 1e-7, "epochs": 3}
    expected = whole(**changes)
    killed(tmp_path / "run", "end", 15, **changes)
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(tmp_path / "run", moved)
    shutil.rmtree(tmp_path / "run")
    train(moved, resume=True, **changes)
    assert weights(moved) == weights(expected)
    assert weights(moved) == weights(moved / "checkpoints" / "checkpoint-5")
    assert checkpoints(moved) == {"checkpoint-5", "checkpoint-15"}


def test_best_checkpoint_from_before_far_reconfigured_is_loaded(train: Any, tmp_path: Path) -> None:
    changes = {"load_best_model_at_end": True, "learning_rate": 1e-7, **FAR}
    train(tmp_path / "run", **changes)
    assert weights(tmp_path / "run") == weights(tmp_path / "run" / "checkpoints" / "checkpoint-5")


@pytest.mark.slow
def test_command_killed_from_outside_and_resumed_by_what_it_said(
    process: Any, command: Any, flags: list[str], whole: Any, steps: Steps, tmp_path: Path
) -> None:
    """The real thing: two processes, SIGKILL at a moment of its own, then SIGINT, then the command it named."""
    changes = {"epochs": 20, "save_strategy": "steps", "save_steps": 8, "eval_strategy": "no"}
    expected = whole(**changes)
    output = tmp_path / "run"
    words = ["train", *flags, *(f"{key}={value}" for key, value in changes.items()), f"output={output}"]
    moment = random.Random().randint(10, 40)
    child = process(*words)
    _wait_for_row(output, moment)
    child.kill()
    child.communicate()
    again = process("train", "--resume", "--output", output)
    _wait_for_row(output, len(steps(output)) + 20)
    again.send_signal(signal.SIGINT)
    _, stderr = again.communicate(timeout=60)
    if again.returncode != 0:  # it may have been through already
        assert again.returncode == 130
        (line,) = stderr.splitlines()
        said = line.split("go on with: frostline ")[1].split()
        assert command(*said).code == 0
    assert steps(output) == steps(expected), f"killed at step {moment}"
    assert weights(output) == weights(expected), f"killed at step {moment}"


def _wait_for_row(output: Path, count: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        path = output / "steps.csv"
        if path.is_file() and len(path.read_text().splitlines()) > count:
            return
        time.sleep(0.01)
    raise AssertionError(f"no step {count} within a minute")
