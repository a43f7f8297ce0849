"""Every codec: bytes as stated, errors within the bound, layouts kept, what is not finite told."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from frostline.errors import ConfigError, StorageError
from frostline.storage import codecs
from frostline.storage.codecs import Layout, memory_order

ON_CPU = [name for name in codecs.names() if name != "cpu"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
KINDS = ("normal", "shifted", "constant", "zeros", "tiny", "subnormal", "huge", "huge both ways", "sparse")
LAYOUTS = ("contiguous", "transposed", "sliced", "expanded", "permuted")


def values(kind: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    format = torch.finfo(dtype)
    result = {
        "normal": lambda: normal,
        "shifted": lambda: normal * 0.01 + 1000,
        "constant": lambda: torch.full_like(normal, 0.1 + seed),
        "zeros": lambda: torch.zeros_like(normal),
        "tiny": lambda: normal * format.smallest_normal * 1e3,
        "subnormal": lambda: normal * format.smallest_normal * 0.1,
        "huge": lambda: format.max * (1 - 0.01 * torch.rand(shape, generator=generator, dtype=torch.float64)),
        "huge both ways": lambda: normal.sign() * format.max,
        "sparse": lambda: normal * (normal > 0.5),
    }[kind]()
    return result.clamp(format.min, format.max).to(dtype)


def laid_out(layout: str, kind: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    if layout == "transposed" and len(shape) > 1:
        return values(kind, (*shape[:-2], shape[-1], shape[-2]), dtype, seed).transpose(-1, -2)
    if layout == "permuted" and len(shape) > 2:
        return values(kind, (shape[1], *shape[2:], shape[0]), dtype, seed).permute(-1, *range(len(shape) - 1))
    if layout == "sliced" and shape:
        return values(kind, (*shape[:-1], shape[-1] * 2 + 1), dtype, seed)[..., 1::2]
    if layout == "expanded" and shape:
        return values(kind, (*shape[:-1], 1), dtype, seed).expand(shape)
    return values(kind, shape, dtype, seed)


tensors = st.builds(
    laid_out,
    st.sampled_from(LAYOUTS),
    st.sampled_from(KINDS),
    st.one_of(
        st.sampled_from([(), (0,), (1,), (2, 0, 3), (127,), (128,), (129,), (255,), (256,), (257,), (5, 7, 11)]),
        st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    ),
    st.sampled_from(DTYPES),
    st.integers(0, 1000),
)


def fits(name: str, tensor: Tensor) -> bool:
    """Whether no value is beyond what the codec's shorter float format can hold."""
    formats = {"bf16": torch.bfloat16, "fp16": torch.float16}
    kept = torch.float16 if name == "top10" and tensor.dtype is torch.float16 else torch.bfloat16
    format = torch.float64 if name == "top10" and tensor.dtype is torch.float64 else formats.get(name, kept)
    return name not in (*formats, "top10") or bool(tensor.to(format).isfinite().all())


@pytest.mark.parametrize("name", ON_CPU)
@settings(max_examples=60, deadline=None)
@given(tensor=tensors)
def test_round_trip(name: str, tensor: Tensor) -> None:
    codec = codecs.get(name)
    code = codec.encode(tensor)
    assert sum(part.nbytes for part in code) == codec.size(tensor.shape, tensor.dtype)
    assert bool(codec.finite(code)) is fits(name, tensor)
    if not fits(name, tensor):
        return
    back = codec.decode(code, Layout.of(tensor))
    assert (back.shape, back.dtype) == (tensor.shape, tensor.dtype)
    if tensor.numel() and memory_order.is_dense(tensor.shape, tensor.stride()):
        assert back.stride() == tensor.stride()
    bound = codec.error_bound(tensor)
    assert (bound.shape, bound.dtype) == (tensor.shape, torch.float64)
    assert bool(back.isfinite().all())
    assert bool(((back.double() - tensor.double()).abs() <= bound).all())


@pytest.mark.parametrize("name", [name for name in ON_CPU if name not in ("exact", "file")])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", [0, 127, 128, 299, -1])
def test_what_is_not_finite_is_told(name: str, bad: float, dtype: torch.dtype, place: int) -> None:
    tensor = torch.randn(301, dtype=torch.float64).to(dtype)
    assert bool(codecs.get(name).finite(codecs.get(name).encode(tensor)))
    tensor[place] = bad
    assert not bool(codecs.get(name).finite(codecs.get(name).encode(tensor)))


def test_offloading_keeps_what_is_not_finite() -> None:
    tensor, codec = torch.tensor([math.inf, math.nan, 1.0]), codecs.get("file")
    assert torch.equal(codec.decode(codec.encode(tensor), Layout.of(tensor)).isfinite(), tensor.isfinite())
    assert bool(codec.finite(codec.encode(tensor)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [name for name in codecs.names() if name != "exact"])
@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: torch.zeros(3, dtype=torch.int64), "int64"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "complex64"),
        (lambda: torch.zeros(3, dtype=torch.bool), "bool"),
        (lambda: torch.zeros(3).to(torch.float8_e4m3fn), "float8"),
        (lambda: torch.zeros(3, 3).to_sparse(), "sparse"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), "qint8"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), "nested"),
    ],
)
def test_other_tensors_are_refused_by_name(name: str, make: Callable[[], Tensor], word: str) -> None:
    with pytest.raises(StorageError, match=word):
        codecs.get(name).encode(make())


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (700, 384)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_fake_tensors_have_the_sizes_of_real_ones(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    codec, real = codecs.get(name), torch.zeros(shape, dtype=dtype)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(real)
        code = codec.encode(fake)
        back = codec.decode(code, Layout.of(fake))
        codec.finite(code)
    assert [(part.shape, part.dtype) for part in code] == [(part.shape, part.dtype) for part in codec.encode(real)]
    assert (back.shape, back.dtype, back.stride()) == (real.shape, real.dtype, real.stride())


@pytest.mark.parametrize("name", [name for name in ON_CPU if name != "exact"])
def test_a_code_holds_no_memory_of_its_tensor(name: str) -> None:
    for dtype in DTYPES:
        tensor = torch.randn(300, dtype=torch.float64).to(dtype)
        storage = tensor.untyped_storage().data_ptr()
        assert all(part.untyped_storage().data_ptr() != storage for part in codecs.get(name).encode(tensor))


@pytest.mark.parametrize("name", [name for name in ON_CPU if name != "file"])
def test_blocks_do_not_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into blocks or taken at once, as on an accelerator, a tensor has the same code."""
    tensor, codec = torch.randn(5000), codecs.get(name)
    if name.endswith("stochastic"):
        pytest.skip("the noise of each block begins elsewhere")
    whole = codec.encode(tensor)
    monkeypatch.setattr(memory_order, "CHUNK", 1024)
    monkeypatch.setattr(memory_order, "BLOCK", 512)
    assert all(torch.equal(a, b) for a, b in zip(whole, codec.encode(tensor), strict=True))
    back = codec.decode(whole, Layout.of(tensor))
    assert bool(((back - tensor).abs() <= codec.error_bound(tensor)).all())


def test_names() -> None:
    assert all(codecs.get(name).name == name and codecs.get(name) == codecs.get(name) for name in codecs.names())
    with pytest.raises(ConfigError, match="int8_stochastic"):
        codecs.get("int8_stocastic")


def test_a_gpu_is_asked_for_by_cpu_offload() -> None:
    with pytest.raises(StorageError, match="`file`"):
        codecs.get("cpu").encode(torch.zeros(3))
