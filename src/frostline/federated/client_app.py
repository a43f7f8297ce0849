"""The device's side, as Flower runs it: who it is (`query`), and a round of training (`train`).

A message says all that a device must know, so a device keeps no state: what it sends depends on the message and its own
data alone.
"""

from __future__ import annotations

import json
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from frostline.federated.config import FederateConfig, make_federate_config
from frostline.federated.data import Examples, divide, examples
from frostline.federated.local import train_part
from frostline.federated.network import Network
from frostline.federated.parts import Part
from frostline.federated.uploads import packed
from frostline.models import quiet

app = ClientApp()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer which device this is, how much data it has, and the fingerprint of the network as it would build it."""
    asked, _, data, own = _begin(message, context)
    answer = {
        "device": _device(context),
        "fingerprint": Network(**asked["network"]).fingerprint(),
        "examples": len(own),
        "classes": len({data.labels[index] for index in own}),
    }
    return Message(RecordDict({"answer": ConfigRecord({"json": json.dumps(answer)})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the part that the message says, and answer with its weights alone."""
    asked, config, data, own = _begin(message, context)
    state = {name: array.numpy() for name, array in message.content.array_records["state"].items()}
    network, part = Network(**asked["network"]), Part(**asked["part"])
    how: Any = {"network": network, "part": part, "rate": asked["rate"], "seed": asked["seed"]}
    arrays, metrics = train_part(config, state, data, own, **how)
    content = RecordDict()
    sent = packed(arrays, {name: state[name] for name in arrays}, config.upload)
    content["arrays"] = ArrayRecord({name: Array(array) for name, array in sent.items()})
    content["metrics"] = MetricRecord({"num-examples": len(own), **metrics})
    return Message(content, reply_to=message)


def _begin(message: Message, context: Context) -> tuple[dict[str, Any], FederateConfig, Examples, list[int]]:
    """Return what the message asks, the federation's config, the task, and the device's own examples."""
    quiet()
    asked: dict[str, Any] = json.loads(str(message.content.config_records["asked"]["json"]))
    config = make_federate_config(asked["config"])
    data = examples(config)
    parts = divide(data.labels, config.devices.devices(config.seed), config)
    return asked, config, data, parts[_device(context)]


def _device(context: Context) -> int:
    return int(str(context.node_config["partition-id"]))
