"""A device's view of the arrays that came: one network in memory, and not two."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

from frostline.federated.received import taken


def test_what_does_not_train_stays_in_the_bytes_that_came_and_the_rest_may_change() -> None:
    arrays: dict[str, Any] = {
        "frozen": np.arange(12, dtype=np.float32).reshape(3, 4),
        "trained": np.ones((2, 2), np.float32),
        "number": np.array(7, np.int64),
        "columns": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "none": np.zeros((0, 4), np.float16),
    }
    record = ArrayRecord({name: Array(value) for name, value in arrays.items()})
    bytes_of = {name: np.frombuffer(array.data, np.uint8) for name, array in record.items()}
    found = taken(record, {"trained"})
    assert not record
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
    assert np.shares_memory(found["frozen"], bytes_of["frozen"])
    assert not np.shares_memory(found["trained"], bytes_of["trained"])
    found["trained"] += 1  # it may be written
