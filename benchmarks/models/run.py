"""What holds for which architecture: runs tests/integration/test_models.py and writes down what each test showed.

    python benchmarks/models/run.py

A contract that failed is not written down, and the exit code says so: docs/models.md cannot claim what no test shows.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from frostline.training.versions import versions

HERE = Path(__file__).parent
TEST = HERE.parents[1] / "tests" / "integration" / "test_models.py"


class Recorder:
    """Collects what the passing tests showed: of each architecture, by contract, what was found."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, str]] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        """Say under a known name that this run records, so that no test compares with what is written down."""
        config.pluginmanager.register(Recording(), "models-recorder")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test showed."""
        if report.when == "call" and report.passed:
            for name, value in report.user_properties:
                if name == "shown":
                    architecture, contract, found = value
                    self.results.setdefault(architecture, {})[contract] = found


class Recording:
    """Stands for the fact that this run records."""


def main() -> None:
    """Run the test, and write the results."""
    recorder, began = Recorder(), time.perf_counter()
    code = pytest.main([str(TEST), "-q", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[recorder])
    record: dict[str, Any] = {
        "results": recorder.results,
        "seconds": round(time.perf_counter() - began),
        "versions": versions(),
    }
    output = HERE / "results" / "models.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.exit(int(code))


if __name__ == "__main__":
    main()
