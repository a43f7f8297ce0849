"""The tables of docs/models.md: what the test showed of each architecture."""

from __future__ import annotations

from pathlib import Path

from table import Table, results

HERE = Path(__file__).parent
REFUSED = "refused: "
Shown = dict[str, dict[str, str]]


def storage() -> Table:
    """What each preset keeps of stock's bytes, and the range of measured over predicted peaks."""
    presets = _contracts("storage ")
    rows = []
    for name, found in _understood().items():
        ratios = [float(value) for contract, value in found.items() if contract.startswith("peak of ")]
        kept = [found.get(preset, "–") for preset in presets]
        peaks = f"{min(ratios):.3f} to {max(ratios):.3f}" if ratios else "–"
        rows.append([name, f"`{found['class']}`", found["blocks"], *kept, peaks, found.get("bfloat16", "–")])
    head = ["", "tested as", "blocks", *(preset.removeprefix("storage ") for preset in presets)]
    return Table([*head, "peak, measured / predicted", "bfloat16"], rows)


def methods() -> Table:
    """Which methods hold all contracts."""
    columns = _contracts("method ")
    rows = [[name, *(found.get(each, "–").split(":")[0] for each in columns)] for name, found in _understood().items()]
    return Table(["", *(column.removeprefix("method ") for column in columns)], rows)


def refused() -> Table:
    """What is refused, and the words in which it is."""
    rows = []
    for name, found in _shown().items():
        reasons: dict[str, list[str]] = {}
        for contract, value in found.items():
            if value.startswith(REFUSED):
                reasons.setdefault(value.removeprefix(REFUSED), []).append(contract.removeprefix("method "))
        rows += [[name, ", ".join(contracts), reason] for reason, contracts in reasons.items()]
    return Table(["", "what", "what it says"], rows, words=(0, 1, 2))


TABLES = {"storage": storage, "methods": methods, "refused": refused}


def _shown() -> Shown:
    shown: Shown = results(HERE, "models")["results"]
    return shown


def _understood() -> Shown:
    return {name: found for name, found in _shown().items() if "blocks" in found}


def _contracts(prefix: str) -> list[str]:
    return list({key: None for found in _shown().values() for key in found if key.startswith(prefix)})
