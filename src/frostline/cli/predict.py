"""`frostline predict`: what a trained model says of texts and images, as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.options import warned
from frostline.errors import ConfigError


def predict(
    model: Annotated[str, typer.Argument(help="A run folder, or any folder with a model for a task.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to classify or to go on with; paths of images.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A file or folder of texts or images, labels not needed.")] = None,
    output: Annotated[Path | None, typer.Option(help="A file for the JSON lines; standard output if left out.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of the text.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of the second text.")] = None,
    image: Annotated[str | None, typer.Option(help="Column of the image.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between columns.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a forward pass.")] = 64,
) -> None:
    """Classify or score texts or images; each line is {"text": ..., "label": ..., "score": ...}.

    Of an image it says {"image": ...}, there is no label in regression, and a language model gives {"text": ...,
    "perplexity": ..., "continuation": ...}; of tagged words {"words": ..., "tags": ..., "entities": ...}.
    """
    if bool(texts) == bool(data):
        raise ConfigError("give texts or --data FILE, one of the two.")
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"output {str(output)!r} cannot be written: there is no folder {str(output.parent)!r}.")
    from frostline.training.inference import predict_rows

    columns = {"text": text, "text_pair": text_pair, "image": image, "delimiter": delimiter}
    rows = predict_rows(Path(model), texts, data, columns, batch_size, warned)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    if output is None:
        print("\n".join(lines))
        return
    temporary = output.with_name(output.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(output)
    print(f"{len(lines)} predictions in {output}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("predict")(predict)
