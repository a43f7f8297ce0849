"""Plans on a real GPU: what is predicted is what its allocator counts, and a cap is kept."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from frostline.children import run_child
from frostline.meter.steps import Steps
from frostline.planner.limits import Limits
from frostline.planner.machine import machine
from frostline.planner.rehearsal import rehearse
from frostline.planner.request import Request, make_plan, steps_of

pytestmark = pytest.mark.gpu
SHAPE = {"model": "bert-base", "batch_size": 16, "sequence_length": 128}


def measured(**job):
    _, end = run_child("frostline.meter.child", {"kind": "process", **job})
    assert end.result is not None, end.reason
    return end.result["memory"]


@pytest.mark.parametrize("storage", ["exact", "compact", "smallest", "slimfit"])
@pytest.mark.parametrize("method", ["full", "lora", "layers"])
def test_predicted_is_reserved(method, storage):
    case = {**SHAPE, "method": method, "storage": storage}
    tensors = rehearse(Steps(**case), device="cuda").peak
    budget = Limits(0, machine("cuda").runtime).budget_for(tensors)
    memory = measured(steps={**case, "count": 3, "allocator": "compact"}, cap=budget)
    assert tensors < memory["cuda_allocated"] <= memory["cuda_reserved"] <= budget


def test_a_plan_runs_under_a_cap_and_full_fine_tuning_does_not():
    budget = 2 * 2**30
    request = Request(**SHAPE, budget=budget, device="cuda")
    assert measured(steps=asdict(steps_of(request, make_plan(request)["plan"], count=3)), cap=budget)
    _, end = run_child("frostline.meter.child", {"kind": "process", "steps": {**SHAPE, "count": 3}, "cap": budget})
    assert end.status == "out_of_memory"


def test_auto_is_what_is_free():
    free, _ = torch.cuda.mem_get_info()
    assert make_plan(Request(**SHAPE, budget="auto", device="cuda"))["budget"] == pytest.approx(free, rel=0.1)
