"""The rivals that save activations: the bytes that wait for backward, and the gradients that come of them."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from frostline import prepare
from peer_methods import CLASSES, prepared, saved_bytes
from tiny_models import BLOCKS, batch, same_bits, tiny_bert, train

wtacrs = sys.modules[CLASSES["wtacrs"].__module__]


def grads(model: nn.Module, index: int = 0) -> dict[str, Tensor]:
    """Return the gradients of one backward pass, dropout drawn from one seed."""
    model.zero_grad()
    torch.manual_seed(3)
    model(**batch(index, size=4, length=12)).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Checkpointing


@pytest.mark.parametrize(
    ("name", "plain", "settings"), [("full_checkpointing", "full", {}), ("lora_checkpointing", "lora", {"rank": 2})]
)
def test_checkpointed_gradients_are_the_plain_ones_to_the_bit(name: str, plain: str, settings: dict[str, int]) -> None:
    model, other = tiny_bert(dropout=0.1), tiny_bert(dropout=0.1)
    tuners = prepare(model, CLASSES[name], **settings), prepare(other, plain, **settings)
    ours, theirs = grads(model), grads(other)
    assert list(ours) == list(theirs)
    assert all(same_bits(ours[n], v) for n, v in theirs.items())
    assert tuners[0].trainable_parameters == tuners[1].trainable_parameters


@pytest.mark.parametrize(
    ("name", "plain", "settings"), [("full_checkpointing", "full", {}), ("lora_checkpointing", "lora", {"rank": 2})]
)
def test_checkpointing_keeps_less_for_backward(name: str, plain: str, settings: dict[str, int]) -> None:
    model, other = tiny_bert(), tiny_bert()
    prepare(model, CLASSES[name], **settings)
    prepare(other, plain, **settings)
    runs = {name: 0, plain: 0}

    def count(key: str) -> None:
        runs[key] += 1

    model.bert.encoder.layer[0].intermediate.register_forward_hook(lambda *_: count(name))
    other.bert.encoder.layer[0].intermediate.register_forward_hook(lambda *_: count(plain))
    kept, stock = (saved_bytes(m, block_inputs=True, **batch(length=16)) for m in (model, other))
    assert kept < 0.6 * stock
    grads(model), grads(other)
    assert runs == {name: 3, plain: 2}  # one more forward pass of the block, in backward


def test_checkpointing_does_not_run_backward_below_the_lowest_adapter() -> None:
    model = tiny_bert()
    prepare(model, CLASSES["lora_checkpointing"], rank=2)
    assert not model.bert.embeddings(batch()["input_ids"]).requires_grad


# WTA-CRS: the sample


def importances(count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 4


def test_winners_are_the_same_in_every_draw_and_the_rest_is_drawn() -> None:
    importance = importances(40)
    draws = [wtacrs.choose(importance, 12, torch.Generator().manual_seed(seed)) for seed in range(50)]
    winners = {tuple(index[weight == 1].tolist()) for index, weight in draws}
    assert len(winners) == 1
    (first,) = winners
    assert set(first) == set(importance.topk(len(first)).indices.tolist())
    assert 0 < len(first) < 12
    assert len({tuple(index.tolist()) for index, _ in draws}) == 50
    # The number of winners is the one that makes (1 - their mass) / (k - c) least.
    p = (importance / importance.sum()).sort(descending=True).values
    by_count = [float(1 - p[:c].sum()) / (12 - c) for c in range(12)]
    assert by_count.index(min(by_count)) == len(first)


def test_rows_without_importance_are_never_drawn_and_none_at_all_is_no_error() -> None:
    importance = torch.tensor([0.0, 3.0, 0.0, 1.0, 0.0, 0.0])
    index, weight = wtacrs.choose(importance, 4, torch.Generator())
    assert set(index.tolist()) == {1, 3}
    assert weight.tolist() == [1.0, 1.0]
    index, weight = wtacrs.choose(torch.zeros(6), 4, torch.Generator())
    assert len(index) == len(weight) == 4


def estimate(x: Tensor, dy: Tensor, importance: Tensor, count: int, seed: int) -> Tensor:
    index, weight = wtacrs.choose(importance, count, torch.Generator().manual_seed(seed))
    return (dy[index] * weight[:, None]).T @ x[index]


def test_the_mean_over_many_draws_approaches_the_exact_gradient() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64) * importances(30)[:, None]
    dy = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    exact = dy.T @ x
    importance = x.norm(dim=1) * dy.norm(dim=1)
    draws = torch.stack([estimate(x, dy, importance, 10, seed) for seed in range(4000)])
    deviation = (draws.mean(0) - exact) / (draws.std(0) / 4000**0.5)
    assert deviation.abs().max() < 4.5  # 24 means, each in units of its own standard error
    assert (draws - exact).flatten(1).norm(dim=1).min() > 0  # and no single draw is exact
    wrong = torch.stack([estimate(x, dy, importance, 10, seed) for seed in range(50)])
    biased = torch.stack([(dy[i].T @ x[i]) for i in (importance.topk(10).indices,)])
    assert (biased - exact).norm() > (wrong.mean(0) - exact).norm()  # the winners alone would be off


def test_winners_lower_the_variance_against_plain_draws() -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64) * importances(40)[:, None]
    dy = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    importance = x.norm(dim=1) * dy.norm(dim=1)
    p, exact = importance / importance.sum(), dy.T @ x

    def plain(seed: int) -> Tensor:
        index = torch.multinomial(p, 12, replacement=True, generator=torch.Generator().manual_seed(seed))
        return (dy[index] / (12 * p[index])[:, None]).T @ x[index]

    ours = torch.stack([estimate(x, dy, importance, 12, seed) for seed in range(500)])
    theirs = torch.stack([plain(seed) for seed in range(500)])
    assert (ours - exact).square().sum() < 0.7 * (theirs - exact).square().sum()


# WTA-CRS: the method


def test_share_one_is_exact_to_the_bit() -> None:
    model, plain = tiny_bert(dropout=0.1), tiny_bert(dropout=0.1)
    prepare(model, CLASSES["wtacrs"], share=1.0)
    ours, exact = grads(model), grads(plain)
    assert all(same_bits(ours[name], value) for name, value in exact.items())


def test_forward_and_all_but_the_targets_weight_gradients_are_exact() -> None:
    model, plain = tiny_bert().double(), tiny_bert().double()
    tuner = prepare(model, CLASSES["wtacrs"], share=0.3)
    assert model(**batch()).logits.equal(plain(**batch()).logits)
    ours, exact = grads(model), grads(plain)
    targets = {u.name for u in tuner.units if u.kind in wtacrs.TARGETS}
    assert len(targets) == 5 * BLOCKS
    for name, value in exact.items():
        close = torch.allclose(ours[name], value, rtol=1e-9, atol=1e-14)
        assert close == (name not in targets or not value.any()), name


def test_gradients_of_the_whole_model_are_right_on_average() -> None:
    """With the running mean of ||dY|| learnt, so that it decides who wins."""
    model, plain = tiny_bert().double(), tiny_bert().double()
    _, tuner, _ = prepared("wtacrs", model, share=0.3)
    exact = grads(plain)
    targets = [unit.name for unit in tuner.units if unit.kind in wtacrs.TARGETS]
    along: dict[str, list[float]] = {name: [] for name in targets}  # each draw's gradient along the exact one
    for draw in range(80):
        tuner._method.before(draw, {})
        for name, value in grads(model).items():
            if name in along:
                along[name].append(float((value * exact[name]).sum() / exact[name].square().sum()))
    for name, values in along.items():
        found = torch.tensor(values)
        error = float(found.std()) / len(found) ** 0.5
        assert error < 0.15, name
        assert abs(float(found.mean()) - 1) < 4 * error + 1e-9, name


def test_wtacrs_keeps_less_for_backward_the_smaller_its_share() -> None:
    inputs = batch(size=8, length=16)
    plain = saved_bytes(tiny_bert(), **inputs)
    sizes = []
    for share in (1.0, 0.5, 0.1):
        model = tiny_bert()
        prepare(model, CLASSES["wtacrs"], share=share)
        sizes.append(saved_bytes(model, **inputs))
    assert sizes[0] == plain
    # A block's targets read 128 rows of 32 (query, key and value the same), 32 and 48 values.
    whole = BLOCKS * 128 * (32 + 32 + 48) * 4
    for share, size in zip((0.5, 0.1), sizes[1:], strict=True):
        kept = BLOCKS * round(share * 128) * (32 + 32 + 48) * 4
        places = BLOCKS * 3 * round(share * 128) * (8 + 4)
        assert size == pytest.approx(plain - whole + kept + places, rel=0.02)


def test_query_key_and_value_share_a_draw_and_evaluation_draws_none() -> None:
    model, tuner, _ = prepared("wtacrs", share=0.3)
    calls: list[int] = []
    stock = wtacrs.choose

    def counted(importance: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        calls.append(count)
        return stock(importance, count, generator)

    wtacrs.choose = counted
    try:
        tuner.before_step()
        model(**batch()).loss.backward()
        assert len(calls) == 3 * BLOCKS
        with torch.no_grad():
            model(**batch())
        assert len(calls) == 3 * BLOCKS
    finally:
        wtacrs.choose = stock


def test_positions_whose_error_signal_is_great_win() -> None:
    """The classifier reads the first token alone: in the last block's FFN no other has an error signal."""
    model, tuner, optimizer = prepared("wtacrs", share=0.3)
    train(model, tuner, optimizer, 3)
    layer = f"bert.encoder.layer.{BLOCKS - 1}.output.dense"
    seen = tuner.state_dict()["method"]["seen"][layer]
    assert seen[0] > 0
    assert not any(seen[1:])
    chosen: list[Tensor] = []
    stock = wtacrs.choose
    wtacrs.choose = lambda *values: chosen.append(stock(*values)[0]) or stock(*values)
    try:
        tuner.before_step()
        model(**batch(9)).loss.backward()
    finally:
        wtacrs.choose = stock
    assert {0, 6, 12, 18} <= set(chosen[-1].tolist())  # 4 texts of 6 tokens


def test_running_means_grow_with_longer_texts_and_travel_as_json() -> None:
    import json

    model, tuner, optimizer = prepared("wtacrs", share=0.3)
    train(model, tuner, optimizer, 2)
    for length in (4, 12):
        tuner.before_step()
        model(**batch(length=length)).loss.backward()
        optimizer.step()
        tuner.after_step()
    state = json.loads(json.dumps(tuner.state_dict()))
    assert {len(seen) for seen in state["method"]["seen"].values()} == {12}
    other = prepared("wtacrs", share=0.3)[1]
    other.load_state_dict(state)
    assert other.state_dict() == tuner.state_dict()


def test_autocast_trains() -> None:
    model, tuner, optimizer = prepared("wtacrs", share=0.3)
    tuner.before_step()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch()).loss
    loss.backward()
    optimizer.step()
    tuner.after_step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
