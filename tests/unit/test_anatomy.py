"""What is found in a model: blocks, units, kinds, regions and FFN pairs; and that looking changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

from frostline import discover, prepare
from frostline.anatomy import KINDS
from frostline.errors import UnsupportedModel
from tiny_models import BLOCKS, HIDDEN, INNER, VOCABULARY, family, same_bits, tiny_bert, weights

# Family -> name of block 0, then of the Linear of each kind in it, relative to the block.
_BERT_LINEARS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
}
FAMILIES: dict[str, tuple[str, dict[str, str]]] = {
    "bert": ("bert.encoder.layer.", _BERT_LINEARS),
    "roberta": ("roberta.encoder.layer.", _BERT_LINEARS),
    "electra": ("electra.encoder.layer.", _BERT_LINEARS),
    "distilbert": (
        "distilbert.transformer.layer.",
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "attention_output": "attention.out_lin",
            "ffn_in": "ffn.lin1",
            "ffn_out": "ffn.lin2",
        },
    ),
    "vit": (
        "vit.layers.",
        {
            "query": "attention.q_proj",
            "key": "attention.k_proj",
            "value": "attention.v_proj",
            "attention_output": "attention.o_proj",
            "ffn_in": "mlp.fc1",
            "ffn_out": "mlp.fc2",
        },
    ),
}
HEADS_AND_EMBEDDINGS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "bert": (
        {
            "bert.embeddings.word_embeddings.weight": "embedding",
            "bert.embeddings.token_type_embeddings.weight": "embedding",
            "bert.embeddings.position_embeddings.weight": "embedding",
            "bert.embeddings.LayerNorm.weight": "norm",
            "bert.embeddings.LayerNorm.bias": "bias",
        },
        {
            "bert.pooler.dense.weight": "linear",
            "bert.pooler.dense.bias": "bias",
            "classifier.weight": "linear",
            "classifier.bias": "bias",
        },
    ),
    "vit": (
        {
            "vit.embeddings.cls_token": "embedding",
            "vit.embeddings.position_embeddings": "embedding",
            "vit.embeddings.patch_embeddings.projection.weight": "convolution",
            "vit.embeddings.patch_embeddings.projection.bias": "bias",
        },
        {
            "vit.layernorm.weight": "norm",
            "vit.layernorm.bias": "bias",
            "classifier.weight": "linear",
            "classifier.bias": "bias",
        },
    ),
    "electra": (
        {
            "electra.embeddings.word_embeddings.weight": "embedding",
            "electra.embeddings.token_type_embeddings.weight": "embedding",
            "electra.embeddings.position_embeddings.weight": "embedding",
            "electra.embeddings.LayerNorm.weight": "norm",
            "electra.embeddings.LayerNorm.bias": "bias",
            "electra.embeddings_project.weight": "linear",
            "electra.embeddings_project.bias": "bias",
        },
        {
            "classifier.dense.weight": "linear",
            "classifier.dense.bias": "bias",
            "classifier.out_proj.weight": "linear",
            "classifier.out_proj.bias": "bias",
        },
    ),
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", FAMILIES)
class TestFamilies:
    """BERT, DistilBERT, RoBERTa, ELECTRA and ViT, with fused and with written-out attention."""

    def test_blocks_are_the_repeated_layers_in_order(self, name: str, attention: str) -> None:
        stack, _ = FAMILIES[name]
        assert discover(family(name, attention)).blocks == tuple(f"{stack}{depth}" for depth in range(BLOCKS))

    def test_every_linear_of_a_block_has_its_kind(self, name: str, attention: str) -> None:
        stack, linears = FAMILIES[name]
        anatomy = discover(family(name, attention))
        for depth in range(BLOCKS):
            kinds = {u.name: u.kind for u in anatomy.in_blocks(range(depth, depth + 1)) if len(u.shape) > 1}
            assert kinds == {f"{stack}{depth}.{path}.weight": kind for kind, path in linears.items()}

    def test_vectors_of_a_block_are_two_norms_and_biases(self, name: str, attention: str) -> None:
        anatomy = discover(family(name, attention))
        for depth in range(BLOCKS):
            kinds = [u.kind for u in anatomy.in_blocks(range(depth, depth + 1)) if len(u.shape) == 1]
            assert sorted(kinds) == ["bias"] * 8 + ["norm"] * 2
            assert all(
                u.name.endswith(".bias") == (u.kind == "bias") for u in anatomy.in_blocks(range(depth, depth + 1))
            )

    def test_every_parameter_is_one_unit_with_its_own_shape(self, name: str, attention: str) -> None:
        model = family(name, attention)
        anatomy = discover(model)
        shapes = {parameter: tuple(p.shape) for parameter, p in model.named_parameters()}
        assert {unit.name: unit.shape for unit in anatomy.units} == shapes
        assert len(anatomy.units) == len(shapes)
        assert all(unit.parameters == (unit.name,) for unit in anatomy.units)
        assert sum(unit.parameter_count for unit in anatomy.units) == anatomy.parameter_count == model.num_parameters()
        assert (anatomy.unused, anatomy.frozen) == ((), ())

    def test_regions_follow_each_other_in_forward_order(self, name: str, attention: str) -> None:
        anatomy = discover(family(name, attention))
        order = [{"embeddings": -1, "head": BLOCKS}.get(unit.region, unit.block) for unit in anatomy.units]
        assert order == sorted(order)
        assert all((unit.block is not None) == (unit.region == "blocks") for unit in anatomy.units)

    def test_one_ffn_pair_a_block(self, name: str, attention: str) -> None:
        stack, linears = FAMILIES[name]
        pairs = discover(family(name, attention)).feed_forwards
        assert [(p.block, p.lin1, p.lin2, p.width, p.hidden) for p in pairs] == [
            (depth, f"{stack}{depth}.{linears['ffn_in']}", f"{stack}{depth}.{linears['ffn_out']}", HIDDEN, INNER)
            for depth in range(BLOCKS)
        ]

    def test_meta_device_gives_the_same_anatomy(self, name: str, attention: str) -> None:
        with torch.device("meta"):
            meta = family(name, attention)
        assert next(meta.parameters()).is_meta
        assert discover(meta) == discover(family(name, attention))


@pytest.mark.parametrize("name", HEADS_AND_EMBEDDINGS)
def test_embeddings_and_head_are_what_runs_before_and_after_the_blocks(name: str) -> None:
    anatomy = discover(family(name))
    embeddings, head = HEADS_AND_EMBEDDINGS[name]
    assert {u.name: u.kind for u in anatomy.in_region("embeddings")} == embeddings
    assert {u.name: u.kind for u in anatomy.in_region("head")} == head


def test_tied_weight_is_one_unit_where_it_is_used_first() -> None:
    model = BertForMaskedLM(BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4))
    anatomy = discover(model)
    assert [u.region for u in anatomy.units if u.shape == (60, 32)] == ["embeddings"]
    assert sum(u.parameter_count for u in anatomy.units) == sum(p.numel() for p in model.parameters())


def test_unit_lookup_by_name() -> None:
    anatomy = discover(tiny_bert())
    assert anatomy.unit("classifier.weight").shape == (2, HIDDEN)
    with pytest.raises(KeyError):
        anatomy.unit("classifier.wait")


# Looking changes nothing


def _hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.modules()
    )


@pytest.mark.parametrize("succeeds", [True, False], ids=["understood", "refused"])
@pytest.mark.parametrize("name", FAMILIES)
def test_discovery_leaves_the_model_as_it_was(name: str, succeeds: bool) -> None:
    model = family(name).train()
    next(model.children()).eval()  # a mixture of modes, as a user may have it
    list(model.parameters())[3].requires_grad_(False)
    modes = [module.training for module in model.modules()]
    assert set(modes) == {True, False}
    required = [p.requires_grad for p in model.parameters()]
    identities = [id(p) for p in model.parameters()]
    before, hooks, state = weights(model), _hooks(model), torch.get_rng_state()
    attributes = [set(vars(module)) for module in model.modules()]
    if succeeds:
        discover(model)
    else:
        with pytest.raises(UnsupportedModel):
            discover(model, {"nothing_it_takes": torch.zeros(1)})
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == required
    assert [id(p) for p in model.parameters()] == identities
    assert all(p.grad is None for p in model.parameters())
    assert all(same_bits(before[key], value) for key, value in model.state_dict().items())
    assert _hooks(model) == hooks == 0
    assert torch.get_rng_state().equal(state)
    assert [set(vars(module)) for module in model.modules()] == attributes


def test_what_the_user_froze_is_no_unit() -> None:
    model = tiny_bert()
    names = ["bert.embeddings.word_embeddings.weight", "bert.encoder.layer.1.output.dense.bias", "classifier.bias"]
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    anatomy = discover(model)
    assert list(anatomy.frozen) == names
    assert not {unit.name for unit in anatomy.units} & set(names)
    assert len(anatomy.units) == len(list(model.parameters())) - 3
    assert anatomy.parameter_count == model.num_parameters()


# Counts that are published, on real sizes (meta device: no weights)


def _real(name: str) -> nn.Module:
    with torch.device("meta"):
        if name == "vit":
            return ViTForImageClassification(ViTConfig())
        return (
            BertForQuestionAnswering(BertConfig()) if name == "squad" else BertForSequenceClassification(BertConfig())
        )


@pytest.mark.parametrize(("name", "units", "active"), [("bert", 102, 11), ("squad", 101, 11), ("vit", 100, 10)])
def test_slimfit_schedules_as_many_units_as_published(name: str, units: int, active: int) -> None:
    tuner = prepare(_real(name), "slimfit", rate=0.9)
    assert len(tuner.units) == units
    assert len(tuner.active) == active


def test_vocabulary_of_kinds_covers_what_is_found() -> None:
    found = {unit.kind for name in FAMILIES for unit in discover(family(name)).units}
    assert found <= set(KINDS)
    assert family("bert").config.vocab_size == VOCABULARY
