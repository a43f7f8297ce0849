"""Sites by tracing: the bytes that can be counted by hand, what is static, what is shared, and what a trace leaves."""

import json

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

import frostline
from frostline.anatomy.batches import example_batch
from frostline.anatomy.sites import kept, sites
from frostline.errors import ConfigError, UnsupportedModel
from frostline.models import locate
from frostline.skeletons import shaped_batch, skeleton
from tiny_models import BLOCKS, HEADS, HIDDEN, INNER, assert_same_weights, batch, family, tiny_bert, weights

B, S = 4, 6
TOKENS = B * S * HIDDEN * 4  # bytes of one float32 activation of a block's width
NORM = TOKENS + 2 * B * S * 4  # its input, and mean and deviation of each token


@pytest.fixture(scope="module")
def found():
    return sites(tiny_bert(dropout=0.1), batch(size=B, length=S))


def of(found, module, operation):
    return next(site for site in found if site.module == module and site.operation == operation)


def test_a_block_keeps_what_can_be_counted_by_hand(found):
    inside = {(s.module.removeprefix("bert.encoder.layer.1."), s.operation): s for s in found if s.block == 1}
    scores = B * HEADS * S * S * 4
    by_hand = {
        ("attention.self.query", "linear"): TOKENS,
        ("attention.self.key", "linear"): 0,
        ("attention.self.value", "linear"): 0,
        ("attention.self", "scaled_dot_product_attention"): 3 * scores + 3 * TOKENS,
        ("attention.output.dense", "linear"): TOKENS,
        ("attention.output.dropout", "dropout"): TOKENS,  # stock keeps the mask as numbers
        ("attention.output.LayerNorm", "layer_norm"): NORM,
        ("intermediate.dense", "linear"): TOKENS,
        ("intermediate.intermediate_act_fn", "gelu"): TOKENS * INNER // HIDDEN,
        ("output.dense", "linear"): TOKENS * INNER // HIDDEN,
        ("output.dropout", "dropout"): TOKENS,
        ("output.LayerNorm", "layer_norm"): NORM,
    }
    assert {place: site.bytes for place, site in inside.items()} == by_hand


def test_query_key_and_value_keep_their_input_once(found):
    query, key, value = (
        of(found, f"bert.encoder.layer.0.attention.self.{n}", "linear") for n in ("query", "key", "value")
    )
    assert (query.bytes, query.shared) == (TOKENS, 0)
    assert (key.bytes, key.shared, key.kind) == (value.bytes, value.shared, value.kind) == (0, TOKENS, "shared")


def test_inputs_of_linears_are_dynamic_and_the_rest_is_static(found):
    for site in found:
        if site.kind != "shared":
            assert site.kind == ("dynamic" if site.operation in ("linear", "embedding") else "static"), site


def test_sums_agree(found):
    assert sum(found.by_operation().values()) == sum(found.by_block().values()) == found.total
    assert found.static + found.dynamic == found.total
    assert list(found.by_block()) == ["embeddings", *range(BLOCKS), "head"]
    content = json.loads(json.dumps(found.to_json()))
    assert sum(site["bytes"] for site in content["sites"]) == content["total"] == found.total
    assert content["sites"][0]["module"] == "bert.embeddings.word_embeddings"


def test_all_that_is_static_stays_when_only_the_bottom_bias_trains(found):
    model = tiny_bert(dropout=0.1)
    bottom = kept(model, batch(size=B, length=S), trainable={"bert.embeddings.LayerNorm.bias"})
    assert bottom.total == found.static
    assert bottom.static is bottom.dynamic is None
    assert {site.kind for site in bottom} <= {"kept", "shared"}


def test_what_is_kept_follows_what_trains_now():
    model = tiny_bert(dropout=0.1)
    whole = kept(model, batch())
    tuner = frostline.prepare(model, "layers", count=1)
    top = kept(model, batch())
    assert {site.block for site in top} == {BLOCKS - 1, None}
    assert top.total < whole.total
    tuner.finish()


def test_a_trace_leaves_the_model_as_it_was():
    model = tiny_bert(dropout=0.1).eval()
    model.bert.pooler.train()
    before, state = weights(model), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    sites(model, batch())
    assert_same_weights(weights(model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_model_without_weights_has_the_same_sites(found):
    real = tiny_bert(dropout=0.1)
    with torch.device("meta"):
        bare = BertForSequenceClassification(real.config)
    assert sites(bare, batch(size=B, length=S)).to_json() == found.to_json()


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra", "vit"])
def test_every_family_is_understood(name):
    model = family(name)
    found = sites(model, example_batch(model, 3, labels=True))
    assert 0 < found.static < found.total
    assert set(range(BLOCKS)) < set(found.by_block())
    assert "unknown" not in found.by_operation()


class Halved(torch.autograd.Function):
    """Keeps its input in half the bits."""

    @staticmethod
    def forward(ctx, input, weight):
        ctx.save_for_backward(input.half(), weight)
        return input * weight

    @staticmethod
    def backward(ctx, grad):
        input, weight = ctx.saved_tensors
        return grad * weight, (grad * input).sum_to_size(weight.shape)


class Twice(nn.LayerNorm):
    def forward(self, input):
        return Halved.apply(Halved.apply(input, self.weight), self.weight)


def test_functions_of_our_own_are_sites_by_their_names(found):
    model = tiny_bert(dropout=0.1)
    model.bert.encoder.layer[0].output.LayerNorm.__class__ = Twice
    model.bert.encoder.layer[1].output.LayerNorm.__class__ = Twice
    mine = [site for site in sites(model, batch(size=B, length=S)) if site.operation == "halved"]
    assert [(site.block, site.call, site.bytes) for site in mine] == [
        (depth, call, TOKENS // 2) for depth in range(2) for call in range(2)
    ]
    assert all(site.kind == "static" for site in mine)


def test_a_function_can_say_what_it_is_called(monkeypatch):
    monkeypatch.setattr(Halved, "operation", "scale", raising=False)
    model = tiny_bert()
    for layer in model.bert.encoder.layer:
        layer.output.LayerNorm.__class__ = Twice
    assert "scale" in sites(model, batch()).by_operation()


@pytest.mark.parametrize(("storage", "most"), [("lossless", 0.8), ("compact", 0.35), ("smallest", 0.5)])
def test_storage_lowers_what_is_traced(storage, most, found):
    model = tiny_bert(dropout=0.1)
    tuner = frostline.prepare(model, storage=storage)
    less = sites(model, batch(size=B, length=S))
    assert less.static + less.dynamic == less.total < most * found.total
    tuner.finish()
    assert sites(model, batch(size=B, length=S)).total == found.total


def test_autocast_halves_what_a_gelu_keeps(found):
    with torch.autocast("cpu", torch.bfloat16):
        narrow = sites(tiny_bert(dropout=0.1), batch(size=B, length=S))
    name = "bert.encoder.layer.0.intermediate.intermediate_act_fn"
    assert of(narrow, name, "gelu").bytes == of(found, name, "gelu").bytes // 2


def test_a_decoder_is_understood():
    model = GPT2ForSequenceClassification(GPT2Config(n_embd=32, n_head=4, n_layer=2, vocab_size=50, pad_token_id=0))
    found = sites(model, example_batch(model, 2, 5, labels=True))
    assert found.by_block()[0] == found.by_block()[1] > 0


class TestMeasuredFacts:
    """What was measured before there was this module, to the byte as it is counted here."""

    def test_minilm(self):
        model = skeleton("minilm")
        found = sites(model, shaped_batch(model, 32, 128))
        assert found.total == 1_151_944_196
        # 868.7 MB without the embeddings' own norm and dropout, which a bias in the lowest block does not need
        embeddings = sum(site.static for site in found if site.region == "embeddings")
        assert found.static == 881_328_644
        assert round((found.static - embeddings) / 1e6) == 869

    def test_bert_base_takes_no_time_and_no_memory(self):
        with torch.device("meta"):
            model = BertForSequenceClassification(BertConfig())
        found = sites(model, example_batch(model, 128, 384, labels=True))
        assert round(found.total / 1e9, 1) == 65.7
        assert round(found.static / 1e9, 1) == 52.9
        attention = of(found, "bert.encoder.layer.5.attention.self", "scaled_dot_product_attention")
        assert round(attention.bytes / 1e9, 1) == 3.2


class TestRefused:
    """What cannot be traced or made up."""

    def test_a_model_without_blocks(self):
        with pytest.raises(UnsupportedModel, match="no stack of identical blocks"):
            sites(nn.Linear(2, 2), {"input": torch.ones(1, 2)})

    def test_a_batch_that_the_model_does_not_take(self):
        with pytest.raises(UnsupportedModel, match="could not be traced with inputs tokens: ValueError"):
            sites(tiny_bert(), {"tokens": torch.ones(1, 2)})

    def test_a_block_that_runs_twice(self):
        model = tiny_bert()
        layer = model.bert.encoder.layer[0]
        model.bert.pooler.register_forward_pre_hook(lambda module, args: (layer(args[0]),))
        with pytest.raises(UnsupportedModel, match=r"block 'bert.encoder.layer.0' ran twice"):
            sites(model, batch())

    def test_another_device(self):
        with pytest.raises(ConfigError, match="device 'tpu' is not understood: say cpu or cuda"):
            sites(tiny_bert(), batch(), device="tpu")

    @pytest.mark.parametrize(("size", "length"), [(0, 3), (-1, 3), (2, 0)])
    def test_sizes_that_are_none(self, size, length):
        with pytest.raises(ConfigError, match=r"is refused: give 1 or more"):
            example_batch(tiny_bert(), size, length)


def test_on_cuda_attention_keeps_no_matrix_of_probabilities():
    model, length = tiny_bert(dropout=0.1), 20
    matrix = B * model.config.num_attention_heads * length * length * 4
    on_cpu, on_cuda = (
        of(found, "bert.encoder.layer.0.attention.self", "scaled_dot_product_attention").bytes
        for found in (sites(model, batch(size=B, length=length), device=device) for device in ("cpu", "cuda"))
    )
    assert on_cpu - on_cuda >= matrix


def test_on_cuda_dropout_keeps_a_mask_of_one_byte_a_value():
    found = sites(tiny_bert(dropout=0.1), batch(size=B, length=S), device="cuda")
    assert of(found, "bert.encoder.layer.0.output.dropout", "dropout").bytes == TOKENS // 4


def test_shapes_are_made_up_as_asked():
    text, image = tiny_bert(), family("vit")
    assert shaped_batch(text, 3)["input_ids"].shape == (3, 20)  # all positions it has, being less than 128
    assert {name: tuple(value.shape) for name, value in shaped_batch(image, 3).items()} == {
        "pixel_values": (3, 3, 16, 16),
        "labels": (3,),
    }
    drawn = shaped_batch(text, 50, 20, generator=torch.Generator().manual_seed(0))
    assert drawn["attention_mask"].all()
    assert drawn["labels"].unique().tolist() == [0, 1]
    assert 1 <= drawn["input_ids"].min() < drawn["input_ids"].max() < text.config.vocab_size


def test_the_embedded_model_is_found_by_its_name():
    assert (
        skeleton("minilm").config.num_hidden_layers
        == skeleton(f"{locate('minilm')}/config.json").config.num_hidden_layers
    )
