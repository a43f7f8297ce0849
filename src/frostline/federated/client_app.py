"""The device's side, as Flower runs it: who it is (`query`), and a round of training (`train`).

A message says all that a device must know, so a device keeps no state: what it sends depends on the message and its own
data alone. What only the device knows is in its node config:

    partition-id    which device of the fleet it is, from 0
    data            where its own data are, if devices have their own
"""

from __future__ import annotations

import json
from typing import Any

import psutil
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from frostline.errors import ConfigError
from frostline.federated.config import FederateConfig, make_federate_config
from frostline.federated.data import Examples, divide, examples, own_examples
from frostline.federated.local import train_part
from frostline.federated.network import Network
from frostline.federated.parts import Part
from frostline.federated.privacy import private
from frostline.federated.uploads import packed
from frostline.meter.enforce import enforced
from frostline.meter.process import peaks, reset_peaks
from frostline.models import quiet

app = ClientApp()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer which device this is, how much data it has, and fingerprints of the networks as it would build them."""
    asked, _, data, own = _begin(message, context)
    answer = {
        "device": _device(context),
        "fingerprints": [Network(**network).fingerprint() for network in asked["networks"]],
        "examples": len(own),
        "classes": len({data.labels[index] for index in own}),
    }
    return Message(RecordDict({"answer": ConfigRecord({"json": json.dumps(answer)})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the part that the message says, and answer with its weights alone."""
    asked, config, data, own = _begin(message, context)
    arrays = message.content.array_records["state"]
    before = psutil.Process().memory_info().rss - sum(len(array.data) for array in arrays.values())
    reset_peaks()
    with enforced(_limit(config, _device(context))):
        state = {name: _taken(arrays, name) for name in list(arrays)}
        network, part = Network(**asked["network"]), Part(**asked["part"])
        names = network.trained_shapes(part) if config.keeps_start else ()
        base = {name: state[name].copy() for name in names}
        how: Any = {"network": network, "part": part, "rate": asked["rate"], "seed": asked["seed"]}
        trained, metrics = train_part(config, state, data, own, base=base, **how)
        if config.local_dp is not None:
            trained = dict(private(config.local_dp, trained, base, message, context))
        sent = packed(trained, base, config.upload)
        content = RecordDict({"arrays": ArrayRecord({name: Array(array) for name, array in sent.items()})})
    # What the round took, what came with the message included, beside the process as it was.
    metrics["process"] = peaks().process
    metrics["memory"] = max(0, metrics["process"] - before)
    content["metrics"] = MetricRecord({"num-examples": len(own), **metrics})
    return Message(content, reply_to=message)


def _begin(message: Message, context: Context) -> tuple[dict[str, Any], FederateConfig, Examples, list[int]]:
    """Return what the message asks, the federation's config, its data, and which of them are the device's own.

    Raises:
        ConfigError: devices have data of their own, and this one was not told where.
    """
    quiet()
    asked: dict[str, Any] = json.loads(str(message.content.config_records["asked"]["json"]))
    config = make_federate_config(asked["config"])
    if config.partition != "own":
        data = examples(config)
        return asked, config, data, divide(data.labels, config.devices.devices(config.seed), config)[_device(context)]
    if (place := context.node_config.get("data")) is None:
        raise ConfigError("partition=own: this device was not told where its data are; start its node with data=...")
    data = own_examples(config, str(place), asked["labels"])
    return asked, config, data, list(range(len(data.labels)))


def _device(context: Context) -> int:
    return int(str(context.node_config["partition-id"]))


def _limit(config: FederateConfig, device: int) -> int | None:
    """Return the bytes that this process may have, None for any."""
    memory = config.devices.devices(config.seed)[device].memory
    return int(memory.amount) if config.enforce and memory is not None and memory.amount is not None else None


def _taken(arrays: ArrayRecord, name: str) -> NDArray[Any]:
    """Return an array of a message, which then has it no more: a device has room for one network."""
    array = arrays[name].numpy()
    del arrays[name]
    return array
