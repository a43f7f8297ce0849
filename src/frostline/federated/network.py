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
from frostline.federated.parts import Part, cut, is_adapter
from frostline.models import Loaded, load_classifier
from frostline.plan import PLAN_VERSION
from frostline.skeletons import skeleton
from frostline.tuner import Tuner, prepare


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


@cache
def trained_shapes(model: str, depth: int, labels: int, part: Part) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what trains in a part, by name; tied weights raise UnsupportedModel."""
    with torch.random.fork_rng(devices=[]):
        network = skeleton(model, depth=depth, labels=labels, device="cpu")
    if len(dict(network.named_parameters(remove_duplicate=False))) > len(dict(network.named_parameters())):
        raise UnsupportedModel(f"model {model!r} has tied weights, which cannot be averaged apart.")
    tuner = _prepared(network, model, depth, labels, part)
    trained = set(tuner.candidate_parameters())
    found = {name: tuple(value.shape) for name, value in network.named_parameters() if value in trained}
    tuner.finish()
    return found


def pretrained(
    model: str, depth: int, label_names: tuple[str, ...], seed: int, rank: int | None = None
) -> tuple[Loaded, dict[str, NDArray[Any]]]:
    """Return the whole classifier, and the state of its first blocks with a head drawn by the seed.

    Args:
        model, depth: of the federation.
        label_names: classes of the head.
        seed: of the head and of the adapters.
        rank: of adapters that the state has besides, None for none.
    """
    torch.manual_seed(seed)
    loaded = load_classifier(model, label_names)
    kept = skeleton(model, depth=depth, labels=len(label_names)).state_dict()
    state = {name: value.numpy() for name, value in loaded.model.state_dict().items() if name in kept}
    if rank is not None:
        network, tuner = opened(model, depth, len(label_names), state, Part(depth, rank), seed=seed)
        drawn = {name: value.detach() for name, value in network.named_parameters() if is_adapter(name)}
        state |= {name: value.numpy().copy() for name, value in drawn.items()}
        tuner.finish()
    return loaded, state


def opened(
    model: str, depth: int, labels: int, state: Arrays, part: Part, *, seed: int = 0
) -> tuple[torch.nn.Module, Tuner]:
    """Return the network on the CPU with these weights, and the tuner that trains a part of it.

    Args:
        model, depth, labels: of the network.
        state: its weights; of adapters, the corners that the part's rank has.
        part: what trains.
        seed: of adapters that the state lacks.
    """
    with torch.random.fork_rng(devices=[]):
        network = skeleton(model, depth=depth, labels=labels, device="cpu")
    plain = {name: torch.from_numpy(np.array(value)) for name, value in state.items() if not is_adapter(name)}
    network.load_state_dict(plain)
    tuner = _prepared(network, model, depth, labels, part, seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if is_adapter(name) and name in state:
                parameter.copy_(torch.from_numpy(cut(state[name], tuple(parameter.shape))))
    return network, tuner


def filled(model: str, depth: int, labels: int, state: Arrays) -> Any:
    """Return the plain network on the CPU with these weights, adapters merged into those that they stand beside."""
    ranks = [min(value.shape) for name, value in state.items() if is_adapter(name)]
    network, tuner = opened(model, depth, labels, state, Part(depth, max(ranks) if ranks else None))
    tuner.finish()
    return network


def _prepared(network: Any, model: str, depth: int, labels: int, part: Part, seed: int = 0) -> Tuner:
    return prepare(network, part.method, seed=seed, anatomy=anatomy(model, depth, labels), **part.settings)
