"""What each method of a report was, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frostline.config import TrainConfig
from frostline.report.descriptions import describe
from frostline.report.document import Definitions, Name, Text, marked
from frostline.report.values import Record, Report, mapping

# Said elsewhere, or different from run to run whatever the method.
_ELSEWHERE = frozenset(
    {"method", "settings", "learning_rate", "seed", "output", "data", "validation", "text", "text_pair", "label"}
)


def in_words(report: Report) -> Definitions:
    """Return, for each method with a record, what it is, its settings, and what else it does not share with most."""
    configs = {method: _config(report, method) for method in report.methods}
    configs = {method: config for method, config in configs.items() if config}
    common = configs.get(report.reference or "") or next(iter(configs.values()), {})
    entries = []
    for method, config in configs.items():
        lines = _lines(config, method)
        if not report.single:
            lines += _differences(config, common, report.reference or next(iter(configs)))
        entries.append(((Name(method),), tuple(lines)))
    return Definitions(tuple(entries))


def training(report: Report) -> Definitions:
    """Return the keys of the cell that `example` names, as they are."""
    cell = example(report)
    config: Mapping[str, Any] = cell.config if cell else {}
    shown = {k: v for k, v in config.items() if k not in ("method", "settings") and v not in (None, [], {})}
    return Definitions(tuple(((Name(str(key)),), ((Name(_text(value)),),)) for key, value in shown.items()))


def example(report: Report) -> Record | None:
    """Return the cell whose keys stand for those of all: one of the reference, if there is one."""
    cells = [cell for cell in report.cells if cell.config]
    return next((cell for cell in cells if cell.method == report.reference), cells[0] if cells else None)


def _config(report: Report, method: str) -> Mapping[str, Any]:
    """Return the keys of a method's first cell; of another record only where no cell is there."""
    records = sorted(report.records, key=lambda record: record.kind != "cell")
    return next((record.config for record in records if record.method == method and record.config), {})


def _lines(config: Mapping[str, Any], label: str) -> list[Text]:
    name = str(config.get("method") or "")
    found = describe(name)
    lines: list[Text] = []
    if found is not None:
        opening: tuple[str, ...] = () if name == label else (Name(name), ": ")
        lines.append((*opening, *marked(found.summary), f". Source: {found.source}."))
    elif name:
        lines.append((Name(name), ": a method from outside this package."))
    elif config.get("budget") is not None:
        lines.append(marked("what `frostline plan` chooses within the budget."))
    for key, value in mapping(config.get("settings")).items():
        meaning = found.settings.get(str(key)) if found else None
        lines.append((Name(f"{key} = {_text(value)}"), f": {meaning}" if meaning else ""))
    return lines


def _differences(config: Mapping[str, Any], common: Mapping[str, Any], reference: str) -> list[Text]:
    keys = sorted({*config, *common} - _ELSEWHERE)
    pairs = [(key, _value(config, key), _value(common, key)) for key in keys]
    return [
        (Name(f"{key} = {_text(mine)}"), " (", Name(reference), ": ", Name(_text(its)), ")")
        for key, mine, its in pairs
        if mine != its
    ]


def _value(config: Mapping[str, Any], key: str) -> Any:
    """Return a key's value, its default where the config leaves it out."""
    field = TrainConfig.model_fields.get(key)
    return config.get(key, None if field is None else field.get_default(call_default_factory=True))


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not set"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(_text(item) for item in value) if isinstance(value, list) else str(value)
