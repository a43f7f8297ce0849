"""Methods from outside the package: Python files or modules that `register` what they bring."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from frostline.errors import ConfigError


def load(names: Iterable[str]) -> None:
    """Import each plugin once, so that its `@frostline.methods.register` classes are known by name.

    Args:
        names: a Python file (`peers/galore.py`) or an importable module (`my_package.methods`).

    Raises:
        ConfigError: a plugin is not there, or cannot be imported; names it and says why.
    """
    for name in names:
        path = Path(name).expanduser()
        try:
            if path.suffix == ".py":
                _load_file(path)
            else:
                importlib.import_module(name)
        except ConfigError:
            raise
        except FileNotFoundError as error:
            raise ConfigError(f"plugins: there is no file {name!r}.") from error
        except Exception as error:  # whatever the plugin's own code raises
            raise ConfigError(
                f"plugins: {name!r} cannot be imported: {type(error).__name__}: {error} "
                "Name a Python file, or a module that is installed."
            ) from error


def _load_file(path: Path) -> None:
    resolved = path.resolve()
    # One module name a file, so that two files of one name do not take each other's place.
    module_name = f"frostline_plugin_{resolved.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(module_name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
