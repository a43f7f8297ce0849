"""CIFAR as it comes, and a real pretrained ViT at three sizes. Both stand beside the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch

from frostline.config import make_config
from frostline.tasks import task_of

DATA = Path(__file__).parents[2].parent / "shared" / "data"
CIFAR, VIT = DATA / "cifar", DATA / "models" / "vit-tiny"

pytestmark = pytest.mark.skipif(not (CIFAR.is_dir() and VIT.is_dir()), reason=f"no CIFAR or vit-tiny at {DATA}")


def part_of(path: Path, folder: Path, rows: int) -> Path:
    """Write the first rows of a Parquet file, types and all."""
    part = folder / path.name
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).slice(0, rows), part)
    return part


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "test", "classes", "rows"),
    [
        ("cifar10-train-20k.parquet", "cifar10-test.parquet", 10, (20000, 10000)),
        ("cifar100-train-10k.parquet", "cifar100-test-5k.parquet", 100, (10000, 5000)),
    ],
)
def test_files_are_read_whole(train: str, test: str, classes: int, rows: tuple[int, int]) -> None:
    config = make_config(
        {"model": str(VIT), "data": str(CIFAR / train), "validation": str(CIFAR / test), "output": "-"}
    )
    data = task_of(config).read(config)
    assert (len(data.train), len(data.validation)) == rows
    assert len(data.label_names) == classes
    assert len(set(data.train["label"])) == classes


@pytest.mark.parametrize("size", [64, 96, 224])
def test_pretrained_vit_at_its_size_and_others(size: int) -> None:
    from transformers import ViTForImageClassification

    config = make_config({"model": str(VIT), "output": "-", "image_size": size})
    loaded = task_of(config).load(str(VIT), None, config)
    stock = ViTForImageClassification.from_pretrained(VIT, dtype=torch.float32)
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = stock(pixel_values=pixels, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(loaded.model(pixel_values=pixels).logits, expected)


def test_run_on_cifar_100(command: Any, record: Any, tmp_path: Path) -> None:
    data = part_of(CIFAR / "cifar100-train-10k.parquet", tmp_path, 700)
    held = part_of(CIFAR / "cifar100-test-5k.parquet", tmp_path, 16)
    words = [f"model={VIT}", f"data={data}", f"validation={held}", "image_size=64", "batch_size=4", "max_steps=2"]
    done = command("train", *words, "method=slimfit", "storage=compact", "--output", tmp_path / "run")
    assert done.code == 0, done.stderr
    assert "100 classes" in done.stdout
    assert record(tmp_path / "run")["plan"]["trainable_parameters"] > 0
    assert command("eval", tmp_path / "run", "--json").code == 0
