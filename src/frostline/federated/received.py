"""What a device knows once a message has come: what is asked, which device it is, its data, and where it keeps its own.

A message says all that a device must know. What only the device knows is in its node config:

    partition-id    which device of the fleet it is, from 0
    num-partitions  set by Flower in a simulation, where a process serves many devices
    data            where its own data are, if devices have their own
    keep            a folder for layers that stay with it; in the federation's output folder if it is left out
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from numpy.typing import NDArray

from frostline.errors import ConfigError
from frostline.federated.choice import memory_of
from frostline.federated.config import FederateConfig, make_federate_config
from frostline.federated.data import Examples, divide, examples, own_examples
from frostline.federated.network import Network
from frostline.federated.personal import Personal


@dataclass(frozen=True)
class Received:
    """What a device knows.

    Attributes:
        asked: the message's JSON values.
        config: of the federation.
        device: its place in the fleet.
        data: of the federation, or its own.
        train: which of them it trains on.
        held_out: which of them it is scored on.
        personal: where it keeps its own layers.
        simulated: whether this process serves other devices, too.
    """

    asked: dict[str, Any]
    config: FederateConfig
    device: int
    data: Examples
    train: list[int]
    held_out: list[int]
    personal: Personal
    simulated: bool

    @classmethod
    def of(cls, message: Message, context: Context) -> Received:
        """Return it for a message.

        Raises:
            ConfigError: this device was not told which it is, or where its own data are.
        """
        asked: dict[str, Any] = json.loads(str(message.content.config_records["asked"]["json"]))
        config = make_federate_config(asked["config"])
        fleet = config.devices.devices(config.seed)
        device = _place(context, len(fleet))
        if config.partition == "own":
            place = context.node_config.get("data", config.own_data)
            if place is None:
                raise ConfigError("partition=own: this device was not told where its data are: start it with data=...")
            data = own_examples(config, str(place).replace("{device}", str(device)), asked["labels"])
            own = list(range(len(data.labels)))
        else:
            data = examples(config)
            own = divide(data.labels, fleet, config)[device]
        keep = context.node_config.get("keep")
        folder = config.output / "devices" / f"{device}" if keep is None else Path(str(keep))
        train, held_out = split(own, config, device)
        simulated = "num-partitions" in context.node_config
        return cls(asked, config, device, data, train, held_out, Personal(folder), simulated)

    @property
    def network(self) -> Network:
        """The network that is asked for."""
        return Network(**self.asked["network"])

    def limit(self, before: int) -> int | None:
        """Return the bytes that this process may have, None for any.

        Args:
            before: its bytes when the message came. In a simulation it has more than a device's would, which counts for
                what the device has reserved for such.
        """
        device = self.config.devices.devices(self.config.seed)[self.device]
        of_a_round = memory_of(device)
        if not self.config.enforce or of_a_round is None:
            return None
        return of_a_round + (before if self.simulated else device.reserved)


def taken(record: ArrayRecord, trained: Container[str] = ()) -> dict[str, NDArray[Any]]:
    """Return the arrays of a message, which then has them no more: a device has room for one network.

    Args:
        record: of the message.
        trained: the names of those that are to change, and so are copied one by one; the others stay where they came.
    """
    found = {}
    for name in list(record):
        array = record.pop(name)
        found[name] = array.numpy() if name in trained else _viewed(array)
    return found


def _viewed(array: Array) -> NDArray[Any]:
    """Return an array that lies in the very bytes that came, read-only; NumPy's own reading copies them."""
    stream = io.BytesIO(array.data)
    if np.lib.format.read_magic(stream) != (1, 0):
        return array.numpy()
    shape, of_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if of_fortran or dtype.hasobject:
        return array.numpy()
    found: NDArray[Any] = np.frombuffer(array.data, dtype, offset=stream.tell()).reshape(shape)
    return found


def _place(context: Context, count: int) -> int:
    """Return which device of the fleet this node is."""
    told = str(context.node_config.get("partition-id", ""))
    if not told.isdecimal() or int(told) >= count:
        raise ConfigError(
            f"this node says it is device {told or 'none'} of a fleet of {count}: start it with a partition-id from 0 "
            f"to {count - 1}, each in one node alone."
        )
    return int(told)


def split(own: list[int], config: FederateConfig, device: int) -> tuple[list[int], list[int]]:
    """Return what a device trains on, and what it is scored on: `held_out` of its examples, one at least if it has two.

    Which they are follows from the seed and the device.
    """
    if config.evaluate_every is None or len(own) < 2:
        return own, []
    count = max(1, round(config.held_out * len(own)))
    held = set(random.Random(f"held out {config.seed} {device}").sample(own, min(count, len(own) - 1)))
    return [index for index in own if index not in held], sorted(held)
