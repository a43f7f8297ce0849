"""A method of one's own, in one file: every other block trains at even steps, the rest at odd ones. Offline.

python examples/custom_method.py
frostline train plugins=[examples/custom_method.py] method=alternate max_train=640 epochs=1 output=runs/alternate
"""

import torch
from pydantic import Field

import frostline
from frostline import methods
from frostline.methods import base


@methods.register
class Alternate(base.Method):
    """The head always trains; of the blocks, every `stride`-th one, moving on by one at each step."""

    name = "alternate"
    summary = "the head, and every stride-th block, moving on at each step"
    source = "this file"

    class Settings(base.Settings):
        """`stride`: one block in so many trains."""

        stride: int = Field(2, ge=1, description="one block in so many trains")

    def active(self, step: int) -> frozenset[str]:
        """Return the head's units and those of the blocks whose turn it is."""
        depth = len(self.anatomy.blocks)
        blocks = range(step % self.settings.stride, depth, self.settings.stride)
        units = self.anatomy.in_region("head") + self.anatomy.in_blocks(blocks)
        return frozenset(unit.name for unit in units)


def main() -> None:
    """Train a few steps of the embedded model and say what was active."""
    from frostline.models import load_classifier

    loaded = load_classifier("minilm", ("no", "yes"))
    batch = loaded.processor(["a cat sleeps", "cat a sleeps"], return_tensors="pt")
    tuner = frostline.prepare(loaded.model, Alternate, stride=3)
    optimizer = torch.optim.AdamW(tuner.candidate_parameters(), lr=1e-4)
    tuner.attach(optimizer)
    for step in range(6):
        tuner.before_step()
        loss = loaded.model(**batch, labels=torch.tensor([1, 0])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        blocks = sorted({unit.block for unit in tuner.units if unit.name in tuner.active and unit.block is not None})
        print(f"step {step}: loss {loss:.4f}, blocks {blocks}")
        tuner.after_step()
    tuner.finish()


if __name__ == "__main__":
    main()
