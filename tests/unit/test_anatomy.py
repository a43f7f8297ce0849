"""What is found in a model: blocks, units, kinds, regions and FFN pairs; and that looking changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    CLIPConfig,
    CLIPModel,
    ViTConfig,
    ViTForImageClassification,
)

from frostline import discover, prepare
from frostline.anatomy import KINDS, Anatomy
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


# By structure alone: a transformer with names of our choosing

_PARTS = ("query", "key", "value", "attention_output", "norm1", "ffn_in", "ffn_out", "norm2")
_PLAIN_NAMES = {part: part for part in _PARTS}
_ODD_NAMES = dict(
    zip(_PARTS, ("plinth", "gusset", "corbel", "ashlar", "quoin", "soffit", "lintel", "mullion"), strict=True)
)
_MISLEADING_NAMES = dict(
    zip(_PARTS, ("value", "lin2", "LayerNorm", "ffn_in", "dropout", "query", "key", "classifier"), strict=True)
)


class _Block(nn.Module):
    def __init__(self, names: dict[str, str]) -> None:
        super().__init__()
        self.names = names
        sizes = {"ffn_in": (16, 24), "ffn_out": (24, 16)}
        for part, name in names.items():
            linear = nn.Linear(*sizes.get(part, (16, 16)))
            setattr(self, name, nn.LayerNorm(16) if part.startswith("norm") else linear)

    def part(self, part: str) -> Any:
        return getattr(self, self.names[part])

    def inner(self, hidden: Tensor) -> Tensor:
        return torch.relu(hidden)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.part(p)(x).unflatten(-1, (2, 8)).transpose(1, 2) for p in ("query", "key", "value"))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        x = self.part("norm1")(x + self.part("attention_output")(mixed))
        return self.part("norm2")(x + self.part("ffn_out")(self.inner(self.part("ffn_in")(x))))


class _Oddity(nn.Module):
    """A transformer without a config, whose modules are called whatever `names` says."""

    def __init__(self, names: dict[str, str] | None = None, block: type[_Block] = _Block, stack: str = "pile") -> None:
        super().__init__()
        self.stack = stack
        self.glyphs = nn.Embedding(20, 16)
        setattr(self, stack, nn.ModuleList(block(names or _ODD_NAMES) for _ in range(3)))
        self.verdict = nn.Linear(16, 2)

    def run_blocks(self, x: Tensor) -> Tensor:
        for block in getattr(self, self.stack):
            x = block(x)
        return x

    def forward(self, runes: Tensor) -> Tensor:
        return self.verdict(self.run_blocks(self.glyphs(runes))[:, 0])


EXAMPLE = {"runes": torch.zeros(2, 5, dtype=torch.long)}


def _by_part(anatomy: Anatomy, names: dict[str, str], stack: str) -> list[tuple[Any, ...]]:
    """Return the units with every name of ours translated back into the part it plays."""
    parts = {name: part for part, name in names.items()}
    rows: list[tuple[Any, ...]] = []
    for unit in anatomy.units:
        path = unit.name.split(".")
        plain = ["blocks", path[1], parts[path[2]], path[3]] if path[0] == stack else path
        rows.append((tuple(plain), unit.region, unit.block, unit.kind, unit.shape))
    return rows


@pytest.mark.parametrize("names", [_ODD_NAMES, _MISLEADING_NAMES], ids=["odd", "misleading"])
def test_names_of_modules_and_classes_do_not_matter(names: dict[str, str]) -> None:
    plain = discover(_Oddity(_PLAIN_NAMES, stack="layers"), EXAMPLE)
    renamed_block = type("Thingummy", (_Block,), {})
    renamed = discover(type("Contraption", (_Oddity,), {})(names, renamed_block, "pile"), EXAMPLE)
    assert _by_part(renamed, names, "pile") == _by_part(plain, _PLAIN_NAMES, "layers")
    assert [(p.lin1, p.lin2) for p in renamed.feed_forwards] == [
        (f"pile.{depth}.{names['ffn_in']}", f"pile.{depth}.{names['ffn_out']}") for depth in range(3)
    ]
    for part in ("query", "key", "value", "attention_output", "ffn_in", "ffn_out"):
        assert renamed.unit(f"pile.1.{names[part]}.weight").kind == part


def test_a_model_without_a_config_needs_an_example() -> None:
    with pytest.raises(UnsupportedModel, match=r"no example batch can be made up for _Oddity.*`example=`"):
        discover(_Oddity())


def test_an_example_that_the_model_refuses_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="could not be traced with inputs pixels"):
        discover(_Oddity(), {"pixels": torch.zeros(1)})


def test_parameters_never_touched_are_unused_and_no_unit() -> None:
    model = _Oddity()
    model.attic = nn.Linear(3, 3)
    anatomy = discover(model, EXAMPLE)
    assert anatomy.unused == ("attic.weight", "attic.bias")
    assert not any(unit.name.startswith("attic") for unit in anatomy.units)
    assert sum(u.parameter_count for u in anatomy.units) == anatomy.parameter_count - 12


class _NormInside(_Block):
    def inner(self, hidden: Tensor) -> Tensor:
        return nn.functional.layer_norm(hidden, (24,))


class _LooksAcross(_Block):
    def inner(self, hidden: Tensor) -> Tensor:
        active = torch.relu(hidden)
        self.seen = active.softmax(-1)  # reads the features in their order
        return active


@pytest.mark.parametrize("block", [_NormInside, _LooksAcross])
def test_no_ffn_pair_where_the_order_of_hidden_features_matters(block: type[_Block]) -> None:
    anatomy = discover(_Oddity(block=block), EXAMPLE)
    assert anatomy.feed_forwards == ()
    assert anatomy.unit("pile.0.soffit.weight").kind == "linear"


class _Backwards(_Oddity):
    def run_blocks(self, x: Tensor) -> Tensor:
        for block in reversed(self.pile):
            x = block(x)
        return x


class _SkipsOne(_Oddity):
    def run_blocks(self, x: Tensor) -> Tensor:
        return self.pile[2](self.pile[0](x))


class _Between(_Oddity):
    def run_blocks(self, x: Tensor) -> Tensor:
        return self.pile[2](self.pile[1](self.pile[0](x) + self.glyphs.weight[0] * 0 + self.verdict.bias[0]))


class _DataDependent(_Oddity):
    def run_blocks(self, x: Tensor) -> Tensor:
        return super().run_blocks(x) if float(x.sum()) > 0 else x


class _NeverRuns(_Oddity):
    def run_blocks(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (_Backwards, r"in the order pile\.2, pile\.1, pile\.0, not as numbered"),
        (_SkipsOne, r"'pile\.1' runs 0 times"),
        (_Between, r"'verdict\.bias' is used between two blocks"),
        (_DataDependent, "depends on the data"),
        (_NeverRuns, r"pile\.0, \.\.\. are never run"),
    ],
)
def test_forward_passes_that_are_not_a_plain_stack_are_refused(model: type[_Oddity], said: str) -> None:
    with pytest.raises(UnsupportedModel, match=said):
        discover(model(), EXAMPLE)


def _mixture() -> nn.Module:
    """Return a classifier whose second block is wider within: no stack of blocks that are alike."""
    model = tiny_bert()
    model.bert.encoder.layer[1].intermediate.dense = nn.Linear(HIDDEN, 2 * INNER)
    model.bert.encoder.layer[1].output.dense = nn.Linear(2 * INNER, HIDDEN)
    return model


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Linear(3, 4), "Linear has no stack of identical blocks"),
        (_mixture, r"stack of identical blocks: no module has numbered children of one class"),
    ],
    ids=["linear", "mixture"],
)
def test_what_is_not_understood_is_refused_by_name(make: Any, said: str) -> None:
    model = make()
    before = weights(model)
    with pytest.raises(UnsupportedModel, match=said):
        prepare(model, "full")
    assert all(same_bits(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


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


def test_an_example_is_left_as_it_was() -> None:
    example = {"runes": torch.tensor([[1, 2, 3]])}
    given = copy.deepcopy(example)
    discover(_Oddity(), example)
    assert example.keys() == given.keys()
    assert example["runes"].equal(given["runes"])


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


def test_a_parameter_behind_all_blocks_may_be_used_in_any_way() -> None:
    """CLIP's temperature: the exponential of a number."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 40, "max_position_embeddings": 12},
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    example = {
        "input_ids": torch.randint(1, 39, (3, 6)),
        "attention_mask": torch.ones(3, 6, dtype=torch.long),
        "pixel_values": torch.randn(3, 3, 16, 16),
        "return_loss": True,
    }
    units = {unit.name: unit for unit in discover(CLIPModel(config), example).units}
    assert (units["logit_scale"].kind, units["logit_scale"].region) == ("other", "head")


def test_a_number_that_scales_within_a_block_is_not_understood() -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(HIDDEN, HIDDEN)
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) * self.scale

    model = tiny_bert()
    model.bert.encoder.layer[0].attention.output.dense = Scaled()
    with pytest.raises(UnsupportedModel, match=r"dense\.scale' is used by the operation 'mul' \(in the blocks\)"):
        discover(model)


def test_what_only_reads_a_shape_is_no_use() -> None:
    class Head(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) + torch.zeros_like(self.weight).sum()

    model = tiny_bert()
    model.classifier = Head(HIDDEN, 2)
    kinds = {unit.name: unit.kind for unit in discover(model).units}
    assert kinds["classifier.weight"] == "linear"
