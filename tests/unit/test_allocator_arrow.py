"""Where Arrow takes its memory from under the compact allocator."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from frostline.allocator import arrow

_CHILD = """
import sys
from frostline import allocator
if sys.argv[1] == "before":
    allocator.use("compact")
import pyarrow
pyarrow.default_memory_pool()
if sys.argv[1] == "after":
    allocator.use("compact")
print(pyarrow.default_memory_pool().backend_name)
"""


def _backend(when: str, **environment: str) -> str:
    inherited = {key: value for key, value in os.environ.items() if key != arrow.VARIABLE}
    words = [sys.executable, "-c", _CHILD, when]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=inherited | environment)
    return done.stdout.strip()


@pytest.mark.parametrize("when", ["before", "after"])
def test_compact_has_arrow_keep_nothing(when: str) -> None:
    if _backend("never") == "system":
        pytest.skip("this build of Arrow has no pool of its own")
    assert _backend(when) == "system"


def test_the_user_s_own_word_counts() -> None:
    own = _backend("never")
    assert _backend("before", **{arrow.VARIABLE: own}) == own
