"""Steps for a GPU that is not here: what CUDA does otherwise is what is predicted."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from frostline.anatomy.fakes import fakes
from frostline.anatomy.target import device_type, traced_for
from frostline.errors import ConfigError
from frostline.meter.steps import Steps
from frostline.planner.rehearsal import rehearse

SHAPE = {"model": "minilm", "batch_size": 2, "sequence_length": 64}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors_stand_for_the_device_and_real_ones_for_themselves(device):
    real = torch.ones(2)
    with traced_for(device) as place, fakes():
        assert device_type(torch.ones(2, device=place)) == device
        assert device_type(real) == "cpu"
    with fakes():
        assert device_type(torch.ones(2)) == "cpu"


def test_another_device_is_refused():
    with pytest.raises(ConfigError, match="device 'tpu' is not understood"), traced_for("tpu"):
        pass


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.bfloat16), ("cuda", torch.float32)])
def test_autocast_computes_norms_in_the_target_s_precision(device, dtype):
    norm, hidden = nn.LayerNorm(8), torch.ones(2, 8, dtype=torch.bfloat16)
    with traced_for(device), torch.autocast("cpu", torch.bfloat16):
        assert norm(hidden).dtype == dtype
    with traced_for(device):
        assert functional.softmax(hidden, -1).dtype == torch.bfloat16


def test_what_is_offloaded_from_a_gpu_is_not_in_its_memory():
    kept = rehearse(Steps(**SHAPE, storage={"linear": "exact"}), device="cuda")
    away = rehearse(Steps(**SHAPE, storage={"linear": "cpu"}), device="cuda")
    assert away.saved < kept.saved


def test_slimfit_s_probabilities_are_nowhere_on_a_gpu():
    square = 2 * 12 * 64 * 64  # bytes of all heads' in one layer, in eight bits
    on_cpu, on_gpu = (
        rehearse(Steps(**SHAPE, storage={"attention": "probabilities"}), device=d) for d in ("cpu", "cuda")
    )
    assert on_cpu.saved - on_gpu.saved >= 6 * square
