"""Frostline in a plain PyTorch loop. Offline, under a minute.

python examples/plain_loop.py
"""

import torch
from torch.utils.data import DataLoader

import frostline
from frostline.models import load_classifier
from frostline.tasks.text import load

torch.manual_seed(0)
data = load("acceptability", max_train=640)
loaded = load_classifier("minilm", data.label_names)
model = loaded.model.train()


def collate(rows):
    """Return a batch of tensors from rows of text and label."""
    batch = loaded.processor([row["text"] for row in rows], padding=True, return_tensors="pt")
    return {**batch, "labels": torch.tensor([row["label"] for row in rows])}


loader = DataLoader(data.train, batch_size=32, shuffle=True, collate_fn=collate)

# The optimizer comes after prepare, and holds everything that may ever train.
tuner = frostline.prepare(model, method="far", retention=0.1, total_steps=len(loader), optimizer_state="release")
optimizer = torch.optim.AdamW(tuner.candidate_parameters(), lr=1e-4)
tuner.attach(optimizer)

for step, batch in enumerate(loader, 1):
    tuner.before_step()
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    tuner.after_step()
    if step % 5 == 0:
        print(f"step {step}/{len(loader)}  loss {loss:.4f}  {tuner.trainable_parameters:,} parameters train")

model = tuner.finish()  # merged: the plain model again
