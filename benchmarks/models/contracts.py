"""The tables of docs/models.md: what the test showed of each architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Results = dict[str, dict[str, str]]
Table = tuple[Sequence[str], list[Sequence[str]]]

REFUSED = "refused: "


def storage(results: Results) -> Table:
    """What each preset keeps of stock's bytes, and the range of measured over predicted peaks."""
    presets = _contracts(results, "storage ")
    rows = []
    for name, found in _understood(results).items():
        ratios = [float(value) for contract, value in found.items() if contract.startswith("peak of ")]
        kept = [found.get(preset, "–") for preset in presets]
        peaks = f"{min(ratios):.3f} to {max(ratios):.3f}" if ratios else "–"
        rows.append([name, f"`{found['class']}`", found["blocks"], *kept, peaks, found.get("bfloat16", "–")])
    head = ["", "tested as", "blocks", *(preset.removeprefix("storage ") for preset in presets)]
    return [*head, "peak, measured / predicted", "bfloat16"], rows


def methods(results: Results) -> Table:
    """Which methods hold all contracts."""
    columns = _contracts(results, "method ")
    rows = [
        [name, *(found.get(column, "–").split(":")[0] for column in columns)]
        for name, found in _understood(results).items()
    ]
    return ["", *(column.removeprefix("method ") for column in columns)], rows


def refused(results: Results) -> Table:
    """What is refused, and the words in which it is."""
    rows = []
    for name, found in results.items():
        reasons: dict[str, list[str]] = {}
        for contract, value in found.items():
            if value.startswith(REFUSED):
                reasons.setdefault(value.removeprefix(REFUSED), []).append(contract.removeprefix("method "))
        rows += [[name, ", ".join(contracts), reason] for reason, contracts in reasons.items()]
    return ["", "what", "what it says"], rows


TABLES: dict[str, Callable[[Results], Table]] = {"storage": storage, "methods": methods, "refused": refused}


def _understood(results: Results) -> Results:
    return {name: found for name, found in results.items() if "blocks" in found}


def _contracts(results: Results, prefix: str) -> list[str]:
    return list({key: None for found in results.values() for key in found if key.startswith(prefix)})
