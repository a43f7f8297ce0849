"""On an accelerator a codec works on a stretch at a time, too: beside a large activation it takes next to nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frostline.anatomy.fakes import fakes
from frostline.anatomy.target import traced_for
from frostline.meter.tensors import TensorTracker
from frostline.storage import codecs
from frostline.storage.codecs import Layout

ON_THE_DEVICE = [name for name in codecs.names() if name not in ("exact", "cpu", "file")]
VALUES = 2**26
SCRATCH = 2**27
"""Bytes beside the code and the values: half of the values in float32."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ON_THE_DEVICE)
def test_beside_a_large_row_a_plan_counts_little(name: str, dtype: torch.dtype) -> None:
    codec = codecs.get(name)
    with traced_for("cuda") as place, fakes(), TensorTracker(nn.Module(), place.type) as tracker:
        row = torch.empty(VALUES, dtype=dtype, device=place)
        code = codec.encode(row)
        codec.decode(code, Layout(row.shape, row.stride(), dtype))
        size = sum(part.nbytes for part in code)
    assert tracker.peak_bytes <= 2 * row.nbytes + size + SCRATCH


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ON_THE_DEVICE)
def test_and_a_gpu_takes_no_more(name: str, dtype: torch.dtype) -> None:
    codec, row = codecs.get(name), torch.randn(VALUES, dtype=dtype, device="cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    code = codec.encode(row)
    encoding = torch.cuda.max_memory_allocated() - before
    size = torch.cuda.memory_allocated() - before
    torch.cuda.reset_peak_memory_stats()
    decoded = codec.decode(code, Layout(row.shape, row.stride(), dtype))
    decoding = torch.cuda.max_memory_allocated() - before
    assert encoding <= size + SCRATCH
    assert decoding <= size + row.nbytes + SCRATCH
    assert ((decoded - row).abs().double() <= 1.01 * codec.error_bound(row)).all()
