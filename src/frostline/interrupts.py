"""Ctrl-C that is not lost: some libraries catch every exception while they are imported, and with it this one."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_came = threading.Event()


def remember() -> None:
    """From now on note that Ctrl-C came, besides raising KeyboardInterrupt."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _note)


def check() -> None:
    """Raise KeyboardInterrupt if one came and was swallowed."""
    if _came.is_set():
        _came.clear()
        raise KeyboardInterrupt


def _note(signum: int, frame: FrameType | None) -> None:
    _came.set()
    raise KeyboardInterrupt
