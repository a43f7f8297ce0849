"""The server's side, as Flower runs it: round 0, rounds with a checkpoint after each, and a plain model at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from frostline.errors import CheckpointError
from frostline.federated import checkpoints
from frostline.federated.checkpoints import Checkpoint
from frostline.federated.choice import Choice
from frostline.federated.config import FederateConfig
from frostline.federated.data import Examples, divide, examples
from frostline.federated.handshake import introduce
from frostline.federated.local import local_optimizer, steps_of
from frostline.federated.network import Network
from frostline.federated.rules import ADAPTED, RULES
from frostline.federated.server_optimizers import FedAdam, FedAvg, FedAvgM
from frostline.federated.strategy import Federation, Record
from frostline.federated.tables import Tables, make_tables
from frostline.models import quiet

Say = Callable[[Record], None]


@dataclass(frozen=True)
class Planned:
    """A federation decided upon.

    Attributes:
        config: of the federation.
        data: of all devices.
        tables: what each (l, t) takes.
        choice: the depth, and the layers of each device.
    """

    config: FederateConfig
    data: Examples
    tables: Tables
    choice: Choice

    @property
    def network(self) -> Network:
        """The network that was chosen."""
        config = self.config
        return Network(config.model, self.choice.depth, len(self.data.label_names), config.image_size)


def plan(config: FederateConfig) -> Planned:
    """Return what each device shall train; BudgetInfeasible names a device that can train nothing."""
    data = examples(config)
    devices = config.devices.devices(config.seed)
    steps = [steps_of(config, len(part)) for part in divide(data.labels, devices, config)]
    sizes = data.task.step_sizes(data.config)
    tables = make_tables(
        config.model,
        config.depths,
        batch_size=config.batch_size,
        sequence_length=sizes.get("sequence_length"),
        image_size=sizes.get("image_size"),
        labels=len(data.label_names),
        make_optimizer=local_optimizer(config, config.learning_rate),
        ranks=config.lora_ranks if config.rule in ADAPTED else (),
        upload=config.upload,
    )
    return Planned(config, data, tables, RULES[config.rule](devices, tables, steps))


def serve(grid: Grid, planned: Planned, *, resume: bool, say: Say) -> None:
    """Run a federation to its end, over any grid of Flower's.

    Args:
        grid: the way to the devices.
        planned: as `plan` made it.
        resume: go on from the checkpoint in the output folder.
        say: is called with the record of each round.
    """
    quiet()
    config, choice, data, network = planned.config, planned.choice, planned.data, planned.network
    devices = [share.device for share in choice.shares]
    elsewhere = {"output", "wave", "timeout"}  # what a resumed run may have otherwise, and still be the same
    agreed = {
        **config.model_dump(mode="json", exclude=elsewhere),
        "depth": choice.depth,
        "layers": [s.layers for s in choice.shares],
        "ranks": [s.rank for s in choice.shares],
    }
    rank = max((s.rank for s in choice.shares if s.rank is not None), default=None)
    torch.manual_seed(config.seed)  # of the head
    loaded = data.task.load(config.model, data.label_names, data.config)
    state = network.start(loaded.model, config.seed, rank)
    optimizer, log, done = _optimizer(config), [], 0
    if resume:
        found = checkpoints.load(config.output, agreed)
        state, log, done = found.state, found.log, found.round
        optimizer.load(found.optimizer, found.trained)
    elif config.output.exists() and any(config.output.iterdir()):
        raise CheckpointError(f"{config.output} is there already; choose another output, or go on with it: --resume")
    config.output.mkdir(parents=True, exist_ok=True)
    members = introduce(grid, config, devices, network)
    shapes = {part: network.trained_shapes(part) for part in {share.part for share in choice.shares}}
    federation = Federation(config, choice, network, shapes, state, optimizer, members)
    for number in range(done + 1, config.rounds + 1):
        record = federation.round(grid, number)
        record["metrics"] = data.scores(network.filled(federation.state))
        log.append(record)
        checkpoints.save(config.output, Checkpoint(number, agreed, log, federation.state, {}, {}), optimizer)
        _write_log(config.output, log)
        say(record)
    _write_model(config.output / "model", loaded.model, choice.depth, network.filled(federation.state))
    data.processor.save_pretrained(config.output / "model")


def make_server_app(planned: Planned, *, resume: bool, say: Say) -> ServerApp:
    """Return the app of a federation that is planned already."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, context: Context) -> None:
        serve(grid, planned, resume=resume, say=say)

    return made


def _optimizer(config: FederateConfig) -> FedAvg:
    given: dict[str, Any] = {}
    if config.server_learning_rate is not None:
        given["learning_rate"] = config.server_learning_rate
    if config.server_optimizer == "fedavgm":
        return FedAvgM(**given)
    return FedAdam(**given) if config.server_optimizer == "fedadam" else FedAvg()


def _write_log(folder: Path, log: list[Record]) -> None:
    beside = folder / "rounds.json.new"
    beside.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / "rounds.json")


def _write_model(folder: Path, model: Any, depth: int, trained: Any) -> None:
    """Write a plain model folder: the pretrained one's class and config, cut to the depth, with the trained weights."""
    model.config.num_hidden_layers = depth
    network = type(model)(model.config)
    network.load_state_dict(trained.state_dict())
    network.save_pretrained(folder)
