"""The shipped example config names every key, with its default or a sensible value, and says what each is for."""

from __future__ import annotations

from pathlib import Path

from frostline.config import TrainConfig, make_config, read_yaml
from frostline.federated.config import make_federate_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "train.yaml"


def test_example_config_is_accepted_and_complete() -> None:
    values = read_yaml(EXAMPLE)
    make_config(values)
    assert list(values) == list(TrainConfig.model_fields)


def test_every_key_of_the_example_has_a_comment() -> None:
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert " # " in line, line


def test_the_example_federation_is_accepted() -> None:
    config = make_federate_config(read_yaml(EXAMPLE.with_name("federate.yaml")))
    assert [group.count for group in config.devices.groups] == [3, 2, 2]
