"""Words of `frostline train`: one config file, key=value and flags, in any order."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.cli.train import parse
from frostline.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "path", "overrides"),
    [
        ([], None, {}),
        (["a.yaml"], "a.yaml", {}),
        (["a.yaml", "seed=1"], "a.yaml", {"seed": "1"}),
        (["--seed", "1", "a.yaml"], "a.yaml", {"seed": "1"}),
        (["--seed=1", "--batch-size", "8"], None, {"seed": "1", "batch_size": "8"}),
        (["--learning-rate", "-1"], None, {"learning_rate": "-1"}),
        (["--enforce", "--budget", "1GiB"], None, {"enforce": "true", "budget": "1GiB"}),
        (["--bf16", "a.yaml", "--fused-backward"], "a.yaml", {"bf16": "true", "fused_backward": "true"}),
        (["--bf16", "False", "a.yaml"], "a.yaml", {"bf16": "False"}),
        (["--bf16=true", "seed=1"], None, {"bf16": "true", "seed": "1"}),
        (["settings.rate=0.5", "--settings.rate", "0.6"], None, {"settings.rate": "0.6"}),
        (["data=a=b.csv", "--output=x=y"], None, {"data": "a=b.csv", "output": "x=y"}),
        (["label="], None, {"label": ""}),
        (["output=runs/my-first-run"], None, {"output": "runs/my-first-run"}),
    ],
)
def test_words_become_file_and_overrides(words: list[str], path: str | None, overrides: dict[str, str]) -> None:
    assert parse(words) == (Path(path) if path else None, overrides)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed"], "the flag --seed needs a value: --seed VALUE"),
        (["--seed", "--method", "full"], "the flag --seed needs a value"),
        (["a.yaml", "b.yaml"], r"'b.yaml' is neither key=value nor the only config file \('a.yaml' came first\)"),
    ],
)
def test_words_that_make_no_sense_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(words)
