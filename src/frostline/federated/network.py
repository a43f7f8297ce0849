"""The network that a federation trains: built on a device, started from pretrained weights on the server."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import frostline
from frostline.anatomy import Anatomy, discover
from frostline.errors import UnsupportedModel
from frostline.federated.merging import Arrays
from frostline.federated.parts import Part, beside, cut, is_adapter, rank_of
from frostline.heads import CLASSIFICATION
from frostline.plan import PLAN_VERSION
from frostline.skeletons import skeleton
from frostline.storage import Choice
from frostline.tuner import Tuner, prepare


def model_of(model: str, depth: int) -> str:
    """Return the name of the model for a depth: `{depth}` in it stands for the number of blocks."""
    return model.replace("{depth}", str(depth))


@dataclass(frozen=True, slots=True)
class Network:
    """A model cut to its first blocks.

    Attributes:
        model: `minilm`, a folder, or a Hub name.
        depth: blocks.
        labels: classes of the head; the config's if None.
        image_size: pixels in height and width, of a model of images; its own if None.
        head: what it answers, one of `frostline.heads.HEADS`.
    """

    model: str
    depth: int
    labels: int | None
    image_size: int | None = None
    head: str = CLASSIFICATION

    def skeleton(self, device: str = "meta") -> Any:
        """Return it with random weights, or on `meta` with none; what others draw stays the same."""
        with torch.random.fork_rng(devices=[]):
            sizes: Any = {"depth": self.depth, "labels": self.labels, "image_size": self.image_size}
            return skeleton(self.model, head=self.head, device=device, **sizes)

    def anatomy(self) -> Anatomy:
        """Return its anatomy, found once in a process: the trace takes longer than a step of a small network."""
        return _anatomy(self)

    def fingerprint(self) -> str:
        """Return the SHA-256 of all that server and devices must agree on: structure, config, versions of this project.

        The weights are not among them: a device is sent them.
        """
        network = self.skeleton()
        shapes = [(name, list(value.shape), str(value.dtype)) for name, value in network.state_dict().items()]
        agreed: dict[str, Any] = {
            "class": type(network).__name__,
            "state": shapes,
            "config": settings_of(network.config),
        }
        agreed |= {"plan": PLAN_VERSION, "frostline": frostline.__version__}
        return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()

    def trained_shapes(self, part: Part) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what trains in a part, by name; tied weights raise UnsupportedModel."""
        return _trained_shapes(self, part)

    def changed(self, part: Part) -> set[str]:
        """Return the names of what training a part writes: what trains, and what its adapters are merged into."""
        trained = self.trained_shapes(part)
        return {beside(name) if is_adapter(name) else name for name in trained} | set(trained)

    def personal_shapes(self, personal: int | None) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what stays with a device, by name: the head and so many of the last blocks."""
        return {} if personal is None else self.trained_shapes(Part(personal))

    def start(self, whole: Any, seed: int, rank: int | None = None) -> dict[str, NDArray[Any]]:
        """Return the weights that a federation starts from.

        Args:
            whole: the pretrained model, with a head.
            seed: of the adapters.
            rank: of adapters that the state has besides, None for none.
        """
        kept = self.skeleton().state_dict()
        state = {name: value.numpy() for name, value in whole.state_dict().items() if name in kept}
        if rank is not None:
            network, tuner = self.opened(_copied(state), Part(self.depth, rank), seed=seed)
            drawn = {name: value.detach() for name, value in network.named_parameters() if is_adapter(name)}
            state |= {name: value.numpy().copy() for name, value in drawn.items()}
            tuner.finish()
        return state

    def opened(
        self, state: Arrays, part: Part, *, seed: int = 0, storage: Choice = "exact"
    ) -> tuple[torch.nn.Module, Tuner]:
        """Return it on the CPU with these weights, and the tuner that trains a part of it.

        Args:
            state: its weights, which are taken over and not copied: what trains changes them. Of adapters, the corners
                that the part's rank has are copied.
            part: what trains.
            seed: of adapters that the state lacks.
            storage: how saved activations wait.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)  # what does not train
            plain = {name: torch.from_numpy(value) for name, value in state.items() if not is_adapter(name)}
        bare: Any = self.skeleton()
        network = type(bare).from_pretrained(None, config=bare.config, state_dict=plain)
        tuner = self._prepared(network, part, seed, storage)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if is_adapter(name) and name in state:
                    parameter.copy_(torch.from_numpy(cut(state[name], tuple(parameter.shape))))
        return network, tuner

    def filled(self, state: Arrays) -> Any:
        """Return it plain on the CPU with these weights, adapters merged into those that they stand beside."""
        ranks = [rank for name, value in state.items() if (rank := rank_of(name, value)) is not None]
        network, tuner = self.opened(_copied(state), Part(self.depth, max(ranks) if ranks else None))
        tuner.finish()
        return network

    def _prepared(self, network: Any, part: Part, seed: int = 0, storage: Choice = "exact") -> Tuner:
        return prepare(network, part.method, seed=seed, storage=storage, anatomy=self.anatomy(), **part.settings)


def settings_of(config: Any) -> dict[str, Any]:
    """Return the settings of a model's config, or of its tokenizer's or processor's, as JSON values.

    Without what another place or another version of transformers may write otherwise.
    """
    elsewhere = ("_name_or_path", "name_or_path", "transformers_version")
    found: dict[str, Any] = json.loads(json.dumps(config.to_dict(), default=str))
    return {key: value for key, value in found.items() if key not in elsewhere}


def _copied(state: Arrays) -> dict[str, NDArray[Any]]:
    return {name: np.array(value) for name, value in state.items()}


@cache
def _anatomy(network: Network) -> Anatomy:
    return discover(network.skeleton())


@cache
def _trained_shapes(network: Network, part: Part) -> dict[str, tuple[int, ...]]:
    built = network.skeleton()
    if len(dict(built.named_parameters(remove_duplicate=False))) > len(dict(built.named_parameters())):
        raise UnsupportedModel(
            f"model {network.model!r} has tied weights, which cannot be averaged apart: its embeddings are its "
            "head, too. Take one without, such as one made by `frostline pretrain` with tie_word_embeddings: false."
        )
    tuner = network._prepared(built, part)
    trained = set(tuner.candidate_parameters())
    found = {name: tuple(value.shape) for name, value in built.named_parameters() if value in trained}
    tuner.finish()
    return found
