"""jemalloc (https://jemalloc.net) in the C library's place, without its habit of giving memory back after a while.

It keeps small objects apart from large ones, so what a tensor leaves fits the next of its size. By default it returns
unused pages to the system over ten seconds, and a training step takes them anew, a fault a page. `keep_pages` lets it
return them one last time, so that nothing is left of what came before the training, and from then on reuse them.

It has to be in place when the process starts, which LD_PRELOAD does. No package of ours brings it: it is found where
Ray, Conda or the system have put it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OPTIONS = "oversize_threshold:0"
"""jemalloc's MALLOC_CONF to start with: large allocations are treated like others."""

PATH_VARIABLE = "FROSTLINE_JEMALLOC"
"""The environment variable that says where libjemalloc lies, if it is not found."""

_ALL = 4096  # MALLCTL_ARENAS_ALL
_STARTED = "FROSTLINE_RELAUNCHED"
_WAYS = f"install libjemalloc2 (apt), jemalloc (conda) or ray (pip), or say where it lies: {PATH_VARIABLE}=PATH"


def loaded() -> bool:
    """Return whether jemalloc serves this process."""
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallctl")


def keep_pages() -> None:
    """Give back what is unused now, and from now on nothing more; leave it all where MALLOC_CONF is the user's own."""
    if os.environ.get("MALLOC_CONF") != OPTIONS:
        return
    purge()
    control, count = ctypes.CDLL(None).mallctl, ctypes.c_uint()
    size = ctypes.c_size_t(ctypes.sizeof(count))
    control(b"arenas.narenas", ctypes.byref(count), ctypes.byref(size), None, ctypes.c_size_t(0))
    never = ctypes.c_ssize_t(-1)
    for arena in ("arenas", *(f"arena.{index}" for index in range(count.value))):  # the first: of arenas to come
        for pages in ("dirty", "muzzy"):
            name = f"{arena}.{pages}_decay_ms".encode()
            control(name, None, None, ctypes.byref(never), ctypes.c_size_t(ctypes.sizeof(never)))


def purge() -> None:
    """Give back what is unused now."""
    ctypes.CDLL(None).mallctl(f"arena.{_ALL}.purge".encode(), None, None, None, ctypes.c_size_t(0))


def find() -> Path | None:
    """Return the first jemalloc that a process of this Python can start with: named, of Conda, of Ray, the system's."""
    return next((path for path in _candidates() if path.is_file() and _starts_with(path)), None)


def obstacle() -> str | None:
    """Return why a process cannot be started with jemalloc here, None if it can."""
    if sys.platform != "linux":
        return f"it needs LD_PRELOAD, and this is {sys.platform}"
    if os.environ.get("LD_PRELOAD"):
        return "LD_PRELOAD is set in the environment"
    if find() is None:
        return f"there is none that works here; {_WAYS}"
    return None


def environment(name: str) -> dict[str, str]:
    """Return the variables with which a process has to start for the allocator `name`; none but for `jemalloc`.

    None either where there is no jemalloc, or where the user has set LD_PRELOAD: his word counts, and so does his
    MALLOC_CONF.
    """
    library = find() if name == "jemalloc" and not loaded() and obstacle() is None else None
    if library is None:
        return {}
    return {"LD_PRELOAD": str(library), "MALLOC_CONF": os.environ.get("MALLOC_CONF", OPTIONS)}


def relaunch(name: str) -> None:
    """Start this process again with what `name` needs from the start, once; return if there is nothing to do.

    The process keeps its number, its files and its arguments.
    """
    needed = environment(name)
    if not needed or _STARTED in os.environ:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **needed, _STARTED: "1"})


def _candidates() -> Iterator[Path]:
    if named := os.environ.get(PATH_VARIABLE):
        yield Path(named)
    yield Path(sys.prefix, "lib", "libjemalloc.so.2")
    ray = importlib.util.find_spec("ray")
    for folder in (ray and ray.submodule_search_locations) or ():
        yield Path(folder, "core", "libjemalloc.so")
    for folder in ("/usr/lib", "/usr/lib64", "/usr/local/lib", *map(str, Path("/usr/lib").glob("*-linux-gnu*"))):
        yield Path(folder, "libjemalloc.so.2")


@functools.cache
def _starts_with(library: Path) -> bool:
    """Return whether it serves a process: one made for other pages, or another processor, does not."""
    code = "import ctypes, sys; sys.exit(not hasattr(ctypes.CDLL(None), 'mallctl'))"
    variables = {**os.environ, "LD_PRELOAD": str(library), "MALLOC_CONF": OPTIONS}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=variables, capture_output=True)
    return done.returncode == 0
