"""Round 0: every device of the fleet says who it is, and what does not fit is refused before anything trains."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frostline.errors import DataError, PlanError
from frostline.federated.config import FederateConfig
from frostline.federated.fleet import Device
from frostline.federated.network import Network
from frostline.federated.telling import reason

_PAUSE = 0.2
MOST_EXAMPLES = 10**9


class Answer(BaseModel):
    """What a device says of itself.

    Attributes:
        device: its place in the fleet.
        fingerprints: of the networks as it would build them, in the order asked.
        processor: the fingerprint of what makes its texts or images the network's inputs.
        examples: that it trains on.
        classes: that these have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    device: int = Field(ge=0)
    fingerprints: list[str]
    processor: str
    examples: int = Field(ge=0, le=MOST_EXAMPLES)
    classes: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class Member:
    """A device that introduced itself.

    Attributes:
        node: Flower's number of the node.
        examples: that it trains on.
        classes: that its examples have.
    """

    node: int
    examples: int
    classes: int


def introduce(
    grid: Grid,
    config: FederateConfig,
    devices: Sequence[Device],
    networks: Sequence[Network],
    label_names: Sequence[str],
    processor: str,
    counts: Sequence[int] | None,
) -> dict[int, Member]:
    """Return the devices of the fleet by index, each once.

    Args:
        grid: Flower's; waited for until it has as many nodes as the fleet has devices.
        config: of the federation.
        devices: of the fleet.
        networks: that may be trained.
        label_names: the classes, in order.
        processor: the fingerprint of the server's.
        counts: how many examples each device trains on, where the server has divided them; None: they say it.

    Raises:
        PlanError: a device is missing, there twice, fails, or would build another network: names it.
        DataError: a device has no data.
    """
    nodes = _nodes(grid, len(devices), config.timeout)
    fingerprints = [network.fingerprint() for network in networks]
    asked = {
        "config": config.model_dump(mode="json"),
        "labels": list(label_names),
        "networks": [asdict(network) for network in networks],
    }
    members: dict[int, Member] = {}
    for start in range(0, len(nodes), config.wave):
        content = RecordDict({"asked": ConfigRecord({"json": json.dumps(asked)})})
        wave = [Message(content, node, MessageType.QUERY, group_id="0") for node in nodes[start : start + config.wave]]
        for reply in grid.send_and_receive(wave, timeout=config.timeout):
            node = reply.metadata.src_node_id
            answer = _answer(reply)
            if answer.device >= len(devices) or answer.device in members:
                raise PlanError(
                    f"node {node} says it is device {answer.device}, which is there already or not in the fleet."
                )
            name = devices[answer.device].name
            theirs, ours = [*answer.fingerprints, answer.processor], [*fingerprints, processor]
            if theirs != ours:
                pairs = [pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]] or [("none", ours[-1])]
                what = (
                    "would train another network" if theirs[:-1] != ours[:-1] else "has another tokenizer or processor"
                )
                raise PlanError(
                    f"device {name!r} {what}, or has another version of Frostline: its fingerprint is "
                    f"{pairs[0][0][:12]}, the server's {pairs[0][1][:12]}. Give it the same model and version."
                )
            if answer.examples < 1:
                raise DataError(f"device {name!r} has no data; give it some, or leave it out of the fleet.")
            if counts is not None and answer.examples != counts[answer.device]:
                raise PlanError(
                    f"device {name!r} says it has {answer.examples:,} examples, where it was given "
                    f"{counts[answer.device]:,}: it has other data than the server, or another version of them."
                )
            members[answer.device] = Member(node, answer.examples, answer.classes)
    if missing := [device.name for device in devices if device.index not in members]:
        raise PlanError(f"{len(missing)} devices did not answer in round 0, {missing[0]!r} among them.")
    return members


def _answer(reply: Message) -> Answer:
    """Return what a node says, as far as it can be understood; PlanError names it otherwise."""
    node = reply.metadata.src_node_id
    if not reply.has_content():
        raise PlanError(f"node {node} cannot take part: {reason(reply.error)}")
    try:
        return Answer.model_validate_json(str(reply.content.config_records["answer"]["json"]))
    except (KeyError, ValidationError) as error:
        told = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("answer",), "msg": "is missing"}
        raise PlanError(
            f"node {node} gives an answer that is not understood ({'.'.join(map(str, told['loc']))}: {told['msg']}); "
            "perhaps it has another version of Frostline."
        ) from error


def _nodes(grid: Grid, count: int, timeout: float) -> list[int]:
    end = time.monotonic() + timeout
    while len(nodes := list(grid.get_node_ids())) < count and time.monotonic() < end:
        time.sleep(_PAUSE)
    return nodes
