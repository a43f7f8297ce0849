"""FSDP2 puts shards in the place of the weights; a tuner says so, whichever came first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard
from torch.optim import SGD

import frostline
from frostline.errors import UnsupportedModel
from tiny_models import tiny_bert

SAID = "the weight 'bert.embeddings.word_embeddings.weight' is a shard .DTensor., as FSDP2's fully_shard makes it"


@pytest.fixture
def process() -> Iterator[None]:
    """One process of a group of one: it cuts weights as a larger group does."""
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    yield
    distributed.destroy_process_group()


def shard(model: torch.nn.Module) -> None:
    fully_shard(model, mesh=distributed.device_mesh.init_device_mesh("cpu", (1,)))


@pytest.mark.usefixtures("process")
def test_a_model_cut_before_is_refused() -> None:
    model = tiny_bert()
    shard(model)
    with pytest.raises(UnsupportedModel, match=SAID):
        frostline.prepare(model, "full")


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("storage", ["exact", "smallest"])
def test_a_model_cut_after_is_refused_before_it_trains(storage: str) -> None:
    model = tiny_bert()
    tuner = frostline.prepare(model, "layers", count=1, storage=storage)
    shard(model)
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.raises(UnsupportedModel, match=SAID):
        tuner.attach(optimizer)


@pytest.mark.usefixtures("process")
def test_a_model_cut_after_its_optimizer_was_attached_is_refused_before_it_trains() -> None:
    model = tiny_bert()
    tuner = frostline.prepare(model, "layers", count=1)
    tuner.attach(SGD(tuner.candidate_parameters(), lr=0.1))
    shard(model)
    with pytest.raises(UnsupportedModel, match=SAID):
        tuner.before_step()
