"""What a real forward pass keeps, by site: the accounting of `frostline.anatomy.sites`, on real tensors."""

from __future__ import annotations

from typing import Any

from torch import nn

from frostline.anatomy.accounting import Accounting
from frostline.anatomy.inventory import Sites


class SavedMeter:
    """Counts, over one forward pass, what autograd keeps, each storage once, at the site that keeps it first.

        with SavedMeter(model) as meter:
            loss = model(**batch).loss
        meter.sites.by_operation()

    What is kept at the end counts, so hold on to the output; what waits elsewhere than on `device_type` does not.
    Do not time a step under it, and do not nest it with `TensorTracker`: torch calls the innermost hooks only.

    Args:
        model: a transformer with one stack of blocks, prepared or plain.
        device_type: `cpu` or `cuda`; where the model lies when None.

    Attributes:
        sites: what was kept; there after the context has ended.

    Raises:
        UnsupportedModel: the model has no blocks, or runs those of two stacks.
    """

    sites: Sites

    def __init__(self, model: nn.Module, device_type: str | None = None) -> None:
        self._model = model
        self._device_type = device_type or next(model.parameters()).device.type
        self._accounting: Accounting | None = None

    def __enter__(self) -> SavedMeter:
        """Start to follow."""
        own = (*self._model.parameters(), *self._model.buffers())
        self._accounting = Accounting(self._model, own, self._device_type)
        self._accounting.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        """Stop to follow, and count."""
        assert self._accounting is not None
        self._accounting.__exit__(*details)
        self.sites = Sites(tuple(self._accounting.sites()), self._device_type)
        self._accounting = None
