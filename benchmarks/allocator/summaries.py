"""The tables of allocators."""

from __future__ import annotations

import json
from pathlib import Path

from table import Table, results

from frostline.report import numbers

HERE = Path(__file__).parent
_TWO = ("compact", "jemalloc")


def allocators() -> Table:
    """Peak and step time of each workload under the allocators that Frostline knows."""
    rows = []
    for path in sorted((HERE / "results").glob("*_1.json"), key=_peak):
        workload = path.name.removesuffix("_1.json")
        one = json.loads(path.read_text(encoding="utf-8"))["results"]
        two = path.with_name(f"{workload}_2.json")
        other = json.loads(two.read_text(encoding="utf-8"))["results"] if two.is_file() else {}
        times = [numbers.times(one[name]["processor_ratio"]) for name in ("compact", "jemalloc")]
        times += [numbers.times(other[name]["ratio"] if other else None) for name in ("compact", "jemalloc")]
        peaks = [numbers.mebibytes(one[name]["peak_bytes"]) for name in ("default", "compact", "jemalloc")]
        rows.append([workload.replace("_", ", "), *peaks, *times])
    head = ["", "default", "compact", "jemalloc", *(f"{n}, {t}" for t in ("1 thread", "2 threads") for n in _TWO)]
    return Table(head, rows)


def _peak(path: Path) -> int:
    return int(json.loads(path.read_text(encoding="utf-8"))["results"]["default"]["peak_bytes"])


def allocator_settings() -> Table:
    """Full fine-tuning under every setting that was tried, the lowest peak first."""
    found = results(HERE, "full_1")["results"]
    rows = [
        [
            name,
            numbers.mebibytes(figures["peak_bytes"]),
            numbers.times(figures["processor_ratio"]),
            numbers.whole(figures["page_faults"]),
            f"{figures['system_seconds']:.2f} s",
        ]
        for name, figures in sorted(found.items(), key=lambda entry: entry[1]["peak_bytes"])
    ]
    return Table(["setting", "process peak", "time", "page faults a step", "in the system"], rows)


TABLES = {"workloads": allocators, "settings": allocator_settings}
