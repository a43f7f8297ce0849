"""`frostline.prepare` in a script of one's own: with a budget it plans first, and keeps what it planned."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import frostline
from architectures import ARCHITECTURES
from frostline.errors import BudgetExceeded, BudgetInfeasible, ConfigError
from frostline.methods.full import Full

torch.set_num_threads(1)
BATCH, LENGTH = 8, 32


@pytest.fixture
def model() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=500, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    return BertForSequenceClassification(config).train()


@pytest.fixture
def longest() -> dict[str, torch.Tensor]:
    tokens = torch.randint(1, 500, (BATCH, LENGTH))
    return {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "labels": torch.zeros(BATCH, dtype=torch.long),
    }


def step(model: Any, tuner: frostline.Tuner, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]) -> None:
    tuner.before_step()
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    tuner.after_step()


def test_without_a_budget_it_is_full_fine_tuning(model: Any) -> None:
    tuner = frostline.prepare(model)
    assert tuner.plan.method == "full"
    assert tuner.planned is None


def test_a_large_budget_leaves_everything_as_it_is(model: Any, longest: dict[str, torch.Tensor]) -> None:
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    tuner = frostline.prepare(model, budget=psutil.Process().memory_info().rss + 2**31, example=longest)
    assert (tuner.plan.method, tuner.plan.storage) == ("full", "exact")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert tuner.planned is not None
    assert tuner.planned["predicted"]["peak"] < tuner.planned["budget"]
    optimizer = torch.optim.AdamW(tuner.candidate_parameters())
    tuner.attach(optimizer)
    step(model, tuner, optimizer, longest)
    step(
        model, tuner, optimizer, {name: value[:, :16] if value.dim() > 1 else value for name, value in longest.items()}
    )


def test_a_batch_beyond_the_longest_is_refused_before_it_computes(model: Any, longest: dict[str, torch.Tensor]) -> None:
    tuner = frostline.prepare(model, budget=psutil.Process().memory_info().rss + 2**31, example=longest)
    double = {name: torch.cat([value, value]) for name, value in longest.items()}
    with pytest.raises(BudgetExceeded, match=r"step 1: input_ids of shape \(16, 32\) is more than the \(8, 32\)"):
        model(**double)
    model.eval()
    model(**double)
    tuner.finish()
    model.train()(**double)


def test_by_position_or_in_place_of_another_a_batch_is_refused_too(
    model: Any, longest: dict[str, torch.Tensor]
) -> None:
    tuner = frostline.prepare(model, budget=psutil.Process().memory_info().rss + 2**31, example=longest)
    double = longest["input_ids"].repeat(1, 2)
    with pytest.raises(BudgetExceeded, match=r"input_ids of shape \(8, 64\) is more than the \(8, 32\)"):
        model(double, labels=longest["labels"])
    embedded = model.get_input_embeddings()(double)
    with pytest.raises(BudgetExceeded, match=r"inputs_embeds of shape \(8, 64, \d+\) is more than the \(8, 32\)"):
        model(inputs_embeds=embedded, labels=longest["labels"])
    model(inputs_embeds=embedded[:, :32], position_ids=torch.arange(32)[None], labels=longest["labels"])
    tuner.finish()


def test_what_the_user_chose_is_kept(model: Any, longest: dict[str, torch.Tensor]) -> None:
    budget = psutil.Process().memory_info().rss + 2**31
    tuner = frostline.prepare(model, "slimfit", rate=0.75, storage="compact", budget=budget, example=longest)
    assert (tuner.plan.method, tuner.plan.settings["rate"], tuner.plan.storage) == ("slimfit", 0.75, "compact")


def test_a_step_that_passes_the_budget_stops_the_loop(model: Any, longest: dict[str, torch.Tensor]) -> None:
    tuner = frostline.prepare(model, budget=psutil.Process().memory_info().rss + 2**28, example=longest)
    optimizer = torch.optim.AdamW(tuner.candidate_parameters())
    tuner.attach(optimizer)
    ballast = torch.ones(2**27)
    with pytest.raises(BudgetExceeded, match=r"step 1 took .* more than the budget"):
        step(model, tuner, optimizer, longest)
    del ballast


@pytest.mark.parametrize("left_out", ["labels", None])
def test_the_longest_batch_is_needed_with_its_labels(
    model: Any, longest: dict[str, torch.Tensor], left_out: str | None
) -> None:
    example = None if left_out is None else {name: value for name, value in longest.items() if name != left_out}
    with pytest.raises(ConfigError, match="a budget needs example="):
        frostline.prepare(model, budget="8GiB", example=example)


def test_refusals(model: Any, longest: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ConfigError, match="register Full as a plugin"):
        frostline.prepare(model, Full, budget="8GiB", example=longest)
    with pytest.raises(BudgetInfeasible, match="the smallest that BertForSequenceClassification"):
        frostline.prepare(model, budget="20MiB", example=longest)
    frostline.prepare(model)  # nothing of the attempts is left on the model


def test_a_classifier_that_looks_for_the_end_of_a_text_is_planned_from_the_examples() -> None:
    architecture = ARCHITECTURES["BART for classification"]
    model, example = architecture.make(), architecture.batch(examples=8)
    tuner = frostline.prepare(model, budget="4GiB", example=example)
    assert tuner.planned is not None
    assert model(**example).loss.requires_grad


@pytest.mark.parametrize("name", ["T5", "BART", "GPT-2, next token", "ViT", "Llama"])
def test_every_kind_of_model_is_planned_beside_its_inference(name: str) -> None:
    """A decoder's tokens may come from the labels, which inference has not."""
    architecture = ARCHITECTURES[name]
    tuner = frostline.prepare(architecture.make(), budget="4GiB", example=architecture.batch(examples=4))
    assert tuner.planned is not None
    assert 0 < tuner.planned["inference"] <= tuner.planned["predicted"]["peak"]
