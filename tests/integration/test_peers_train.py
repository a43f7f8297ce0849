"""The rival methods through `frostline train`: as plugins, stopped and resumed, and refused where they cannot run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import TrainerCallback

from frostline import methods
from frostline.config import make_config
from frostline.errors import ConfigError
from frostline.training.run import run
from peer_methods import CLASSES, FOLDER, PEERS, params

Steps = Callable[[Path], list[dict[str, str]]]


class PulledPlugError(RuntimeError):
    """What ends a run at a step, with no chance to write anything."""


class PullPlug(TrainerCallback):
    """Raises in the middle of a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            raise PulledPlugError


@pytest.fixture(autouse=True)
def listed() -> Iterator[None]:
    """Have the peers in the list of methods, as their plugin files would put them there."""
    methods._registered.update(CLASSES)
    yield
    for name in CLASSES:
        methods._registered.pop(name, None)


@pytest.fixture
def config(base: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes the config of a peer's run: 2 epochs of 5 steps, a checkpoint every 3."""

    def make(name: str, folder: str, **changes: Any) -> Any:
        file, settings, rate = PEERS[name]
        keys = {
            "plugins": [str(FOLDER / f"{file}.py")],
            "method": name,
            "settings": settings,
            "learning_rate": rate,
            "max_grad_norm": 0.0 if CLASSES[name].updates_in_backward else 1.0,
            "save_strategy": "steps",
            "save_steps": 3,
            "output": str(tmp_path / folder),
        }
        return make_config({**base, **keys, **changes})

    return make


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.mark.slow
@pytest.mark.parametrize("name", params())
def test_a_run_that_was_stopped_and_resumed_ends_as_one_that_was_not(
    name: str, config: Callable[..., Any], steps: Steps, tmp_path: Path
) -> None:
    whole = run(config(name, "whole"), console=quiet())
    assert whole["status"] == "finished"
    with pytest.raises(PulledPlugError):
        run(config(name, "stopped"), console=quiet(), callbacks=[PullPlug(8)])
    run(config(name, "stopped"), console=quiet(), resume=True)
    assert steps(tmp_path / "stopped") == steps(tmp_path / "whole")
    first, second = (tmp_path / folder / "model.safetensors" for folder in ("whole", "stopped"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["lomo", "adalomo"])
@pytest.mark.parametrize(
    ("key", "value", "way_out"),
    [("max_grad_norm", 1.0, "set max_grad_norm=0"), ("gradient_accumulation_steps", 2, "set gradient_accumulation_")],
)
def test_what_needs_gradients_after_backward_is_refused_and_leaves_nothing(
    name: str, key: str, value: float, way_out: str, config: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"{key}={value}.* is refused: method '{name}' .*{way_out}"):
        run(config(name, "refused", **{key: value}), console=quiet())
    assert not (tmp_path / "refused").exists()


def test_the_command_line_takes_a_peer_s_file_and_its_settings(
    command: Any, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [flag for flag in flags if not flag.startswith("epochs=")]
    done = command(
        "train", *words, "max_steps=2", f"plugins=[{FOLDER / 'galore.py'}]", "method=galore", "rank=3", "scale=0.5",
        f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    refused = command(
        "train", *words, f"plugins=[{FOLDER / 'galore.py'}]", "method=galore", "rang=3", f"output={tmp_path / 'no'}"
    )
    assert "did you mean 'rank'?" in refused.said
