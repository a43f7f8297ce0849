"""The rounds of a federation over Flower's grid: a message of its own for each device, and what comes of the replies.

Flower's strategies send every device the same and average equal keys; here each device has its own layers. Devices are
asked in waves, in order, so the server holds the replies of one wave and one sum per tensor, and the result does not
depend on who was faster.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from frostline.errors import TrainingDiverged
from frostline.federated import products
from frostline.federated.choice import Choice, Share
from frostline.federated.config import FederateConfig
from frostline.federated.handshake import Member
from frostline.federated.local import steps_of
from frostline.federated.merging import Arrays, Merge
from frostline.federated.network import Network
from frostline.federated.pace import Pace, pace_of
from frostline.federated.parts import Part, cut, padded
from frostline.federated.replies import Rejected, checked
from frostline.federated.server_optimizers import FedAvg
from frostline.federated.telling import reason
from frostline.federated.turns import Record, Turns

Asked = tuple[Share, Part]


@dataclass(slots=True)
class Federation:
    """A federation under way.

    Attributes:
        config: of the federation.
        choice: the depth, and what each device trains.
        network: of that depth.
        label_names: the classes, in order.
        flops: of a step of each part.
        shapes: of the tensors that come back of each part; of adapters, perhaps a corner of the server's.
        state: of the network; changed by each round.
        optimizer: of the server.
        members: the devices that introduced themselves, by index.
        limits: of devices whose memory is given in bytes, by index, what a round may take of it.
        kept: of devices that keep layers, by index, the round of which they are; changed by each round.
        turns: which of its parts a device trains; changed by each round.
        pace: how far replies move the weights; changed by each round.
    """

    config: FederateConfig
    choice: Choice
    network: Network
    label_names: Sequence[str]
    flops: Mapping[Part, int]
    shapes: Mapping[Part, Mapping[str, tuple[int, ...]]]
    state: dict[str, NDArray[Any]]
    optimizer: FedAvg
    members: Mapping[int, Member]
    limits: Mapping[int, int]
    kept: dict[int, int]
    turns: Turns
    pace: Pace

    def round(self, grid: Grid, number: int) -> Record:
        """Run one round, counted from 1, and return its record; without a quorum the network stays as it is."""
        asked = [(share, self.turns.part(share, number)) for share in self._sampled(number)]
        expected: Counter[str] = Counter()
        for share, part in asked:
            names = products.named(self.shapes[part]) if self._by_products else list(self.shapes[part])
            expected.update(dict.fromkeys(names, self.members[share.device.index].examples))
        merge, devices, moved = Merge(expected), [], {}
        for wave in _chunks(asked, self.config.wave):
            devices += self._wave(grid, wave, number, merge)
        quorum = max(1, math.ceil(round(self.config.quorum * len(asked), 6)))  # .07 of 100 is 7
        reached = merge.replies >= quorum
        if reached:
            base = products.multiplied(self.state) if self._by_products else self.state
            average = merge.average(base, damped=self.config.damped)
            average = products.factored(average, self.state) if self._by_products else average
            changed = self.optimizer.step(self.state, average)
            if bad := next((name for name, value in changed.items() if not np.isfinite(value).all()), None):
                raise TrainingDiverged(
                    f"round {number}: the server's step gives {bad} values that are not finite; the checkpoint is that "
                    "of the round before. Take a smaller server_learning_rate or learning_rate."
                )
            merged = [part for (_, part), device in zip(asked, devices, strict=True) if device["reply"] == "ok"]
            moved = self.turns.moved(merged, self.state, changed)
            self.state |= changed
        good = [device for device in devices if device["reply"] == "ok"]
        return {
            "round": number,
            "learning_rate": self.config.rate(number),
            "asked": len(asked),
            "replies": merge.replies,
            "quorum": quorum,
            "reached": reached,
            "one_class": sum(self.members[share.device.index].classes == 1 for share, _ in asked),
            "over_memory": sum(device["over_memory"] for device in good),
            "rejected": dict(Counter(device["reply"] for device in devices if device["reply"] != "ok")),
            "bytes_down": sum(device["bytes_down"] for device in devices),
            "bytes_up": sum(device["bytes_up"] for device in devices),
            "flops": sum(device["flops"] for device in good),
            "loss": _mean([device["loss"] for device in good if device["loss"] is not None]),
            "slowest": max(good, key=lambda device: float(device["seconds"]))["device"] if good else None,
            **moved,
            "devices": devices,
        }

    @property
    def _by_products(self) -> bool:
        return self.config.rule == "flexlora"

    def _sampled(self, number: int) -> list[Share]:
        """Return who is asked of those that are there, in the fleet's order; follows from seed and round."""
        chance = random.Random(f"round {self.config.seed} {number}")
        there = [share for share in self.choice.shares if chance.random() < share.device.availability]
        there = [share for share in there if share.takes_part]
        chosen = chance.sample(there, min(self.config.devices_per_round, len(there)))
        return sorted(chosen, key=lambda share: share.device.index)

    def _wave(self, grid: Grid, wave: Sequence[Asked], number: int, merge: Merge) -> list[Record]:
        """Ask some devices at once and merge their replies in the fleet's order; return a record of each."""
        parts = {part.rank: part for _, part in wave}  # devices without adapters are sent the same
        states = {rank: self._state_for(part) for rank, part in parts.items()}
        messages = [self._message(share, part, number, states[part.rank]) for share, part in wave]
        replies: dict[int, Message] = {}
        for each in grid.send_and_receive(messages, timeout=self.config.timeout):
            replies.setdefault(each.metadata.src_node_id, each)  # one that is repeated does not count
        records: list[Record] = []
        found: list[dict[str, NDArray[Any]] | None] = []
        for share, part in wave:
            record: Record = {"device": share.device.name, "layers": part.layers}
            record |= {} if part.rank is None else {"rank": part.rank}
            record |= {"skip": part.skip} if share.windows else {}
            record |= {"bytes_down": _bytes(states[part.rank]), "bytes_up": 0}
            records.append(record)
            reply = replies.pop(self.members[share.device.index].node, None)
            try:
                found.append(self._read(share, part, reply, record))
            except Rejected as rejected:
                record |= {"reply": rejected.reason, "detail": rejected.detail}
                found.append(None)
        most = self.pace.most([record["pace"] for record, arrays in zip(records, found, strict=True) if arrays])
        for place, (share, _) in enumerate(wave):
            record, arrays = records[place], found[place]
            found[place] = None  # once it is merged
            if arrays is None:
                continue
            if record["pace"] > most:
                record["reply"] = "norm"
                record["detail"] = f"a step moves weights by {record['pace']:.3g}, {most:.3g} at most"
                continue
            self._merge(arrays, record["examples"], merge)
            self.pace.add(record["pace"])
            if self.config.personal is not None:
                self.kept[share.device.index] = number
        return records

    def _state_for(self, part: Part) -> ArrayRecord:
        """Return the network as a device with that part is sent it."""
        mine = {name: cut(self.state[name], shape) for name, shape in self.shapes[part].items()}
        return ArrayRecord({name: Array(mine.get(name, value)) for name, value in self.state.items()})

    def _message(self, share: Share, part: Part, number: int, state: ArrayRecord) -> Message:
        asked = {
            "config": self.config.model_dump(mode="json"),
            "labels": list(self.label_names),
            "network": asdict(self.network),
            "part": asdict(part),
            "round": number,
            "kept": self.kept.get(share.device.index),
            "rate": self.config.rate(number),
            "seed": device_seed(self.config.seed, number, share.device.index),
        }
        content = RecordDict({"asked": ConfigRecord({"json": json.dumps(asked)}), "state": state})
        node = self.members[share.device.index].node
        return Message(content, dst_node_id=node, message_type=MessageType.TRAIN, group_id=str(number))

    def _read(self, share: Share, part: Part, reply: Message | None, record: Record) -> dict[str, NDArray[Any]]:
        """Return the arrays of a reply that is valid by itself, and put into the record what it says; or Rejected."""
        if reply is None:
            raise Rejected("late", f"no reply within {self.config.timeout:g} s")
        if not reply.has_content():
            raise Rejected("error", reason(reply.error))
        arrays, metrics = reply.content.array_records.get("arrays"), reply.content.metric_records.get("metrics")
        if arrays is None or metrics is None:
            raise Rejected("keys", "the reply has no arrays or no metrics")
        record["bytes_up"] = _bytes(arrays)
        examples, said = self.members[share.device.index].examples, metrics.get("num-examples")
        if said != examples:
            raise Rejected("examples", f"it says {said} examples, and {examples} when it introduced itself")
        asked = ["seconds", "memory", "process", *(["loss"] if self.config.local_dp is None else [])]
        told = {key: metrics.get(key) for key in asked}
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in told.values()):
            raise Rejected("nonfinite", f"it says {told}")
        base = {name: cut(self.state[name], shape) for name, shape in self.shapes[part].items()}
        found = checked(arrays, base, upload=self.config.upload, norm_bound=self.config.norm_bound)
        steps, limit = steps_of(self.config, examples), self.limits.get(share.device.index)
        record |= {"reply": "ok", "examples": examples, "flops": self.flops[part] * steps, "loss": None, **told}
        record |= {"limit": limit, "over_memory": limit is not None and record["memory"] > limit}
        record["pace"] = pace_of(found, base, steps)
        return found

    def _merge(self, arrays: Arrays, examples: int, merge: Merge) -> None:
        if self._by_products:
            merge.add(products.multiplied(arrays), examples)
        else:
            merge.add({name: padded(value, self.state[name].shape) for name, value in arrays.items()}, examples)


def device_seed(seed: int, number: int, device: int) -> int:
    """Return the seed of a device in a round: the same on every machine."""
    digest = hashlib.sha256(f"{seed} {number} {device}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _bytes(record: ArrayRecord) -> int:
    """Return the bytes of the arrays as they are sent."""
    return sum(len(array.data) for array in record.values())


def _chunks(asked: Sequence[Asked], size: int) -> Iterator[Sequence[Asked]]:
    for start in range(0, len(asked), size):
        yield asked[start : start + size]
