"""Sixteen bits: a GradScaler that skips steps, and a warm-up that begins at 0, make no schedule blind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from frostline import prepare
from tiny_models import batch, same_bits, tiny_bert


@pytest.mark.parametrize("storage", ["exact", "compact", "smallest"])
@pytest.mark.parametrize(("name", "settings"), [("full", {}), ("slimfit", {"rate": 0.75}), ("auto", {})])
def test_float16_with_a_scaler_that_skips_steps(name: str, settings: dict[str, Any], storage: str) -> None:
    model = tiny_bert(dropout=0.1).train()
    tuner = prepare(model, name, storage=storage, **settings)
    optimizer = torch.optim.AdamW(tuner.candidate_parameters(), lr=1e-2)
    tuner.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)  # too large for the first steps
    inputs, skipped, losses = batch(0, size=8), 0, []
    for _ in range(40):
        tuner.before_step()
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        with torch.autocast("cpu", torch.float16):
            loss = model(**inputs).loss
        scaler.scale(loss).backward()
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if scaler.get_scale() < scale:
            skipped += 1
            assert not tuner.state_dict()["method"].get("distances")
        for key, parameter in model.named_parameters():
            assert parameter.requires_grad or same_bits(parameter.detach(), before[key])
        tuner.after_step()
        losses.append(float(loss.detach()))
    assert skipped > 2
    assert min(losses[-3:]) < 0.8 * losses[0]


def test_a_step_at_a_learning_rate_of_0_visits_nothing() -> None:
    model = tiny_bert().train()
    tuner = prepare(model, "slimfit", rate=0.75)
    optimizer = torch.optim.AdamW(tuner.candidate_parameters(), lr=0.0)
    tuner.attach(optimizer)
    seen = []
    for rate in (0.0, 1e-3, 1e-3):
        optimizer.param_groups[0]["lr"] = rate
        tuner.before_step()
        seen.append(tuner.active)
        model(**batch(0, size=4)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tuner.after_step()
    assert seen[0] == seen[1] != seen[2]
