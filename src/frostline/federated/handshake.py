"""Round 0: every device of the fleet says who it is, and what does not fit is refused before anything trains."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from frostline.errors import DataError, PlanError
from frostline.federated.config import FederateConfig
from frostline.federated.fleet import Device
from frostline.federated.network import Network

_PAUSE = 0.2


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
) -> dict[int, Member]:
    """Return the devices of the fleet by index, each once.

    Args:
        grid: Flower's; waited for until it has as many nodes as the fleet has devices.
        config: of the federation.
        devices: of the fleet.
        networks: that may be trained.
        label_names: the classes, in order.

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
            if not reply.has_content():
                raise PlanError(f"node {node} cannot take part: {reply.error.reason}")
            told = json.loads(str(reply.content.config_records["answer"]["json"]))
            index = told["device"]
            if not 0 <= index < len(devices) or index in members:
                raise PlanError(f"node {node} says it is device {index}, which is there already or not in the fleet.")
            name = devices[index].name
            for theirs, ours in zip(told["fingerprints"], fingerprints, strict=True):
                if theirs != ours:
                    raise PlanError(
                        f"device {name!r} would train another network, or has another version of Frostline: its "
                        f"fingerprint is {theirs[:12]}, the server's {ours[:12]}. Give it the same model and version."
                    )
            if told["examples"] < 1:
                raise DataError(f"device {name!r} has no data; give it some, or leave it out of the fleet.")
            members[index] = Member(node, told["examples"], told["classes"])
    if missing := [device.name for device in devices if device.index not in members]:
        raise PlanError(f"{len(missing)} devices did not answer in round 0, {missing[0]!r} among them.")
    return members


def _nodes(grid: Grid, count: int, timeout: float) -> list[int]:
    end = time.monotonic() + timeout
    while len(nodes := list(grid.get_node_ids())) < count and time.monotonic() < end:
        time.sleep(_PAUSE)
    return nodes
