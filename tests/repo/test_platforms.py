"""Every module can be imported where a system lacks parts of this one; Windows gets a message."""

from __future__ import annotations

import subprocess
import sys

import pytest

POSIX_ONLY = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
OPTIONAL = ("brotli", "keyring", "uvloop")
PRETEND = """\
import aiohttp, asyncio, click, importlib, msgspec, os, pkgutil, signal, socket, sys, sysconfig
import yaml, subprocess, tempfile, multiprocessing, concurrent.futures
sysconfig.get_config_vars()  # the standard library's own, which belong to this system
platform, hidden = sys.argv[1], set(sys.argv[2].split(","))

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ImportError(f"no module named {name}")

for name in [each for each in sys.modules if each.partition(".")[0] in hidden]:
    del sys.modules[name]
sys.meta_path.insert(0, Hide())
sys.platform = platform
if platform == "win32":
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGPIPE"):
        delattr(signal, name)
    for name in ("geteuid", "getuid", "fork"):
        delattr(os, name)
    del socket.AF_UNIX
"""
IMPORT_ALL = """
import sidecar
for module in pkgutil.walk_packages(sidecar.__path__, "sidecar."):
    importlib.import_module(module.name)
print(len(sys.modules))
"""
RUN = """
from sidecar.cli import main
sys.argv = ["sidecar", "check"]
main()
"""


def pretend(
    platform: str, hidden: tuple[str, ...], script: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRETEND + script, platform, ",".join(hidden)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "hidden"),
    [
        ("linux", OPTIONAL),
        ("darwin", OPTIONAL),
        ("freebsd14", OPTIONAL),
        ("win32", POSIX_ONLY + OPTIONAL),
    ],
    ids=["linux", "macos", "freebsd", "windows"],
)
def test_modules_are_imported_where_parts_of_the_system_are_missing(
    platform: str, hidden: tuple[str, ...]
) -> None:
    done = pretend(platform, hidden, IMPORT_ALL)
    assert done.returncode == 0, done.stderr[-2000:]


def test_command_on_windows_points_to_wsl() -> None:
    done = pretend("win32", POSIX_ONLY + OPTIONAL, RUN)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sidecar: this system is not supported; run Sidecar in WSL 2\n"
