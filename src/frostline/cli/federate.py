"""`frostline federate`: a fleet of unequal devices fine-tunes one model, simulated on this machine."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.errors import ConfigError

if TYPE_CHECKING:
    from frostline.federated.server_app import Planned


def federate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The federation: see docs/federated.md.")],
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what each device would train, and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the output folder's checkpoint.")] = False,
    output: Annotated[Path | None, typer.Option(help="The run folder, in place of the config's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan, then each round, as lines of JSON.")] = False,
) -> None:
    """Fine-tune one model on many devices, each the layers that its limits allow (CAFF, arXiv 2411.07826)."""
    from frostline.config import read_yaml

    values = read_yaml(config)
    if output is not None:
        values["output"] = str(output)
    if importlib.util.find_spec("flwr") is None:
        raise ConfigError("frostline federate needs Flower: pip install -c constraints.txt 'frostline[federated]'")
    from frostline.federated.config import make_federate_config

    made = make_federate_config(values)
    from frostline.federated.server_app import plan, refuse_folder
    from frostline.models import quiet

    quiet()
    if not plan_only:
        refuse_folder(made.output, resume=resume)
        if made.partition == "own" and made.own_data is None:
            raise ConfigError(
                "partition=own: a simulation must be told where the devices' data are: own_data=folder/{device}. Over "
                "a network each node is told (examples/deployment)."
            )
    planned = plan(made)
    if as_json:
        print(json.dumps(_plan_record(planned)), flush=True)
    else:
        _print_plan(planned)
    if plan_only:
        return
    from rich.progress import Progress

    from frostline.federated.simulation import simulate

    with Progress(disable=as_json or not sys.stdout.isatty(), transient=True) as bar:
        rounds = bar.add_task("rounds", total=made.rounds)

        def say(record: dict[str, Any]) -> None:
            _print_round(record, made.rounds, as_json)
            bar.update(rounds, completed=record["round"])

        simulate(planned, resume=resume, say=say)
    if not as_json:
        print(f"the model is in {made.output / 'model'}, the rounds in {made.output / 'rounds.json'}")


def _plan_record(planned: Planned) -> dict[str, Any]:
    choice = planned.choice
    return {
        "depth": choice.depth,
        "means": choice.means,
        "full": asdict(planned.tables.full),
        "costs": [
            {"blocks": depth, "trained": trained, **asdict(cost)}
            for (depth, trained), cost in planned.tables.costs.items()
        ],
        "devices": [
            {
                "device": share.device.name,
                "layers": share.layers if share.takes_part else None,
                "rank": share.rank,
                "binds": list(share.binds),
            }
            for share in choice.shares
        ],
    }


def _print_plan(planned: Planned) -> None:
    """Print a row a group: its layers and what binds it; then how the depths compare."""
    from frostline.budget import written
    from frostline.cli.site_tables import console, table

    choice, rows = planned.choice, []
    for group in dict.fromkeys(share.device.group for share in choice.shares):
        whole = [share for share in choice.shares if share.device.group == group]
        binds = ", ".join(sorted({name for share in whole for name in share.binds})) or "nothing"
        shares = [share for share in whole if share.takes_part]
        count = str(len(whole)) if len(shares) == len(whole) else f"{len(shares)} of {len(whole)}"
        if not shares:
            rows.append((group, count, "none", "", "", "", binds))
            continue
        amounts = sorted(share.layers if share.rank is None else share.rank for share in shares)
        least, most = amounts[0], amounts[-1]
        adapted = shares[0].rank is not None
        cost = (planned.tables.adapters if adapted else planned.tables.costs)[choice.depth, most]
        layers = ("rank " if adapted else "") + (str(least) if least == most else f"{least} to {most}")
        sizes = (written(cost.memory), f"{cost.flops:.3g}", written(cost.upload))
        rows.append((group, count, layers, *sizes, binds))
    heads = ("group", " devices", " layers", " memory", " FLOPs a step", " upload", "bound by")
    console().print(table(f"{planned.config.model} of {choice.depth} blocks", heads, rows))
    for depth, mean in choice.means.items():
        told = "some device cannot take part" if mean is None else f"{mean:.2f} layers a device"
        print(f"{depth} blocks: {told}{'  <- chosen' if depth == choice.depth else ''}")


def _print_round(record: dict[str, Any], rounds: int, as_json: bool) -> None:
    from frostline.federated.telling import told

    print(json.dumps(record) if as_json else told(record, rounds), flush=True)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("federate")(federate)
