"""What is particular to each number format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from frostline.errors import StorageError
from frostline.storage import codecs
from frostline.storage.codecs import Affine, Layout


def round_trip(name: str, tensor: Tensor) -> Tensor:
    codec = codecs.get(name)
    return codec.decode(codec.encode(tensor), Layout.of(tensor))


@pytest.mark.parametrize("name", ["int8", "int4", "int8_stochastic", "int4_stochastic"])
def test_affine_keeps_zeros_and_constants(name: str) -> None:
    dropped = torch.nn.functional.dropout(torch.randn(64, 384), 0.3)
    assert bool((round_trip(name, dropped)[dropped == 0] == 0).all())
    for constant in (0.0, 1.0, -0.3, 1e-20, 3e38, 1234.5):
        error = round_trip(name, torch.full((300,), constant)) - constant
        assert float(error.abs().max()) <= abs(constant) * 2**-13.9 * (1 if "stochastic" in name else 0.5)


@pytest.mark.parametrize("name", ["int8_stochastic", "int4_stochastic"])
def test_stochastic_rounding_never_moves_a_zero(name: str) -> None:
    for seed in range(40):  # 20 million zeros: each of the 65,536 random numbers meets about 300 of them
        torch.manual_seed(seed)
        sparse = torch.zeros(512, 1024)
        sparse[:, ::64] = torch.randn(512, 16)
        assert bool((round_trip(name, sparse)[sparse == 0] == 0).all())


def test_affine_error_and_size() -> None:
    tensor = torch.randn(512, 384, generator=torch.Generator().manual_seed(0))
    for name, bits, error in (("int8", 8.25, 0.0062), ("int4", 4.25, 0.105)):
        assert codecs.get(name).size(tensor.shape, tensor.dtype) * 8 / tensor.numel() == bits
        assert float((round_trip(name, tensor) - tensor).square().mean().sqrt()) < error


def test_affine_reads_views_where_they_lie() -> None:
    tensor = torch.randn(2, 64, 3, 32).transpose(1, 2)
    code = Affine("int8", 8).encode(tensor)
    assert torch.equal(code[0], Affine("int8", 8).encode(tensor.transpose(1, 2))[0])


def test_float64_keeps_its_range() -> None:
    tensor = torch.randn(500, dtype=torch.float64) * 1e200
    assert float(((round_trip("int8", tensor) - tensor) / 1e200).abs().max()) < 0.02


@pytest.mark.parametrize("name", ["int8_stochastic", "int4_stochastic"])
def test_stochastic_rounding_is_unbiased(name: str) -> None:
    tensor = torch.rand(256, generator=torch.Generator().manual_seed(1)) * 7 - 3
    step = float(codecs.get(name).encode(tensor)[1].float().max())
    runs, total = 200, torch.zeros_like(tensor)
    for seed in range(runs):
        torch.manual_seed(seed)
        total += round_trip(name, tensor) - tensor
    deviation = step * 0.5 / runs**0.5  # a bit of probability p has a deviation of at most 1/2
    assert float((total / runs).abs().max()) < 5 * deviation
    assert abs(float((total / runs).mean())) < 5 * deviation / 16
    assert float((total / runs).std()) > deviation / 4  # it is not rounding to the nearest


def test_stochastic_rounding_has_independent_looking_noise() -> None:
    torch.manual_seed(0)
    tensor = torch.rand(2**20) * 200
    errors = (round_trip("int8_stochastic", tensor) - tensor).double()
    fractions = torch.fft.rfft(errors - errors.mean()).abs().square()[1:]
    assert float(fractions.max() / fractions.mean()) < 40  # a period would stand out; noise has about ln(2**19) = 13
    assert abs(float(torch.corrcoef(torch.stack([errors[:-1], errors[1:]]))[0, 1])) < 0.005


def test_stochastic_rounding_leaves_the_generator_alone() -> None:
    codec, tensor = codecs.get("int8_stochastic"), torch.randn(1000)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = codec.encode(tensor)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(codec.encode(tensor)[0], first[0])
    torch.rand(1)
    assert not torch.equal(codec.encode(tensor)[0], first[0])
    torch.manual_seed(3)
    assert torch.equal(codec.encode(tensor)[0], first[0])


def test_fixed_point_is_slimfits() -> None:
    tensor = torch.tensor([0.0, 1.03, -8.0, -9.0, 7.9375, 100.0, 0.03125, 0.09375])
    assert round_trip("fixed3.4", tensor).tolist() == [0.0, 1.0, -8.0, -8.0, 7.9375, 7.9375, 0.0, 0.125]
    assert round_trip("fixed2.1", tensor).tolist() == [0.0, 1.0, -4.0, -4.0, 3.5, 3.5, 0.0, 0.0]
    assert round_trip("fixed0.8", torch.tensor([0.0, 0.5, 1.0, -1.0])).tolist() == [0.0, 0.5, 255 / 256, 0.0]
    dtypes = [codecs.get(name).encode(tensor)[0].dtype for name in ("fixed3.4", "fixed2.1", "fixed0.8")]
    assert dtypes == [torch.int8, torch.uint8, torch.uint8]
    assert codecs.get("fixed2.1").size((7,), torch.float32) == 5


def test_topk_keeps_the_largest() -> None:
    tensor = torch.randn(4, 256)
    back = round_trip("top10", tensor)
    assert (back != 0).sum(1).tolist() == [26] * 4
    largest = tensor.abs().topk(26, dim=1).indices
    assert torch.equal(back.gather(1, largest), tensor.gather(1, largest).bfloat16().float())
    assert codecs.get("top10").size((4, 256), torch.float32) == 4 * 26 * 3


def test_bf16_rounds_to_even_and_refuses_what_overflows() -> None:
    tensor = torch.tensor([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -(2**-133)])
    assert round_trip("bf16", tensor).tolist() == [1.0, 1.0, 1 + 2**-6, -(2**-133)]
    codec = codecs.get("bf16")
    assert bool(codec.finite(codec.encode(torch.tensor([3.39e38]))))
    assert not bool(codec.finite(codec.encode(torch.tensor([3.4e38]))))
    assert not bool(codecs.get("fp16").finite(codecs.get("fp16").encode(torch.tensor([65520.0]))))


def test_a_file_has_no_name_and_the_bytes_of_its_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tensor = torch.randn(1000, 300)
    code = codecs.get("file").encode(tensor)
    assert os.listdir(tmp_path) == []
    assert torch.equal(codecs.get("file").decode(code, Layout.of(tensor)), tensor)
    assert torch.equal(codecs.get("file").decode(code, Layout.of(tensor)), tensor)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match=r"missing.*TMPDIR"):
        codecs.get("file").encode(torch.zeros(3))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(StorageError, match="int8"):
            codecs.get("file").encode(torch.zeros(2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_a_tensor_that_requires_a_gradient_is_coded() -> None:
    tensor = torch.randn(300, requires_grad=True)
    for name in (name for name in codecs.names() if name not in ("cpu", "exact")):
        assert not round_trip(name, tensor).requires_grad
