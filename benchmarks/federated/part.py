"""A part of a Parquet file, the same share of each class: what a server scores on after every round.

python benchmarks/federated/part.py ../shared/data/cifar/cifar10-test.parquet 1000 runs/federated/cifar10.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets import ClassLabel, load_dataset


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("count", type=int, help="rows")
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    rows = load_dataset("parquet", data_files=str(arguments.source), split="train")
    label = next(name for name, feature in rows.features.items() if isinstance(feature, ClassLabel))
    part = rows.train_test_split(train_size=arguments.count, stratify_by_column=label, seed=0)["train"]
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    part.to_parquet(arguments.target)


if __name__ == "__main__":
    main()
