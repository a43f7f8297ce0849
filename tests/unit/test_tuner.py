"""What holds for every method: frozen means frozen, gradients are stock PyTorch's, out comes a plain model."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline import Tuner, methods, prepare
from frostline.errors import PlanError
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

every_method = pytest.mark.parametrize(("name", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)


def test_every_built_in_method_is_covered_here() -> None:
    assert {name for name, _ in METHOD_SETTINGS} == set(methods.BUILT_IN)


def should_train(model: nn.Module, tuner: Tuner) -> set[str]:
    """Return the names of the parameters that the schedule says train at this step."""
    active = [unit for unit in tuner.units if unit.name in tuner.active]
    return {name for unit in (*active, *tuner.always) for name in unit.parameters}


def frozen_nodes(tuner: Tuner, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what FAR froze in each FFN layer, by the learners that its state names."""
    found: dict[str, Tensor] = {}
    learners = tuner.state_dict()["method"].get("learners", {})
    hidden = tuner.plan.settings.get("nodes") == "hidden"
    for layer, chosen in learners.items():
        weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
        rest = [j for j in range(weight.shape[0]) if j not in chosen]
        found[f"{layer} rows"], found[f"{layer} bias"] = weight[rest], bias[rest]
        if hidden:  # the columns of the next layer freeze along
            (pair,) = (p for p in tuner.anatomy.feed_forwards if p.lin1 == layer)
            found[f"{pair.lin2} columns"] = state[f"{pair.lin2}.weight"][:, rest]
    return found


@pytest.mark.parametrize(("kind", "set_to_none"), [("adamw", True), ("sgd", False)], ids=["adamw", "sgd-zeroed"])
@every_method
def test_only_what_is_active_changes(name: str, settings: dict[str, Any], kind: str, set_to_none: bool) -> None:
    """50 steps with momentum or moments and weight decay; every parameter is in the optimizer from the start."""
    model = tiny_bert(dropout=0.1)
    tuner = prepare(model, name, **({**settings, "total_steps": 50} if name == "far" else settings))
    optimizer = make_optimizer(model.parameters(), kind)
    tuner.attach(optimizer)
    moved: set[str] = set()
    thawed: set[str] = set()
    for index in range(50):
        tuner.before_step()
        before = weights(model)
        nodes = frozen_nodes(tuner, before)
        expected = should_train(model, tuner)
        assert {n for n, p in model.named_parameters() if p.requires_grad} == expected
        assert tuner.trainable_parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
        model(**batch(index)).loss.backward()
        for parameter_name, parameter in model.named_parameters():
            if parameter_name not in expected:
                assert parameter.grad is None
        optimizer.step()
        tuner.after_step()
        after = weights(model)
        changed = {n for n in before if not same_bits(before[n], after[n])}
        assert changed <= expected
        after_nodes = frozen_nodes(tuner, after)
        assert all(same_bits(value, after_nodes[n]) for n, value in nodes.items())
        moved |= changed
        thawed |= expected
        # Every scheduled unit that is active moves at once: weight decay alone would see to it.
        active = {p for unit in tuner.units if len(unit.shape) > 1 for p in unit.parameters} & expected
        assert {n for n in active if before[n].any() and "lora_" not in n} <= changed
        optimizer.zero_grad(set_to_none=set_to_none)
    assert thawed <= moved | {n for n in thawed if n.endswith(".bias")}
    assert moved


@every_method
def test_a_gradient_from_before_prepare_moves_nothing(name: str, settings: dict[str, Any]) -> None:
    model = tiny_bert()
    model(**batch()).loss.backward()
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters(), "sgd")
    tuner.attach(optimizer)
    before = weights(model)
    tuner.before_step()
    expected = should_train(model, tuner)
    optimizer.zero_grad(set_to_none=False)
    model(**batch()).loss.backward()
    optimizer.step()
    tuner.after_step()
    after = weights(model)
    assert {n for n in before if not same_bits(before[n], after[n])} <= expected


@pytest.mark.parametrize(("name", "settings"), [m for m in METHOD_SETTINGS if m[0] in ("slimfit", "random", "lisa")])
def test_what_thaws_later_does_learn(name: str, settings: dict[str, Any]) -> None:
    model = tiny_bert()
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    first = tuner.active
    start = weights(model)
    train(model, tuner, optimizer, 40)
    end = weights(model)
    waited = [unit.name for unit in tuner.units if unit.name not in first and len(unit.shape) > 1]
    assert waited
    assert not [n for n in waited if same_bits(start[n], end[n])]


@every_method
def test_trainable_counts_are_as_planned(name: str, settings: dict[str, Any]) -> None:
    model = tiny_bert()
    total = model.num_parameters()
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    assert tuner.plan.total_parameters == tuner.anatomy.parameter_count == total
    assert tuner.plan.candidate_parameters == sum(p.numel() for p in tuner.candidate_parameters())
    if name == "full":
        assert tuner.plan.trainable_parameters == total
    elif name != "lora":
        assert tuner.plan.trainable_parameters < total
    counts = []
    for index in range(9):
        train(model, tuner, optimizer, 1, start=index)
        counts.append(tuner.trainable_parameters)
    if name in ("slimfit", "random", "lisa"):
        assert len(set(counts)) > 1 or name == "lisa"  # blocks are alike: another block, the same count
        assert min(counts) <= tuner.plan.trainable_parameters <= max(counts)
    elif name == "auto":
        assert len(set(counts)) > 1  # its sets differ in size, and the plan knows the first
    else:
        assert counts[-1] == tuner.plan.trainable_parameters
        assert counts[-1] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert tuner.active_share == tuner.trainable_parameters / total


@pytest.mark.parametrize("steps", [0, 5])
@every_method
def test_gradients_are_stock_pytorchs_to_rounding(name: str, settings: dict[str, Any], steps: int) -> None:
    """In float64, no dropout: the gradient of each active parameter is the plain model's gradient."""
    model = tiny_bert().double()
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, steps)
    tuner.before_step()
    twin = tiny_bert().double()
    merged = {n.replace(".base_layer.", "."): v for n, v in weights(model).items() if "lora_" not in n}
    adapters = {n: v for n, v in weights(model).items() if "lora_" in n}
    for n in adapters:
        if "lora_B" in n:
            layer = n.split(".lora_")[0]
            scale = tuner.plan.settings["alpha"] / tuner.plan.settings["rank"]
            merged[f"{layer}.weight"] = (
                merged[f"{layer}.weight"] + scale * adapters[n] @ adapters[n.replace("_B", "_A")]
            )
    twin.load_state_dict(merged)
    first, second = model(**batch(7)), twin(**batch(7))
    first.loss.backward()
    second.loss.backward()
    torch.testing.assert_close(first.logits, second.logits, rtol=1e-11, atol=1e-13)
    stock = {n: p.grad for n, p in twin.named_parameters() if p.grad is not None}
    learners = tuner.state_dict()["method"].get("learners", {})
    checked = 0
    for parameter_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None
            continue
        layer, _, tensor = parameter_name.rpartition(".")
        if "lora_" in parameter_name:
            layer, other = parameter_name.split(".lora_")[0], parameter_name.replace("_A", "#").replace("_B", "_A")
            scale = tuner.plan.settings["alpha"] / tuner.plan.settings["rank"]
            other = adapters[other.replace("#", "_B")]
            whole = stock[f"{layer}.weight"]
            expected = scale * (other.t() @ whole if "lora_A" in parameter_name else whole @ other.t())
        else:
            expected = stock[parameter_name.replace(".base_layer.", ".")]
        pairs = [p for p in tuner.anatomy.feed_forwards if layer in (p.lin1, p.lin2)]
        if learners and pairs:
            (pair,) = pairs
            if layer == pair.lin1:
                expected = expected[learners[pair.lin1]]
            elif tuner.plan.settings["nodes"] == "output":
                rest = [j for j in range(pair.hidden) if j not in learners[pair.lin1]]
                expected = expected[learners[pair.lin2]]
                expected = expected[:, learners[pair.lin1] + rest] if tensor == "weight" else expected
            elif tensor == "weight":
                expected = expected[:, learners[pair.lin1]].t()
        # 1e-11: float64 has 1e-16; some hundred additions in another order, and gradients of up to 1
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-13)
        checked += 1
    assert checked == len(should_train(model, tuner))
    if name == "far" and steps:
        assert learners  # the split layers were what was checked


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers renames the method
@every_method
def test_gradient_checkpointing_gives_the_same_gradients(name: str, settings: dict[str, Any]) -> None:
    grads: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model = tiny_bert()
        if checkpointing:
            model.gradient_checkpointing_enable()
        tuner = prepare(model, name, **settings)
        optimizer = make_optimizer(model.parameters())
        tuner.attach(optimizer)
        train(model, tuner, optimizer, 4)
        tuner.before_step()
        model(**batch(7)).loss.backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        assert set(grads[-1]) == should_train(model, tuner)
    assert_same_weights(grads[0], grads[1])


def test_full_is_stock_training_bit_for_bit() -> None:
    tuned, stock = tiny_bert(dropout=0.1), tiny_bert(dropout=0.1)
    tuner = prepare(tuned, "full")
    optimizer = make_optimizer(tuned.parameters())
    tuner.attach(optimizer)
    torch.manual_seed(5)
    train(tuned, tuner, optimizer, 5)
    torch.manual_seed(5)
    optimizer = make_optimizer(stock.parameters())
    for index in range(5):
        stock(**batch(index)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_same_weights(weights(tuned), weights(stock))


# Out comes a plain model


@pytest.mark.parametrize("steps", [1, 6])
@every_method
def test_finish_gives_the_plain_model_back(name: str, settings: dict[str, Any], steps: int, tmp_path: Any) -> None:
    model = tiny_bert()
    model.bert.embeddings.position_embeddings.weight.requires_grad_(False)
    names, parameters = list(model.state_dict()), {n: id(p) for n, p in model.named_parameters()}
    shapes = {n: v.shape for n, v in model.state_dict().items()}
    required = [p.requires_grad for p in model.parameters()]
    modules = [(n, type(m)) for n, m in model.named_modules()]
    attributes = set(vars(model))
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, steps)
    model.eval()
    with torch.no_grad():
        before = model(**batch(9)).logits
    assert tuner.finish() is model
    assert tuner.finished
    assert list(model.state_dict()) == names
    assert {n: v.shape for n, v in model.state_dict().items()} == shapes
    assert {n: id(p) for n, p in model.named_parameters()} == parameters
    assert [p.requires_grad for p in model.parameters()] == required
    assert [(n, type(m)) for n, m in model.named_modules()] == modules
    assert set(vars(model)) == attributes
    with torch.no_grad():
        after = model(**batch(9)).logits
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert_same_weights(weights(loaded), weights(model))
    with torch.no_grad():
        assert loaded(**batch(9)).logits.equal(after)


@every_method
def test_finishing_twice_changes_nothing_more(name: str, settings: dict[str, Any]) -> None:
    model = tiny_bert()
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, 4)
    tuner.finish()
    model.requires_grad_(False)
    once = weights(model)
    assert tuner.finish() is model
    assert_same_weights(weights(model), once)
    assert not any(p.requires_grad for p in model.parameters())


def test_saving_in_the_middle_gives_a_plain_checkpoint(tmp_path: Any) -> None:
    for nodes in ("hidden", "output"):
        model = tiny_bert()
        tuner = prepare(model, "far", retention=0.25, priming=0.2, total_steps=10, nodes=nodes)
        optimizer = make_optimizer(model.parameters())
        tuner.attach(optimizer)
        train(model, tuner, optimizer, 5)
        assert tuner.state_dict()["method"]["learners"]
        model.save_pretrained(tmp_path / nodes)
        loaded = type(model).from_pretrained(tmp_path / nodes)
        assert_same_weights(weights(loaded), weights(model))
        with torch.no_grad():
            torch.testing.assert_close(loaded.eval()(**batch()).logits, model.eval()(**batch()).logits)


def test_use_after_finish_is_refused() -> None:
    model = tiny_bert()
    tuner = prepare(model, "slimfit")
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    state = tuner.state_dict()
    tuner.before_step()
    tuner.finish()
    for use in (
        lambda: tuner.attach(optimizer),
        tuner.before_step,
        tuner.after_step,
        lambda: tuner.load_state_dict(state),
    ):
        with pytest.raises(PlanError, match="finished"):
            use()


@every_method
def test_a_finished_model_can_be_prepared_again(name: str, settings: dict[str, Any]) -> None:
    model = tiny_bert()
    prepare(model, name, **settings).finish()
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, 4)
    assert list(tuner.finish().state_dict()) == list(tiny_bert().state_dict())


def test_user_frozen_parameters_never_train() -> None:
    """They are no candidates, keep their bits in every method, and stay frozen after finish."""
    for name, settings in METHOD_SETTINGS:
        model = tiny_bert()
        kept = ["bert.encoder.layer.1.attention.self.query.weight", "bert.embeddings.LayerNorm.bias", "classifier.bias"]
        for parameter_name in kept:
            model.get_parameter(parameter_name).requires_grad_(False)
        start = weights(model)
        tuner = prepare(model, name, **settings)
        optimizer = make_optimizer(model.parameters())
        tuner.attach(optimizer)
        train(model, tuner, optimizer, 12)
        if name != "lora":
            assert all(same_bits(model.state_dict()[n], start[n]) for n in kept), name
        tuner.finish()
        assert {n for n, p in model.named_parameters() if not p.requires_grad} == set(kept)


@every_method
def test_the_state_is_json(name: str, settings: dict[str, Any]) -> None:
    model = tiny_bert()
    tuner = prepare(model, name, **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, 4)
    state = tuner.state_dict()
    again = json.loads(json.dumps(state, allow_nan=False))
    assert again["step"] == 4
    assert again["plan"]["method"] == name
    tuner.load_state_dict(copy.deepcopy(again))
    assert json.loads(json.dumps(tuner.state_dict())) == again
