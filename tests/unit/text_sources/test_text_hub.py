"""Data sets of the Hub, with the library in between replaced: what it is asked for, and how its failures read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from frostline.errors import DataError
from frostline.tasks.sources import hub
from frostline.tasks.text import load, read_examples
from text_files import rows


@pytest.fixture
def on_the_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str | None]]]:
    """Return a function that puts splits on a Hub of one data set and gives the list of requests for it."""
    from datasets import ClassLabel, Dataset, Features, Value

    def put(**splits: list[int]) -> list[tuple[str, str | None]]:
        asked: list[tuple[str, str | None]] = []
        features = Features({"sentence": Value("string"), "label": ClassLabel(names=["no", "yes"])})

        def load_dataset(path: str, config: str | None) -> dict[str, Any]:
            asked.append((path, config))
            return {
                split: Dataset.from_dict(
                    {"sentence": [f"{split} {i}" for i in range(len(labels))], "label": labels}, features=features
                )
                for split, labels in splits.items()
            }

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        monkeypatch.setattr(hub, "_answers", lambda seconds: True)
        return asked

    return put


@pytest.mark.parametrize(
    ("name", "asked", "metric"),
    [
        ("glue/cola", ("nyu-mll/glue", "cola"), "matthews"),
        ("glue/sst2", ("nyu-mll/glue", "sst2"), "accuracy"),
        ("someone/reviews", ("someone/reviews", None), "accuracy"),
        ("someone/reviews/short", ("someone/reviews", "short"), "accuracy"),
    ],
)
def test_hub_name_becomes_path_and_config(
    on_the_hub: Callable[..., list[tuple[str, str | None]]], name: str, asked: tuple[str, str | None], metric: str
) -> None:
    requests = on_the_hub(train=[0, 1, 1], validation=[1], test=[-1])
    data = load(name)
    assert requests == [asked]
    assert (data.label_names, data.metric, data.name) == (("no", "yes"), metric, name)
    assert rows(data.validation) == [{"text": "validation 0", "label": 1}]
    assert len(data.sha256) == 64
    assert rows(read_examples(name, label_names=("no", "yes"))[0]) == rows(data.validation)


def test_hub_split_without_labels_does_not_validate(
    on_the_hub: Callable[..., list[tuple[str, str | None]]],
) -> None:
    on_the_hub(train=[0, 1] * 10, test=[-1, -1])
    data = load("someone/reviews")
    assert (len(data.train), len(data.validation)) == (18, 2)
    assert all(text.startswith("train") for text in data.validation["text"])


def test_hub_failure_names_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, config: str | None) -> None:
        raise ValueError("BuilderConfig 'colla' not found")

    monkeypatch.setattr(hub, "_answers", lambda seconds: True)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"'nyu-mll/glue' \(config 'colla'\) cannot be read: BuilderConfig"):
        load("glue/colla")


def test_hub_in_offline_mode_says_so_at_once() -> None:
    # A process of its own, because the mode is read when the Hub's client is imported.
    program = (
        "from frostline.errors import DataError\n"
        "from frostline.tasks.text import load\n"
        "try:\n    load('glue/cola')\nexcept DataError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "cannot be reached" in done.stdout
    assert "Offline, name a file, a folder, or 'acceptability'" in done.stdout
    assert time.perf_counter() - start < 30


def test_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def head(self, url: str, timeout: float) -> None:
            threading.Event().wait(30)

    monkeypatch.setattr("huggingface_hub.get_session", Silent)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    start = time.perf_counter()
    with pytest.raises(DataError, match="does not answer"):
        load("someone/reviews")
    assert time.perf_counter() - start < 10
