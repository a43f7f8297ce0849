"""Frostline in a script with a stock Trainer: two changed lines, marked. Offline, under a minute.

python examples/trainer.py
"""

import tempfile

from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

import frostline
from frostline.models import load_classifier
from frostline.tasks.text import load

data = load("acceptability", max_train=640)
loaded = load_classifier("minilm", data.label_names)
train = data.train.map(lambda rows: {**loaded.processor(rows["text"]), "labels": rows["label"]}, batched=True)

tuner = frostline.prepare(loaded.model, method="slimfit", rate=0.9)  # 1: which weights train, at each step

with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model=loaded.model,
        args=TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=32,
            learning_rate=3e-4,
            logging_steps=5,
            save_strategy="no",
            use_cpu=True,
        ),
        train_dataset=train.select_columns(["input_ids", "attention_mask", "labels"]),
        data_collator=DataCollatorWithPadding(loaded.processor),
        callbacks=[tuner.callback()],  # 2: drive it
    )
    trainer.train()

model = tuner.finish()  # the plain model again
print(f"{len(tuner.units)} units, {tuner.step} steps, {tuner.active_share:.1%} of the weights trained at the last one")
