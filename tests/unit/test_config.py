"""Keys of a training run: described, read, checked, and put together from file and command line."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import frostline
from frostline.config import FREE_ON_RESUME, TrainConfig, make_config, merge, parse_values, read_yaml
from frostline.errors import ConfigError

SOURCE = Path(frostline.__file__).parent


def test_every_key_is_described() -> None:
    assert [name for name, field in TrainConfig.model_fields.items() if not field.description] == []


def test_every_key_is_read_somewhere() -> None:
    """As `config.<key>`, outside the module that declares it."""
    read = {
        node.attr
        for path in SOURCE.rglob("*.py")
        if path.name != "config.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "config"
    }
    assert set(TrainConfig.model_fields) - read == set()


def test_what_may_differ_on_resume_are_keys() -> None:
    assert set(TrainConfig.model_fields) > FREE_ON_RESUME


def test_only_the_output_is_required() -> None:
    assert [name for name, field in TrainConfig.model_fields.items() if field.is_required()] == ["output"]
    assert make_config({"output": "runs/a"}).output == Path("runs/a")


def test_config_survives_json() -> None:
    config = make_config({"output": "runs/a", "settings": {"rate": 0.5}, "learning_rate": "1e-4", "report_to": ["x"]})
    assert make_config(json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "the key 'output' is missing; say for instance output=runs/first"),
        ({"output": "a", "learning_rat": 1}, "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ({"output": "a", "learning_rate": float("inf")}, "learning_rate=inf is refused"),
        ({"output": "a", "learning_rate": float("nan")}, "learning_rate=nan is refused"),
        ({"output": "a", "validation_share": 1}, "validation_share=1 is refused"),
        ({"output": "a", "batch_size": 0}, "batch_size=0 is refused"),
        ({"output": "a", "seed": 2**32}, "seed=4294967296 is refused"),
        ({"output": "a", "settings": [1]}, r"settings=\[1\] is refused"),
        ({"output": "a", "load_best_model_at_end": True, "eval_strategy": "no"}, "set eval_strategy to epoch or steps"),
        ({"output": "a", "early_stopping_patience": 1, "save_strategy": "no"}, "save_strategy equal to eval_strategy"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_config(values)


def test_bare_no_of_yaml_is_the_word(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("output: a\neval_strategy: no\nsave_strategy: no\nlearning_rate: 5e-5\n")
    config = make_config(read_yaml(tmp_path / "a.yaml"))
    assert (config.eval_strategy, config.save_strategy, config.learning_rate) == ("no", "no", 5e-5)


@pytest.mark.parametrize("content", ["- a\n", "", "text\n", "a: [1\n", "a:\n\t1\n", "a: 1\n  b: 2\n"])
def test_file_that_holds_no_mapping_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"a\.yaml") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_yaml_error_tells_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("output: a\nmethod:\n\tfull\n")
    with pytest.raises(ConfigError, match=r"line 3, column 1: found character '\\t'"):
        read_yaml(tmp_path / "a.yaml")


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00x")
    for path, said in (("no.yaml", "there is no config file"), ("a.yaml", "cannot be read"), (".", "cannot be read")):
        with pytest.raises(ConfigError, match=said):
            read_yaml(tmp_path / path)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("learning_rate", "0.1", 0.1),
        ("max_steps", "3", 3),
        ("bf16", "true", True),
        ("max_train", "null", None),
        ("settings", "{rate: 0.5}", {"rate": 0.5}),
        ("report_to", "[tensorboard]", ["tensorboard"]),
        ("rate", "0.5", 0.5),
        ("output", "2024", "2024"),
        ("output", "2024-01-02", "2024-01-02"),
        ("data", "[odd: name", "[odd: name"),
        ("text", "null", None),
        ("delimiter", ";", ";"),
        ("delimiter", "|", "|"),
        ("delimiter", ",", ","),
        ("delimiter", '"\\t"', "\t"),
        ("label", "#", "#"),
        ("label", "", None),
        ("data", "'tis.csv", "'tis.csv"),
    ],
)
def test_text_of_the_command_line_is_read_as_yaml_unless_text_is_wanted(key: str, text: str, value: object) -> None:
    assert parse_values({key: text}) == {key: value}


def test_text_that_is_no_yaml_is_refused_where_none_is_wanted() -> None:
    with pytest.raises(ConfigError, match=r"settings='\{rate: 1' cannot be read: line 1"):
        parse_values({"settings": "{rate: 1"})


RATE = frozenset({"rate"})


@pytest.mark.parametrize("key", ["rate", "settings.rate"])
def test_setting_is_reached_by_either_name(key: str) -> None:
    values = {"settings": {"rate": 0.1, "other": 1}, "seed": 1}
    assert merge(values, {key: 0.9, "seed": 2}, RATE) == {"settings": {"rate": 0.9, "other": 1}, "seed": 2}
    assert values == {"settings": {"rate": 0.1, "other": 1}, "seed": 1}


def test_settings_as_a_whole_are_merged() -> None:
    assert merge({"settings": {"a": 1}}, {"settings": {"rate": 0.9}}, RATE) == {"settings": {"a": 1, "rate": 0.9}}


def test_empty_settings_are_none() -> None:
    assert merge({"settings": None}, {}, RATE) == {}


@pytest.mark.parametrize(
    ("values", "overrides", "said"),
    [
        ({}, {"learning_rat": 1}, "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ({}, {"rat": 1}, "unknown key 'rat'; did you mean 'rate'?"),
        ({"rate": 0.5}, {}, r"unknown key 'rate'; in a file the method's own go under settings: \{rate: 0.5\}"),
        ({"settings": 3}, {}, "settings=3 is refused"),
        ({"settings": {"a": 1}}, {"settings": 3}, "settings=3 is refused"),
    ],
)
def test_what_cannot_be_merged_is_refused(values: dict[str, Any], overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        merge(values, overrides, RATE)
