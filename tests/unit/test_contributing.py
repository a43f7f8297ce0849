"""The method that CONTRIBUTING.md shows works as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

import frostline

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"


def test_the_guides_method_works_as_printed() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    namespace: dict[str, object] = {"__name__": "guide"}
    exec(compile(code.replace("from __future__ import annotations\n", ""), str(GUIDE), "exec"), namespace)
    config = BertConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64, vocab_size=50)
    model = BertForSequenceClassification(config)
    tuner = frostline.prepare(model, namespace["Unfold"], every=2)
    optimizer = torch.optim.AdamW(model.parameters())
    tuner.attach(optimizer)
    counts = []
    for _ in range(6):
        counts.append(tuner.trainable_parameters)
        tuner.before_step()
        model(input_ids=torch.ones(2, 4, dtype=torch.long), labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tuner.after_step()
    head = sum(unit.parameter_count for unit in tuner.anatomy.in_region("head"))
    block = sum(unit.parameter_count for unit in tuner.anatomy.in_blocks(range(1)))
    assert counts == [head, head, head + block, head + block, head + 2 * block, head + 2 * block]
