"""The backward pass of an operation that keeps what its first derivative needs, and no more.

torch's own `once_differentiable` notices a second derivative only if the incoming gradient needs one itself; a penalty
on a gradient's norm would pass it with a gradient of zero. Here asking for a graph of the gradient is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from frostline.errors import StorageError

Backward = Callable[..., Any]


def first_order(backward: Backward) -> Backward:
    """Return `backward`, which raises StorageError where its own gradient is asked for (`create_graph=True`)."""

    @wraps(backward)
    def checked(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():
            raise StorageError(
                "a second derivative is asked for (create_graph=True), but what storage keeps gives the first alone; "
                "use storage='exact', and a method that leaves the model's Linear layers whole."
            )
        return backward(ctx, *grads)

    return checked
