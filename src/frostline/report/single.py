"""A run folder in the form of a comparison with one cell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.errors import ReportError
from frostline.report.loading import Unreadable, clean, load_json, load_steps
from frostline.report.values import LeftOut, Record, Report, Steps, mapping

_FROM_RECORD = ("versions", "hardware", "data", "model_sha256", "plan")


def read_run(folder: Path) -> Report:
    """Return the run in `folder` (run.json, steps.csv); a run.json that cannot be read raises ReportError."""
    path = folder / "run.json"
    try:
        values = load_json(path)
    except Unreadable as error:
        raise ReportError(f"{path} cannot be used: {error}; train the run anew with --overwrite.") from error
    if not {"status", "config"} <= values.keys():
        raise ReportError(f"{path} does not hold the record of a run; name the `output` of a `frostline train`.")
    record = _record(folder, values)
    steps: dict[str, Steps] = {}
    left_out: list[LeftOut] = []
    try:
        if (folder / "steps.csv").is_file():
            steps[record.name] = load_steps(folder / "steps.csv")
        elif record.finished:
            left_out.append(LeftOut("steps.csv", "it is not there"))
    except Unreadable as error:
        left_out.append(LeftOut("steps.csv", str(error)))
    return Report(
        folder=folder,
        single=True,
        name=record.name,
        caption=None,
        started=str(values["started"]) if values.get("started") else None,
        reference=None,
        tasks=(record.task,),
        methods=(record.method,),
        seeds=() if record.seed is None else (record.seed,),
        records=(record,),
        steps=steps,
        expected={},
        left_out=tuple(left_out),
        absent=(),
        versions=mapping(values.get("versions")),
        hardware=mapping(values.get("hardware")),
        config=record.config,
    )


def _record(folder: Path, values: Mapping[str, Any]) -> Record:
    config = mapping(values.get("config"))
    data = mapping(values.get("data"))
    seed = values.get("seed", config.get("seed"))
    return Record(
        kind="cell",
        name=clean(str(values.get("name") or folder.resolve().name)),
        task=str(data.get("name") or config.get("data") or "data"),
        method=str(config.get("method") or "method"),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        status=str(values["status"]),
        reason=str(values["message"]) if values.get("message") else None,
        config=config,
        run_info={"command": _command(values.get("command"))},
        train_info={**values, "memory": mapping(values.get("memory")) or {"process_peak": values.get("peak_bytes")}},
        meta_info={key: values[key] for key in _FROM_RECORD if key in values},
    )


def _command(words: object) -> str:
    """Return the words of a command as one line for a shell, the program by its own name."""
    if not isinstance(words, list) or not words:
        return ""
    return shlex.join([Path(str(words[0])).name, *(str(word) for word in words[1:])])
