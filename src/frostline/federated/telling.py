"""A round in one line, for a person."""

from __future__ import annotations

from frostline.budget import written
from frostline.federated.turns import Record


def told(record: Record, rounds: int) -> str:
    """Return the line of a round's record."""
    scores = "  ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
    if own := record.get("on_devices"):
        scores += "  on devices " + ("none" if own["mean"] is None else f"{own['mean']:.4f}")
        scores += "" if own["mean"] is None else f" (worst tenth {own['worst_tenth']:.4f})"
    loss = "" if record["loss"] is None else f"  loss {record['loss']:.4f}"
    rejected = "".join(f"  {count} {reason}" for reason, count in record["rejected"].items())
    return (
        f"round {record['round']}/{rounds}  {scores}{loss}  {record['replies']} of {record['asked']} devices"
        f"{'' if record['reached'] else ' (no quorum: nothing moved)'}{rejected}  "
        f"down {written(record['bytes_down'])}  up {written(record['bytes_up'])}  slowest {record['slowest']}"
    )
