"""A tiny BERT with its tokenizer, a tiny task, and ways to run them in this process, beside it, and to kill them."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tiny_words import BAD, GOOD, PLAIN

Train = Callable[..., dict[str, Any]]
Command = Callable[..., "Done"]


class Done:
    """What a command left: its exit code and what it printed."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def said(self) -> str:
        """Return the one line on standard error; anything more or less is a failure of the test."""
        lines = self.stderr.strip().splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("frostline: ")
        return lines[0]


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Return (text, label) pairs of varying length, the classes in turn; no text twice."""
    generator = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        label, words = (("good", GOOD), ("bad", BAD))[len(found) % 2]
        text = " ".join([*generator.choices(PLAIN, k=generator.randint(1, 9)), generator.choice(words)])
        found.setdefault(text, label)
    return list(found.items())


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def make_model(folder: Path, *, kind: str = "bert", **changes: Any) -> Path:
    """Write a tiny pretrained encoder (no classification head) with a word-level tokenizer."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate([*special, *PLAIN, *GOOD, *BAD])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    values = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        **changes,
    }
    config, model = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
    }[kind]
    torch.manual_seed(7)
    model(config(**values)).save_pretrained(folder)
    limit = values["max_position_embeddings"] - (kind == "roberta")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=limit, **names).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Leave the cores to others: a tiny model gains nothing from two threads, which on a busy machine wait in turn."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny BERT."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with train.csv (40 rows) and validation.csv (12 rows)."""
    folder = tmp_path_factory.mktemp("data") / "moods"
    folder.mkdir()
    rows = sentences(52, seed=1)
    write_csv(folder / "train.csv", rows[:40])
    write_csv(folder / "validation.csv", rows[40:])
    return folder


@pytest.fixture(scope="session")
def base(tiny: Path, task: Path) -> dict[str, Any]:
    """Return the config that the tests vary: 2 epochs of 5 steps."""
    return {
        "model": str(tiny),
        "data": str(task),
        "max_length": 16,
        "batch_size": 8,
        "epochs": 2,
        "learning_rate": 0.003,
        "logging_steps": 5,
    }


@pytest.fixture(scope="session")
def train(base: dict[str, Any]) -> Train:
    """Return a function that trains in this process and returns run.json's content."""

    def run(output: Path, *, resume: bool = False, overwrite: bool = False, **changes: Any) -> dict[str, Any]:
        from frostline.config import make_config
        from frostline.training.run import run as train_run

        config = make_config({**base, "output": str(output), **changes})
        console = Console(file=io.StringIO(), soft_wrap=True)
        return train_run(config, resume=resume, overwrite=overwrite, console=console)

    return run


@pytest.fixture(scope="session")
def command() -> Command:
    """Return a function that calls `frostline` in this process, errors printed as `main` prints them."""
    import frostline.cli
    from frostline.errors import FrostlineError

    runner = CliRunner()

    def call(*words: object) -> Done:
        result = runner.invoke(frostline.cli.app, [str(word) for word in words])
        error = result.exception
        if isinstance(error, FrostlineError):
            return Done(error.exit_code, result.stdout, f"{result.stderr}frostline: {error}\n")
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return Done(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture(scope="session")
def flags(base: dict[str, Any]) -> list[str]:
    """Return `base` as words of the command line."""
    return [f"{key}={value}" for key, value in base.items()]


def process_of(*words: object, **options: Any) -> subprocess.Popen[str]:
    """Start `frostline` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "frostline", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def steps_of(folder: Path) -> list[dict[str, str]]:
    """Return the rows of steps.csv, without the one column that is never the same twice."""
    with (folder / "steps.csv").open(encoding="utf-8", newline="") as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def record_of(folder: Path) -> dict[str, Any]:
    """Return run.json's content."""
    content: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return content


# The functions above as fixtures: a module called conftest cannot be imported from where there are several.


@pytest.fixture(scope="session")
def process() -> Callable[..., subprocess.Popen[str]]:
    """Return `process_of`."""
    return process_of


@pytest.fixture(scope="session")
def steps() -> Callable[[Path], list[dict[str, str]]]:
    """Return `steps_of`."""
    return steps_of


@pytest.fixture(scope="session")
def record() -> Callable[[Path], dict[str, Any]]:
    """Return `record_of`."""
    return record_of


@pytest.fixture(scope="session")
def new_model() -> Callable[..., Path]:
    """Return `make_model`."""
    return make_model


@pytest.fixture(scope="session")
def table() -> Callable[..., Path]:
    """Return `write_csv`."""
    return write_csv


@pytest.fixture(scope="session")
def moods() -> Callable[..., list[tuple[str, str]]]:
    """Return `sentences`."""
    return sentences
