"""What is not finite is named by its site: at once on a CPU, before the optimizer's step elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from frostline.errors import StorageError
from frostline.storage import finite


def test_at_once_on_a_cpu() -> None:
    finite.note_finite(torch.tensor(True), "int8", "layer.0")
    with pytest.raises(StorageError, match=r"layer\.1: .* storage 'int8' cannot keep"):
        finite.note_finite(torch.tensor(False), "int8", "layer.1")
    finite.require_finite()


def test_elsewhere_together(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [(torch.tensor(value), "int4", f"layer.{i}") for i, value in enumerate([True, False, False])]
    monkeypatch.setattr(finite, "_waiting", flags)
    with pytest.raises(StorageError, match=r"layer\.1: .* storage 'int4'"):
        finite.require_finite()
    finite.require_finite()  # what was told is not told again


def test_fake_tensors_have_no_values() -> None:
    with FakeTensorMode():
        finite.note_finite(torch.ones((), dtype=torch.bool), "int8", "layer.0")
    finite.require_finite()
