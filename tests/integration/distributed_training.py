"""Trains a tiny model with a stock Trainer, one method after the other; run in one process, or in several that share.

torchrun --standalone --nproc-per-node 2 tests/integration/distributed_training.py FOLDER BATCH JOBS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

import frostline


def train(folder: Path, batch: int, name: str, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights after 10 steps of `batch` rows in each process."""
    set_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertForSequenceClassification(BertConfig(vocab_size=50, max_position_embeddings=16, **sizes, **still))
    tokens = torch.randint(1, 50, (64, 8), generator=torch.Generator().manual_seed(1))
    rows = {"input_ids": tokens.tolist(), "labels": (tokens[:, 0] % 2).tolist()}
    own = dict(options)
    asked = {key: own.pop(key) for key in ("gradient_checkpointing", "ddp_find_unused_parameters") if key in own}
    tuner = frostline.prepare(model, name, **own)
    arguments = TrainingArguments(
        str(folder),
        max_steps=10,
        per_device_train_batch_size=batch,
        train_sampling_strategy="sequential",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        optim="sgd",
        average_tokens_across_devices=False,  # it would multiply the loss of a classifier by the number of processes
        use_cpu=True,
        **asked,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(rows),
        data_collator=default_data_collator,
        callbacks=[tuner.callback()],
    )
    trainer.train()
    return {key: value.clone() for key, value in tuner.finish().state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    output, jobs = Path(sys.argv[1]), json.loads(sys.argv[3])
    for index, (name, options) in enumerate(jobs):
        found = train(output, int(sys.argv[2]), name, options)
        torch.save(found, output / f"{index}.{os.environ['RANK']}.pt")
