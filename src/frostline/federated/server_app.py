"""The server's side, as Flower runs it: round 0, rounds with a checkpoint after each, and a plain model at the end.

`app` is for `flwr run`: its run config names the federation's YAML file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from frostline.config import read_yaml
from frostline.errors import CheckpointError
from frostline.federated import checkpoints
from frostline.federated.checkpoints import Checkpoint
from frostline.federated.choice import Choice, memory_of
from frostline.federated.config import FederateConfig, make_federate_config
from frostline.federated.data import Examples, divide, examples
from frostline.federated.fairness import device_scores
from frostline.federated.fleet import Device
from frostline.federated.handshake import introduce
from frostline.federated.local import local_optimizer, steps_of
from frostline.federated.network import Network, model_of
from frostline.federated.pace import Pace
from frostline.federated.received import split
from frostline.federated.rules import ADAPTED, RULES, WINDOWED
from frostline.federated.server_optimizers import FedAdam, FedAvg, FedAvgM
from frostline.federated.strategy import Federation
from frostline.federated.tables import Tables, make_tables
from frostline.federated.telling import told
from frostline.federated.turns import Record, Turns
from frostline.meter.process import peaks
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
    def networks(self) -> tuple[Network, ...]:
        """The networks that may be chosen, the shallowest first."""
        config, data = self.config, self.data
        how = (data.classes, config.image_size, data.task.head)
        return tuple(Network(model_of(config.model, depth), depth, *how) for depth in self.tables.depths)

    @property
    def network(self) -> Network:
        """The network that was chosen."""
        return next(network for network in self.networks if network.depth == self.choice.depth)

    def decided_for(self, counts: Sequence[int]) -> Planned:
        """Return what is decided where the devices have so many examples each; BudgetInfeasible as for `plan`."""
        return replace(self, choice=_decide(self.config, self.tables, counts))


def plan(config: FederateConfig) -> Planned:
    """Return what each device shall train; BudgetInfeasible names a device that can train nothing."""
    data = examples(config)
    counts = _divided(config, data)
    if counts is None:  # until the devices say it, an equal part of as many as the server's
        fleet = config.devices.devices(config.seed)
        counts = [max(1, len(data.labels) // len(fleet))] * len(fleet)
    sizes = data.task.step_sizes(data.config)
    tables = make_tables(
        config.model,
        config.depths,
        batch_size=config.batch_size,
        sequence_length=sizes.get("sequence_length"),
        image_size=sizes.get("image_size"),
        labels=data.classes,
        head=data.task.head,
        make_optimizer=local_optimizer(config, 0.1),  # the rate changes no cost
        storage=config.storage,
        ranks=config.lora_ranks if config.rule in ADAPTED else (),
        windows=config.rule in WINDOWED,
        upload=config.upload,
        keeps_start=config.keeps_start,
        personal=config.personal,
    )
    return Planned(config, data, tables, _decide(config, tables, counts))


def serve(grid: Grid, planned: Planned, *, resume: bool, say: Say) -> None:
    """Run a federation to its end, over any grid of Flower's.

    Args:
        grid: the way to the devices.
        planned: as `plan` made it.
        resume: go on from the checkpoint in the output folder.
        say: is called with the record of each round.
    """
    quiet()
    config, data = planned.config, planned.data
    refuse_folder(config.output, resume=resume)
    own = config.partition == "own"
    devices = [share.device for share in planned.choice.shares]
    networks = planned.networks if own else (planned.network,)
    counts = _divided(config, data)
    members = introduce(grid, config, devices, networks, data.label_names, data.fingerprint(), counts)
    if own:  # now they have said how many examples they have
        planned = planned.decided_for([members[device.index].examples for device in devices])
    choice, network = planned.choice, planned.network
    elsewhere = {"output", "wave", "timeout"}  # what a resumed run may have otherwise, and still be the same
    agreed = {
        **config.model_dump(mode="json", exclude=elsewhere),
        "depth": choice.depth,
        "layers": [s.layers for s in choice.shares],
        "ranks": [s.rank for s in choice.shares],
        "windows": [[list(window) for window in s.windows] for s in choice.shares],
        "network": network.fingerprint(),
        "examples": {"rows": data.rows.sha256, "counts": [members[device.index].examples for device in devices]},
    }
    rank = max((s.rank for s in choice.shares if s.rank is not None), default=None)
    torch.manual_seed(config.seed)  # of the head
    loaded = data.task.load(network.model, data.label_names, data.config)
    state = network.start(loaded.model, config.seed, rank)
    optimizer, log, done = _optimizer(config), [], 0
    if resume:
        found = checkpoints.load(config.output, agreed)
        state, log, done = found.state, found.log, found.round
        optimizer.load(found.optimizer, found.trained)
    config.output.mkdir(parents=True, exist_ok=True)
    if resume:
        _write_log(config.output, log)  # perhaps it was killed before it had
    else:  # so that one that is killed in its first round can go on, too
        checkpoints.save(config.output, Checkpoint(0, agreed, log, state, {}, {}), optimizer)
    parts = {part for share in choice.shares for part in share.parts}
    flops = {part: planned.tables.of(choice.depth, part).flops for part in parts}
    stays = network.personal_shapes(config.personal)
    shapes = {
        part: {name: shape for name, shape in network.trained_shapes(part).items() if name not in stays}
        for part in parts
    }
    kept = _kept(log, devices) if config.personal is not None else {}
    federation = Federation(
        config,
        choice,
        network,
        data.label_names,
        flops,
        shapes,
        state,
        optimizer,
        members,
        limits={device.index: limit for device in devices if (limit := memory_of(device)) is not None},
        kept=kept,
        turns=Turns.after(log, config, network),
        pace=Pace.after(log, config.pace_bound),
    )
    for number in range(done + 1, config.rounds + 1):
        record = federation.round(grid, number)
        record["metrics"] = data.scores(network.filled(federation.state))
        if config.evaluate_every is not None and (number % config.evaluate_every == 0 or number == config.rounds):
            asked = (network, data.label_names, federation.state, members, federation.kept)
            record["on_devices"] = device_scores(grid, config, *asked)
        record["server_process"] = peaks().process
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


app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation of the run config: `config`, the path of its YAML file, and `resume`, true or false."""
    quiet()
    config = make_federate_config(read_yaml(Path(str(context.run_config["config"]))))

    def say(record: Record) -> None:
        print(told(record, config.rounds), flush=True)

    resume = str(context.run_config.get("resume", False)).lower() == "true"
    refuse_folder(config.output, resume=resume)
    serve(grid, plan(config), resume=resume, say=say)


def refuse_folder(folder: Path, *, resume: bool) -> None:
    """Raise CheckpointError where a federation cannot begin in a folder; asked before anything is planned or run."""
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; choose another output")
    if not resume and folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"{folder} is there already; choose another output, or go on with it: --resume")


def _divided(config: FederateConfig, data: Examples) -> list[int] | None:
    """Return how many examples each device trains on, None if they have their own and are still to say it."""
    if config.partition == "own":
        return None
    parts = divide(data.labels, config.devices.devices(config.seed), config)
    return [len(split(part, config, device)[0]) for device, part in enumerate(parts)]


def _decide(config: FederateConfig, tables: Tables, counts: Sequence[int]) -> Choice:
    steps = [steps_of(config, count) for count in counts]
    return RULES[config.rule](config.devices.devices(config.seed), tables, steps)


def _kept(log: Sequence[Record], devices: Sequence[Device]) -> dict[int, int]:
    """Return the last round from which a valid reply came, of each device that has sent one."""
    places = {device.name: device.index for device in devices}
    return {
        places[told["device"]]: record["round"] for record in log for told in record["devices"] if told["reply"] == "ok"
    }


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
