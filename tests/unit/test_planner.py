"""The planner: what is rehearsed is what real tensors take, the ladder goes down, and budgets are kept."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BartConfig, BertConfig, DebertaV2Config, PretrainedConfig, SwinConfig, T5Config, ViTConfig

from frostline.anatomy import discover
from frostline.anatomy.batches import LABELS
from frostline.errors import BudgetInfeasible, ConfigError, UnsupportedModel
from frostline.meter.steps import Run, Steps, measure_tensors, meta_step
from frostline.meter.tensors import TensorTracker
from frostline.methods.knapsack import best_set
from frostline.planner.ladder import ladder
from frostline.planner.limits import MARGIN, Limits
from frostline.planner.pricing import heaviest, prices, traced
from frostline.planner.rehearsal import rehearse, rehearse_inference
from frostline.planner.request import Request, largest_batch, make_plan, steps_of
from frostline.planner.search import search, smallest
from frostline.storage import with_blocks

torch.set_num_threads(1)  # small matrices: threads would only wait for each other

_SIZES: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 4,
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    BertConfig(vocab_size=2000, **_SIZES).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("deep")
    sizes = {"num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4}
    BertConfig(vocab_size=500, max_position_embeddings=64, **sizes).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vit")
    ViTConfig(image_size=32, patch_size=8, **_SIZES).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("method", "settings", "policy", "storage"),
    [
        *(("full", {}, "keep", storage) for storage in ("exact", "lossless", "compact", "smallest")),
        ("lora", {"rank": 2}, "keep", "compact"),
        ("layers", {"count": 1}, "keep", "smallest"),
        ("slimfit", {"rate": 0.75}, "release", "exact"),
        ("slimfit", {"rate": 0.75}, "release", "smallest"),
        ("far", {"priming": 0.5}, "keep", "compact"),
    ],
)
def test_a_rehearsal_is_what_real_tensors_take(
    bert: str, method: str, settings: dict[str, Any], policy: str, storage: str
) -> None:
    steps = Steps(bert, 8, 32, method=method, settings=settings, storage=storage, optimizer_state=policy, count=4)
    predicted, measured = rehearse(steps), measure_tensors(steps)["memory"]
    assert measured["tensor_peak"] == pytest.approx(predicted.peak, rel=0.03)


@pytest.mark.parametrize("bf16", [False, True])
def test_inference_is_what_a_forward_pass_takes(bert: str, vit: str, bf16: bool) -> None:
    for model, length in ((bert, 32), (vit, None)):
        steps = Steps(model, 8, length, bf16=bf16)
        run = Run.real(steps)
        run.model.eval()
        inputs = {name: value for name, value in run.batch.items() if name not in LABELS}
        with (
            torch.no_grad(),
            TensorTracker(run.model, "cpu") as tracker,
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            run.model(**inputs)
        assert tracker.peak_bytes == pytest.approx(rehearse_inference(steps), rel=0.01)


def test_a_budget_may_be_times_inference(bert: str) -> None:
    found = make_plan(Request(bert, 8, "2.5x", 32, runtime=10**7))
    assert found["inference"] == rehearse_inference(Steps(bert, 8, 32)) + 10**7
    assert found["budget"] == int(2.5 * found["inference"])
    assert found["predicted"]["peak"] <= found["budget"]
    half = make_plan(Request(bert, 8, found["budget"] // 2, 32, runtime=10**7))
    assert half["inference"] == found["inference"]


def test_less_than_inference_is_refused_with_the_smallest(bert: str) -> None:
    with pytest.raises(BudgetInfeasible, match="smallest"):
        make_plan(Request(bert, 8, "0.9x", 32, runtime=10**7))


@pytest.mark.parametrize("storage", ["exact", "compact", "smallest"])
def test_of_images_too(vit: str, storage: str) -> None:
    steps = Steps(vit, 8, storage=storage, count=3)
    assert measure_tensors(steps)["memory"]["tensor_peak"] == pytest.approx(rehearse(steps).peak, rel=0.03)


def test_of_a_model_that_would_look_at_the_labels(tmp_path: Path) -> None:
    sizes = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 4, **_SIZES}
    DebertaV2Config(vocab_size=500, norm_rel_ebd="layer_norm", share_att_key=True, **sizes).save_pretrained(tmp_path)
    steps = Steps(str(tmp_path), 8, 16, count=2)
    assert measure_tensors(steps)["memory"]["tensor_peak"] == pytest.approx(rehearse(steps).peak, rel=0.03)


def _t5() -> PretrainedConfig:
    return T5Config(vocab_size=500, d_model=128, d_kv=32, d_ff=512, num_layers=2, num_heads=4, decoder_start_token_id=0)


def _bart() -> PretrainedConfig:
    return BartConfig(
        vocab_size=500,
        d_model=128,
        max_position_embeddings=64,
        **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 512 for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    )


@pytest.mark.parametrize("config", [_t5, pytest.param(_bart, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("method", "settings", "storage"),
    [("full", {}, "exact"), ("full", {}, "smallest"), ("layers", {"count": 1}, "compact")],
)
def test_of_classifiers_that_look_for_the_end_of_a_text(
    config: Callable[[], PretrainedConfig], method: str, settings: dict[str, Any], storage: str, tmp_path: Path
) -> None:
    config().save_pretrained(tmp_path)
    steps = Steps(str(tmp_path), 8, 32, method=method, settings=settings, storage=storage, count=2)
    assert measure_tensors(steps)["memory"]["tensor_peak"] == pytest.approx(rehearse(steps).peak, rel=0.03)
    assert rehearse(steps, evaluation=800).peak > rehearse(steps).peak  # its texts end, too


@pytest.mark.parametrize("config", [_t5, pytest.param(_bart, marks=pytest.mark.slow)])
def test_a_plan_for_them_keeps_its_budget(config: Callable[[], PretrainedConfig], tmp_path: Path) -> None:
    config().save_pretrained(tmp_path)
    whole = rehearse(Steps(str(tmp_path), 8, 32, count=2)).peak
    request = Request(str(tmp_path), 8, 4 * whole // 5, 32, runtime=0)
    plan = make_plan(request)
    measured = measure_tensors(steps_of(request, plan["plan"]))["memory"]["tensor_peak"]
    assert measured <= 4 * whole // 5
    assert measured == pytest.approx(plan["predicted"]["tensors"], rel=0.05)
    assert largest_batch(request) > 8


def test_fused_backward_parts_and_evaluation_count(bert: str) -> None:
    steps = Steps(bert, 8, 16, count=2)
    plain = rehearse(steps).peak
    assert rehearse(Steps(bert, 8, 16, count=2, fused_backward=True)).peak < plain
    assert rehearse(steps, parts=2).peak > plain
    assert rehearse(steps, evaluation=800).peak > 1.5 * plain


def test_the_ladder_goes_down(bert: str) -> None:
    steps = Steps(bert, 16, 64, count=2)
    rungs = [rung for rung in ladder(None, blocks=2) if not rung.budgeted]
    peaks = [rehearse(Steps(bert, 16, 64, count=2, **rung.changes)).peak for rung in rungs]
    full, blocks = peaks[:5], peaks[5:]
    assert full == sorted(full, reverse=True)
    assert blocks == sorted(blocks, reverse=True)
    assert all(peak < of_full for of_full, peak in zip(full, blocks, strict=True))
    assert rungs[0].changes == {"method": "full", "storage": "exact"}
    assert rungs[5].changes == {"method": "layers", "settings": {"count": 2}, "storage": "exact"}
    assert smallest(steps, ladder("full")).rehearsal.peak < min(peaks)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.85])
def test_memory_that_is_left_gives_the_last_blocks_the_storage_above(tmp_path: Path, share: float) -> None:
    BertConfig(vocab_size=2000, **_SIZES | {"num_hidden_layers": 4}).save_pretrained(tmp_path)
    steps = Steps(str(tmp_path), 16, 64, count=2)
    lossless, compact = (rehearse(replace(steps, storage=storage)).peak for storage in ("lossless", "compact"))
    limits = Limits(Limits(0).budget_for(int(compact + share * (lossless - compact))))
    chosen = search(steps, limits, ladder("full"))[-1]
    assert 0 < chosen.rung.better < 4
    assert compact < chosen.rehearsal.peak <= limits.tensors
    blocks = discover(*meta_step(steps)).blocks
    one_more = with_blocks("compact", blocks[-chosen.rung.better - 1 :], "lossless")
    assert rehearse(replace(steps, storage=one_more)).peak > limits.tensors
    measured = measure_tensors(replace(chosen.steps, count=3))["memory"]["tensor_peak"]
    assert measured == pytest.approx(chosen.rehearsal.peak, rel=0.03)


def test_of_stock_storage_too_and_in_the_words_of_a_plan(bert: str) -> None:
    stock, lossless = (rehearse(Steps(bert, 16, 64, storage=storage)).peak for storage in ("exact", "lossless"))
    found = make_plan(Request(bert, 16, Limits(0).budget_for((stock + lossless) // 2), 64, runtime=0))
    assert found["rungs"][-1]["name"] == "full, storage lossless, 1 of the blocks stock storage"
    assert set(found["plan"]["storage"].values()) == {"lossless", "stock"}


def test_what_the_user_chose_is_kept() -> None:
    assert {rung.changes["method"] for rung in ladder("slimfit")} == {"slimfit"}
    assert {rung.changes["storage"] for rung in ladder("full", "compact")} == {"compact"}
    assert not any(rung.changes.get("fused_backward") for rung in ladder(None, blocks=2, fused=False))


def test_a_smaller_budget_gets_another_plan_and_keeps_it(bert: str) -> None:
    steps = Steps(bert, 16, 64, count=2)
    rungs = ladder("full")
    whole = rehearse(steps).peak
    names = []
    for share in (1.0, 0.6, 0.36):
        limits = Limits(int(share * whole / (1 - MARGIN)) + 1000, 500)
        chosen = search(steps, limits, rungs)[-1]
        assert chosen.rehearsal.peak <= limits.tensors < limits.budget - 500
        names.append(chosen.rung.name)
    assert len(set(names)) == 3
    assert names[0] == "full, stock storage"


def test_half_the_budget_gives_another_plan_and_half_the_measured_peak(bert: str) -> None:
    steps = Steps(bert, 32, 64, count=2)
    rungs = ladder(None, blocks=2)
    whole = Limits(0).budget_for(rehearse(steps).peak)
    found = [search(steps, Limits(budget), rungs)[-1] for budget in (whole, whole // 2)]
    peaks = [measure_tensors(replace(tried.steps, count=4))["memory"]["tensor_peak"] for tried in found]
    assert found[0].rung.name != found[1].rung.name
    assert peaks[1] <= whole // 2 < peaks[0] <= whole


@pytest.mark.parametrize(("method", "examples", "tokens"), [("full", 2, 16), ("auto", 128, 384)])
def test_one_byte_too_few_is_refused_naming_the_smallest(bert: str, method: str, examples: int, tokens: int) -> None:
    steps = Steps(bert, examples, tokens, count=2)
    rungs = ladder(method, blocks=2)
    least = smallest(steps, rungs, whole=True).rehearsal.peak
    budget = Limits(0, 5).budget_for(least)
    assert search(steps, Limits(budget, 5), rungs, whole=True)[-1].rehearsal.peak == least
    with pytest.raises(BudgetInfeasible, match=f"{budget:,} bytes"):
        search(steps, Limits(budget - 1, 5), rungs, whole=True)


@pytest.mark.parametrize("policy", ["keep", "release"])
def test_no_set_that_auto_may_choose_passes_its_budget(bert: str, policy: str) -> None:
    steps = Steps(bert, 8, 32, storage="compact", optimizer_state=policy, count=12)
    paid = prices(traced(steps), policy, discover(*meta_step(steps)))
    assert any("word_embeddings" in name for name in paid.costs) == (policy == "release")
    least, most = (heaviest(steps, paid, Limits(tensors))[1].peak for tensors in (0, 10**12))
    limits = Limits(Limits(0).budget_for(least + (most - least) // 3))
    tensors = limits.tensors
    settings, predicted, _ = heaviest(steps, paid, limits)
    assert predicted.peak <= tensors
    run = Steps(bert, 8, 32, None, "auto", settings, "compact", policy, count=12)
    measured = measure_tensors(run)["memory"]["tensor_peak"]
    assert 0.6 * tensors < measured <= tensors


@pytest.mark.parametrize(
    ("storage", "policy", "share"),
    [
        ("compact", "keep", 0.6),
        pytest.param("exact", "release", 0.6, marks=pytest.mark.slow),
        pytest.param("exact", "keep", 0.2, marks=pytest.mark.slow),
        pytest.param("smallest", "release", 0.2, marks=pytest.mark.slow),
        pytest.param("smallest", "release", 0.8, marks=pytest.mark.slow),
    ],
)
def test_nor_does_any_other_within_its_capacity(deep: str, storage: str, policy: str, share: float) -> None:
    steps = Steps(deep, 16, 32, storage=storage, optimizer_state=policy, count=2)
    paid = prices(traced(steps), policy, discover(*meta_step(steps)))
    least, most = (heaviest(steps, paid, Limits(bytes))[1].peak for bytes in (0, 10**12))
    limits = Limits(Limits(0).budget_for(int(least + (most - least) * share)))
    settings, predicted, _ = heaviest(steps, paid, limits)
    assert predicted.peak <= limits.tensors
    chance, costs, levels = random.Random(0), list(paid.costs.values()), paid.levels
    kinds = [name.rpartition(".")[2] for name in paid.costs]
    wishes = [
        [chance.random() for _ in costs],
        [chance.random() ** 8 for _ in costs],
        [1.0 if kind == "query" else 1e-6 for kind in kinds],
        [1.0 if kind == "LayerNorm" else 1e-6 for kind in kinds],
        [1.0 if level == 2 else 1e-6 for level in levels],
        [1.0 if level == 0 else 1e-6 for level in levels],
    ]
    for values in wishes:
        chosen = best_set(values, costs, levels, paid.depths, settings["capacity"])
        units = frozenset().union(*(paid.units[list(paid.costs)[place]] for place in chosen))
        own = replace(steps, method="auto", settings=settings)
        assert not chosen or rehearse(own, [units]).peak <= limits.tensors


def test_auto_uses_what_it_is_given(deep: str) -> None:
    steps = Steps(deep, 16, 32, storage="compact", optimizer_state="keep", count=2)
    paid = prices(traced(steps), "keep", discover(*meta_step(steps)))
    whole = heaviest(steps, paid, Limits(10**12))
    assert whole[0]["capacity"] == paid.most
    assert paid.share(paid.most) == 1.0
    least = heaviest(steps, paid, Limits(0))[1].peak
    limits = Limits(Limits(0).budget_for((least + whole[1].peak) // 2))
    settings, found, _ = heaviest(steps, paid, limits)
    assert 0.85 * limits.tensors < found.peak
    assert 0.1 < paid.share(settings["capacity"]) < 1


def test_what_is_asked_of_auto_is_kept_but_what_the_budget_decides(bert: str) -> None:
    asked = Request(bert, 8, 2**40, 16, method="auto", settings={"every": 5}, optimizer_state="release", runtime=0)
    found = make_plan(asked)["plan"]
    assert found["settings"]["every"] == 5
    assert found["optimizer_state"] == "release"
    with pytest.raises(ConfigError, match="its capacity come from the budget"):
        Request(bert, 8, 2**40, 16, method="auto", settings={"capacity": 5})
    with pytest.raises(ConfigError, match="bananas"):
        make_plan(replace(asked, settings={"bananas": 5}))


@pytest.mark.slow
def test_where_work_is_limited_most_trains(bert: str) -> None:
    whole = make_plan(Request(bert, 16, 2**40, 32, runtime=0))["predicted"]["flops"]
    asked = Request(bert, 16, 2**40, 32, flops=0.75 * whole, runtime=0)
    found = make_plan(asked)
    chosen = found["rungs"][-1]
    others = [make_plan(replace(asked, method="auto", storage=way))["rungs"][-1] for way in ("exact", "smallest")]
    assert chosen["flops"] <= 0.75 * whole
    assert chosen["share"] == max(rung["share"] for rung in (chosen, *others))
    assert others[0]["share"] > others[1]["share"]


def test_a_plan_that_is_there_keeps_all_that_it_says(bert: str) -> None:
    keys = make_plan(Request(bert, 8, 2**40, 16, runtime=0))["plan"] | {"max_grad_norm": 0.25, "allocator": "default"}
    found = make_plan(Request(bert, 8, 2**40, 16, keys=keys, runtime=0))["plan"]
    assert found == keys


def test_where_gradients_are_clipped_a_refusal_says_what_that_costs(bert: str) -> None:
    with pytest.raises(BudgetInfeasible, match="with max_grad_norm=0 each may go"):
        make_plan(Request(bert, 8, 5000, 16, fused=False, runtime=0))


def test_auto_has_no_budget_where_tables_of_positions_train_within_blocks(tmp_path: Path) -> None:
    sizes = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4]}
    SwinConfig(window_size=4, drop_path_rate=0.0, **sizes).save_pretrained(tmp_path)
    steps = Steps(str(tmp_path), 8, count=2)
    whole = rehearse(steps).peak
    chosen = search(steps, Limits(Limits(0).budget_for(whole // 2)), ladder(None, blocks=4))[-1]
    assert not chosen.rung.budgeted
    assert not smallest(steps, ladder(None, blocks=4)).rung.budgeted
    assert measure_tensors(replace(chosen.steps, count=4))["memory"]["tensor_peak"] <= whole // 2
    with pytest.raises(UnsupportedModel, match="method 'auto' cannot be held to a budget"):
        search(steps, Limits(Limits(0).budget_for(whole)), ladder("auto"))


def test_a_batch_is_split_into_equal_parts(bert: str) -> None:
    rungs = [rung for rung in ladder("full", "exact", fused=False) if not rung.budgeted]
    for examples, fewest in ((5, 5), (6, 2)):
        steps = Steps(bert, examples, 256, count=2)
        limits = Limits(Limits(0).budget_for(rehearse(steps).peak - 1))
        tried = search(steps, limits, rungs)
        assert all(found.steps.batch_size * found.rung.split == examples for found in tried)
        assert tried[-1].rung.split == fewest


def test_before_weights_wait_for_their_turn_the_tables_of_embeddings_do(tmp_path: Path) -> None:
    BertConfig(vocab_size=30000, **_SIZES).save_pretrained(tmp_path)
    steps = Steps(str(tmp_path), 8, 16, count=2)
    rungs = ladder(None, blocks=2)
    full = smallest(steps, ladder("full")).rehearsal.peak
    tried = search(steps, Limits(Limits(0).budget_for(full - 1)), rungs)
    assert (tried[-1].rung.name, tried[-1].share) == ("all blocks, stock storage", 1.0)
    assert tried[-1].rehearsal.peak < full / 2
