"""A federation in this process: the real device app behind a grid that hands messages over, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.app.error import Error
from flwr.serverapp import Grid
from transformers import AutoModelForSequenceClassification

from frostline.federated.client_app import app
from frostline.federated.config import FederateConfig
from frostline.federated.network import Network
from frostline.federated.server_app import Planned, serve
from frostline.models import load_classifier

Make = Callable[..., FederateConfig]
Spoil = Callable[[int, Message, Message], Message | None]


class DirectGrid(Grid):
    """A grid whose nodes are in this process; node n is device n - 1, and some may spoil what they send.

    Args:
        count: nodes.
        more: of a device's node config.
        spoil: given a device, the message it got and its reply, returns what it sends instead; None sends nothing.
    """

    def __init__(self, count: int, spoil: Spoil | None = None, more: Mapping[int, Any] | None = None) -> None:
        self._count, self._spoil, self._more = count, spoil, more or {}

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(range(1, self._count + 1))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        replies = []
        for message in messages:
            device = message.metadata.dst_node_id - 1
            context = Context(1, device + 1, {"partition-id": device} | self._more.get(device, {}), RecordDict(), {})
            before = _digest(message)
            try:
                reply: Message | None = app(_received(message), context)
            except Exception as error:
                reply = Message(Error(1, str(error)), reply_to=message)
            assert _digest(message) == before, "a device wrote into the bytes that came"
            if self._spoil is not None and reply is not None:
                reply = self._spoil(device, message, reply)
            replies += [] if reply is None else [reply]
        return reversed(replies)  # the server must put them in order


def _digest(message: Message) -> str:
    found = hashlib.sha256()
    for record in message.content.array_records.values():
        for array in record.values():
            found.update(array.data)
    return found.hexdigest()


def _received(message: Message) -> Message:
    """Return a message with records of its own, as one that came over a wire: a device takes them apart."""
    content = RecordDict()
    for name, record in message.content.items():
        content[name] = ArrayRecord(dict(record)) if isinstance(record, ArrayRecord) else record
    copy = Message(content, dst_node_id=message.metadata.dst_node_id, message_type=message.metadata.message_type)
    copy.metadata.__dict__.update(message.metadata.__dict__)
    return copy


def run(planned: Planned, spoil: Spoil | None = None, *, resume: bool = False) -> list[Any]:
    log: list[Any] = []
    serve(DirectGrid(len(planned.choice.shares), spoil), planned, resume=resume, say=log.append)
    return log


def network(config: FederateConfig) -> Network:
    return Network(config.model, 2, 2)


def started(config: FederateConfig, rank: int | None = None) -> dict[str, Any]:
    torch.manual_seed(config.seed)
    return network(config).start(load_classifier(config.model, ("bad", "good")).model, config.seed, rank)


def own_copy(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.copy() for name, value in state.items()}


def result(config: FederateConfig) -> dict[str, np.ndarray[Any, Any]]:
    model = AutoModelForSequenceClassification.from_pretrained(config.output / "model")
    return {name: value.numpy() for name, value in model.state_dict().items()}


def same_bits(first: Any, second: Any) -> bool:
    return bool(first.keys() == second.keys() and all(first[n].tobytes() == second[n].tobytes() for n in first))


class Killed(Exception):
    """What ends a server in a test."""


def killed_after(number: int) -> Callable[[Any], None]:
    """Return what a server says its rounds to, which ends it after that one."""

    def say(record: Any) -> None:
        if record["round"] == number:
            raise Killed

    return say
