"""What the codecs cost and lose: time on one thread for 25 MB of float32, and errors on the activations of MiniLM.

    python benchmarks/storage/codec_costs.py

Times are the thread's own CPU time, the best of 15, in turns; GELU and a copy, which every figure is to be seen
beside, suffer alike from whoever else uses the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import AutoModel

from frostline import models
from frostline.storage import codecs
from frostline.storage.codecs import Layout, mask, packing

Job = Callable[[], object]


def jobs(tensor: Tensor) -> dict[str, tuple[Job, Job | None]]:
    """Return name -> (encode, decode)."""
    layout, target, signs = Layout.of(tensor), torch.empty_like(tensor), tensor > 0
    rows, rowwise = tensor.view(-1, 128), torch.ops.quantized
    result: dict[str, tuple[Job, Job | None]] = {
        "copy": (partial(target.copy_, tensor), None),
        "GELU": (partial(torch.nn.functional.gelu, tensor), None),
        "FBGEMM rows, 8 bit": (
            partial(rowwise.embedding_bag_byte_prepack, rows),
            partial(rowwise.embedding_bag_byte_unpack, rowwise.embedding_bag_byte_prepack(rows)),
        ),
    }
    for name in codecs.names():
        if name not in ("exact", "cpu"):
            codec = codecs.get(name)
            result[name] = (partial(codec.encode, tensor), partial(codec.decode, codec.encode(tensor), layout))
    result["mask"] = (partial(mask.pack, signs), partial(mask.unpack, mask.pack(signs), signs.shape))
    for bits in (2, 3, 4):
        codes = torch.randint(2**bits, (tensor.numel(),), dtype=torch.uint8)
        result[f"pack {bits} bit"] = (
            partial(packing.pack, codes, bits),
            partial(packing.unpack, packing.pack(codes, bits), bits, codes.numel()),
        )
    return result


def times(repeats: int = 15) -> None:
    """Print milliseconds and gigabytes of float32 a second."""
    tensor = torch.randn(32, 128, 1536)
    table = jobs(tensor)
    best: dict[tuple[str, int], float] = {}
    for _ in range(repeats):
        for name, pair in table.items():
            for place, job in enumerate(pair):
                if job is not None:
                    start = time.thread_time()
                    job()
                    took = time.thread_time() - start
                    best[name, place] = min(took, best.get((name, place), took))
    print(f"{'':20}{'encode ms':>12}{'GB/s':>8}{'decode ms':>12}{'GB/s':>8}")
    for name in table:
        cells = [
            f"{best[name, place] * 1e3:12.2f}{tensor.nbytes / best[name, place] / 1e9:8.1f}"
            for place in (0, 1)
            if (name, place) in best
        ]
        print(f"{name:20}{''.join(cells)}")


def activations() -> dict[str, Tensor]:
    """Return activations of MiniLM's blocks on random tokens, each (groups, 128)."""
    torch.manual_seed(0)
    model = AutoModel.from_pretrained(models.locate("minilm")).eval()
    found: dict[str, list[Tensor]] = {}

    def note(name: str, given: bool) -> Callable[..., None]:
        return lambda module, args, output: found.setdefault(name, []).append(args[0] if given else output)

    for name, module in model.named_modules():
        for ending, label, given in (
            ("self.query", "block's input", True),
            ("self.query", "q", False),
            ("self.value", "v", False),
            ("intermediate.dense", "GELU's input", False),
            ("intermediate.dense", "FFN's input", True),
        ):
            if name.endswith(ending):
                module.register_forward_hook(note(label, given))
        if name.endswith("output.dense") and "attention" not in name:
            module.register_forward_hook(note("GELU's output", True))
    with torch.no_grad():
        model(torch.randint(1000, 20000, (16, 64)))
    return {name: torch.cat([part.reshape(-1, 128) for part in parts]) for name, parts in found.items()}


def float32_groups(rows: Tensor, bits: int) -> Tensor:
    """Return what a float32 scale and minimum for each group would give back."""
    low, high = rows.amin(1, True), rows.amax(1, True)
    step = ((high - low) / (2**bits - 1)).clamp_min(1e-30)
    return ((rows - low) / step).round() * step + low


def symmetric(rows: Tensor, bits: int) -> Tensor:
    """Return what a scale alone would give back."""
    step = (rows.abs().amax(1, True) / (2 ** (bits - 1) - 1)).clamp_min(1e-30)
    return (rows / step).round() * step


def errors() -> None:
    """Print root mean squares of errors, in per cent of the values'."""
    ways: dict[str, Callable[[Tensor], Tensor]] = {}
    for bits in (8, 4):
        ways[f"int{bits}, float32"] = lambda rows, bits=bits: float32_groups(rows, bits)
        ways[f"int{bits}, symmetric"] = lambda rows, bits=bits: symmetric(rows, bits)
    for name in codecs.names():
        if name not in ("exact", "cpu", "file"):
            codec = codecs.get(name)
            ways[name] = lambda rows, codec=codec: codec.decode(codec.encode(rows), Layout.of(rows))
    found = activations()
    print(f"{'error, %':20}" + "".join(f"{name:>15}" for name in found))
    for way, function in ways.items():
        shares = [float((function(rows) - rows).norm() / rows.norm()) for rows in found.values()]
        print(f"{way:20}" + "".join(f"{100 * share:15.3f}" for share in shares))


if __name__ == "__main__":
    torch.set_num_threads(1)
    times()
    errors()
