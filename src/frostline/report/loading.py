"""JSON and steps.csv as they lie on the disk: whole, damaged or foreign. What cannot be used raises Unreadable."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

from frostline.report.values import INFERENCE, Record, Steps, mapping, number

CELL_FORMAT = "frostline-cell/1"
COMPARISON_FORMAT = "frostline-comparison/1"
KINDS = ("cell", "trial", "memory", "time")
STATUSES = ("finished", "failed", "out_of_memory")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # neither XML nor UTF-8 can hold these


class Unreadable(Exception):
    """A file that the report does without; the message is the reason."""


def clean(value: Any) -> Any:
    """Return JSON values with every character that no page can hold replaced by the replacement character."""
    if isinstance(value, str):
        return _NO_TEXT.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value


def load_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is no UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise Unreadable(f"it is no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no usable JSON: {error}") from error
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror or error}") from error
    if not isinstance(values, dict):
        raise Unreadable(f"it holds {type(values).__name__}, not the mapping of a record")
    return dict(clean(values))


def load_record(path: Path) -> Record:
    """Return the record in a file of a comparison folder."""
    values = load_json(path)
    if values.get("format") != CELL_FORMAT:
        raise Unreadable(f"its format is {values.get('format')!r}, not {CELL_FORMAT!r}")
    if values.get("name") != path.stem:
        raise Unreadable(f"it says that it is {str(values.get('name'))[:80]!r}, which is not the name of the file")
    for key, valid in (("kind", KINDS), ("status", STATUSES)):
        if values.get(key) not in valid:
            raise Unreadable(f"its {key} is {values.get(key)!r}, none of {', '.join(valid)}")
    for key in ("task", "method"):
        if not isinstance(values.get(key), str) or not values[key]:
            raise Unreadable(f"it names no {key}")
    if values["method"] == INFERENCE and values["kind"] != "memory":
        raise Unreadable(f"its method is {INFERENCE!r}, which is the record of forward passes alone")
    seed = values.get("seed")
    reason = values.get("reason")
    return Record(
        kind=values["kind"],
        name=values["name"],
        task=values["task"],
        method=values["method"],
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        status=values["status"],
        reason=None if reason is None else str(reason),
        config=mapping(values.get("config")),
        run_info=mapping(values.get("run_info")),
        train_info=mapping(values.get("train_info")),
        meta_info=mapping(values.get("meta_info")),
    )


def load_steps(path: Path) -> Steps:
    """Return a run's steps; the last line may be cut short (a run that still goes), any other is a reason to refuse."""
    losses: list[float | None] = []
    changes: list[tuple[int, tuple[str, ...]]] = []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = {"step", "loss", "seconds", "active"} - set(reader.fieldnames or ())
            if missing:
                raise Unreadable(f"it has no column {', '.join(sorted(missing))}")
            broken = 0
            for row in reader:
                if broken:
                    raise Unreadable(f"line {broken} is not that of a step")
                if None in row or None in row.values() or not row["step"].isdigit() or not row["seconds"]:
                    broken = reader.line_num
                    continue
                if row["active"]:
                    names = tuple(sys.intern(name) for name in clean(row["active"]).split())
                    changes.append((len(losses), names))
                losses.append(_loss(row["loss"]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(f"it is no table of steps: {error}") from error
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror or error}") from error
    return Steps(tuple(losses), tuple(changes))


def _loss(text: str) -> float | None:
    try:
        return number(float(text))
    except ValueError:
        return None
