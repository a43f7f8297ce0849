"""The model card of a run, from its record."""

from __future__ import annotations

from typing import Any


def model_card(record: dict[str, Any]) -> str:
    """Return the card (Markdown with the Hub's front matter) for the content of a run.json."""
    config, metrics = record["config"], record["metrics"]
    settings = ", ".join(f"{key} = {value}" for key, value in record["plan"]["settings"].items() if value is not None)
    names = ", ".join(f"`{name}`" for name in record["data"]["label_names"])
    pipeline = f'pipeline("{record["pipeline"]}", model="path/to/this/folder")'
    given, code = {
        "classification": (f"Classes: {names}.", f"from transformers import pipeline\nclassify = {pipeline}"),
        "regression": (
            "Regression: each text or pair gets a score.",
            f"from transformers import pipeline\nscore = {pipeline}",
        ),
        "question-answering": (
            "Answers are spans of the passage; `frostline predict path/to/this/folder QUESTION PASSAGE` gives them.",
            "from transformers import AutoModelForQuestionAnswering\n"
            'model = AutoModelForQuestionAnswering.from_pretrained("path/to/this/folder")',
        ),
        "token-classification": (f"Tags: {names}.", f"from transformers import pipeline\ntag = {pipeline}"),
        "language-modeling": (
            "It goes on with a text, token by token.",
            f"from transformers import pipeline\ngo_on = {pipeline}",
        ),
    }[record["task"]]
    scores = "\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items())
    return f"""---
library_name: transformers
pipeline_tag: {record["pipeline"]}
tags:
- frostline
---

# {record["name"]}

{record["plan"]["model"]} fine-tuned from `{config["model"]}` on `{record["data"]["name"]}` with the method
**{config["method"]}**{f" ({settings})" if settings else ""} by [frostline](https://pypi.org/project/frostline/)
{record["versions"]["frostline"]}.

| metric on the validation data | |
|---|---|
{scores}

| training | |
|---|---|
| trainable parameters | {record["trainable_parameters"]:,} of {record["plan"]["total_parameters"]:,} |
| trained at a step, on average | {record["active_share"]:.1%} |
| optimizer steps | {record["steps"]:,} |
| median step | {record["step_seconds"]:.3f} s |
| peak memory | {record["peak_bytes"] / 2**20:,.0f} MiB |

{given} Every setting, version and hash is in `run.json`.

```python
{code}
```
"""
