"""`frostline sites`: what a training step of a model keeps for its backward pass, site by site, without running it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from frostline.cli.options import Head, ImageSize
from frostline.heads import CLASSIFICATION


def show_sites(
    model: Annotated[str, typer.Argument(help="minilm, a model folder, a config.json, or a Hub name.")],
    batch_size: Annotated[int, typer.Option(help="Examples in a step.")] = 32,
    seq_len: Annotated[int | None, typer.Option(help="Tokens of each text; 128 if left out.")] = None,
    image_size: ImageSize = None,
    head: Head = CLASSIFICATION,
    device: Annotated[str, typer.Option(help="Where the step shall run: cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List what a full fine-tuning step keeps for backward, and what of it stays when all weights are frozen.

    Static stays, dynamic goes with the weights' gradients, shared is kept by an earlier site already. Nothing is
    loaded but the config, and nothing is computed.
    """
    from frostline.anatomy.sites import sites
    from frostline.models import quiet
    from frostline.skeletons import shaped_batch, skeleton

    quiet()
    built = skeleton(model, head=head, image_size=image_size)
    batch = shaped_batch(built, batch_size, seq_len, image_size)
    found = sites(built, batch, device=device)
    shapes = {name: list(value.shape) for name, value in batch.items()}
    if as_json:
        print(json.dumps({"model": model, "class": type(built).__name__, "batch": shapes, **found.to_json()}))
        return

    from frostline.cli.site_tables import console, mebibytes, place, portion, site_name, table

    total = found.total
    name = f"{model} ({type(built).__name__}), {' x '.join(map(str, shapes[built.main_input_name]))} on {found.device}"
    rows = [(*site_name(site), mebibytes(site.bytes), portion(site.bytes, total), site.kind) for site in found]
    out = console()
    out.print(table(f"What a step of {name} keeps", ("module", "operation", " MiB", " share", "kind"), rows))
    for what, sums in (("operation", found.by_operation()), ("block", found.by_block())):
        lines = ((place(key), mebibytes(size), portion(size, total)) for key, size in sums.items())
        out.print()
        out.print(table(f"By {what}", (what, " MiB", " share"), lines, ("total", mebibytes(total), "")))
    static, dynamic = found.static or 0, found.dynamic or 0
    print(
        f"\ntotal {mebibytes(total)} MiB: static {mebibytes(static)} ({portion(static, total)}), "
        f"dynamic {mebibytes(dynamic)} ({portion(dynamic, total)})"
    )


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("sites")(show_sites)
