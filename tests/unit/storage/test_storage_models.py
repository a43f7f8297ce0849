"""Storage on whole models: the forward pass is stock's, the gradients are near enough, less is kept, all comes off."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

import frostline
from frostline.anatomy.sites import kept
from frostline.errors import ConfigError, StorageError
from frostline.storage import PRESETS, with_blocks
from storage_checks import cosine, model_gradients, saved_bytes
from tiny_models import (
    HIDDEN,
    METHOD_IDS,
    METHOD_SETTINGS,
    assert_same_weights,
    batch,
    family,
    make_optimizer,
    tiny_bert,
    train,
    weights,
)

FAMILIES = ["bert", "distilbert", "roberta", "electra", "vit"]
STORED = [name for name in PRESETS if name != "exact"]
# Of the whole model's gradient, against stock's with the same random numbers.
COSINES = {"lossless": 1 - 1e-12, "compact": 0.999, "slimfit": 0.9, "smallest": 0.998}


def _batch(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    if name == "vit":
        torch.manual_seed(3)
        return {"pixel_values": torch.randn(4, 3, 16, 16, dtype=dtype), "labels": torch.tensor([0, 1, 0, 1])}
    values = batch(0, length=12)
    values["attention_mask"][1, 9:] = 0
    return values


@pytest.mark.parametrize("storage", STORED)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_beside_stocks_with_dropout_on(name: str, storage: str) -> None:
    model = family(name).double().train()
    values = _batch(name, torch.float64)
    logits, exact = model_gradients(model, values)
    tuner = frostline.prepare(model, "full", storage=storage)
    ours, found = model_gradients(model, values)
    torch.testing.assert_close(ours, logits, rtol=1e-12, atol=1e-12)
    assert cosine(found, exact) >= COSINES[storage]
    tuner.finish()
    again, after = model_gradients(model, values)
    assert torch.equal(again, logits)
    assert all(torch.equal(after[key], exact[key]) for key in exact)


@pytest.mark.parametrize("storage", STORED)
@pytest.mark.parametrize("name", FAMILIES)
def test_without_dropout_the_forward_pass_is_stocks_to_the_bit(name: str, storage: str) -> None:
    model = family(name).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    values = _batch(name, torch.float32)
    stock = model(**values).logits
    frostline.prepare(model, "full", storage=storage)
    assert torch.equal(model(**values).logits, stock)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(**values).logits, stock)


def test_a_block_that_waits_in_a_file_loses_nothing() -> None:
    model, values = tiny_bert(dropout=0.1).double(), batch()
    _, exact = model_gradients(model, values)
    frostline.prepare(model, "full", storage={"preset": "lossless", "block": "file"})
    assert cosine(model_gradients(model, values)[1], exact) > 1 - 1e-12


def test_a_block_on_a_cpu_cannot_wait_on_the_cpu() -> None:
    model = tiny_bert()
    frostline.prepare(model, "full", storage={"block": "cpu"})
    with pytest.raises(StorageError, match=r"^bert\.encoder\.layer\.0: storage 'cpu' .* Use `file`"):
        model(**batch())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_preset_keeps_less_than_the_one_before(name: str) -> None:
    values = _batch(name, torch.float32)
    kept = []
    for storage in ("exact", "lossless", "compact"):
        model = family(name).train()
        frostline.prepare(model, "full", storage=storage)
        kept.append(saved_bytes(lambda model=model: model(**values).loss, model))
    assert kept[0] > 1.3 * kept[1]
    assert kept[1] > 1.5 * kept[2]


def test_smallest_keeps_little_of_a_block() -> None:
    values = batch(0, size=64, length=16)
    kept = []
    for storage in ("compact", "smallest"):
        model = tiny_bert(dropout=0.1, num_hidden_layers=4)
        frostline.prepare(model, "full", storage=storage)
        kept.append(saved_bytes(lambda model=model: model(**values).loss, model))
    assert kept[1] < kept[0] / 2


def test_a_frozen_linear_keeps_nothing_and_its_activation_a_few_bits() -> None:
    values = batch(0, size=8, length=16)
    kept = {}
    for method in ("full", "bitfit"):
        model = tiny_bert()
        tuner = frostline.prepare(model, method, storage="compact")
        kept[method] = saved_bytes(lambda model=model: model(**values).loss, model)
        tuner.finish()
    assert kept["bitfit"] < 0.75 * kept["full"]


@pytest.mark.parametrize(("method", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)
@pytest.mark.parametrize("storage", ["lossless", "smallest"])
def test_every_method_trains_alike(method: str, settings: dict[str, Any], storage: str) -> None:
    trained = []
    for choice in ("exact", storage):
        model = tiny_bert(dropout=0.1).double()
        tuner = frostline.prepare(model, method, storage=choice, **settings)
        optimizer = make_optimizer(tuner.candidate_parameters(), "sgd")
        tuner.attach(optimizer)
        torch.manual_seed(11)
        train(model, tuner, optimizer, 5)
        trained.append(weights(tuner.finish()))
    assert list(trained[0]) == list(trained[1])
    for name, exact in trained[0].items():
        tolerance = 1e-9 if storage == "lossless" else 0.02 * float(exact.abs().max()) + 1e-3
        torch.testing.assert_close(trained[1][name], exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("method", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)
def test_every_method_resumes_alike(method: str, settings: dict[str, Any]) -> None:
    def start() -> tuple[nn.Module, Any, Any]:
        model = tiny_bert(dropout=0.1)
        tuner = frostline.prepare(model, method, storage="smallest", **settings)
        optimizer = make_optimizer(tuner.candidate_parameters())
        tuner.attach(optimizer)
        return model, tuner, optimizer

    model, tuner, optimizer = start()
    torch.manual_seed(11)
    train(model, tuner, optimizer, 3)
    state = tuner.state_dict(), weights(model), copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    train(model, tuner, optimizer, 3, start=3)
    whole = weights(tuner.finish())
    model, tuner, optimizer = start()
    tuner.load_state_dict(state[0])
    model.load_state_dict(state[1])
    optimizer.load_state_dict(state[2])
    torch.set_rng_state(state[3])
    train(model, tuner, optimizer, 3, start=3)
    assert_same_weights(weights(tuner.finish()), whole)


def test_parameters_keep_their_names_and_objects() -> None:
    model = tiny_bert()
    before = dict(model.named_parameters())
    tuner = frostline.prepare(model, "full", storage="smallest")
    assert {name: id(p) for name, p in model.named_parameters()} == {name: id(p) for name, p in before.items()}
    assert type(model.bert.encoder.layer[0]).__name__ == "StoredBertLayer"
    assert isinstance(model.classifier, nn.Linear)
    tuner.finish()
    assert not [type(m) for m in model.modules() if type(m).__name__.startswith("Stored")]
    assert not [key for m in model.modules() for key in vars(m) if key in ("_storage", "_site", "_consumer_trains")]
    assert model.config._attn_implementation == "sdpa"


def test_under_autocast() -> None:
    model, values = tiny_bert(dropout=0.1), batch()
    with torch.autocast("cpu", torch.bfloat16):
        logits, exact = model_gradients(model, values)
        frostline.prepare(model, "full", storage="smallest")
        ours, found = model_gradients(model, values)
    torch.testing.assert_close(ours, logits, rtol=0.02, atol=0.02)
    assert all(found[name].dtype is exact[name].dtype for name in exact)
    assert cosine(found, exact) > 0.99


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_short_floats(dtype: torch.dtype) -> None:
    model, values = tiny_bert().to(dtype), batch()
    logits, exact = model_gradients(model, values)
    frostline.prepare(model, "full", storage="compact")
    ours, found = model_gradients(model, values)
    assert torch.equal(ours, logits)
    assert cosine({name: g.float() for name, g in found.items()}, {name: g.float() for name, g in exact.items()}) > 0.99


def test_a_language_models_loss_keeps_the_logits_alone() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
    model = BertForMaskedLM(BertConfig(vocab_size=500, max_position_embeddings=20, **sizes)).double()
    values = {"input_ids": torch.randint(1, 500, (4, 8)), "labels": torch.randint(1, 500, (4, 8))}
    stock, kept = model.loss_function, []
    for storage in ("exact", "lossless"):
        tuner = frostline.prepare(model, "full", storage=storage)
        kept.append((saved_bytes(lambda: model(**values).loss, model), *model_gradients(model, values)))
        tuner.finish()
        assert model.loss_function is stock
    (before, _, exact), (after, _, ours) = kept
    assert before - after > 4 * 8 * 500 * 8  # at least the logarithms of the probabilities
    assert cosine(ours, exact) > 1 - 1e-12


def test_eager_attention_is_left_alone() -> None:
    model = family("bert", attention="eager").eval()
    values = batch()
    stock = model(**values).logits
    frostline.prepare(model, "full", storage="compact")
    assert model.config._attn_implementation == "eager"
    assert torch.equal(model(**values).logits, stock)


@pytest.mark.parametrize(("preset", "other"), [("compact", "lossless"), ("smallest", "compact"), ("lossless", "exact")])
def test_blocks_may_have_another_preset(preset: str, other: str) -> None:
    """Each block then keeps to the byte what it keeps where all are so."""

    def sites(storage: Any) -> dict[int | None, int]:
        model = tiny_bert()
        frostline.prepare(model, storage=storage)
        found: dict[int | None, int] = {}
        for site in kept(model, batch()):
            found[site.block] = found.get(site.block, 0) + site.bytes
        return found

    mixed, whole, better = sites(with_blocks(preset, ["bert.encoder.layer.1"], other)), sites(preset), sites(other)
    assert mixed[0] == whole[0] < better[0]
    shared = HIDDEN * 4 * batch()["input_ids"].numel()  # a block's input may be kept by the block before it
    assert abs(mixed[1] - better[1]) <= shared
    assert whole[1] < mixed[1]

    model = tiny_bert(dropout=0.1).double()
    torch.manual_seed(1)
    logits, exact = model_gradients(model, batch())
    frostline.prepare(model, storage=with_blocks(preset, ["bert.encoder.layer.1"], other))
    ours, found = model_gradients(model, batch())
    torch.testing.assert_close(ours, logits, rtol=1e-12, atol=1e-12)
    assert cosine(found, exact) > (1 - 1e-12 if preset == "lossless" else 0.995)


def test_a_mapping_says_what_differs_from_a_preset() -> None:
    model = tiny_bert()
    choice = {"preset": "compact", "norm": "int4", "block": "int8", "bert.encoder.layer.0": "stock"}
    tuner = frostline.prepare(model, "full", storage=choice)
    first, second = model.bert.encoder.layer
    assert type(first).__name__ == "BertLayer"
    assert type(second).__name__ == "StoredBertLayer"
    assert first.output.LayerNorm._storage.name == "int4"
    assert first.output.dense._storage.name == "int8"
    assert tuner.plan.storage == choice
    assert tuner.state_dict()["plan"]["storage"] == choice


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("compcat", "did you mean 'compact'"),
        ({"preset": "smalest"}, "did you mean 'smallest'"),
        ({"linear": "int9"}, "did you mean 'int8'"),
        ({"dropout": "int8"}, "storage of dropout: 'int8' is unknown"),
        ({"bert.encoder.layer.0.*": "losless"}, "'losless' is unknown"),
        ({"bert.encoder.layer.0.output.densee": "int8"}, "did you mean 'bert.encoder.layer.0.output.dense'"),
        ({"bert.encoder.layer.7.*": "int8"}, "no such module keeps anything"),
        ({"bert.embeddings.dropout": "int8"}, "storage of dropout: 'int8'"),
        (7, "storage=7 is refused"),
    ],
)
def test_what_is_asked_for_must_be_there(storage: Any, message: str) -> None:
    model = tiny_bert()
    with pytest.raises(ConfigError, match=message):
        frostline.prepare(model, "full", storage=storage)
    frostline.prepare(model, "full", storage="compact")  # nothing is left of the attempt


def test_a_wrapped_module_is_refused_by_name() -> None:
    model = tiny_bert()
    dense = model.bert.encoder.layer[1].output.dense
    dense.forward = dense.forward
    with pytest.raises(StorageError, match=r"layer\.1\.output\.dense: its forward function has been replaced"):
        frostline.prepare(model, "full", storage="compact")
    assert not [type(m) for m in model.modules() if type(m).__name__.startswith("Stored")]


def test_two_recomputations_of_one_block_are_refused() -> None:
    model = tiny_bert()
    model.gradient_checkpointing_enable()
    with pytest.raises(ConfigError, match="gradient_checkpointing_disable"):
        frostline.prepare(model, "full", storage="smallest")
    values = batch()
    model.gradient_checkpointing_disable()
    _, exact = model_gradients(model, values)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    frostline.prepare(model, "full", storage="compact")
    assert cosine(model_gradients(model, values)[1], exact) > 0.999


def test_a_value_that_is_not_finite_is_named_by_its_site() -> None:
    model = tiny_bert()
    frostline.prepare(model, "full", storage="compact")
    with torch.no_grad():
        model.bert.encoder.layer[1].intermediate.dense.weight[0, 0] = float("inf")
    with pytest.raises(StorageError, match=r"layer\.1\.intermediate\.intermediate_act_fn: the activation holds"):
        model(**batch())


def test_a_second_derivative_is_refused() -> None:
    model = tiny_bert()
    frostline.prepare(model, "full", storage="compact")
    loss, weight = model(**batch()).loss, model.bert.encoder.layer[0].output.dense.weight
    with pytest.raises(StorageError, match="second derivative"):
        torch.autograd.grad(loss, weight, create_graph=True)
