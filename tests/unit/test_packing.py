"""Nested values become JSON and tensors, and come back to the bit."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.two_tensor import TwoTensor

from frostline.errors import CheckpointError
from frostline.training.packing import pack, unpack
from tiny_models import same_bits


def there_and_back(value: Any) -> Any:
    tensors: dict[str, Tensor] = {}
    return unpack(json.loads(json.dumps(pack(value, "state", tensors))), tensors)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1,
        float("inf"),
        "text",
        [],
        {},
        (),
        [1, [2.5, None]],
        {0: {"a": (1, 2)}, "b": []},
        torch.bfloat16,
    ],
    ids=repr,
)
def test_plain_values_come_back(value: Any) -> None:
    assert there_and_back(value) == value
    assert type(there_and_back(value)) is type(value)


def test_a_dictionary_that_looks_like_a_packed_one_comes_back() -> None:
    for value in ({"tensor": "state"}, {"dict": []}, {"tuple": [1]}, {"dtype": "float32"}):
        assert there_and_back(value) == value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.int64], ids=str)
def test_tensors_come_back_to_the_bit(dtype: torch.dtype) -> None:
    values = {"moments": torch.arange(6).to(dtype).view(2, 3).t(), "step": torch.tensor(3.0), 7: [torch.empty(0, 2)]}
    back = there_and_back(values)
    assert same_bits(back["moments"], values["moments"].contiguous())
    assert same_bits(back["step"], values["step"])
    assert back[7][0].shape == (0, 2)


def test_one_tensor_in_two_places_is_two_copies() -> None:
    table = torch.ones(2)
    tensors: dict[str, Tensor] = {}
    pack({"a": table, "b": table}, "state", tensors)
    assert len({t.data_ptr() for t in (table, *tensors.values())}) == 3


def test_a_tensor_that_is_made_of_others_comes_back_if_its_class_is_safe() -> None:
    value = TwoTensor(torch.ones(2, 3), torch.zeros(2, 3))
    with torch.serialization.safe_globals([TwoTensor]):
        back = there_and_back({"moment": value})["moment"]
    assert type(back) is TwoTensor
    assert same_bits(back.a, value.a)
    assert same_bits(back.b, value.b)
    with pytest.raises(CheckpointError, match=r"two_tensor\.TwoTensor', which is not here or not declared safe"):
        there_and_back(value)
