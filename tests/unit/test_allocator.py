"""The allocator of a process: what is asked for holds, or is said not to; nothing here changes this very process."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frostline import allocator
from frostline.allocator import glibc, jemalloc
from frostline.errors import ConfigError

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
NAMED = os.environ.get(jemalloc.PATH_VARIABLE)
OURS = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "FROSTLINE_")

# Tensors of 1 MiB between small objects that stay: what a freed tensor leaves cannot be given back from a heap.
FREED = """
import ctypes, sys
from frostline import allocator
choice = allocator.use(sys.argv[1])
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
c.free(c.malloc(2**25 - 2**16))  # raises the threshold, where it moves
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
blocks = []
for _ in range(64):
    blocks.append(c.malloc(2**20))
    ctypes.memset(blocks[-1], 1, 2**20)
    c.malloc(20_000)
for block in blocks:
    c.free(block)
print(choice.in_force, resident() - before)
allocator.trim()
print(resident() - before)
"""


def fresh(*arguments: str, code: str = "", **variables: str) -> str:
    """Return what a fresh Python prints, without the variables that this one was told by."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OURS)} | variables
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def used(name: str, **variables: str) -> dict[str, Any]:
    """Return the choice of a fresh process that uses the allocator `name`."""
    code = "import json, sys; from frostline import allocator; print(json.dumps(allocator.use(sys.argv[1]).to_json()))"
    return dict(json.loads(fresh(name, code=code, **variables)))


@pytest.fixture(autouse=True)
def _as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in list(os.environ):
        if key.startswith(OURS):
            monkeypatch.delenv(key)
    monkeypatch.setattr(glibc, "_fixed", False)


@linux_only
def test_compact_gives_back_what_is_freed_and_default_does_not() -> None:
    held = {name: fresh(name, code=FREED).split() for name in ("default", "compact")}
    assert [held[name][0] for name in held] == ["default", "compact"]
    assert int(held["default"][1]) > 48 * 2**20
    assert int(held["compact"][1]) < 8 * 2**20
    assert int(held["default"][2]) < 8 * 2**20  # once it has been trimmed


def test_default_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glibc, "fix_threshold", lambda: pytest.fail("called"))
    assert allocator.use("default") == allocator.Choice("default", "default")


def test_an_unknown_allocator_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="there is no allocator 'compct'; did you mean 'compact'"):
        allocator.use("compct")


@linux_only
def test_there_is_no_way_back() -> None:
    code = "from frostline import allocator as a; a.use('compact'); print(a.use('compact')); print(a.use('default'))"
    first, second = fresh(code=code).splitlines()
    assert "in_force='compact', reason=None" in first
    assert "in_force='compact', reason='compact was chosen earlier" in second


@linux_only
@pytest.mark.parametrize(
    ("variable", "value"),
    [("MALLOC_TOP_PAD_", "65536"), ("MALLOC_MMAP_THRESHOLD_", "1"), ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")],
)
def test_the_users_own_settings_count(variable: str, value: str) -> None:
    found = used("compact", **{variable: value})
    assert found["in_force"] == "default"
    assert variable in found["reason"]
    assert found["environment"] == {variable: value}


@linux_only
def test_tunables_of_other_parts_of_glibc_do_not_matter() -> None:
    assert used("compact", GLIBC_TUNABLES="glibc.rtld.nns=4")["in_force"] == "compact"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.parametrize("name", ["compact", "jemalloc"])
def test_other_systems_stay_as_they_are(name: str, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: pytest.fail("loaded a library"))
    choice = allocator.use(name)
    allocator.trim()
    assert choice.in_force == "default"
    assert f"this is {platform}" in str(choice.reason)
    assert allocator.environment(name) == {}


@linux_only
def test_another_c_library_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ctypes.CDLL

    def library(name: str | None) -> ctypes.CDLL:
        if name == "libc.so.6":
            raise OSError("no such file")
        return real(name)

    monkeypatch.setattr(ctypes, "CDLL", library)
    choice = allocator.use("compact")
    assert (choice.in_force, choice.reason) == ("default", "it needs glibc, and this is another C library")


@linux_only
def test_a_library_that_does_not_serve_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "libjemalloc.so.2"
    broken.write_text("no library")
    monkeypatch.setattr(jemalloc, "_candidates", lambda: iter([broken, tmp_path / "missing.so"]))
    assert jemalloc.find() is None
    assert allocator.environment("jemalloc") == {}
    choice = allocator.use("jemalloc")
    assert choice.in_force == "default"
    assert "FROSTLINE_JEMALLOC=PATH" in str(choice.reason)


@linux_only
def test_the_named_library_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_JEMALLOC", "/opt/mine.so")
    assert next(jemalloc._candidates()) == Path("/opt/mine.so")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return where a jemalloc seems to lie, on what seems to be Linux."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(jemalloc, "find", lambda: Path("/lib/je.so"))
    monkeypatch.setattr(jemalloc, "loaded", lambda: False)
    return "/lib/je.so"


def test_jemalloc_has_to_be_there_from_the_start(found: str) -> None:
    assert allocator.environment("jemalloc") == {"LD_PRELOAD": found, "MALLOC_CONF": jemalloc.OPTIONS}
    assert allocator.use("jemalloc").in_force == "default"
    for name in ("default", "compact"):
        assert allocator.environment(name) == {}


def test_what_the_user_preloads_stays(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/lib/other.so")
    assert allocator.environment("jemalloc") == {}
    assert allocator.use("jemalloc").reason == "LD_PRELOAD is set in the environment"


def test_what_the_user_tells_jemalloc_stays(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_CONF", "narenas:1")
    assert allocator.environment("jemalloc")["MALLOC_CONF"] == "narenas:1"


def test_the_command_line_starts_again_once_and_with_its_arguments(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Any, ...]] = []
    monkeypatch.setattr(os, "execve", lambda *given: started.append(given))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "frostline", "train"])
    for name in ("default", "compact", "None", "jemalloc"):
        allocator.relaunch(name)
    [(program, arguments, environment)] = started
    assert (program, arguments) == (sys.executable, [sys.executable, "-X", "dev", "-m", "frostline", "train"])
    assert environment["LD_PRELOAD"] == found
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.delenv("LD_PRELOAD")  # as where the loader refuses it
    allocator.relaunch("jemalloc")
    assert len(started) == 1


def test_a_record_names_preloaded_libraries_without_their_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/opt/mine/libone.so:/usr/lib/libtwo.so.2")
    told = allocator.Choice("default", "default").to_json()["environment"]
    assert told["LD_PRELOAD"] == "libone.so libtwo.so.2"


@linux_only
def test_a_process_started_with_jemalloc_is_served_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if NAMED:
        monkeypatch.setenv(jemalloc.PATH_VARIABLE, NAMED)
    variables = allocator.environment("jemalloc")
    if not variables:
        pytest.skip("no jemalloc on this machine")
    assert used("jemalloc", **variables)["in_force"] == "jemalloc"
    assert used("compact", **variables)["reason"] == "the process was started with jemalloc"
    held, trimmed = fresh("jemalloc", code=FREED, **variables).split()[1:]
    assert int(held) > 48 * 2**20
    assert int(trimmed) < 8 * 2**20
