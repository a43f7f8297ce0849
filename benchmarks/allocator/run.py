"""Peak of the process, page faults and seconds a step of one workload under many allocators; MiniLM, 32 x 128, AdamW.

    python benchmarks/allocator/run.py full --threads 1
    python benchmarks/allocator/run.py full --threads 1 --settings "default; compact; jemalloc"

Each setting has a process of its own, which waits while another works. A turn is some steps in a row, of which the
first is not counted: pages that the system has taken away in the meantime are not the allocator's doing. The ratios are
medians over the rounds of a setting's turn to the default's in the same round: of the seconds on the clock, and of
those of the processor (user and system), which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from frostline import allocator
from frostline.allocator import jemalloc

FULL = {"method": "full"}
SLIMFIT = {"method": "slimfit", "rate": 0.9, "optimizer_state": "release"}
WORKLOADS: dict[str, dict[str, Any] | None] = {
    "inference": None,
    "full": FULL,
    "checkpointing": FULL,
    "lora": {"method": "lora", "rank": 8},
    "slimfit": SLIMFIT,
    "slimfit_smallest": SLIMFIT | {"storage": "smallest"},
}


def _glibc(**tunables: int) -> dict[str, str]:
    return {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in tunables.items())}


def _jemalloc(options: str) -> dict[str, str]:
    library = jemalloc.find()
    return {"LD_PRELOAD": str(library), "MALLOC_CONF": options} if library else {}


MIB = 2**20
SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "threshold 64 KiB": {"MALLOC_MMAP_THRESHOLD_": str(MIB // 16)},
    "threshold 1 MiB": {"MALLOC_MMAP_THRESHOLD_": str(MIB)},
    "threshold 8 MiB": {"MALLOC_MMAP_THRESHOLD_": str(8 * MIB)},
    "threshold 32 MiB": {"MALLOC_MMAP_THRESHOLD_": str(32 * MIB)},
    "trim threshold 128 KiB": {"MALLOC_TRIM_THRESHOLD_": str(MIB // 8)},
    "top pad 64 MiB": {"MALLOC_TOP_PAD_": str(64 * MIB)},
    "one arena": {"MALLOC_ARENA_MAX": "1"},
    "no caches": _glibc(tcache_count=0, mxfast=0),
    "huge pages": _glibc(hugetlb=1),
    "huge pages, 1 MiB": _glibc(hugetlb=1, mmap_threshold=MIB),
    "torch huge pages": {"THP_MEM_ALLOC_ENABLE": "1"},
    "torch huge pages, 64 KiB": {"THP_MEM_ALLOC_ENABLE": "1", "MALLOC_MMAP_THRESHOLD_": str(MIB // 16)},
    "compact": {},
    "compact, after a step": {},
    "trim at step end": {},
    "trim at blocks": {},
    "jemalloc, its defaults": _jemalloc(""),
    "jemalloc": _jemalloc(jemalloc.OPTIONS),
    "jemalloc, torch huge pages": _jemalloc(jemalloc.OPTIONS) | {"THP_MEM_ALLOC_ENABLE": "1"},
}


def child(workload: str, setting: str) -> None:
    """Do as many steps as each line of standard input says; print what was measured after each."""
    import ctypes

    import torch

    import frostline
    from frostline import meter
    from frostline.models import load_classifier, quiet

    quiet()
    torch.manual_seed(0)
    trim = ctypes.CDLL(None).malloc_trim if setting.startswith("trim at") else lambda _: None
    with_import = meter.peaks().process
    model = load_classifier("minilm", ("no", "yes")).model
    batch = {"input_ids": torch.randint(1000, 20000, (32, 128)), "attention_mask": torch.ones(32, 128).long()}
    if setting in ("compact", "jemalloc", "jemalloc, torch huge pages"):
        name = setting.partition(",")[0]
        assert allocator.use(name).in_force == name
    settings = WORKLOADS[workload]
    tuner: Any = None
    if settings is None:
        model.eval()
    else:
        batch["labels"] = torch.zeros(32).long()
        tuner = frostline.prepare(model.train(), **settings)
        optimizer = torch.optim.AdamW(tuner.candidate_parameters(), lr=5e-5, fused=True)
        tuner.attach(optimizer)
    if workload == "checkpointing":
        model.gradient_checkpointing_enable()
    if setting == "trim at blocks":
        for block in model.base_model.encoder.layer:
            block.register_forward_hook(lambda *_: trim(0) and None)
            block.register_full_backward_hook(lambda *_: trim(0) and None)

    def step() -> None:
        if tuner is None:
            with torch.no_grad():
                model(**batch)
        else:
            tuner.before_step()
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tuner.after_step()
        if setting == "trim at step end":
            trim(0)
        if setting == "compact, after a step":
            assert allocator.use("compact").in_force == "compact"

    meter.reset_peaks()
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            step()
            seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
            row = {
                "seconds": seconds,
                "user_seconds": after.ru_utime - before.ru_utime,
                "system_seconds": after.ru_stime - before.ru_stime,
                "page_faults": after.ru_minflt - before.ru_minflt,
                "peak_bytes": meter.peaks().process,
                "whole_peak_bytes": max(with_import, meter.peaks().process),
            }
            print(json.dumps(row), flush=True)


def measure(workload: str, threads: int, names: list[str], rounds: int, steps: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each setting, the first of which is the reference."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    processes: dict[str, subprocess.Popen[str]] = {}
    turns: dict[str, list[list[dict[str, float]]]] = {name: [] for name in names}
    try:
        for name in names:
            command = [sys.executable, __file__, workload, "--child", name]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes[name] = subprocess.Popen(command, env=environment | SETTINGS[name], **pipes)
            if _answer(processes[name]) != "ready":
                raise RuntimeError(f"{name} did not start")
        for round_ in range(rounds):
            for name in names if round_ % 2 else reversed(names):
                process = processes[name]
                assert process.stdin is not None
                process.stdin.write(f"{steps}\n")
                process.stdin.flush()
                turns[name].append([json.loads(_answer(process)) for _ in range(steps)])
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    return {name: figures(turns[name], turns[names[0]]) for name in names}


def figures(turns: list[list[dict[str, float]]], reference: list[list[dict[str, float]]]) -> dict[str, Any]:
    """Return medians over the steps that count, highest peaks, and ratios to the reference's turns."""

    def processor(row: dict[str, float]) -> float:
        return row["user_seconds"] + row["system_seconds"]

    def ratios(of: Any) -> list[float]:
        pairs = zip(turns, reference, strict=True)
        return [statistics.median(map(of, own[1:])) / statistics.median(map(of, other[1:])) for own, other in pairs]

    rows = [row for turn in turns for row in turn[1:]]
    last = turns[-1][-1]
    medians = ("seconds", "user_seconds", "system_seconds", "page_faults")
    return {
        "peak_bytes": int(last["peak_bytes"]),
        "whole_peak_bytes": int(last["whole_peak_bytes"]),
        "first_step_peak_bytes": int(turns[0][0]["peak_bytes"]),
        **{key: statistics.median(row[key] for row in rows) for key in medians},
        "ratio": statistics.median(ratios(lambda row: row["seconds"])),
        "ratios": ratios(lambda row: row["seconds"]),
        "processor_ratio": statistics.median(ratios(processor)),
        "processor_ratios": ratios(processor),
    }


def main() -> None:
    """Measure and write the result, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--settings", help="names between semicolons; the first is the reference")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="of a turn; the first is not counted")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.workload, arguments.child)
        return
    from frostline.training.versions import hardware, versions

    names = [name.strip() for name in arguments.settings.split(";")] if arguments.settings else list(SETTINGS)
    if any(name.startswith("jemalloc") for name in names) and jemalloc.find() is None:
        print("no jemalloc on this machine: it is left out", file=sys.stderr)
        names = [name for name in names if not name.startswith("jemalloc")]
    found = measure(arguments.workload, arguments.threads, names, arguments.rounds, arguments.steps)
    for name, row in found.items():
        print(f"{name:28} {row['peak_bytes'] / MIB:6.0f} MiB  {row['ratio']:.2f}  {row['processor_ratio']:.2f}")
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    machine = {**hardware(), "huge_pages": huge.read_text().strip() if huge.is_file() else None}
    machine |= {"torch_threads": arguments.threads}
    how = {"threads": arguments.threads, "rounds": arguments.rounds, "steps": arguments.steps}
    path = arguments.output / f"{arguments.workload}_{arguments.threads}.json"
    path.parent.mkdir(exist_ok=True)
    former = json.loads(path.read_text())["results"] if path.is_file() else {}
    record = {**how, "results": {**former, **found}, "versions": versions(), "hardware": machine}
    path.write_text(json.dumps(record, indent=1) + "\n")


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


if __name__ == "__main__":
    main()
