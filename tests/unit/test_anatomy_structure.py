"""Anatomy goes by structure alone: a transformer with names of our choosing, and odd ones; what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
)

from frostline import discover, prepare
from frostline.anatomy import Anatomy
from frostline.errors import UnsupportedModel
from tiny_models import HIDDEN, INNER, same_bits, tiny_bert, weights

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


def test_an_example_is_left_as_it_was() -> None:
    example = {"runes": torch.tensor([[1, 2, 3]])}
    given = copy.deepcopy(example)
    discover(_Oddity(), example)
    assert example.keys() == given.keys()
    assert example["runes"].equal(given["runes"])
