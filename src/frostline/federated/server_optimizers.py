"""What the server makes of an average: take it, or treat the way there as a gradient (FedOpt, arXiv 2003.00295).

Each holds state per tensor and moves only those that were trained in a round, so what nobody trained keeps its value to
the bit, momentum or not. Where all are trained, as Flower's strategies of the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.errors import CheckpointError
from frostline.federated.merging import Arrays


class FedAvg:
    """The average itself (arXiv 1602.05629).

    Attributes:
        state: arrays by name, for a checkpoint; what a subclass keeps between rounds.
        rounds: of each tensor, how many rounds trained it.
    """

    kinds: tuple[str, ...] = ()
    """The names under which state is kept of each tensor."""

    def __init__(self) -> None:
        self.state: dict[str, NDArray[Any]] = {}
        self.rounds: dict[str, int] = {}

    def step(self, base: Arrays, average: Arrays) -> dict[str, NDArray[Any]]:
        """Return the new values of the tensors in `average`, in the dtypes of `base`."""
        found = {}
        for name, mean in average.items():
            self.rounds[name] = self.rounds.get(name, 0) + 1
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is the federation's affair
                found[name] = np.asarray(self._moved(name, base[name], mean)).astype(base[name].dtype, copy=False)
        return found

    def load(self, state: Arrays, rounds: dict[str, int]) -> None:
        """Take the state of a checkpoint; CheckpointError if it is that of another optimizer."""
        expected = {f"{kind}:{name}" for kind in self.kinds for name in rounds}
        if set(state) != expected:
            raise CheckpointError(
                "the checkpoint's server optimizer is another; resume with the one it was started with."
            )
        self.state, self.rounds = dict(state), dict(rounds)

    def _moved(self, name: str, base: NDArray[Any], mean: NDArray[Any]) -> Any:
        return mean


class FedAvgM(FedAvg):
    """Momentum over rounds (arXiv 1909.06335).

    Args:
        learning_rate: of the server.
        momentum: in [0, 1).
    """

    kinds = ("momentum",)

    def __init__(self, learning_rate: float = 1.0, momentum: float = 0.9) -> None:
        super().__init__()
        self._rate, self._momentum = learning_rate, momentum

    def _moved(self, name: str, base: NDArray[Any], mean: NDArray[Any]) -> Any:
        gradient = base - mean
        if (before := self.state.get(f"momentum:{name}")) is not None:
            gradient = self._momentum * before + gradient
        self.state[f"momentum:{name}"] = np.asarray(gradient)
        return base - self._rate * gradient


class FedAdam(FedAvg):
    """Adam over rounds (arXiv 2003.00295), its moments corrected by how often the tensor was trained.

    Args:
        learning_rate: of the server.
        beta_1, beta_2: of the moments.
        tau: added to the root; the adaptivity.
    """

    kinds = ("first", "second")

    def __init__(
        self, learning_rate: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
    ) -> None:
        super().__init__()
        self._rate, self._beta_1, self._beta_2, self._tau = learning_rate, beta_1, beta_2, tau

    def _moved(self, name: str, base: NDArray[Any], mean: NDArray[Any]) -> Any:
        change, zero = mean - base, np.zeros_like(base)
        first = self._beta_1 * self.state.get(f"first:{name}", zero) + (1 - self._beta_1) * change
        second = self._beta_2 * self.state.get(f"second:{name}", zero) + (1 - self._beta_2) * change**2
        self.state[f"first:{name}"], self.state[f"second:{name}"] = np.asarray(first), np.asarray(second)
        after = self.rounds[name] + 1.0  # as in Flower
        rate = self._rate * np.sqrt(1 - np.power(self._beta_2, after)) / (1 - np.power(self._beta_1, after))
        return base + rate * first / (np.sqrt(second) + self._tau)
