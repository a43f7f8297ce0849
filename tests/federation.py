"""A federation in this process: the real device app behind a grid that hands messages over by a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.app.error import Error
from flwr.serverapp import Grid

from frostline.federated.client_app import app

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
            try:
                reply: Message | None = app(_received(message), context)
            except Exception as error:
                reply = Message(Error(1, str(error)), reply_to=message)
            if self._spoil is not None and reply is not None:
                reply = self._spoil(device, message, reply)
            replies += [] if reply is None else [reply]
        return reversed(replies)  # the server must put them in order


def _received(message: Message) -> Message:
    """Return a message with records of its own, as one that came over a wire: a device takes them apart."""
    content = RecordDict()
    for name, record in message.content.items():
        content[name] = ArrayRecord(dict(record)) if isinstance(record, ArrayRecord) else record
    copy = Message(content, dst_node_id=message.metadata.dst_node_id, message_type=message.metadata.message_type)
    copy.metadata.__dict__.update(message.metadata.__dict__)
    return copy
