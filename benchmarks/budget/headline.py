"""SlimFit's headline, planned: BERT-base on SQuAD's shape and ViT-base/16 at 384 px, batch 128, on one 32 GB GPU.

    python benchmarks/budget/headline.py               # plans; needs neither weights nor a GPU
    python benchmarks/budget/headline.py --verify      # runs those plans on a GPU, capped at each budget

arXiv 2305.18513 needs two and three such GPUs for full fine-tuning (section 5), with attention that kept its matrix of
probabilities; fused attention keeps none. The head is a classifier's in both: SQuAD's two outputs a token are 0.4 MB.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from frostline.children import run_child
from frostline.planner.request import Request, full_fine_tuning, make_plan, smallest_budget, steps_of
from frostline.training.versions import hardware, versions

RESULTS = Path(__file__).parent / "results"
GPU = 32_000_000_000
CASES: dict[str, dict[str, Any]] = {
    "BERT-base, 128 x 384": {"model": "bert-base", "batch_size": 128, "sequence_length": 384},
    "ViT-base/16, 128 of 384 px": {"model": "vit-base-patch16-384", "batch_size": 128},
}


def main() -> None:
    """Plan every case in float32 and bfloat16, or run what was planned, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verify", action="store_true", help="run the plans in results/headline.json on this GPU")
    if parser.parse_args().verify:
        verify()
    else:
        plan()


def plan() -> None:
    """Plan every case."""
    found: dict[str, Any] = {"versions": versions(), "cases": []}
    for case, shape in CASES.items():
        for bf16 in (False, True):
            request = Request(**shape, budget=GPU, device="cuda", bf16=bf16)
            whole = replace(request, whole=True)
            least = smallest_budget(whole)
            record = {
                "case": case,
                "bf16": bf16,
                "full": full_fine_tuning(request)["peak"],
                "plan": _short(make_plan(request)),
                "smallest": {"budget": least, **_short(make_plan(replace(whole, budget=least)))},
                "smallest_split": smallest_budget(request),
            }
            found["cases"].append(record)
            print(json.dumps(record)[:400], flush=True)
    (RESULTS / "headline.json").write_text(json.dumps(found, indent=1) + "\n")


def verify() -> None:
    """Run what was planned, both models at the same time; write peaks and seconds of a step."""
    if not torch.cuda.is_available():
        raise SystemExit("--verify needs a GPU.")
    planned = json.loads((RESULTS / "headline.json").read_text(encoding="utf-8"))["cases"]
    found: dict[str, Any] = {"versions": versions(), "hardware": hardware(), "runs": []}

    def run_all(case: str) -> None:
        own = [record for record in planned if record["case"] == case]
        for name, record in product(("smallest", "plan", "full, capped", "full"), own):
            for run in _runs(record, name):
                found["runs"].append(run)
                print(json.dumps(run), flush=True)
                (RESULTS / "headline_gpu.json").write_text(json.dumps(found, indent=1) + "\n")

    with ThreadPoolExecutor(len(CASES)) as pool:
        list(pool.map(run_all, CASES))


def _runs(case: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield the runs of one plan, under one cap after another until it is kept."""
    request = Request(**CASES[case["case"]], budget=GPU, device="cuda", bf16=case["bf16"])
    planned, caps = _job(case, name)
    for cap in caps:
        run = {"case": case["case"], "bf16": case["bf16"], "run": name, "way": planned["way"], "cap": cap}
        measured = _run(request, planned["keys"], cap)
        yield run | {"predicted": planned["predicted"], "measured": measured}
        if "memory" in measured:
            return


def _job(case: dict[str, Any], name: str) -> tuple[dict[str, Any], list[int | None]]:
    """Return what to run and under which caps, one after another until one is kept: a smallest budget may not be."""
    if name == "smallest":
        return case[name], [case[name]["budget"] + more * 2**20 for more in range(0, 257, 32)]
    if name == "plan":
        return case[name], [GPU]
    keys = {**case["plan"]["keys"], "method": "full", "settings": {}, "storage": "exact", "allocator": "default"}
    return {"way": "full", "predicted": case["full"], "keys": keys}, [GPU if name == "full, capped" else None]


def _short(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan's rung, its predicted peak and its keys."""
    return {"way": plan["rungs"][-1]["name"], "predicted": plan["predicted"]["peak"], "keys": plan["plan"]}


def _run(request: Request, keys: dict[str, Any], cap: int | None) -> dict[str, Any]:
    """Run six steps in a fresh process; return its peaks and seconds, or how it ended."""
    steps = asdict(steps_of(request, keys, count=6, allocator=keys["allocator"]))
    job = {"kind": "process", "steps": steps} | ({} if cap is None else {"cap": cap})
    _, end = run_child("frostline.meter.child", job)
    return end.result or {"status": end.status, "reason": end.reason}


if __name__ == "__main__":
    main()
