"""A method of the user's own, with an optimizer of its own, through the command line."""

import pytest

from frostline import methods

SOURCE = '''
import torch
from frostline import methods
from frostline.methods import base

@methods.register
class Plain(base.ConstantMethod):
    """The head, by plain gradient descent."""

    name = "plain_head"
    summary = "the head"
    source = "a test"

    def trained(self, anatomy):
        return anatomy.in_region("head")

    def optimizer(self, groups, learning_rate):
        return torch.optim.SGD(groups, lr=learning_rate)
'''


@pytest.fixture
def plugin(tmp_path):
    """A file with one method; forgotten again after the test."""
    path = tmp_path / "plain.py"
    path.write_text(SOURCE)
    yield path
    methods._registered.pop("plain_head", None)


def test_a_plugin_s_method_is_listed_and_trains_by_its_own_optimizer(plugin, command, flags, tmp_path):
    listed = command("methods", "--plugin", str(plugin))
    assert "plain_head" in listed.stdout
    folder = tmp_path / "run"
    flags = [flag for flag in flags if not flag.startswith(("method=", "save_strategy=", "output="))]
    done = command(
        "train", *flags, f"plugins=[{plugin}]", "method=plain_head", "save_strategy=epoch", f"output={folder}"
    )
    assert done.code == 0, done.stderr
    newest = max(folder.glob("checkpoints/checkpoint-*"))
    assert "exp_avg" not in " ".join(path.read_text(errors="replace") for path in newest.glob("optimizer*"))
