"""Methods from outside: imported once, refused by name."""

import pytest
import torch

import frostline
from frostline import methods
from frostline.errors import ConfigError
from frostline.methods import plugins
from tiny_models import tiny_bert

SOURCE = '''
import torch
from frostline import methods
from frostline.methods import base

@methods.register
class Own(base.ConstantMethod):
    """The head, by an optimizer of its own."""

    name = "{name}"
    summary = "the head"
    source = "a test"

    def trained(self, anatomy):
        return anatomy.in_region("head")

    def optimizer(self, groups, learning_rate):
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.5)
'''


@pytest.fixture
def plugin(tmp_path):
    """A file with one method; forgotten again after the test."""
    path = tmp_path / "own.py"
    path.write_text(SOURCE.format(name="own_head"))
    yield path
    methods._registered.pop("own_head", None)


def test_a_file_brings_a_method_and_is_imported_once(plugin):
    plugins.load([str(plugin)])
    plugins.load([str(plugin)])
    assert "own_head" in methods.names()


def test_the_method_s_own_optimizer_reaches_the_tuner(plugin):
    plugins.load([str(plugin)])
    tuner = frostline.prepare(tiny_bert(), method="own_head")
    made = tuner.own_optimizer([{"params": tuner.candidate_parameters(), "weight_decay": 0.0}], 0.25)
    assert isinstance(made, torch.optim.SGD)
    assert made.param_groups[0]["lr"] == 0.25
    assert frostline.prepare(tiny_bert(), method="full").own_optimizer([], 0.1) is None


@pytest.mark.parametrize(("content", "says"), [("1/0", "ZeroDivisionError"), ("import nowhere_to_be", "nowhere_to_be")])
def test_a_plugin_that_cannot_be_imported_is_named(tmp_path, content, says):
    path = tmp_path / "broken.py"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        plugins.load([str(path)])
    assert "broken.py" in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.py", "no_such_module_at_all"])
def test_a_plugin_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match=name):
        plugins.load([name])


def test_a_taken_name_is_refused(tmp_path):
    path = tmp_path / "taken.py"
    path.write_text(SOURCE.format(name="lora"))
    with pytest.raises(ConfigError, match="exists already"):
        plugins.load([str(path)])
