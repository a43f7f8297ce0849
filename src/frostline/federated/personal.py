"""The layers that stay with a device: the head and the last blocks, which never leave it (FedPer, arXiv 1912.00818).

They lie on the device's disk, a file a round, so that a server that was killed goes on with those of the round that it
goes on from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from frostline.errors import CheckpointError
from frostline.federated.merging import Arrays


class Personal:
    """A device's own layers.

    Args:
        folder: of this device alone, to be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, number: int | None) -> dict[str, NDArray[Any]]:
        """Return the layers as they were after a round, none if it is None: the device has not trained yet.

        Raises:
            CheckpointError: they are not there.
        """
        if number is None:
            return {}
        path = self._path(number)
        if not path.is_file():
            raise CheckpointError(f"this device's own layers of round {number} are not in {path}; start anew.")
        return dict(load_file(path))

    def save(self, number: int, arrays: Arrays, before: int | None) -> None:
        """Write the layers as they are after a round; of those of other rounds only `before` stays."""
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._folder / "new"
        save_file(dict(arrays), beside)
        beside.replace(self._path(number))
        stays = {self._path(number)} | ({self._path(before)} if before is not None else set())
        for path in self._folder.glob("round-*.safetensors"):
            if path not in stays:
                path.unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"round-{number}.safetensors"
