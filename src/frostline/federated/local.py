"""What a device does in a round: trains its part of the network on its data, and gives back that alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.optim import SGD, AdamW, Optimizer

from frostline.federated.config import FederateConfig
from frostline.federated.data import Examples
from frostline.federated.merging import Arrays
from frostline.federated.network import Network
from frostline.federated.parts import Part

MakeOptimizer = Callable[[list[torch.nn.Parameter]], Optimizer]


def local_optimizer(config: FederateConfig, rate: float) -> MakeOptimizer:
    """Return what makes a device's optimizer; the same is rehearsed for the tables."""
    if config.optimizer == "adamw":
        return partial(AdamW, lr=rate, fused=True)
    return partial(SGD, lr=rate, momentum=config.momentum or 0.0)


def steps_of(config: FederateConfig, examples: int) -> int:
    """Return the optimizer steps of a round of a device with so many examples."""
    return config.local_epochs * -(-examples // config.batch_size)


def train_part(
    config: FederateConfig,
    state: Arrays,
    data: Examples,
    own: Sequence[int],
    *,
    base: Arrays = MappingProxyType({}),
    network: Network,
    part: Part,
    rate: float,
    seed: int,
) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """Return the weights that trained, by name, and `loss`, the mean over the steps, and `seconds`.

    Args:
        config: of the federation.
        state: the whole network as the server has it; taken over, see `Network.opened`.
        data: of the federation.
        own: the device's examples in it.
        base: what trains, as it is when the round begins; for `proximal`.
        network: which is trained.
        part: of the network, what trains with the head.
        rate: the learning rate of this round.
        seed: of the order of the examples and of dropout.
    """
    began = time.perf_counter()
    model, tuner = network.opened(state, part, storage=config.storage)
    model.train()
    torch.manual_seed(seed)
    optimizer = local_optimizer(config, rate)(tuner.candidate_parameters())
    tuner.attach(optimizer)
    pulled = [(value, torch.from_numpy(base[name])) for name, value in model.named_parameters() if name in base]
    losses = []
    for epoch in range(config.local_epochs):
        data.begin_epoch(seed + epoch)
        order = [own[place] for place in torch.randperm(len(own)).tolist()]
        for batch in data.batches(order, config.batch_size):
            tuner.before_step()
            loss = model(**batch).loss
            loss.backward()
            if config.proximal:
                _pull(pulled, config.proximal)
            optimizer.step()
            tuner.after_step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(float(loss.detach()))
            del loss
    trained = set(tuner.candidate_parameters())
    arrays = {name: value.detach().numpy() for name, value in model.named_parameters() if value in trained}
    tuner.finish()
    return arrays, {"loss": float(np.mean(losses)), "seconds": time.perf_counter() - began}


@torch.no_grad()
def _pull(pairs: Sequence[tuple[torch.nn.Parameter, torch.Tensor]], strength: float) -> None:
    """Add to each gradient that of `strength / 2 * |weights - start|^2` (FedProx, arXiv 1812.06127)."""
    for parameter, start in pairs:
        if parameter.grad is not None:
            parameter.grad.add_(parameter, alpha=strength).sub_(start, alpha=strength)


@cache
def warm_up() -> None:
    """Take a step of next to nothing: what libraries load with the first is the process's, and no round's.

    Once in a process. A device's `reserved` is for what the process takes beside its rounds.
    """
    layer = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.LayerNorm(64), torch.nn.GELU(), torch.nn.Linear(64, 2)
    )
    optimizer = AdamW(layer.parameters(), fused=True)
    inputs = torch.ones(1, 4, 8, 16)
    scores = scaled_dot_product_attention(inputs, inputs, inputs).reshape(8, 64)
    cross_entropy(layer(scores), torch.zeros(8, dtype=torch.long)).backward()
    optimizer.step()
