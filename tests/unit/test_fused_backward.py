"""Fused backward: the same weights as optimizer.step() gives, to the bit, and one gradient at a time."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW, Optimizer
from torch.utils.checkpoint import checkpoint
from transformers import Adafactor as TransformersAdafactor
from transformers import BertConfig, BertForMaskedLM

from frostline import Tuner, prepare
from frostline.errors import PlanError
from frostline.meter import TensorTracker
from tiny_models import (
    METHOD_IDS,
    METHOD_SETTINGS,
    assert_same_weights,
    batch,
    make_optimizer,
    same_bits,
    tiny_bert,
    train,
    weights,
)

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "adamw": lambda p: AdamW(p, lr=1e-3, weight_decay=0.1),
    "adamw-fused": lambda p: AdamW(p, lr=1e-3, weight_decay=0.1, fused=True),
    "adamw-foreach": lambda p: AdamW(p, lr=1e-3, weight_decay=0.1, foreach=True),
    "amsgrad": lambda p: AdamW(p, lr=1e-3, amsgrad=True),
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adafactor": lambda p: Adafactor(p, lr=1e-2, weight_decay=0.1),
    "adafactor-transformers": lambda p: TransformersAdafactor(p, lr=1e-3, relative_step=False),
}
POLICIES = ["keep", "release", "offload"]


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return two groups as transformers makes them, the second without weight decay and at its own rate."""
    flat = [p for p in model.parameters() if p.dim() < 2]
    return [
        {"params": [p for p in model.parameters() if p.dim() > 1]},
        {"params": flat, "weight_decay": 0.0, "lr": 0.01},
    ]


def run(
    fused: bool, name: str, settings: dict[str, Any], kind: str = "adamw", policy: str = "keep", steps: int = 10
) -> tuple[nn.Module, Tuner, Optimizer]:
    """Train with a learning-rate schedule and two parameter groups; check what backward leaves."""
    model = tiny_bert(dropout=0.1)
    tuner = prepare(model, name, fused_backward=fused, optimizer_state=policy, **settings)
    optimizer = OPTIMIZERS[kind](groups(model))
    tuner.attach(optimizer)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    torch.manual_seed(5)
    for index in range(steps):
        tuner.before_step()
        model(**batch(index)).loss.backward()
        assert all(p.grad is None for p in model.parameters()) == fused
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tuner.after_step()
    return model, tuner, optimizer


def states(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return every tensor of the optimizer's state, by parameter and name."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[p]}/{key}": value.clone()
        for p, values in optimizer.state.items()
        for key, value in sorted(values.items())
        if isinstance(value, Tensor)
    }


def assert_the_same(name: str, settings: dict[str, Any], **how: Any) -> None:
    (plain, tuner, first), (early, fused_tuner, second) = (run(fused, name, settings, **how) for fused in (False, True))
    one, other = states(plain, first), states(early, second)
    assert one.keys() == other.keys()
    assert all(same_bits(one[key], other[key]) for key in one)
    assert tuner.state_dict()["method"] == fused_tuner.state_dict()["method"]
    assert_same_weights(weights(tuner.finish()), weights(fused_tuner.finish()))


@pytest.mark.parametrize(("name", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)
def test_every_method_ends_with_the_same_weights_and_moments_to_the_bit(name: str, settings: dict[str, Any]) -> None:
    assert_the_same(name, settings)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.filterwarnings("error::UserWarning")  # a scheduler warns where it misses optimizer.step()
def test_every_optimizer_ends_with_the_same_weights_to_the_bit(kind: str) -> None:
    assert_the_same("slimfit", {"rate": 0.75}, kind=kind)


@pytest.mark.parametrize("preset", ["lossless", "compact", "slimfit", "smallest"])
def test_every_storage_preset_ends_with_the_same_weights_to_the_bit(preset: str) -> None:
    assert_the_same("slimfit", {"rate": 0.75, "storage": preset}, steps=6)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("policy", POLICIES)
def test_whatever_becomes_of_the_state_of_frozen_units(policy: str, kind: str) -> None:
    assert_the_same("lisa", {"count": 1, "every": 2}, policy=policy, kind=kind)


def test_bfloat16_autocast_and_weights() -> None:
    results = []
    for fused in (False, True):
        model = tiny_bert().bfloat16()
        tuner = prepare(model, "slimfit", rate=0.75, fused_backward=fused)
        optimizer = make_optimizer(model.parameters())
        tuner.attach(optimizer)
        with torch.autocast("cpu", torch.bfloat16):
            train(model, tuner, optimizer, 6)
        results.append(weights(model))
    assert_same_weights(*results)


def test_one_gradient_exists_at_a_time() -> None:
    """By the tracker's count: never more than the largest weight's, where all of the model's existed together."""
    peaks = {}
    for fused in (False, True):
        model = tiny_bert(vocab_size=4000)  # so many weights that their gradients decide the peak
        tuner = prepare(model, "full", fused_backward=fused)
        optimizer = SGD(model.parameters(), lr=0.1)
        tuner.attach(optimizer)
        train(model, tuner, optimizer, 1)  # ours are the first hooks now: they leave no gradient for the tracker's
        with TensorTracker(model) as tracker:
            train(model, tuner, optimizer, 1, start=1)
        peaks[fused] = tracker.peak_bytes
    sizes = [p.numel() * 4 for p in model.parameters()]
    assert peaks[False] - peaks[True] > 0.5 * (sum(sizes) - max(sizes))


@pytest.mark.parametrize("cut", [1, 4])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("full", {}),
        ("slimfit", {"rate": 0.75}),
        ("far", {"retention": 0.25, "priming": 0.3, "total_steps": 10, "nodes": "output"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("after", [False, True], ids=["unfused-after", "fused-after"])
def test_a_resumed_run_equals_one_that_never_stopped(name: str, settings: Any, cut: int, after: bool) -> None:
    """Bit for bit, with or without fused backward after the checkpoint: it is no part of the state."""

    def make(fused: bool) -> tuple[nn.Module, Tuner, Optimizer]:
        model = tiny_bert()
        tuner = prepare(model, name, fused_backward=fused, **settings)
        optimizer = make_optimizer(model.parameters())
        tuner.attach(optimizer)
        return model, tuner, optimizer

    model, tuner, optimizer = make(True)
    train(model, tuner, optimizer, cut)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), tuner.state_dict()))
    train(model, tuner, optimizer, 8 - cut, start=cut)
    whole = weights(model)
    model, tuner, optimizer = make(after)
    tuner.load_state_dict(saved[2])
    model.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    train(model, tuner, optimizer, 8 - cut, start=cut)
    assert_same_weights(weights(model), whole)


# Weights that are used more than once, and blocks that run again within backward


def masked(fused: bool, **how: Any) -> dict[str, Tensor]:
    """Train a model whose decoder is its word embedding."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
    }
    model = BertForMaskedLM(BertConfig(vocab_size=60, max_position_embeddings=20, **sizes)).train()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if how:
        model.activation_checkpointing_enable(how)
    tuner = prepare(model, "full", fused_backward=fused)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    torch.manual_seed(1)
    for index in range(4):
        tokens = batch(index)["input_ids"]
        tuner.before_step()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tuner.after_step()
    return weights(model)


@pytest.mark.parametrize("how", [{}, {"use_reentrant": False}, {"use_reentrant": True}], ids=str)
def test_tied_embeddings_and_gradient_checkpointing(how: dict[str, Any]) -> None:
    assert_same_weights(masked(False, **how), masked(True, **how))


def use_twice(layer: nn.Module, reentrant: bool) -> None:
    """Run the layer twice, each time in a checkpoint of its own, as models do whose blocks share their weights."""
    forward = layer.forward

    def twice(x: Tensor) -> Any:
        for _ in range(2):
            x = checkpoint(lambda y: forward(y).tanh(), x, use_reentrant=reentrant)
        return x

    layer.forward = twice


def shared(fused: bool, reentrant: bool) -> dict[str, Tensor]:
    model = tiny_bert()
    tuner = prepare(model, "full", fused_backward=fused)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    use_twice(model.get_submodule("bert.pooler.dense"), reentrant)
    train(model, tuner, optimizer, 3)
    return weights(model)


def test_a_weight_in_two_checkpoints_moves_once_when_both_are_done() -> None:
    assert_same_weights(shared(False, False), shared(True, False))


def test_a_weight_in_two_reentrant_checkpoints_is_refused() -> None:
    """Each gives a gradient of its own: the first has moved the weight when the second comes."""
    with pytest.raises(PlanError, match=r"'bert\.pooler\.dense\.\w+' got a second gradient .* use_reentrant=False"):
        shared(True, True)


def test_two_backward_passes_in_a_step_are_refused() -> None:
    model, tuner, _ = started()
    tuner.before_step()
    model(**batch(0)).loss.backward()
    with pytest.raises(PlanError, match="second gradient within one step"):
        model(**batch(1)).loss.backward()


def test_a_value_used_again_after_it_moved_is_noticed_by_autograd() -> None:
    """A detached use gives the weight no gradient, so nothing waits for it; its saved tensor is out of date."""
    model, tuner, _ = started()
    head = model.get_submodule("classifier").weight
    assert isinstance(head, Tensor)
    tuner.before_step()
    first = model.get_submodule("bert.embeddings.word_embeddings").weight.mean() * head.detach()  # backward: the last
    loss = model(**batch(0)).loss + (first * head).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# When it acts and when it does not


def started(**how: Any) -> tuple[nn.Module, Tuner, Optimizer]:
    model = tiny_bert()
    tuner = prepare(model, "full", fused_backward=True, **how)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    return model, tuner, optimizer


def test_a_backward_pass_outside_of_steps_moves_nothing_and_its_gradients_are_noticed() -> None:
    model, tuner, optimizer = started()
    train(model, tuner, optimizer, 1)
    before = weights(model)
    model(**batch(1)).loss.backward()
    assert_same_weights(weights(model), before)
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(PlanError, match=r"has a gradient from before this step.*optimizer\.zero_grad\(\)"):
        tuner.before_step()
    optimizer.zero_grad()
    train(model, tuner, optimizer, 1)


def test_a_finished_model_is_plain_again() -> None:
    model, tuner, optimizer = started()
    train(model, tuner, optimizer, 1)
    tuner.finish()
    model(**batch(0)).loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


def test_another_optimizer_takes_over() -> None:
    model, tuner, first = started()
    train(model, tuner, first, 1)
    before = states(model, first)
    second = make_optimizer(model.parameters(), "sgd")
    tuner.attach(second)
    train(model, tuner, second, 1)
    assert all(same_bits(value, before[key]) for key, value in states(model, first).items())
    assert len(second.state) == len(first.state)


def test_a_dropped_optimizer_is_not_held_by_its_hooks() -> None:
    model, tuner, optimizer = run(True, "far", {"retention": 0.25, "priming": 0.2, "total_steps": 10}, steps=4)
    gone = weakref.ref(optimizer)
    del optimizer, tuner
    gc.collect()
    assert gone() is None
    model(**batch(0)).loss.backward()  # the hooks that are left do nothing
    assert all(p.grad is not None for p in model.parameters())


def test_the_plan_says_so_and_a_checkpoint_does_not_mind() -> None:
    plan, plain = started()[1].plan, prepare(tiny_bert(), "full").plan
    assert (plan.fused_backward, plain.fused_backward) == (True, False)
    assert plan.to_json()["fused_backward"] is True
    assert plan.same_schedule(plain)


def test_a_stock_trainer(tmp_path: Path) -> None:
    """With accelerate's wrapper, a learning-rate schedule, weight decay and a checkpoint from which it resumes."""
    from test_trainer_callback import trainer

    results = []
    for fused, checkpoint_of in ((False, None), (True, None), (True, 3)):
        model = tiny_bert(dropout=0.1)
        tuner = prepare(model, "slimfit", rate=0.75, fused_backward=fused, optimizer_state="release")
        going = trainer(model, tmp_path, tuner, max_grad_norm=0.0, save_strategy="steps", save_steps=3)
        going.train(resume_from_checkpoint=f"{tmp_path}/checkpoint-3" if checkpoint_of else None)
        results.append(weights(model))
    assert_same_weights(results[0], results[1])
    assert_same_weights(results[0], results[2])
