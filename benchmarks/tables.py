"""Writes the tables of the README files from the committed results: `make tables`.

    python benchmarks/tables.py            # write
    python benchmarks/tables.py --check    # say which are stale, exit 1

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; NAME is a key of `TABLES`.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from frostline.report import numbers
from frostline.report.reading import read
from frostline.report.study import Study, study

HERE = Path(__file__).parent
ROOT = HERE.parent
PLACES = re.compile(r"(<!-- table: (?P<name>\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is set to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def comparison(name: str) -> Study:
    """Return the comparison in `benchmarks/NAME/results`."""
    return study(read(HERE / name / "results"))


def scores(name: str) -> str:
    """Score of every method on every task, mean and deviation over the seeds in points, and the mean over the tasks."""
    found = comparison(name)
    means = {entry.method: entry for entry in found.means}
    rows = []
    for method in found.report.methods:
        cells = []
        for task in found.report.tasks:
            entry = next((e for e in found.entries[task] if e.method == method), None)
            text = numbers.spread(entry.mean, entry.deviation) if entry else numbers.DASH
            cells.append(text if entry is None or entry.complete else f"{text} ({len(entry.scores)} seeds)")
        mean = means.get(method)
        row = [method, *cells]
        if len(found.report.tasks) > 1:
            row += [numbers.points(mean.mean if mean else None), numbers.difference(mean.difference if mean else None)]
        rows.append(row)
    head = ["method", *found.report.tasks]
    if len(found.report.tasks) > 1:
        head += ["mean", f"to {found.report.reference}"]
    return _captioned(found, markdown(head, rows))


def costs(name: str) -> str:
    """Memory and time of every method, means over the tasks; saved activations and tensors of the largest task."""
    found = comparison(name)
    report = found.report
    rows = []
    for method in report.methods:
        entries = [e for task in report.tasks for e in found.entries[task] if e.method == method]
        memory = [record for record in report.of("memory") if record.method == method and record.finished]
        largest = max(memory, key=lambda record: record.memory("tensor_peak") or 0, default=None)
        rows.append(
            [
                method,
                numbers.times(_mean(e.peak_ratio for e in entries)),
                numbers.times(_mean(e.inference_ratio for e in entries)),
                numbers.mebibytes(largest.memory("tensor_peak") if largest else None),
                numbers.mebibytes(largest.memory("saved_activations") if largest else None),
                numbers.times(_mean(e.time_ratio for e in entries)),
                numbers.share(_mean(e.active_share for e in entries)),
            ]
        )
    reference = report.reference or "the first"
    head = ["method", f"process peak / {reference}", "/ inference", "tensors", "saved", "step time", "trains at a step"]
    return _captioned(found, markdown(head, rows))


def step_cost() -> str:
    """Step time beside full fine-tuning and process peak, on batches of two lengths."""
    record = _json("step_cost/results/step_cost.json")
    shapes = list(record["results"])
    rows = []
    for method in record["results"][shapes[0]]:
        row = [method]
        for shape in shapes:
            figures = record["results"][shape][method]
            row += [numbers.times(figures["ratio"]), numbers.mebibytes(figures["peak_bytes"])]
        rows.append(row)
    return markdown(["method", *(f"{what}, {shape}" for shape in shapes for what in ("time", "peak"))], rows)


def fused_backward() -> str:
    """Peaks and step time with each weight moved within backward, beside stock."""
    rows = []
    for shape, cases in _json("optimizers/results/fused.json")["results"].items():
        for case, figures in cases.items():
            stock, fused = figures["stock"], figures["fused"]
            peaks = [numbers.mebibytes(how[key]) for key in ("tensor_peak", "process_peak") for how in (stock, fused)]
            rows.append([f"{case}, {shape}", *peaks, numbers.times(fused["ratio"])])
    return markdown(["", "tensors", "fused", "process", "fused", "step time"], rows)


def optimizers() -> str:
    """Bytes of state for a weight, and step time where the step is mostly the optimizer's."""
    rows = [
        [f"`{name}`", f"{figures['state_bytes'] / figures['weights']:.2f}", numbers.times(figures["ratio"])]
        for name, figures in _json("optimizers/results/optimizers.json")["results"].items()
    ]
    return markdown(["`optim`", "bytes of state a weight", "step time, 4 x 16"], rows)


def storage(model: str) -> str:
    """What each storage preset keeps, costs and loses, beside stock full fine-tuning and inference."""
    results = _json(f"storage/results/{model}.json")["results"]
    stock, inference = results["exact"], results["inference"]
    rows = []
    for name, figures in results.items():
        if name == "inference":
            continue
        kept = [f"{100 * figures[key] / stock['saved']:.1f} %" for key in ("saved", "saved_peak")]
        cosine = f"{figures['cosine']:.5f}" if "cosine" in figures else numbers.DASH
        row = [name, *kept, cosine, numbers.times(figures["time_ratio"])]
        for key in ("process_peak_default", "process_peak_compact"):
            row += [numbers.mebibytes(figures[key]), numbers.times(figures[key] / inference[key])]
        rows.append(row)
    head = [
        "storage",
        "kept",
        "at most",
        "cosine",
        "time",
        "process",
        "/ inference",
        "compact allocator",
        "/ inference",
    ]
    return markdown(head, rows)


def storage_models() -> str:
    """What models keep under each preset, traced."""
    rows = []
    for case, figures in _json("storage/results/models.json")["results"].items():
        for key, kept in figures.items():
            preset, method = key.split(", ")
            share = f"{100 * kept / figures['exact, full']:.1f} %"
            rows.append([f"{case}, {method}", preset, numbers.mebibytes(kept), share])
    return markdown(["", "storage", "kept", "of stock's"], rows)


def storage_operations() -> str:
    """Milliseconds of each operation of a block, forward and backward, under each preset."""
    results = _json("storage/results/operations.json")["results"]
    kinds = list(next(iter(results.values())))
    rows = [[name, *(f"{1e3 * figures[kind]:.1f}" for kind in kinds)] for name, figures in results.items()]
    return markdown(["milliseconds", *kinds], rows)


def allocators() -> str:
    """Peak and step time of each workload under the allocators that Frostline knows."""
    rows = []
    for path in sorted((HERE / "allocator" / "results").glob("*_1.json"), key=lambda path: _peak(path)):
        workload = path.name.removesuffix("_1.json")
        one = json.loads(path.read_text(encoding="utf-8"))["results"]
        two = path.with_name(f"{workload}_2.json")
        other = json.loads(two.read_text(encoding="utf-8"))["results"] if two.is_file() else {}
        times = [numbers.times(one[name]["processor_ratio"]) for name in ("compact", "jemalloc")]
        times += [numbers.times(other[name]["ratio"] if other else None) for name in ("compact", "jemalloc")]
        peaks = [numbers.mebibytes(one[name]["peak_bytes"]) for name in ("default", "compact", "jemalloc")]
        rows.append([workload.replace("_", ", "), *peaks, *times])
    head = ["", "default", "compact", "jemalloc", *(f"{n}, {t}" for t in ("1 thread", "2 threads") for n in _TWO)]
    return markdown(head, rows)


_TWO = ("compact", "jemalloc")


def _peak(path: Path) -> int:
    return int(json.loads(path.read_text(encoding="utf-8"))["results"]["default"]["peak_bytes"])


def allocator_settings() -> str:
    """Full fine-tuning under every setting that was tried, the lowest peak first."""
    found = _json("allocator/results/full_1.json")["results"]
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
    return markdown(["setting", "process peak", "time", "page faults a step", "in the system"], rows)


def scheduling() -> str:
    """Time of a step whose units are chosen anew over one whose units are constant."""
    record = _json("scheduling/results/scheduling.json")
    rows = [[shape, f"{figures['paired_ratio']:.3f}"] for shape, figures in record["results"].items()]
    return markdown(["batch", "step time, scheduled / constant"], rows)


def real_text() -> str:
    """Score of each seed, in points, on TREC (accuracy) and CoLA (Matthews correlation), and the learning rates."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (HERE / "real_text" / "results").glob("*.json")]
    cells: dict[tuple[str, str, int], dict[str, Any]] = {}
    for record in records:
        task, _, rest = record["config"]["output"].partition("_")
        method, marker, seed = rest.rpartition("_seed")
        if task in ("trec", "cola") and marker:
            cells[task, method, int(seed)] = record
    rows = []
    for method in yaml.safe_load((HERE / "real_text" / "config.yaml").read_text(encoding="utf-8"))["methods"]:
        row = [method]
        for task in ("trec", "cola"):
            found = [cells.get((task, method, seed)) for seed in (0, 1)]
            row += [numbers.points(cell["metrics"][cell["metric"]] if cell else None) for cell in found]
            row.append(f"{found[0]['config']['learning_rate']:.0e}" if found[0] else numbers.DASH)
        rows.append(row)
    head = ["method", "TREC, seed 0", "seed 1", "rate", "CoLA, seed 0", "seed 1", "rate"]
    return markdown(head, rows)


def claimed() -> str:
    """What the papers claim beside what we measured."""
    sys.path.insert(0, str(HERE))
    import claims

    rows = claims.rows(comparison("glue"), _json("step_cost/results/step_cost.json"))
    table = markdown(["claimed", "measured", "of what, and why it differs"], rows)
    return table.replace("| ---: | ---: |", "| ---: | --- |", 1)


def models(name: str) -> str:
    """A table of `benchmarks/models/contracts.py`."""
    sys.path.insert(0, str(HERE / "models"))
    import contracts

    return markdown(*contracts.TABLES[name](_json("models/results/models.json")["results"]))


def summary(folder: str, name: str) -> str:
    """A table of `benchmarks/FOLDER/summaries.py`."""
    made = runpy.run_path(str(HERE / folder / "summaries.py"))
    return markdown(*made["TABLES"][name]())


def federated_accuracy() -> str:
    """Score of every rule under every limit."""
    return markdown(*runpy.run_path(str(HERE / "federated" / "accuracy_summaries.py"))["accuracy"]())


TABLES: dict[str, Callable[[], str]] = {"real_text": real_text, "step_cost": step_cost, "scheduling": scheduling}
for _name, _made in (("fused", fused_backward), ("optimizers", optimizers)):
    if (HERE / "optimizers" / "results" / f"{_name}.json").is_file():
        TABLES[f"optimizers/{_name}"] = _made
if (HERE / "allocator" / "results" / "full_1.json").is_file():
    TABLES["allocator/workloads"] = allocators
    TABLES["allocator/settings"] = allocator_settings
for _name in ("minilm", "vit-tiny"):
    if (HERE / "storage" / "results" / f"{_name}.json").is_file():
        TABLES[f"storage/{_name}"] = partial(storage, _name)
if (HERE / "storage" / "results" / "models.json").is_file():
    TABLES["storage/models"] = storage_models
if (HERE / "storage" / "results" / "operations.json").is_file():
    TABLES["storage/operations"] = storage_operations
if (HERE / "storage" / "cola" / "results" / "comparison.json").is_file():
    TABLES["storage/cola/scores"] = partial(scores, "storage/cola")
if (HERE / "worth" / "results" / "comparison.json").is_file():
    TABLES["worth/scores"] = partial(scores, "worth")
for _name in ("glue", "cifar", "characters", "squad"):
    if (HERE / _name / "results" / "comparison.json").is_file():
        TABLES[f"{_name}/scores"] = partial(scores, _name)
        TABLES[f"{_name}/costs"] = partial(costs, _name)
if "glue/scores" in TABLES:
    TABLES["glue/claims"] = claimed


for _folder, _names in (("budget", ("prediction", "obedience", "headline")), ("federated", ("crossover", "devices"))):
    for _name in _names:
        if (HERE / _folder / "results" / f"{_name}.json").is_file():
            TABLES[f"{_folder}/{_name}"] = partial(summary, _folder, _name)
if any((HERE / "federated" / "results" / "accuracy").glob("*.json")):
    TABLES["federated/accuracy"] = federated_accuracy
for _name in ("storage", "methods", "refused"):
    if (HERE / "models" / "results" / "models.json").is_file():
        TABLES[f"models/{_name}"] = partial(models, _name)


def pages() -> list[Path]:
    """Return the Markdown files that may hold tables."""
    return sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *HERE.rglob("*.md")])


def filled(text: str) -> str:
    """Return the text with every table made anew; an unknown name raises KeyError."""
    return PLACES.sub(lambda found: f"{found[1]}\n{TABLES[found['name']]()}\n\n{found[3]}", text)


def main() -> None:
    """Write the tables, or say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        now = filled(text)
        if now != text:
            stale.append(str(page.relative_to(ROOT)))
            if not arguments.check:
                page.write_text(now, encoding="utf-8")
    if stale:
        print(("stale: " if arguments.check else "written: ") + ", ".join(stale))
    sys.exit(bool(stale) and arguments.check)


def _captioned(found: Study, table: str) -> str:
    done, asked = len(found.finished), len(found.report.expected.get("cell", ())) or len(found.report.cells)
    notes = [found.report.caption or ""]
    if done < asked:
        notes.append(f"{done} of {asked} cells are finished.")
    caption = " ".join(note for note in notes if note)
    return f"{caption}\n\n{table}" if caption else table


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean if every value is there."""
    found = list(values)
    return sum(v for v in found if v is not None) / len(found) if found and None not in found else None


def _json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((HERE / path).read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    main()
