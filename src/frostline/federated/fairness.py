"""How well each device is served: the accuracy on its own held-out examples, and that of the worst tenth of devices."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from frostline.federated.config import FederateConfig
from frostline.federated.handshake import Member
from frostline.federated.merging import Arrays
from frostline.federated.network import Network


def device_scores(
    grid: Grid,
    config: FederateConfig,
    network: Network,
    label_names: Sequence[str],
    state: Arrays,
    members: Mapping[int, Member],
    kept: Mapping[int, int],
) -> dict[str, Any]:
    """Return `mean`, `worst_tenth` (the mean of the worst tenth of devices, one at least), and how many answered.

    Args:
        grid, config, network, label_names: of the federation.
        state: of the network.
        members: every device that takes part, by index.
        kept: of devices that have layers of their own, the round that these are of.
    """
    found: list[float] = []
    record = ArrayRecord({name: Array(value) for name, value in state.items()})
    common = {"config": config.model_dump(mode="json"), "labels": list(label_names), "network": asdict(network)}
    places = sorted(members)
    for start in range(0, len(places), config.wave):
        wave = []
        for index in places[start : start + config.wave]:
            asked = ConfigRecord({"json": json.dumps(common | {"kept": kept.get(index)})})
            content = RecordDict({"asked": asked, "state": record})
            wave.append(Message(content, dst_node_id=members[index].node, message_type=MessageType.EVALUATE))
        for reply in grid.send_and_receive(wave, timeout=config.timeout):
            metrics = reply.content.metric_records.get("metrics") if reply.has_content() else None
            accuracy = None if metrics is None else metrics.get("accuracy")
            if isinstance(accuracy, float) and 0 <= accuracy <= 1:  # not that of a device without such examples
                found.append(accuracy)
    if not found:
        return {"mean": None, "worst_tenth": None, "devices": 0}
    worst = sorted(found)[: max(1, math.ceil(len(found) / 10))]
    return {"mean": sum(found) / len(found), "worst_tenth": sum(worst) / len(worst), "devices": len(found)}
