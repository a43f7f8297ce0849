"""The rivals that save optimizer state or gradients: how much is there, and that the arithmetic is as published."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
from torch import nn

from frostline import Tuner, prepare
from frostline.errors import PlanError
from peer_methods import CLASSES, optimizer_of, params, prepared, state_bytes
from tiny_models import BLOCKS, batch, make_optimizer, same_bits, tiny_bert, train, weights


def adamw_bytes() -> int:
    model = tiny_bert()
    tuner = prepare(model, "full")
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, 1)
    return state_bytes(optimizer)


@pytest.mark.parametrize(
    ("name", "settings", "most"),
    [
        ("adamw8bit", {"smallest": 0}, 0.55),  # codes a quarter; each tensor also has two tables of 256 float32 values
        ("galore", {"rank": 4}, 0.55),  # the tiny model's embeddings are a fifth of it, and never projected
        ("badam", {}, 0.55),
        ("adalomo", {}, 0.15),
        ("lomo", {}, 0.0),
    ],
)
def test_the_optimizer_s_state_is_smaller_than_adamw_s(name: str, settings: dict[str, Any], most: float) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    model, tuner, optimizer = prepared(name, **settings)
    train(model, tuner, optimizer, 3)
    assert state_bytes(optimizer) <= most * adamw_bytes()


# 8-bit AdamW


@pytest.mark.parametrize("name", params("adamw8bit"))
def test_8bit_moments_are_codes_and_the_first_step_is_adamw_s(name: str) -> None:
    model, tuner, optimizer = prepared(name)
    plain = tiny_bert()
    other = torch.optim.AdamW(plain.parameters(), lr=optimizer.param_groups[0]["lr"], weight_decay=0.0)
    train(model, tuner, optimizer, 1)
    plain(**batch()).loss.backward()
    other.step()
    for key, value in weights(plain).items():
        torch.testing.assert_close(weights(model)[key], value, rtol=1e-4, atol=1e-5)
    kinds = {p.numel() >= 256: {v.dtype for v in s.values() if torch.is_tensor(v)} for p, s in optimizer.state.items()}
    assert kinds == {True: {torch.uint8, torch.float32}, False: {torch.float32}}


@pytest.mark.parametrize("name", params("adamw8bit"))
def test_8bit_state_is_tensors_and_numbers_and_comes_back(name: str) -> None:
    model, tuner, optimizer = prepared(name)
    train(model, tuner, optimizer, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    assert all(isinstance(v, torch.Tensor | int) for entries in saved["state"].values() for v in entries.values())
    other, other_tuner, restored = prepared(name, copy.deepcopy(tuner.finish()))
    restored.load_state_dict(saved)
    _, again_tuner, _ = prepared(name, model)
    again_tuner.attach(optimizer)
    train(model, again_tuner, optimizer, 2, start=3)
    train(other, other_tuner, restored, 2, start=3)
    assert all(same_bits(weights(model)[n], v) for n, v in weights(other).items())


# GaLore


def lone(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def gradients(like: nn.Parameter, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(like.shape, generator=generator, dtype=like.dtype) for _ in range(count)]


def galore(weight: nn.Parameter, **group: Any) -> torch.optim.Optimizer:
    module = sys.modules[CLASSES["galore"].__module__]
    made: torch.optim.Optimizer = module.GaLoreAdamW([{"params": [weight], **group}], 0.01)
    return made


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 6)])
def test_galore_moves_a_weight_within_a_subspace_of_its_rank(shape: tuple[int, int]) -> None:
    weight = lone(*shape)
    start = weight.detach().clone()
    optimizer = galore(weight, rank=2, every=4, scale=0.5)
    for step, gradient in enumerate(gradients(weight, 8), start=1):
        weight.grad = gradient
        optimizer.step()
        rank = int(torch.linalg.matrix_rank(weight.detach() - start, atol=1e-9))
        assert rank == (2 if step <= 4 else 4)  # a second subspace since step 5
    state = optimizer.state[weight]
    assert sorted(state["exp_avg"].shape) == sorted((2, max(shape)))
    assert sorted(state["basis"].shape) == sorted((2, min(shape)))


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_galore_at_full_rank_loses_nothing_of_the_gradient(shape: tuple[int, int]) -> None:
    """It is a rotation: its Adam is AdamW in other axes, not AdamW, but without moments the step is the gradient's."""
    module = sys.modules[CLASSES["galore"].__module__]
    gradient = lone(*shape).detach()
    basis = module.basis_of(gradient, min(shape))
    torch.testing.assert_close(module.project_back(module.project(gradient, basis), basis, gradient.shape), gradient)


def test_galore_scales_the_step_and_leaves_other_weights_to_adamw() -> None:
    one, two, plain, stock = lone(6, 9), lone(6, 9), lone(6, 9), lone(6, 9)
    start = one.detach().clone()
    runs = [galore(one, rank=3, every=9, scale=1.0), galore(two, rank=3, every=9, scale=0.25), galore(plain)]
    runs.append(torch.optim.AdamW([stock], lr=0.01, eps=1e-6, weight_decay=0.0))
    for gradient in gradients(one, 5):
        for optimizer in runs:
            optimizer.param_groups[0]["params"][0].grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(two - start, 0.25 * (one - start))
    torch.testing.assert_close(plain, stock, rtol=1e-4, atol=1e-6)  # eps alone is not corrected for bias


def test_galore_projects_attention_and_ffn_of_the_blocks_alone() -> None:
    model, _, optimizer = prepared("galore")
    names = {id(p): n for n, p in model.named_parameters()}
    projected = {names[id(p)] for group in optimizer.param_groups if "rank" in group for p in group["params"]}
    assert len(projected) == 6 * BLOCKS
    assert all(name.startswith("bert.encoder.layer.") and name.endswith(".weight") for name in projected)
    assert not any("LayerNorm" in name for name in projected)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 6)])
def test_galore_is_the_authors_package_step_for_step(shape: tuple[int, int]) -> None:
    package = pytest.importorskip("galore_torch", reason="galore-torch is not installed; `make test-peers` brings it")
    ours, theirs = nn.Parameter(lone(*shape).float()), nn.Parameter(lone(*shape).float())
    group = {"rank": 2, "scale": 0.25}
    mine = galore(ours, every=3, weight_decay=0.1, **group)
    own = package.GaLoreAdamW(
        [{"params": [theirs], "update_proj_gap": 3, "proj_type": "std", "weight_decay": 0.1, **group}],
        lr=0.01,
        no_deprecation_warning=True,
    )
    for gradient in gradients(ours, 8):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        own.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


# LOMO and AdaLomo


def step_by_hand(model: nn.Module, tuner: Tuner, optimizer: torch.optim.Optimizer, index: int) -> None:
    tuner.before_step()
    model(**batch(index)).loss.backward()
    assert all(p.grad is None for p in model.parameters())
    optimizer.step()
    tuner.after_step()


@pytest.mark.parametrize("name", ["lomo", "adalomo"])
def test_gradients_go_during_backward_one_at_a_time(name: str) -> None:
    model, tuner, optimizer = prepared(name)
    alive = []
    for p in model.parameters():  # these hooks come after the method's own
        p.register_post_accumulate_grad_hook(
            lambda _: alive.append(sum(q.grad is not None for q in model.parameters()))
        )
    step_by_hand(model, tuner, optimizer, 0)
    assert alive == [0] * len(list(model.parameters()))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lomo_is_gradient_descent_to_float64_rounding(weight_decay: float) -> None:
    model, plain = tiny_bert().double(), tiny_bert().double()
    tuner = prepare(model, CLASSES["lomo"])
    optimizer = optimizer_of(tuner, 0.05, weight_decay)
    tuner.attach(optimizer)
    for index in range(5):
        step_by_hand(model, tuner, optimizer, index)
        plain.zero_grad()
        plain(**batch(index)).loss.backward()
        with torch.no_grad():
            for p in plain.parameters():
                p.copy_(p * (1 - 0.05 * weight_decay) - 0.05 * p.grad)
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(model)[name], value, rtol=1e-12, atol=1e-14)


def test_lomo_follows_the_learning_rate_of_the_step_also_after_loading_a_state() -> None:
    model, tuner, optimizer = prepared("lomo")
    optimizer.load_state_dict(optimizer.state_dict())  # puts new groups in place
    optimizer.param_groups[0]["lr"] = 0.0
    before = weights(model)
    step_by_hand(model, tuner, optimizer, 0)
    assert all(value.equal(before[name]) for name, value in weights(model).items())


def test_lomo_is_the_authors_package_step_for_step() -> None:
    package = pytest.importorskip("lomo_optim", reason="lomo-optim is not installed; `make test-peers` brings it")
    model, tuner, optimizer = prepared("lomo")
    other = tiny_bert()
    theirs = package.Lomo(other, lr=0.1)
    for index in range(4):
        step_by_hand(model, tuner, optimizer, index)
        theirs.fused_backward(other(**batch(index)).loss, 0.1)
    for name, value in weights(other).items():
        torch.testing.assert_close(weights(model)[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lomo", "adalomo"])
def test_two_backward_passes_in_one_step_are_refused(name: str) -> None:
    model, tuner, _ = prepared(name)
    tuner.before_step()
    model(**batch()).loss.backward()
    with pytest.raises(PlanError, match="gradient_accumulation_steps=1"):
        model(**batch()).loss.backward()


def test_a_second_optimizer_takes_over_from_the_first() -> None:
    model, tuner, first = prepared("lomo")
    second = optimizer_of(tuner, 0.0)
    tuner.attach(second)
    before = weights(model)
    step_by_hand(model, tuner, second, 0)
    assert all(value.equal(before[name]) for name, value in weights(model).items())
    assert first.param_groups[0]["lr"] > 0


def test_adalomo_s_step_is_a_share_of_the_weight_s_size() -> None:
    """Two steps of a lone matrix and a lone vector against the paper's rule, written out."""
    module = sys.modules[CLASSES["adalomo"].__module__]
    for shape in ((5, 7), (7,)):
        weight = nn.Parameter(lone(5, 7).detach()[0].clone() if len(shape) == 1 else lone(*shape).detach())
        expected = weight.detach().clone()
        optimizer = module.FactoredFused([{"params": [weight]}], 0.01, decay=0.8, threshold=1.0, floor=1e-3)
        rows = columns = square = torch.zeros(())
        for step, gradient in enumerate(gradients(weight, 3), start=1):
            (weight * gradient).sum().backward()
            optimizer.step()
            keep = 1 - step**-0.8
            squared = gradient**2
            if len(shape) == 2:
                rows = keep * rows + (1 - keep) * squared.mean(1)
                columns = keep * columns + (1 - keep) * squared.mean(0)
                update = gradient / (torch.outer(rows, columns) / rows.mean()).sqrt()
            else:
                square = keep * square + (1 - keep) * squared
                update = gradient / square.sqrt()
            update = update / max(1.0, float(update.square().mean().sqrt()))
            expected = expected - 0.01 * max(1e-3, float(expected.square().mean().sqrt())) * update
            torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=1e-12)


# BAdam


@pytest.mark.parametrize(
    ("order", "turns"), [("descending", [1, 0, 1]), ("ascending", [0, 1, 0]), ("random", None)], ids=str
)
def test_badam_trains_one_block_at_a_time_and_drops_its_moments(order: str, turns: list[int] | None) -> None:
    model, tuner, optimizer = prepared("badam", every=3, order=order)
    names = {id(p): n for n, p in model.named_parameters()}
    seen = []
    for index in range(9):
        (block,) = {tuner.anatomy.unit(name).block for name in tuner.active}
        seen.append(block)
        before = weights(model)
        train(model, tuner, optimizer, 1, start=index)
        changed = {n for n, v in weights(model).items() if not v.equal(before[n])}
        held = {names[id(p)] for p in optimizer.state}
        head = {unit.name for unit in tuner.always}
        units = {u.name for u in tuner.anatomy.in_blocks(range(block, block + 1))}
        assert changed <= units | head
        assert {n for n in changed if n in units}
        assert held == units | head
        steps = {int(optimizer.state[p]["step"]) for n, p in model.named_parameters() if n in units}
        assert steps == {index % 3 + 1}  # Adam counts from the beginning of the turn
    assert all(len(set(seen[i : i + 3])) == 1 for i in range(0, 9, 3))
    assert turns is None or seen[::3] == turns
    assert set(seen) == {0, 1}


def test_badam_s_embeddings_take_a_turn_if_they_are_asked_to() -> None:
    frozen = prepared("badam")[1]
    assert not any(unit.region == "embeddings" for unit in frozen.units)
    tuner = prepared("badam", every=1, embeddings=True, order="ascending")[1]
    assert {tuner.anatomy.unit(name).region for name in tuner.active} == {"embeddings"}
