"""FAR: when it decides, which nodes go on learning, what is counted, and what happens to the moments."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from architectures import ARCHITECTURES
from frostline import Tuner, prepare
from frostline.errors import ConfigError, PlanError, UnsupportedModel
from frostline.methods.split_linear import SplitColumns, SplitRows
from tiny_models import BLOCKS, HIDDEN, INNER, batch, make_optimizer, same_bits, tiny_bert, train, weights

LIN1 = [f"bert.encoder.layer.{depth}.intermediate.dense" for depth in range(BLOCKS)]
LIN2 = [f"bert.encoder.layer.{depth}.output.dense" for depth in range(BLOCKS)]
both_nodes = pytest.mark.parametrize("nodes", ["hidden", "output"])


def learners(tuner: Tuner) -> dict[str, list[int]]:
    chosen: dict[str, list[int]] = tuner.state_dict()["method"]["learners"]
    return chosen


def prepared(model: Any, **settings: Any) -> tuple[Tuner, torch.optim.Optimizer]:
    defaults = {"retention": 0.25, "priming": 0.2, "total_steps": 10}
    tuner = prepare(model, "far", **{**defaults, **settings})
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    return tuner, optimizer


# Counts


@pytest.mark.parametrize(
    ("retention", "trainable", "printed"), [(0.1, 41_461_256, 41.45e6), (0.4, 49_969_928, 49.95e6)]
)
def test_distilbert_counts_are_the_published_ones(retention: float, trainable: int, printed: float) -> None:
    with torch.device("meta"):
        model = DistilBertForSequenceClassification(DistilBertConfig())
    plan = prepare(model, "far", retention=retention, nodes="output").plan
    assert plan.total_parameters == 66_955_010
    assert plan.trainable_parameters == trainable
    assert plan.trainable_parameters == pytest.approx(printed, rel=5e-4)


@both_nodes
@pytest.mark.parametrize("retention", [0.0, 0.1, 0.25, 0.3, 0.99])
def test_counts_after_reconfiguration_are_the_planned_ones(nodes: str, retention: float) -> None:
    model = tiny_bert()
    total = model.num_parameters()
    tuner, optimizer = prepared(model, nodes=nodes, retention=retention)
    train(model, tuner, optimizer, 2)
    assert tuner.trainable_parameters == total
    tuner.before_step()
    assert tuner.trainable_parameters == tuner.plan.trainable_parameters
    assert tuner.trainable_parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    inner, outer = INNER - math.ceil(retention * INNER), HIDDEN - math.ceil(retention * HIDDEN)
    frozen = inner * (2 * HIDDEN + 1) if nodes == "hidden" else inner * (HIDDEN + 1) + outer * (INNER + 1)
    assert tuner.trainable_parameters == total - BLOCKS * frozen


def test_a_share_of_nodes_is_meant_in_decimals() -> None:
    model = tiny_bert(intermediate_size=100)  # 0.07 * 100 is 7.000000000000001
    tuner, _ = prepared(model, retention=0.07, priming=0, choose="random")
    tuner.before_step()
    assert {len(chosen) for chosen in learners(tuner).values()} == {7}


# When


@pytest.mark.parametrize(
    ("priming", "total", "steps"),
    [(0.01, 100, 1), (0.01, 101, 2), (0.2, 10, 2), (0.21, 10, 3), (0.3, 10, 3), (0.1, 30, 3)],
)
def test_priming_lasts_its_share_of_the_steps_rounded_up(priming: float, total: int, steps: int) -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model, priming=priming, total_steps=total)
    for step in range(steps + 1):
        assert not learners(tuner)
        tuner.before_step()
        assert bool(learners(tuner)) == (step == steps)
        model(**batch(step)).loss.backward()
        optimizer.step()
        tuner.after_step()
        optimizer.zero_grad()


def test_the_decision_is_taken_once() -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model)
    train(model, tuner, optimizer, 3)
    chosen, layers = learners(tuner), [model.get_submodule(name) for name in LIN1]
    train(model, tuner, optimizer, 5, start=3)
    assert learners(tuner) == chosen
    assert [model.get_submodule(name) for name in LIN1] == layers


def test_the_length_of_the_run_must_be_known() -> None:
    tuner, _ = prepared(tiny_bert(), total_steps=None)
    with pytest.raises(ConfigError, match=r"give total_steps="):
        tuner.before_step()
    tuner.set_total_steps(10)
    tuner.before_step()


def test_the_settings_length_comes_before_the_drivers() -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model, priming=0.2, total_steps=10)
    tuner.set_total_steps(1000)
    train(model, tuner, optimizer, 3)
    assert learners(tuner)


def test_a_run_that_is_all_priming_is_refused() -> None:
    tuner, _ = prepared(tiny_bert(), priming=0.9, total_steps=2)
    with pytest.raises(ConfigError, match=r"priming=0\.9 takes all 2 steps"):
        tuner.before_step()


def test_without_priming_there_is_nothing_to_learn_the_choice_from() -> None:
    with pytest.raises(ConfigError, match="priming=0 leaves nothing to choose by"):
        prepare(tiny_bert(), "far", priming=0)


@both_nodes
def test_random_choice_needs_neither_priming_nor_a_length(nodes: str) -> None:
    model = tiny_bert()
    tuner, _ = prepared(model, priming=0, choose="random", total_steps=None, nodes=nodes)
    tuner.before_step()
    assert isinstance(model.get_submodule(LIN1[0]), SplitRows)
    assert isinstance(model.get_submodule(LIN2[0]), SplitColumns if nodes == "hidden" else SplitRows)


# Which


def top(moved: Tensor, count: int) -> list[int]:
    return sorted(sorted(range(len(moved)), key=lambda j: -moved[j].item())[:count])


@both_nodes
def test_learners_are_the_nodes_that_moved_most(nodes: str) -> None:
    model = tiny_bert()
    start = weights(model)
    tuner, optimizer = prepared(model, nodes=nodes)
    train(model, tuner, optimizer, 2)
    now = weights(model)
    tuner.before_step()
    inner, outer = math.ceil(0.25 * INNER), math.ceil(0.25 * HIDDEN)
    expected: dict[str, list[int]] = {}
    for lin1, lin2 in zip(LIN1, LIN2, strict=True):
        first, second = ((now[f"{n}.weight"] - start[f"{n}.weight"]).abs() for n in (lin1, lin2))
        if nodes == "hidden":
            expected[lin1] = top(first.sum(1) + second.sum(0), inner)
        else:
            expected |= {lin1: top(first.sum(1), inner), lin2: top(second.sum(1), outer)}
    assert learners(tuner) == expected
    assert_unchanged(now, weights(model))


def assert_unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert list(before) == list(after)
    assert all(same_bits(before[name], after[name]) for name in before)


@both_nodes
@pytest.mark.parametrize("name", ["Llama", "T5 v1.1", "GPT-2"])
def test_gates_and_layers_that_lie_the_other_way_take_part(nodes: str, name: str) -> None:
    architecture = ARCHITECTURES[name]
    model = architecture.make()
    start = weights(model)
    tuner = prepare(model, "far", example=architecture.batch(), retention=0.25, priming=0.2, total_steps=5, nodes=nodes)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)  # AdamW's first step moves all alike
    tuner.attach(optimizer)
    tuner.before_step()
    model(**architecture.batch()).loss.backward()
    optimizer.step()
    tuner.after_step()
    optimizer.zero_grad()
    now = weights(model)
    tuner.before_step()
    assert tuner.trainable_parameters == tuner.plan.trainable_parameters
    expected: dict[str, list[int]] = {}
    for pair in tuner.anatomy.feed_forwards:
        moved = {layer: (now[f"{layer}.weight"] - start[f"{layer}.weight"]).abs() for layer in pair.layers}
        if name == "GPT-2":
            moved = {layer: tensor.t() for layer, tensor in moved.items()}
        if nodes == "hidden":
            inner = sum(moved[layer].sum(1) for layer in pair.widening) + moved[pair.lin2].sum(0)
            expected |= dict.fromkeys(pair.widening, top(inner, math.ceil(0.25 * pair.hidden)))
        else:
            expected |= {layer: top(moved[layer].sum(1), math.ceil(0.25 * len(moved[layer]))) for layer in pair.layers}
    assert learners(tuner) == expected
    assert len(tuner.anatomy.feed_forwards[0].widening) == (1 if name == "GPT-2" else 2)
    assert_unchanged(now, weights(model))


@both_nodes
def test_random_choice_is_by_seed_and_differs_between_layers(nodes: str) -> None:
    def chosen(seed: int) -> dict[str, list[int]]:
        tuner, _ = prepared(tiny_bert(), choose="random", priming=0, nodes=nodes, seed=seed)
        tuner.before_step()
        return learners(tuner)

    first, again, other = chosen(0), chosen(0), chosen(1)
    assert first == again
    assert all(first[layer] != other[layer] for layer in first)
    assert first[LIN1[0]] != first[LIN1[1]]
    assert set(first) == set(LIN1 if nodes == "hidden" else LIN1 + LIN2)
    assert all(picked == sorted(set(picked)) and max(picked) < INNER for picked in first.values())


@both_nodes
def test_reconfiguring_changes_no_logit_beyond_rounding(nodes: str) -> None:
    model = tiny_bert().double()
    tuner, optimizer = prepared(model, nodes=nodes)
    train(model, tuner, optimizer, 2)
    model.eval()
    before = model(**batch(5)).logits
    tuner.before_step()
    assert learners(tuner)
    torch.testing.assert_close(model(**batch(5)).logits, before, rtol=0, atol=1e-13)


@both_nodes
def test_units_become_groups_of_nodes(nodes: str) -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model, nodes=nodes)
    whole = sum(unit.parameter_count for unit in tuner.units)
    train(model, tuner, optimizer, 3)
    groups = {unit.name: unit for unit in tuner.units if unit.kind == "nodes"}
    assert set(groups) == {f"{layer}.{group}" for layer in LIN1 + LIN2 for group in ("learners", "frozen")}
    assert sum(unit.parameter_count for unit in tuner.units) == whole
    assert groups[f"{LIN1[1]}.learners"].shape == (12,)
    assert groups[f"{LIN1[1]}.frozen"].shape == (INNER - 12,)
    assert groups[f"{LIN1[1]}.learners"].block == 1
    assert tuner.active == {unit.name for unit in tuner.units if not unit.name.endswith(".frozen")}


# The optimizer


@both_nodes
def test_learners_go_on_with_their_own_moments(nodes: str) -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model, nodes=nodes)
    train(model, tuner, optimizer, 2)
    plain = {n: optimizer.state[p] for n, p in model.named_parameters()}
    moments = {n: {k: v.clone() for k, v in state.items()} for n, state in plain.items()}
    tuner.before_step()
    chosen, params = learners(tuner), dict(model.named_parameters())
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in params.values()}
    assert set(optimizer.state) == set(params.values())
    for lin1, lin2 in zip(LIN1, LIN2, strict=True):
        picked = chosen[lin1]
        order = picked + [j for j in range(INNER) if j not in picked]
        for key in ("exp_avg", "exp_avg_sq"):
            before = {n: moments[n][key] for n in moments}
            after = {n: optimizer.state[p][key] for n, p in params.items()}
            assert same_bits(after[f"{lin1}.weight"], before[f"{lin1}.weight"][picked])
            assert same_bits(after[f"{lin1}.bias"], before[f"{lin1}.bias"][picked])
            if nodes == "hidden":
                assert same_bits(after[f"{lin2}.weight"], before[f"{lin2}.weight"][:, picked].t().contiguous())
                assert same_bits(after[f"{lin2}.bias"], before[f"{lin2}.bias"])
            else:
                rows = before[f"{lin2}.weight"][chosen[lin2]]
                assert same_bits(after[f"{lin2}.weight"], rows[:, order])
                assert same_bits(after[f"{lin2}.bias"], before[f"{lin2}.bias"][chosen[lin2]])
            assert same_bits(after["classifier.weight"], before["classifier.weight"])
        assert optimizer.state[params[f"{lin1}.weight"]]["step"] == 2


@both_nodes
def test_learners_train_as_if_only_they_were_left_in_plain_training(nodes: str) -> None:
    """After the decision, the learners follow stock AdamW with the frozen nodes' gradients set to None."""
    torch.manual_seed(0)
    model, stock = tiny_bert().double(), tiny_bert().double()
    tuner, optimizer = prepared(model, nodes=nodes)
    plain = make_optimizer(stock.parameters())
    for index in range(6):
        train(model, tuner, optimizer, 1, start=index)
        kept = weights(stock)
        stock(**batch(index)).loss.backward()
        plain.step()
        plain.zero_grad()
        with torch.no_grad():  # put the frozen nodes back
            for name, chosen in learners(tuner).items():
                layer = stock.get_submodule(name)
                rest = [j for j in range(layer.weight.shape[0]) if j not in chosen]
                layer.weight[rest], layer.bias[rest] = kept[f"{name}.weight"][rest], kept[f"{name}.bias"][rest]
                if nodes == "hidden":
                    lin2 = name.replace("intermediate", "output")
                    stock.get_submodule(lin2).weight[:, rest] = kept[f"{lin2}.weight"][:, rest]
    tuner.finish()
    # AdamW divides by the root of second moments near 0 (the key biases'), which magnifies rounding; look at the FFN
    for name in (f"{layer}.weight" for layer in LIN1 + LIN2):
        torch.testing.assert_close(model.state_dict()[name], stock.state_dict()[name], rtol=0, atol=1e-6)


@both_nodes
def test_an_optimizer_attached_after_the_decision_holds_the_learners(nodes: str) -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model, nodes=nodes)
    train(model, tuner, optimizer, 3)
    tuner.attach(make_optimizer(model.parameters()))
    train(model, tuner, tuner._state.optimizer, 2, start=3)


def test_an_optimizer_whose_moments_cannot_be_cut_is_refused() -> None:
    model = tiny_bert()
    tuner, _ = prepared(model)
    optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-3)
    tuner.attach(optimizer)
    with pytest.raises(PlanError, match=r"Adafactor keeps .* cannot be cut to its learners; use .* AdamW"):
        train(model, tuner, optimizer, 3)


# Refusals


def test_a_model_without_ffn_pairs_is_refused_by_block() -> None:
    architecture = ARCHITECTURES["ModernBERT"]  # one Linear gives the gate and what it scales
    with pytest.raises(UnsupportedModel, match=r"'model\.layers\.0' has none among model\.layers\.0\.attn"):
        prepare(architecture.make(), "far", example=architecture.batch())


@pytest.mark.parametrize("frozen", [f"{LIN1[1]}.weight", f"{LIN2[1]}.weight", f"{LIN1[1]}.bias", f"{LIN2[1]}.bias"])
def test_an_ffn_that_the_user_froze_in_part_is_refused(frozen: str) -> None:
    """Its nodes would thaw what was to stay frozen, or be counted wrongly."""
    model = tiny_bert()
    model.get_parameter(frozen).requires_grad_(False)
    with pytest.raises(UnsupportedModel, match=r"'far' needs in every block .*trainable; 'bert\.encoder\.layer\.1'"):
        prepare(model, "far")


def test_a_state_of_other_starting_weights_is_refused() -> None:
    tuner, _ = prepared(tiny_bert(seed=0))
    other, _ = prepared(tiny_bert(seed=1))
    with pytest.raises(PlanError, match=f"'{LIN1[0]}' did not start from the weights"):
        other.load_state_dict(tuner.state_dict())


@pytest.mark.parametrize("choose", ["learned", "random"])
def test_a_reconfigured_model_cannot_go_back_to_priming(choose: str) -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model, choose=choose)
    before = tuner.state_dict()
    train(model, tuner, optimizer, 3)
    with pytest.raises(PlanError, match="far"):
        tuner.load_state_dict(before)


def test_other_learners_are_refused() -> None:
    model = tiny_bert()
    tuner, optimizer = prepared(model)
    train(model, tuner, optimizer, 3)
    state = tuner.state_dict()
    state["method"] = {**state["method"], "learners": {n: [0] for n in learners(tuner)}}
    with pytest.raises(PlanError, match="with other learners"):
        tuner.load_state_dict(state)
