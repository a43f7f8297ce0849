"""SlimFit's headline, planned: BERT-base on SQuAD's shape and ViT-base/16 at 384 px, batch 128, on one 32 GB GPU.

    python benchmarks/budget/headline.py               # plans; needs neither weights nor a GPU
    python benchmarks/budget/headline.py --verify      # and runs them on the GPU, capped at each budget

arXiv 2305.18513 needs two and three such GPUs for full fine-tuning (section 5), with attention that kept its matrix of
probabilities; fused attention keeps none. The head is a classifier's in both: SQuAD's two outputs a token are 0.4 MB.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
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
    """Plan every case in float32 and bfloat16, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verify", action="store_true", help="run on the GPU, too")
    verify = parser.parse_args().verify
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
            if verify:
                record["verified"] = {
                    name: _run(request, plan) for name, plan in record.items() if isinstance(plan, dict)
                }
            found["cases"].append(record)
            print(json.dumps({key: value for key, value in record.items() if key != "keys"})[:400], flush=True)
    if verify:
        found["hardware"] = hardware()
    (RESULTS / f"headline{'_gpu' if verify else ''}.json").write_text(json.dumps(found, indent=1) + "\n")


def _short(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan's rung, its predicted peak and its keys."""
    return {"way": plan["rungs"][-1]["name"], "predicted": plan["predicted"]["peak"], "keys": plan["plan"]}


def _run(request: Request, plan: dict[str, Any]) -> dict[str, Any]:
    """Run the plan on the GPU with torch's memory capped at its budget; return allocated and reserved peaks."""
    if not torch.cuda.is_available():
        raise SystemExit("--verify needs a GPU.")
    steps = asdict(steps_of(request, plan["keys"], count=6))
    _, end = run_child("frostline.meter.child", {"kind": "process", "steps": steps, "cap": plan.get("budget", GPU)})
    return end.result or {"status": end.status, "reason": end.reason}


if __name__ == "__main__":
    main()
