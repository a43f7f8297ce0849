"""Blocks that are shared, stacks that follow each other, and what stands between, around and within them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import T5Config, T5ForSequenceClassification

from architectures import ARCHITECTURES
from frostline.anatomy import Anatomy, discover
from frostline.anatomy.accounting import Accounting
from frostline.anatomy.sites import kept, sites
from frostline.errors import UnsupportedModel
from frostline.meter.saved import SavedMeter


def found(name: str) -> Anatomy:
    architecture = ARCHITECTURES[name]
    return discover(architecture.make(), architecture.batch())


def albert(layers: int = 3) -> Any:
    """Return one block for all depths, as ALBERT's checkpoints have it."""
    sizes = {**ARCHITECTURES["ALBERT"].sizes, "num_hidden_layers": layers, "num_hidden_groups": 1}
    return dataclasses.replace(ARCHITECTURES["ALBERT"], sizes=sizes)


def test_a_shared_block_is_one_block_however_often_it_runs() -> None:
    anatomy = discover(albert().make(), albert().batch())
    assert anatomy == discover(albert(7).make(), albert().batch())
    assert anatomy.blocks == ("albert.encoder.albert_layer_groups.0",)
    kinds = {unit.kind for unit in anatomy.in_blocks(range(1))}
    assert kinds == {"query", "key", "value", "attention_output", "ffn_in", "ffn_out", "norm", "bias"}
    assert [pair.block for pair in anatomy.feed_forwards] == [0]
    assert anatomy.unit("albert.encoder.embedding_hidden_mapping_in.weight").region == "embeddings"


def test_every_run_of_a_shared_block_keeps_its_own() -> None:
    batch = albert().batch()
    batch.pop("attention_mask")
    per_block = []
    for layers in (1, 2, 3):
        model = albert(layers).make()
        predicted = sites(model, batch)
        with SavedMeter(model) as meter:
            output = model(**batch)
        assert predicted.total == meter.sites.total
        assert predicted.by_block() == meter.sites.by_block()
        per_block.append(predicted.by_block()[0])
        del output
    assert per_block[2] - per_block[1] == per_block[1] - per_block[0] > 0


def test_the_stacks_of_an_encoder_and_a_decoder_are_one_row_of_blocks() -> None:
    for name, stacks in (
        ("T5", ("encoder.block", "decoder.block")),
        ("BART", ("model.encoder.layers", "model.decoder.layers")),
    ):
        anatomy = found(name)
        assert anatomy.blocks == tuple(f"{stack}.{index}" for stack in stacks for index in range(2))
        order = [{"embeddings": -1, "head": 4}.get(unit.region, unit.block) for unit in anatomy.units]
        assert order == sorted(order, key=lambda depth: -2 if depth is None else depth)
        kinds = [unit.kind for unit in anatomy.in_blocks(range(3, 4))]
        assert [kinds.count(kind) for kind in ("query", "key", "value", "attention_output")] == [2, 2, 2, 2]


def test_what_runs_between_two_stacks_counts_to_the_block_before() -> None:
    assert found("T5").unit("encoder.final_layer_norm.weight").block == 1
    assert found("BART").unit("model.decoder.embed_positions.weight").block == 1
    merging = found("Swin").unit("swin.encoder.layers.0.downsample.reduction.weight")
    assert (merging.region, merging.block, merging.kind) == ("blocks", 1, "linear")


def test_tables_of_positions_within_blocks() -> None:
    table = found("T5").unit("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
    assert (table.region, table.block, table.kind) == ("blocks", 0, "embedding")
    tables = [unit for unit in found("Swin").units if "relative_position_bias" in unit.name]
    assert [(unit.block, unit.kind) for unit in tables] == [(depth, "embedding") for depth in range(4)]


def test_a_tied_output_is_the_embeddings() -> None:
    for name, tied in (("T5", "shared.weight"), ("BART", "model.shared.weight")):
        anatomy = found(name)
        assert anatomy.unit(tied).region == "embeddings"
        assert sum(unit.parameter_count for unit in anatomy.units) == anatomy.parameter_count


def test_norms_that_are_written_out_and_gated_ffns() -> None:
    for name in ("Llama", "Qwen2", "Gemma", "T5 v1.1"):
        anatomy = found(name)
        norms = [unit.name for unit in anatomy.units if unit.kind == "norm"]
        assert norms == [unit.name for unit in anatomy.units if "norm" in unit.name]
        assert [pair.block for pair in anatomy.feed_forwards] == list(range(len(anatomy.blocks)))
        assert all(pair.gate is not None and pair.gate != pair.lin1 for pair in anatomy.feed_forwards)
        kinds = {unit.name: unit.kind for unit in anatomy.units}
        for pair in anatomy.feed_forwards:
            assert [kinds[f"{layer}.weight"] for layer in pair.layers] == ["ffn_in", "ffn_in", "ffn_out"]


def test_scores_of_positions_do_not_take_query_for_key() -> None:
    for unit in found("DeBERTa-v2").in_region("blocks"):
        for kind in ("query", "key", "value"):
            assert (unit.kind == kind) == unit.name.endswith(f"{kind}_proj.weight")


class _Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.value = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.both(x)
        return (shared @ shared.transpose(1, 2)).softmax(-1) @ self.value(x)


class _Shared(nn.Module):
    """A stack of blocks with one matrix for queries and keys alike."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.pile = nn.ModuleList(_Attends() for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.table(tokens)
        for part in self.pile:
            x = part(x)
        return x


def test_one_matrix_for_query_and_key_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"'pile\.0\.both\.weight' acts as key and query of attention at once"):
        discover(_Shared(), {"tokens": torch.zeros(1, 3, dtype=torch.long)})


def test_blocks_that_come_back_after_others_are_refused() -> None:
    architecture = ARCHITECTURES["BERT"]
    model, batch = architecture.make(), architecture.batch()
    encoder = model.bert.encoder
    first = encoder.layer[0]
    encoder.layer[1].register_forward_hook(lambda module, args, output: first(output))
    with pytest.raises(UnsupportedModel, match=r"'bert\.encoder\.layer\.0' runs 2 times in one forward pass"):
        discover(model, batch)


@pytest.mark.parametrize("name", ["T5", "T5 v1.1", "BART", "Swin", "ALBERT", "DeBERTa-v2", "Gemma", "MPNet"])
def test_sites_are_what_a_real_step_keeps(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model, batch = architecture.make(dropout=0.1), architecture.batch()
    batch.pop("attention_mask", None)
    predicted = kept(model, batch)
    with SavedMeter(model) as meter:
        output = model(**batch)
    assert predicted.total == meter.sites.total
    assert list(predicted.by_block()) == ["embeddings", *range(architecture.blocks), "head"]
    assert predicted.by_block() == meter.sites.by_block()
    static = sites(model, batch)
    assert 0 < static.static < static.total
    del output


def test_an_encoder_and_a_decoder_without_a_batch_of_their_own() -> None:
    torch.manual_seed(0)
    model = T5ForSequenceClassification(T5Config(**{**ARCHITECTURES["T5"].sizes, "eos_token_id": 1}))
    assert len(discover(model).blocks) == len(found("T5").blocks)  # it looks for the ends of the sentences
    architecture = ARCHITECTURES["T5"]
    model = architecture.make()
    assert discover(model).blocks == found("T5").blocks
    assert sites(model).total > 0


def test_a_second_pass_within_one_accounting_is_refused() -> None:
    architecture = ARCHITECTURES["T5"]
    model, batch = architecture.make(), architecture.batch()
    meter = Accounting(model, model.parameters(), "cpu")
    meter.__enter__()
    model(**batch)
    model(**batch)
    with pytest.raises(UnsupportedModel, match="ran twice"):
        meter.__exit__(None, None, None)


def _small(family: str, **more: Any) -> Any:
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
    config = getattr(transformers, f"{family}Config")(**{**sizes, **more})
    return getattr(transformers, f"{family}ForSequenceClassification")(config)


def test_a_linear_and_a_bias_that_are_written_out() -> None:
    falcon = discover(_small("Falcon"))
    assert falcon.unused == ()
    assert {unit.kind for unit in falcon.in_blocks(range(1))} >= {"attention_output", "linear", "norm"}
    deberta = discover(_small("Deberta", relative_attention=True, pos_att_type=["c2p", "p2c"]))
    block = {unit.name.removeprefix("deberta.encoder.layer.1."): unit.kind for unit in deberta.in_blocks(range(1, 2))}
    assert block["attention.self.q_bias"] == block["attention.self.v_bias"] == "bias"
    assert block["attention.self.in_proj.weight"] == "query_key_value"
