"""What torch says when memory is refused, in a sentence."""

from __future__ import annotations

import pytest
import torch

from frostline.training.stopping import is_out_of_memory, what_was_refused


def test_the_cpu_s_allocator():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.int8)
    assert is_out_of_memory(caught.value)
    assert what_was_refused(caught.value) == f"can't allocate memory: you tried to allocate {2**60} bytes"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. Try this."), "CUDA out of memory"),
        (MemoryError(), "out of memory"),
    ],
)
def test_others(error, said):
    assert is_out_of_memory(error)
    assert what_was_refused(error) == said


def test_what_is_none():
    assert not is_out_of_memory(ValueError("no memory of that"))
