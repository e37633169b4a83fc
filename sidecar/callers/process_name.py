"""Names a calling process: its program or script, cleaned up to fit a line."""

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
"""What follows is code: there is no script."""
_COMMON = frozenset({
    "__main__", "app", "bin", "build", "cli", "dist", "index", "lib", "main", "out", "run", "src",
})  # fmt: skip
"""Names that say nothing: the folder's says more."""
MAX_ARGUMENTS = 32


def program_name(command_line: bytes, executable: str, directory: str) -> str:
    """The name of a process by its command line (as `/proc` has it: each argument ended by a zero
    byte), the path of its executable and its working directory; "" when all of them are unknown."""
    first, *rest = [os.fsdecode(each) for each in command_line.split(b"\0")]
    name = first.rpartition("/")[2].removeprefix("-")  # a login shell
    if not name or " " in name or first == "/proc/self/exe":
        # It gave itself a title, or called itself again.
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
            return _telling(path)
    return ""


def _telling(path: str) -> str:
    """`agent.py`; but of `…/claude-code/dist/cli.js` the part that tells it from others."""
    script = PurePosixPath(os.path.normpath(path))
    for part in (script, *script.parents):
        if part.stem not in _COMMON:
            return part.name or script.name
    return script.name


def describe(pid: int, program: str, directory: str) -> Caller:
    """The caller that this process is; `program` and `directory` are "" where unknown."""
    repo, branch = find_repository(directory) if directory else ("", "")
    return Caller(
        program=clean(program, 64),
        pid=pid,
        directory=clean(directory, 1024),
        repo=clean(repo, 128),
        branch=clean(branch, 256),
    )


def clean(text: str, longest: int) -> str:
    """One printable line, and not too long."""
    cut = text[:longest]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)
