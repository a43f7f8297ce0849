"""What was rehearsed once for these versions and this code is read from the user's cache folder the next time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

import frostline
from frostline.training.versions import versions


def remembered(key: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return JSON values as they were made under an equal key, or make them.

    Args:
        key: JSON values of all that they depend on, besides versions and this package's code.
        make: gives them.
    """
    asked = json.dumps({"asked": key, "versions": versions(), "code": _code()}, sort_keys=True)
    path = user_cache_path("frostline") / "costs" / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = make()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(found), encoding="utf-8")
            beside.replace(path)
        except OSError:  # a cache that cannot be written is none
            return found
    return found


@cache
def _code() -> str:
    """Return what tells one state of this package's files from another: names, sizes, times."""
    root = Path(frostline.__file__).parent
    files = [(str(path.relative_to(root)), path.stat()) for path in sorted(root.rglob("*.py"))]
    told = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
