"""Plain text out of a SQuAD file: its paragraphs, for networks that shall not know the text they are tuned on.

    python benchmarks/federated/paragraphs.py ../shared/data/squad/train-v1.1.json 1000000 runs/federated/paragraphs.txt

Paragraphs with characters beyond ASCII are left out, and of the others as many are taken, evenly over the file, as give
about so many characters.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def paragraphs(source: Path, count: int) -> list[str]:
    """Return ASCII paragraphs of about so many characters in all, evenly over the file."""
    articles = json.loads(source.read_text(encoding="utf-8"))["data"]
    found = [part["context"].strip() for article in articles for part in article["paragraphs"]]
    found = [text for text in dict.fromkeys(found) if text.isascii()]
    return found[:: max(1, sum(map(len, found)) // count)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("count", type=int, help="characters")
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    asked.target.parent.mkdir(parents=True, exist_ok=True)
    asked.target.write_text("\n".join(paragraphs(asked.source, asked.count)) + "\n", encoding="utf-8")
