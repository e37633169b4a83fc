"""The name of a calling process: its program, or the script of an interpreter, on one line."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

from sidecar.callers.git import find_repository
from sidecar.records import Caller

_INTERPRETER = re.compile(
    r"(python|pypy|node|nodejs|bun|deno|ruby|perl|php|lua|luajit|java|dotnet|tsx|"
    r"sh|ash|bash|dash|fish|ksh|zsh)[\d.]*(-\w+)?"
)
_MODULE = re.compile(r"\w+(\.\w+)*")
_CODE = re.compile(r"-|-\w*c|-[ep]|--(eval|print)")
"""Options after which code follows in place of a script."""
_COMMON = frozenset({
    "__main__", "app", "bin", "build", "cli", "dist", "index", "lib", "main", "out", "run", "src",
})  # fmt: skip
"""Names that many programs share; the folder's name is used in their place."""
MAX_ARGUMENTS = 32


def program_name(command_line: bytes, executable: str, directory: str) -> str:
    """Return the name of a process; "" if it is unknown.

    Args:
        command_line: The arguments, each one ended by a zero byte, as in `/proc/PID/cmdline`.
        executable: The path of the executable; "" if unknown.
        directory: The working directory; "" if unknown.
    """
    first, *rest = [os.fsdecode(each) for each in command_line.split(b"\0")]
    name = first.rpartition("/")[2].removeprefix("-")  # a login shell
    if not name or " " in name or first == "/proc/self/exe":
        # The process set its own title, or executed itself again.
        name = executable.removesuffix(" (deleted)").rpartition("/")[2]
    if _INTERPRETER.fullmatch(name):
        return _script(rest[:MAX_ARGUMENTS], directory) or name
    return name


def _script(arguments: list[str], directory: str) -> str:
    for number, argument in enumerate(arguments):
        if argument == "-m":
            following = "".join(arguments[number + 1 : number + 2])
            return following if _MODULE.fullmatch(following) else ""
        if _CODE.fullmatch(argument):
            return ""
        if argument.startswith("-"):
            continue
        path = os.path.join(directory, argument)
        if os.path.isabs(path) and os.path.isfile(path):
            return _distinctive(path)
    return ""


def _distinctive(path: str) -> str:
    """Return the distinctive part of a path: `agent.py`, but `claude-code` of
    `…/claude-code/dist/cli.js`."""
    script = PurePosixPath(os.path.normpath(path))
    for part in (script, *script.parents):
        if part.stem not in _COMMON:
            return part.name or script.name
    return script.name


def describe(pid: int, program: str, directory: str) -> Caller:
    """Return the caller of a process; `program` and `directory` are "" if unknown."""
    repo, branch = find_repository(directory) if directory else ("", "")
    return Caller(
        program=clean(program, 64),
        pid=pid,
        directory=clean(directory, 1024),
        repo=clean(repo, 128),
        branch=clean(branch, 256),
    )


def clean(text: str, longest: int) -> str:
    """Return at most `longest` characters of a text, "?" for each one that is not printable."""
    cut = text[:longest]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)
