"""`frostline profile`: what each part of a model costs while it trains, in bytes and operations, without running it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from frostline.cli.options import Head, ImageSize
from frostline.heads import CLASSIFICATION


def show_profile(
    model: Annotated[str, typer.Argument(help="minilm, a model folder, a config.json, or a Hub name.")],
    batch_size: Annotated[int, typer.Option(help="Examples in a step.")] = 32,
    seq_len: Annotated[int | None, typer.Option(help="Tokens of each text; 128 if left out.")] = None,
    image_size: ImageSize = None,
    head: Head = CLASSIFICATION,
    storage: Annotated[str, typer.Option(help="How activations wait: exact, lossless, compact, smallest.")] = "exact",
    device: Annotated[str, typer.Option(help="Where the step shall run: cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List what each module's weights cost while they train, and what each level costs however little trains.

    A weight that trains has a gradient of its size and, with AdamW, two moments; dynamic waits for its gradient. Static
    waits at a level while anything there or below trains. Nothing is loaded but the config, and nothing is computed.
    """
    from frostline.anatomy import discover
    from frostline.models import quiet
    from frostline.profile import profile
    from frostline.skeletons import shaped_batch, skeleton

    quiet()
    built = skeleton(model, head=head, image_size=image_size)
    batch = shaped_batch(built, batch_size, seq_len, image_size)
    found = profile(built, discover(built, batch), batch, storage=storage, device=device)
    if as_json:
        shapes = {name: list(value.shape) for name, value in batch.items()}
        levels = [{"static": size, "flops": flops} for size, flops in zip(found.static, found.flops, strict=True)]
        modules = {name: asdict(weights) for name, weights in found.weights.items()}
        print(json.dumps({"model": model, "batch": shapes, "modules": modules, "levels": levels}))
        return

    from frostline.cli.site_tables import console, mebibytes, place, table

    last = len(found.static) - 1
    names = ["embeddings", *(place(depth) for depth in range(last - 1)), "head"]
    columns = ("module", "level", " weights MiB", " dynamic MiB", " forward GFLOP")
    rows = (
        (name, names[w.level], mebibytes(w.bytes), mebibytes(w.dynamic), _giga(w.flops))
        for name, w in found.weights.items()
    )
    out = console()
    out.print(table(f"Weights of {model} ({type(built).__name__}) and what waits while they train", columns, rows))
    headings = ("level", " weights MiB", " dynamic MiB", " static MiB", " from here up", " forward GFLOP")
    weights = found.weights.values()
    lines = (
        (
            name,
            mebibytes(sum(w.bytes for w in weights if w.level == level)),
            mebibytes(sum(w.dynamic for w in weights if w.level == level)),
            mebibytes(found.static[level]),
            mebibytes(found.waiting_from(level)),
            _giga(found.flops[level]),
        )
        for level, name in enumerate(names)
    )
    total = (
        "total",
        mebibytes(sum(w.bytes for w in weights)),
        mebibytes(sum(w.dynamic for w in weights)),
        mebibytes(sum(found.static)),
        "",
        _giga(sum(found.flops)),
    )
    out.print()
    out.print(table("By level", headings, lines, total))


def _giga(flops: int) -> str:
    return f"{flops / 1e9:,.2f}"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("profile")(show_profile)
