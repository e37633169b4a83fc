"""A process as a record has it: with its repository, and with names that fit a line."""

from __future__ import annotations

from sidecar.callers.reading import clean
from sidecar.callers.repositories import find_repository
from sidecar.usage import Caller


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
