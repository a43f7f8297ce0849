"""The accounting on real tensors: what is traced is what is kept, to the byte, for every family, method and storage."""

import gc

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

import frostline
from frostline.anatomy.batches import example_batch
from frostline.anatomy.sites import kept
from frostline.meter import SavedMeter, TensorTracker
from tiny_models import METHOD_IDS, METHOD_SETTINGS, batch, family, make_optimizer, tiny_bert


def traced_and_measured(model, inputs):
    predicted = kept(model, inputs)
    with SavedMeter(model) as meter:
        output = model(**inputs)
    del output
    return predicted.to_json(), meter.sites.to_json()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra", "vit"])
def test_every_family_keeps_what_was_traced(name, attention):
    model = family(name, attention).train()
    generator = torch.Generator().manual_seed(0)
    predicted, measured = traced_and_measured(model, example_batch(model, 3, labels=True, generator=generator))
    assert predicted == measured


def test_a_padded_batch_keeps_what_was_traced():
    inputs = batch(length=8)
    inputs["attention_mask"][0, 5:] = 0
    predicted, measured = traced_and_measured(tiny_bert(dropout=0.1), inputs)
    assert predicted == measured


def test_a_decoder_keeps_what_was_traced():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 60, "pad_token_id": 0}
    model = LlamaForSequenceClassification(LlamaConfig(num_attention_heads=4, num_key_value_heads=2, **sizes)).train()
    predicted, measured = traced_and_measured(model, batch())
    assert predicted == measured


@pytest.mark.parametrize(("method", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)
def test_every_method_keeps_what_was_traced(method, settings):
    model = tiny_bert(dropout=0.1)
    tuner = frostline.prepare(model, method, **{k: v for k, v in settings.items() if k != "total_steps"})
    tuner.set_total_steps(10)
    optimizer = make_optimizer(tuner.candidate_parameters())
    tuner.attach(optimizer)
    for index in range(4):
        tuner.before_step()
        predicted, measured = traced_and_measured(model, batch(index))
        assert predicted == measured
        model(**batch(index)).loss.backward()
        optimizer.step()
        tuner.after_step()
        optimizer.zero_grad()
    tuner.finish()


@pytest.mark.parametrize("storage", ["lossless", "compact", "smallest"])
@pytest.mark.parametrize("name", ["bert", "vit"])
def test_every_storage_keeps_what_was_traced(name, storage):
    model = family(name).train()
    tuner = frostline.prepare(model, storage=storage)
    predicted, measured = traced_and_measured(model, example_batch(model, 3, labels=True))
    assert predicted == measured
    tuner.finish()


def test_the_sum_is_the_tensor_tracker_s():
    model = tiny_bert(dropout=0.1)
    with SavedMeter(model) as meter:
        loss = model(**batch()).loss
    del loss
    gc.collect()
    with TensorTracker(model) as tracker:
        loss = model(**batch()).loss
        assert meter.sites.total == tracker.live["saved"]
    del loss


def test_gradients_are_those_without_the_meter():
    first, second = tiny_bert(), tiny_bert()
    first(**batch()).loss.backward()
    with SavedMeter(second):
        loss = second(**batch()).loss
    loss.backward()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad)


def test_what_dies_before_the_end_does_not_count():
    model = tiny_bert()
    with SavedMeter(model) as whole:
        loss = model(**batch()).loss
    with SavedMeter(model) as meter:
        model(**batch())  # nobody holds the output
        gc.collect()
    assert meter.sites.total == 0 < whole.sites.total
    del loss


def test_an_error_in_the_forward_pass_comes_through_and_leaves_no_hooks():
    model = tiny_bert()
    with pytest.raises(ValueError, match="exactly one of input_ids"), SavedMeter(model):
        model(nonsense=1)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
