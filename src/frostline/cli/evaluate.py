"""`frostline eval`: score a trained model on labelled data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.options import warned


def evaluate(
    model: Annotated[str, typer.Argument(help="A run folder, or any folder with a model for a task.")],
    data: Annotated[str | None, typer.Option(help="As for train; the run's own validation data if left out.")] = None,
    metric: Annotated[str | None, typer.Option(help="The run's own if left out.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of the text.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of the second text.")] = None,
    image: Annotated[str | None, typer.Option(help="Column of the image.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between columns.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a forward pass.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as one line of JSON.")] = False,
) -> None:
    """Score a trained model on labelled data."""
    from frostline.training.inference import evaluate_model

    columns = {"text": text, "text_pair": text_pair, "image": image, "label": label, "delimiter": delimiter}
    scores = evaluate_model(Path(model), data, metric, columns, batch_size, warned)
    if as_json:
        print(json.dumps(scores))
        return
    for name, value in scores.items():
        print(f"{name:12} {value:.4f}" if isinstance(value, float) else f"{name:12} {value}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("eval")(evaluate)
