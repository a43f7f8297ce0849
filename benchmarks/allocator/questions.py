"""What SQuAD's questions leave in a process that has read them and made windows of them, before and after a trim.

    python benchmarks/allocator/questions.py compact    (or default; data in ../shared/data)

20,000 questions of train-v1.1 and all of dev-v1.1, MiniLM, windows of 384 tokens. Prints what the tables hold, and
by how much the process has grown.
"""

from __future__ import annotations

import gc
import importlib
import sys

import psutil

from frostline import allocator
from frostline.config import make_config
from frostline.models import quiet
from frostline.tasks.question_answering import QuestionAnswering

SQUAD = "../shared/data/squad"


def main() -> None:
    """Read, make windows, and print."""
    importlib.import_module("frostline.training.run")  # what a run has loaded by then
    quiet()
    allocator.use(sys.argv[1])
    config = make_config(
        {
            "task": "question-answering",
            "data": f"{SQUAD}/train-v1.1.json",
            "validation": f"{SQUAD}/dev-v1.1.json",
            "max_train": 20_000,
            "max_length": 384,
            "output": "-",
        }
    )
    task = QuestionAnswering()
    loaded = task.load("minilm", [], config)
    before = psutil.Process().memory_info().rss
    data = task.read(config)
    encoded = task.encode(data, loaded, config)
    tables = (data.train, data.validation, encoded.train, encoded.validation)
    held = sum(table.data.nbytes for table in tables) / 2**20
    gc.collect()
    grown = [psutil.Process().memory_info().rss - before]
    allocator.trim()
    grown.append(psutil.Process().memory_info().rss - before)
    print(f"the tables: {held:,.0f} MiB; the process: {', trimmed '.join(f'{b / 2**20:,.0f} MiB' for b in grown)}")


if __name__ == "__main__":
    main()
