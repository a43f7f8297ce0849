"""A round in one line, for a person."""

from __future__ import annotations

from collections import Counter

from flwr.app import Error

from frostline.budget import written
from frostline.federated.turns import Record

_LONGEST = 300


def brief(text: str) -> str:
    """Return a text, cut where it would fill a log: what a device sends can be of any length."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def reason(error: Error) -> str:
    """Return the last line of why a device failed: the rest may be a whole traceback."""
    lines = [line.strip() for line in (error.reason or "").splitlines() if line.strip()]
    return brief(lines[-1] if lines else f"error {error.code}")


def told(record: Record, rounds: int) -> str:
    """Return the line of a round's record."""
    scores = "  ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
    if own := record.get("on_devices"):
        scores += "  on devices " + ("none" if own["mean"] is None else f"{own['mean']:.4f}")
        scores += "" if own["mean"] is None else f" (worst tenth {own['worst_tenth']:.4f})"
    loss = "" if record["loss"] is None else f"  loss {record['loss']:.4f}"
    rejected = "".join(f"  {count} {reason}" for reason, count in record["rejected"].items())
    single = f"  {record['one_class']} with one class only" if record["one_class"] else ""
    over = f"  {record['over_memory']} over their memory" if record["over_memory"] else ""
    return (
        f"round {record['round']}/{rounds}  {scores}{loss}  {record['replies']} of {record['asked']} devices"
        f"{'' if record['reached'] else ' (no quorum: nothing moved)'}{rejected}  "
        f"down {written(record['bytes_down'])}  up {written(record['bytes_up'])}  slowest {record['slowest']}  "
        f"{_parts(record)}{single}{over}"
    )


def _parts(record: Record) -> str:
    """Return what how many devices train: `layers 2 on 3 devices, 6 on 1`."""
    asked = [device.get("rank", device["layers"]) for device in record["devices"]]
    first, *others = sorted(Counter(asked).items()) or [(0, 0)]
    unit = "ranks" if any("rank" in device for device in record["devices"]) else "layers"
    told = [f"{unit} {first[0]} on {first[1]} devices", *(f"{amount} on {count}" for amount, count in others)]
    return ", ".join(told)
