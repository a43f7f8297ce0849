"""Every command in the README and the docs runs, in their order, where a user would run them.

The words stay as they are written. Added to them: a tiny model, and a few keys that make a run short.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml
from PIL import Image

from frostline.comparison.config import make_comparison
from frostline.comparison.runs import Runs

ROOT = Path(__file__).parents[2]
SLOW = ("docs/getting-started.md", "docs/comparing.md", "docs/memory.md", "docs/budget.md")
PAGES = [pytest.param(page, marks=pytest.mark.slow) for page in ("README.md", *SLOW)]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHORT = {
    "train": ["max_steps=2", "max_length=16"],
    "compare": ["max_steps=2", "max_length=16", "memory_steps=0", "time_pairs=0", "inference=false", "--seeds", "1"],
    "sites": ["--batch-size", "2", "--seq-len", "16"],
    "profile": ["--batch-size", "2", "--seq-len", "16"],
    "plan": ["--batch-size", "2", "--seq-len", "16"],
    "measure": ["--batch-size", "2", "--seq-len", "16", "--steps", "1"],
}
SENTENCES = {"good": "good fine day", "bad": "bad sad night"}


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of code that a page has in a language; none is named for commands."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [block for name, block in found if name == language]


def commands(page: str) -> list[str]:
    """Return the commands of a page, comments cut off."""
    lines = "\n".join(blocks(page, "")).splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """Return a folder with what the commands speak of: data, examples, a comparison's config."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(ROOT / "examples", folder / "examples")
    cola = folder / "glue" / "CoLA"
    cola.mkdir(parents=True)
    for name, count in (("train", 20), ("dev", 8)):
        rows = [f"src\t{i % 2}\t\t{list(SENTENCES.values())[i % 2]} {i}" for i in range(count)]
        (cola / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    for name, count in (("reviews", 20), ("held_out", 8)):
        rows = [f"{list(SENTENCES.values())[i % 2]} {i},{1 + 4 * (i % 2)}" for i in range(count)]
        (folder / f"{name}.csv").write_text("review,stars\n" + "\n".join(rows) + "\n")
    config = {"data": "reviews.csv", "validation": "held_out.csv", "text": "review", "label": "stars"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_in_order(page, place, tiny, command, tmp_path, monkeypatch):
    shutil.copytree(place, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    ran = 0
    for line in commands(page):
        words = shlex.split(line)
        if words[0] == "make":
            for target in words[1:]:
                assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0, line
        elif words[0] == "frostline":
            added = SHORT.get(words[1], [])
            # The embedded model's place is taken by a tiny one, unless the run only reads what a run left.
            runs = words[1] in ("train", "compare") and "--resume" not in words
            model = [f"model={tiny}"] if runs else []
            given = [str(tiny) if word == "minilm" and not runs else word for word in words[1:]]
            done = command(*given, *added, *model)
            assert done.code == 0, f"{line}\n{done.stderr}"
        else:
            assert words[0] in ("source", "pip"), f"{line}: not a command that this test knows"
            continue
        ran += 1
    assert ran


@pytest.mark.slow
def test_the_commands_on_tags_networks_from_nothing_and_language_run(command, tiny, tmp_path, monkeypatch):
    """They begin with data alone; small networks take the place of those that are written there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shakespeare.txt").write_text("".join(f"ROMEO: {'oh' * i}, my dear {i}.\n" for i in range(60)))
    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=["dark", "light"])})
    for name, count in (("train", 16), ("test", 4)):
        images = [Image.new("RGB", (32, 32), (100 * (i % 2) + i,) * 3) for i in range(count)]
        rows = {"img": images, "fine_label": [i % 2 for i in range(count)]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"cifar100-{name}.parquet")
    (tmp_path / "conll2003").mkdir()
    for name, count in (("train", 12), ("valid", 3), ("test", 2)):
        sentences = [f"the O\nhappy B-MOOD\ncat{i} O\n" for i in range(count)]
        (tmp_path / "conll2003" / f"{name}.txt").write_text("\n".join(sentences))
    section = (ROOT / "docs/tasks.md").read_text(encoding="utf-8").partition("## Tags of words\n")[2]
    lines = [line for name, block in BLOCK.findall(section) if not name for line in block.splitlines()]
    ran = {}
    for line in lines:
        words = shlex.split(line)
        words = [re.sub(r"(n_embd|hidden_size|intermediate_size): \d+", r"\1: 24", word) for word in words]
        if words[1] in ("train", "pretrain"):
            words += ["max_steps=2", "max_length=16", *([f"model={tiny}"] if "token-classification" in words else [])]
        done = command(*words[1:])
        assert done.code == 0, f"{line}\n{done.stderr}"
        ran[words[1]] = done
    assert set(ran) == {"pretrain", "train", "eval", "predict"}


def inline() -> list[str]:
    """Return the scripts and tests that are named as commands in running text."""
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/methods.md"))
    return sorted(set(re.findall(r"`(?:python|pytest)\s(\S+\.py)", text)))


def test_every_command_in_running_text_is_a_script_or_a_test_that_exists():
    assert inline()
    for name in inline():
        assert (ROOT / name).is_file(), name


# What makes a script short.
SCRIPTS = {
    "benchmarks/real_text/run.py": ["--data", "texts", "--config", "texts/config.yaml"],
    "benchmarks/scheduling/run.py": ["--pairs", "1"],
    "benchmarks/step_cost/run.py": ["--rounds", "1"],
    "benchmarks/storage/run.py": ["--rounds", "1", "--batch", "2", "--length", "16", "--row", "compact"],
    "benchmarks/step_cost/shares.py": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_named_in_running_text_runs(name, tmp_path):
    (tmp_path / "texts").mkdir()
    rows = [f"{list(SENTENCES.values())[i % 2]} {i},{i % 2}" for i in range(20)]
    for part in ("train", "validation"):
        (tmp_path / "texts" / f"{part}.csv").write_text("text,label\n" + "\n".join(rows) + f"\n{part},0\n")
    task = {"data": ".", "train_file": "train.csv", "grid": {"max_steps": 1}, "learning_rates": {"default": [1e-3]}}
    config = {"epochs": 1, "seeds": [0], "tasks": {"moods": task}, "methods": {"head": {"method": "head"}}}
    (tmp_path / "texts" / "config.yaml").write_text(yaml.safe_dump(config))
    words = [*SCRIPTS[name], *(["--output", "made"] if name.endswith("run.py") else [])]
    done = subprocess.run([sys.executable, str(ROOT / name), *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    assert (tmp_path / "made").exists() == name.endswith("run.py")


def test_no_script_is_left_out():
    assert set(SCRIPTS) == {name for name in inline() if name.startswith("benchmarks/")}


def test_the_comparison_in_the_docs_is_one(monkeypatch, place):
    monkeypatch.chdir(place)
    (block,) = blocks("docs/comparing.md", "yaml")
    runs = Runs(make_comparison(yaml.safe_load(block), {}))
    assert len(list(runs.trials())) == len(list(runs.cells())) == 9
