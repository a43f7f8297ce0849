"""The embedded task: acceptability judgements made by a grammar, so that nothing need be downloaded."""

from __future__ import annotations

from typing import Literal

from frostline.tasks.sources.rows import Rows

NAME = "acceptability"
CLASSES = ("unacceptable", "acceptable")
TRAIN_ROWS = 7040
VALIDATION_ROWS = 1000
# The data stay the same whatever the run's seed, so that runs compare and `eval` reads what training validated on.
_SEED = 0


def read_train() -> Rows:
    """Return the training rows."""
    return _generate("train", TRAIN_ROWS)


def read_validation() -> Rows:
    """Return the validation rows: the generator's test split."""
    return _generate("test", VALIDATION_ROWS)


def _generate(split: Literal["train", "test"], size: int) -> Rows:
    from frostline.tasks.acceptability import generate

    examples = generate(split, size, _SEED)
    return Rows(
        origin=f"{NAME} ({split})",
        name=NAME,
        texts=[example.text for example in examples],
        pairs=None,
        labels=[CLASSES[int(example.label)] for example in examples],
        numbers=range(1, len(examples) + 1),
        classes=CLASSES,
    )
