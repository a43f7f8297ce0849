"""oneDNN's kernels: few of them are kept where memory counts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from frostline.allocator import onednn

_CHILD = """
import sys, torch, psutil
from frostline import allocator
allocator.use(sys.argv[1])
torch.set_num_threads(1)
layer = torch.nn.Linear(256, 256)
def run(rows):
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.ones(rows, 256)).sum().backward()
run(3)
before = psutil.Process().memory_info().rss
for rows in range(10, 130):
    run(rows)
print(psutil.Process().memory_info().rss - before)
"""


def _growth(name: str, **environment: str) -> int:
    inherited = {key: value for key, value in os.environ.items() if key not in onednn.VARIABLES}
    words = [sys.executable, "-c", _CHILD, name]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=inherited | environment)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_products_of_many_shapes_in_sixteen_bits_leave_little_behind() -> None:
    default = _growth("default")
    if default < 20 * 2**20:
        pytest.skip(f"this processor's kernels for sixteen bits take {default:,} bytes only")
    assert _growth("compact") < default / 2


def test_the_user_s_own_word_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, free = onednn.VARIABLES
    monkeypatch.setenv(kept, "500")
    monkeypatch.setenv(free, "")  # so that it is put back afterwards
    monkeypatch.delenv(free)
    onednn.keep_few()
    assert (os.environ[kept], os.environ[free]) == ("500", str(onednn.KERNELS))
