"""What a data set of pictures leaves in a process that has read it, with Arrow's own pool and with `compact`.

    python benchmarks/allocator/pictures.py

200 pictures of noise, a Parquet file of 61 MB, each way in a process of its own. Prints by how much it has grown.
"""

from __future__ import annotations

import importlib
import io
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from PIL import Image

from frostline import allocator
from frostline.tasks.image_classification import ImageClassification

COUNT, SIZE = 200, 320


def write(path: Path) -> None:
    """Write the data set."""
    import datasets

    images = []
    for index in range(COUNT):
        content = io.BytesIO()
        noise = random.Random(index).randbytes(SIZE * SIZE * 3)
        Image.frombytes("RGB", (SIZE, SIZE), noise).save(content, "PNG")
        images.append({"bytes": content.getvalue(), "path": None})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    labels = [str(index % 2) for index in range(COUNT)]
    datasets.Dataset.from_dict({"image": images, "label": labels}, features).to_parquet(path)


def grown(name: str, path: str) -> int:
    """Return the bytes by which this process grows when it reads the data set; all libraries are there before."""
    importlib.import_module("frostline.training.run")  # what a run has loaded by then
    from frostline.config import make_config

    allocator.use("compact")
    if name == "arrow":
        import pyarrow

        pyarrow.set_memory_pool(pyarrow.mimalloc_memory_pool())
    config = make_config({"data": path, "output": "-"})
    before = psutil.Process().memory_info().rss
    data = ImageClassification().read(config)
    after = psutil.Process().memory_info().rss
    assert len(data.train) + len(data.validation) == COUNT
    return int(after - before)


def main() -> None:
    """Write, read both ways, and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.parquet")
        write(path)
        print(f"the file: {path.stat().st_size / 2**20:,.0f} MiB")
        for name in ("arrow", "compact"):
            words = [sys.executable, __file__, name, str(path)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            print(f"{name}: {int(done.stdout) / 2**20:,.0f} MiB more")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(grown(*sys.argv[1:]))
    else:
        main()
