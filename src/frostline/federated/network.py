"""The network that a federation trains: built on a device, started from pretrained weights on the server."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline.anatomy import Anatomy, discover
from frostline.errors import UnsupportedModel
from frostline.federated.merging import Arrays
from frostline.models import Loaded, load_classifier
from frostline.plan import PLAN_VERSION
from frostline.skeletons import skeleton
from frostline.tuner import prepare


def fingerprint(model: str, depth: int, labels: int) -> str:
    """Return the SHA-256 of all that server and devices must agree on: the network's structure, the plan's version."""
    network = skeleton(model, depth=depth, labels=labels)
    shapes = [(name, list(value.shape), str(value.dtype)) for name, value in network.state_dict().items()]
    agreed = {"class": type(network).__name__, "state": shapes, "plan": PLAN_VERSION}
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()


@cache
def anatomy(model: str, depth: int, labels: int) -> Anatomy:
    """Return the network's anatomy, found once in a process: the trace takes longer than a step of a small network."""
    return discover(skeleton(model, depth=depth, labels=labels))


def trained_names(model: str, depth: int, labels: int) -> dict[int, tuple[str, ...]]:
    """Return for each t, from 0, what trains with the last t blocks; tied weights raise UnsupportedModel."""
    found = {}
    for layers in range(depth + 1):
        network = skeleton(model, depth=depth, labels=labels)
        names = {parameter: name for name, parameter in network.named_parameters()}
        if len(dict(network.named_parameters(remove_duplicate=False))) > len(names):
            raise UnsupportedModel(f"model {model!r} has tied weights, which cannot be averaged apart.")
        tuner = prepare(network, "layers", count=layers, anatomy=anatomy(model, depth, labels))
        trained = set(tuner.candidate_parameters())
        found[layers] = tuple(name for parameter, name in names.items() if parameter in trained)
        tuner.finish()
    return found


def pretrained(
    model: str, depth: int, label_names: tuple[str, ...], seed: int
) -> tuple[Loaded, dict[str, NDArray[Any]]]:
    """Return the whole classifier, and the state of its first blocks with a head drawn by the seed."""
    torch.manual_seed(seed)
    loaded = load_classifier(model, label_names)
    kept = skeleton(model, depth=depth, labels=len(label_names)).state_dict()
    return loaded, {name: value.numpy() for name, value in loaded.model.state_dict().items() if name in kept}


def filled(model: str, depth: int, labels: int, state: Arrays) -> Any:
    """Return the network on the CPU with these weights."""
    with torch.random.fork_rng(devices=[]):
        network = skeleton(model, depth=depth, labels=labels, device="cpu")
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    return network
