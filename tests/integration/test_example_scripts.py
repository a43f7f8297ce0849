"""The examples run as they are, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("trainer.py", "20 steps", marks=pytest.mark.slow),
        pytest.param("plain_loop.py", "step 20/20", marks=pytest.mark.slow),
        ("custom_method.py", "blocks [2, 5]"),
    ],
)
def test_an_example_runs_in_under_a_minute(name, says, tmp_path):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert time.perf_counter() - began < 60
    assert not list(tmp_path.iterdir())  # nothing is left behind
