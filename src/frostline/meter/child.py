"""One measurement, in the process that it has for itself: `python -m frostline.meter.child JOB.json`."""

from __future__ import annotations

from typing import Any, TextIO

from frostline.children import serve


def do(job: dict[str, Any], parent: TextIO) -> dict[str, Any]:
    """Return what was measured: `kind` is `process` or `tensors`, `steps` the fields of `Steps`; `cap` memory."""
    from frostline.meter.enforce import enforce
    from frostline.meter.steps import Steps, measure_process, measure_tensors

    if "cap" in job:
        enforce(job["cap"])
    measure = measure_process if job["kind"] == "process" else measure_tensors
    return measure(Steps(**job["steps"]))


if __name__ == "__main__":
    serve(do)
