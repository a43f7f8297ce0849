"""The device's side, as Flower runs it: who it is (`query`), a round of training (`train`), and its score (`evaluate`).

A device keeps nothing but the layers that are its own, if it has such: what it sends depends on the message, these and
its own data alone.
"""

from __future__ import annotations

import json
from typing import Any

import psutil
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from frostline import allocator
from frostline.federated.local import train_part, warm_up
from frostline.federated.network import Network
from frostline.federated.parts import Part
from frostline.federated.privacy import private
from frostline.federated.received import Received, taken
from frostline.federated.uploads import packed
from frostline.meter.enforce import enforced
from frostline.meter.process import peaks, reset_peaks
from frostline.models import quiet

app = ClientApp()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer which device this is, how much data it has, and fingerprints of the networks as it would build them."""
    quiet()
    here = Received.of(message, context)
    answer = {
        "device": here.device,
        "fingerprints": [Network(**network).fingerprint() for network in here.asked["networks"]],
        "examples": len(here.train),
        "processor": here.data.fingerprint(),
        "classes": len({here.data.labels[index] for index in here.train}),
    }
    return Message(RecordDict({"answer": ConfigRecord({"json": json.dumps(answer)})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the part that the message says, and answer with its weights alone."""
    quiet()
    here = Received.of(message, context)
    asked, config, network, part = here.asked, here.config, here.network, Part(**here.asked["part"])
    if config.enforce:
        allocator.use("compact")  # or what a former round freed would count for this one
    arrays = message.content.array_records["state"]
    trained_shapes = network.trained_shapes(part)
    warm_up()
    before = psutil.Process().memory_info().rss - sum(len(array.data) for array in arrays.values())
    reset_peaks()
    with enforced(here.limit(before)):
        state = taken(arrays, network.changed(part)) | here.personal.load(asked["kept"])
        names = trained_shapes if config.keeps_start else ()
        base = {name: state[name].copy() for name in names}
        how: Any = {"network": network, "part": part, "rate": asked["rate"], "seed": asked["seed"]}
        trained, metrics = train_part(config, state, here.data, here.train, base=base, **how)
        stays = {name: trained.pop(name) for name in network.personal_shapes(config.personal) if name in trained}
        if stays:
            here.personal.save(asked["round"], here.personal.load(asked["kept"]) | stays, asked["kept"])
        base = {name: value for name, value in base.items() if name in trained}
        if config.local_dp is not None:
            trained = dict(private(config.local_dp, trained, base, message, context))
            del metrics["loss"]  # which would tell of the data what the noise hides
        sent = packed(trained, base, config.upload)
        content = RecordDict({"arrays": ArrayRecord({name: Array(array) for name, array in sent.items()})})
    # What the round took, what came with the message included, beside the process as it was.
    metrics["process"] = peaks().process
    metrics["memory"] = max(0, metrics["process"] - before)
    content["metrics"] = MetricRecord({"num-examples": len(here.train), **metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Answer with the accuracy on the device's own held-out examples, under its own layers if it has such."""
    quiet()
    here = Received.of(message, context)
    state = taken(message.content.array_records["state"]) | here.personal.load(here.asked["kept"])
    accuracy = here.data.accuracy(here.network.filled(state), here.held_out)
    metrics = MetricRecord({"num-examples": len(here.held_out), "accuracy": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
