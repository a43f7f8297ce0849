"""The plain model out of a run or a checkpoint; or a delta, the tensors that differ from the base model."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import set_seed

from frostline.config import make_config
from frostline.errors import CheckpointError, ConfigError, nearest
from frostline.models import Loaded, quiet
from frostline.tasks import task_of
from frostline.training.checkpoints import is_whole
from frostline.training.run_folder import RunFolder, share
from frostline.training.weights import load_weights
from frostline.tuner import prepare

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DELTA = "delta.safetensors"


def export_run(source: Path, output: Path, *, dtype: str | None, delta: bool) -> str:
    """Write the plain model of a run or checkpoint into a new folder; return a line that says what was written.

    Args:
        source: a finished run folder, or a checkpoint of a run.
        output: the folder to make; appears whole or not at all.
        dtype: of the weights; None leaves it.
        delta: write only the tensors that differ from the base model, with the record that names it.

    Raises:
        ConfigError: an unknown dtype.
        CheckpointError: `source` is neither, or `output` exists.
    """
    quiet()
    if dtype is not None and dtype not in _DTYPES:
        raise ConfigError(f"dtype={dtype!r} is unknown{nearest(dtype, _DTYPES)}")
    if output.exists():
        raise CheckpointError(f"{str(output)!r} exists; name a new folder.")
    loaded, record = _load(source)
    if dtype is not None:
        loaded.model.to(_DTYPES[dtype])
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=output.parent, prefix=".export-"))
    except OSError as error:
        raise CheckpointError(f"{str(output)!r} cannot be made: {error}") from error
    try:
        if delta:
            said = _write_delta(loaded, record, staging)
        else:
            loaded.model.save_pretrained(staging)
            loaded.processor.save_pretrained(staging)
            said = f"{sum(p.numel() for p in loaded.model.parameters()):,} parameters"
        share(staging)
        staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return f"{said} in {output}"


def _load(source: Path) -> tuple[Loaded, dict[str, Any]]:
    """Return the plain model and its run's record."""
    record = RunFolder(source).record()
    if record is not None:
        if record["status"] != "finished":
            raise CheckpointError(
                f"the run in {source} is not finished (status: {record['status']}); export one of its checkpoints."
            )
        return task_of(make_config(record["config"])).load(str(source)), record
    record = RunFolder(source.parent.parent).record()
    if record is None or not is_whole(source):
        raise CheckpointError(f"{str(source)!r} is neither a run folder nor a whole checkpoint of one.")
    config = record["config"]
    set_seed(config["seed"])
    loaded = _base_model(record)
    if loaded.sha256 != record["model_sha256"]:
        raise CheckpointError(f"the base model {config['model']!r} is not the one this run was started with.")
    tuner = prepare(loaded.model, config["method"], seed=config["seed"], **record["plan"]["settings"])
    load_weights(loaded.model, source)
    tuner.finish()
    return loaded, record


def _base_model(record: dict[str, Any]) -> Loaded:
    config = make_config(record["config"])
    return task_of(config).load(config.model, record["data"]["label_names"], config)


def _write_delta(loaded: Loaded, record: dict[str, Any], folder: Path) -> str:
    set_seed(record["config"]["seed"])
    base = _base_model(record)
    if base.sha256 != record["model_sha256"]:
        raise CheckpointError(f"the base model {record['config']['model']!r} is not the one this run started from.")
    before = base.model.state_dict()
    changed: dict[str, Tensor] = {
        name: value.contiguous()
        for name, value in loaded.model.state_dict().items()
        if name not in before or not torch.equal(value.to(before[name].dtype), before[name])
    }
    save_file(changed, folder / DELTA)
    facts = {"model": record["config"]["model"], "model_sha256": record["model_sha256"], "tensors": len(changed)}
    (folder / "delta.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return f"{len(changed)} of {len(before)} tensors ({sum(t.numel() for t in changed.values()):,} parameters)"
