"""A run that breaks or is stopped says why, and leaves what was good and nothing else."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("method", ["full", "slimfit"])
def test_loss_that_is_none_stops_the_run_and_keeps_the_last_good_checkpoint(
    command: Any, flags: list[str], record: Any, steps: Any, tmp_path: Path, method: str
) -> None:
    from frostline.training.checkpoints import is_whole, latest

    output = tmp_path / "run"
    words = ["learning_rate=1e30", "warmup_steps=9", "save_strategy=steps", "save_steps=1", "eval_strategy=no"]
    done = command("train", *flags, "--output", output, f"method={method}", *words)
    assert done.code == 2
    values = record(output)
    assert values["status"] == "trainingdiverged"
    assert " step " in values["message"]
    assert "Lower the learning rate or add warm-up." in done.said
    checkpoint = latest(output / "checkpoints")
    assert checkpoint is not None
    assert is_whole(checkpoint)
    assert f"The last whole checkpoint is {checkpoint}; to use it: frostline export {checkpoint} FOLDER" in done.said
    assert [path.name for path in (output / "checkpoints").iterdir()] == [checkpoint.name]
    assert command("export", checkpoint, tmp_path / "good").code == 0
    assert not (output / "model.safetensors").exists()


def test_weights_that_broke_in_the_last_step_are_no_result(
    command: Any, flags: Any, record: Any, tmp_path: Path
) -> None:
    """The loss of the last step is that of the weights before it."""
    words = ["max_steps=1", "learning_rate=1e30", "weight_decay=1e30", "save_strategy=no"]
    done = command("train", *flags, "--output", tmp_path / "run", *words, "eval_strategy=no")
    assert done.code == 2
    assert "is no longer finite after step 1" in done.said
    assert record(tmp_path / "run")["status"] == "trainingdiverged"
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_full_disk_while_saving_leaves_the_previous_checkpoint(
    process: Any, command: Any, flags: list[str], record: Any, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: the next checkpoint's tensors are larger."""
    from frostline.training.checkpoints import is_whole

    output = tmp_path / "run"
    words = ["train", *flags, "save_strategy=steps", "save_steps=2", "eval_strategy=no", "--output", output]
    assert command(*words, "max_steps=2").code == 0
    values = record(output)
    values["config"]["max_steps"] = None
    (output / "run.json").write_text(json.dumps(values | {"status": "running"}))
    limit = 20_000
    assert (output / "checkpoints" / "checkpoint-2" / "model.safetensors").stat().st_size > limit

    child = process(
        "train",
        "--resume",
        "--output",
        output,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 2, stderr
    (line,) = stderr.splitlines()
    assert line.startswith("frostline: saving failed: there is no space left.")
    assert "checkpoint-2; go on with: frostline train --resume" in line
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["checkpoint-2"]
    assert is_whole(output / "checkpoints" / "checkpoint-2")
    assert command("train", "--resume", "--output", output).code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for what the process has loaded")
def test_ctrl_c_before_training_leaves_nothing(process: Any, flags: list[str], tmp_path: Path) -> None:
    import signal
    import time

    child = process("train", *flags, "--output", tmp_path / "run")
    maps, deadline = Path(f"/proc/{child.pid}/maps"), time.monotonic() + 60
    while "libtorch" not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)  # until it is loading its libraries
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in stderr
    assert not (tmp_path / "run").exists()
