"""Local differential privacy of what a device sends: Flower's own mod, over the tensors that the device trained.

Flower's mods expect a reply with the very tensors of the message. Here a device is sent the whole network and gives
back its part, so the mod is called on that part alone.
"""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp.mod import LocalDpMod
from pydantic import Field

from frostline.config import Keys
from frostline.errors import FrostlineError
from frostline.federated.merging import Arrays


class LocalDp(Keys):
    """How much of a device's data its reply may tell, see Flower's LocalDpMod."""

    clipping_norm: float = Field(gt=0, description="the most that a device's weights may move together, L2")
    sensitivity: float = Field(gt=0, description="of a device's reply, L2")
    epsilon: float = Field(gt=0, description="the privacy budget of a round; smaller is more private")
    delta: float = Field(gt=0, lt=1, description="the chance that the promise fails")


def private(how: LocalDp, arrays: Arrays, base: Arrays, message: Message, context: Context) -> Arrays:
    """Return arrays that moved from `base` by `clipping_norm` at most, with Gaussian noise.

    Args:
        how: the budget.
        arrays: what has trained.
        base: the same tensors before.
        message, context: of the round.
    """
    reply = Message(RecordDict({"arrays": _record(arrays)}), reply_to=message)
    asked = Message(RecordDict({"arrays": _record(base)}), reply_to=message)
    found = LocalDpMod(**how.model_dump())(asked, context, lambda *_: reply)
    if found.has_error():
        raise FrostlineError(f"local differential privacy failed: {found.error.reason}")
    return {name: array.numpy() for name, array in found.content.array_records["arrays"].items()}


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in arrays.items()})
