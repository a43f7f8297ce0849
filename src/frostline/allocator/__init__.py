"""Who hands out the memory of a process: on a CPU a lever on its peak. Nothing here imports torch.

    default     the C library's own, as it comes
    compact     glibc's, but what is freed goes back to the system at once, Arrow takes from it, and oneDNN keeps few
                kernels: the lowest peak, slower steps. On a GPU, torch's segments grow page by page
    jemalloc    in glibc's place from the start of the process: nearly as low, and no slower, where it is installed

`use` sets this process, for libraries and scripts; `environment` is what a process needs from its start; `relaunch`
starts this one again with it, for the command line. docs/allocator.md says what each is worth.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from frostline.allocator import arrow, cuda, glibc, jemalloc, onednn
from frostline.allocator.jemalloc import environment, relaunch
from frostline.errors import ConfigError, nearest

__all__ = ["Allocator", "Choice", "environment", "relaunch", "trim", "use"]

Allocator = Literal["default", "compact", "jemalloc"]

_PRELOADED = "LD_PRELOAD"
_TOLD_BY = ("MALLOC_", "GLIBC_TUNABLES", _PRELOADED, "THP_MEM_ALLOC_ENABLE", "PYTORCH_CUDA_ALLOC", "PYTORCH_ALLOC")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for and what holds.

    Attributes:
        asked: `default`, `compact` or `jemalloc`.
        in_force: the same, or what holds in its place.
        reason: why they differ; None where they do not.
    """

    asked: str
    in_force: str
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, and with them the variables by which this process was told besides.

        Libraries without their folders: those are of this machine, and records are shared.
        """
        told = {key: value for key, value in sorted(os.environ.items()) if key.startswith(_TOLD_BY)}
        if _PRELOADED in told:
            told[_PRELOADED] = " ".join(Path(word).name for word in re.split("[ :]+", told[_PRELOADED]))
        return {**asdict(self), "environment": told}


def use(name: str = "compact") -> Choice:
    """Set the allocator of this process as far as that can be done while it runs.

    Call it when the model is loaded, before the first training step. `compact` can be chosen then; what was allocated
    before stays where it is. `jemalloc` has to be there from the start, start the process with
    `environment("jemalloc")`; it is now told to keep its pages. Both hold until the process ends.
    `default` changes nothing. Nor is anything changed without glibc, under another allocator, or where the user has set
    glibc's own variables: his word counts, and `Choice.reason` tells.

    Raises:
        ConfigError: there is no such allocator.
    """
    if name not in get_args(Allocator):
        raise ConfigError(f"there is no allocator {name!r}{nearest(name, get_args(Allocator))}")
    if name == "compact":
        onednn.keep_few()
        arrow.keep_nothing()
        cuda.expand_segments()
    if jemalloc.loaded():
        if name == "jemalloc":
            jemalloc.keep_pages()
        reason = None if name == "jemalloc" else "the process was started with jemalloc"
        return Choice(name, "jemalloc", reason)
    if name == "jemalloc":
        return Choice(name, _held(), jemalloc.obstacle() or "it has to be there from the start of the process")
    reason = glibc.fix_threshold() if name == "compact" else None
    if name == "default" and glibc.fixed():
        reason = "compact was chosen earlier in this process, and there is no way back"
    return Choice(name, _held(), reason)


def trim() -> None:
    """Give back to the system what this process has freed, once: after reading data, and before what stays is measured.

    Nothing under musl, on macOS and on Windows.
    """
    if jemalloc.loaded():
        jemalloc.purge()
    else:
        glibc.trim()


def _held() -> str:
    return "compact" if glibc.fixed() else "default"
