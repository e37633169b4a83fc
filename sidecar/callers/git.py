"""Read the git repository and branch of a directory from git's files; no command is run.

A repository has the name of its main directory, also in its worktrees. Its configuration is never
read, because the address of a remote may hold a password.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

from sidecar.files import read_start

MAX_LEVELS = 64
MAX_FILE_BYTES = 4096
MAX_HEAD_CHARS = 1024
SHORT_HASH_CHARS = 7
"""Characters of a commit's hash that are shown if there is no branch."""

_HASH = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})")
_ELSEWHERE = b"refs/heads/.invalid"
"""The content of HEAD in repositories that store branches in a table (`reftable`)."""


def find_repository(directory: str) -> tuple[str, str]:
    """Return the name of the repository of `directory`, and its branch.

    Returns:
        The branch, or the short hash of a detached commit, or "" if it cannot be read. ("", "")
        outside of a repository.
    """
    top = PurePosixPath(directory)
    for level in (top, *top.parents)[:MAX_LEVELS]:
        git = f"{level}/.git"
        if os.path.isdir(git):
            branch = read_head(read_start(f"{git}/HEAD", MAX_HEAD_CHARS))
            if branch is not None:
                return level.name, branch
        elif (target := _target(level)) is not None:
            branch = read_head(read_start(f"{target}/HEAD", MAX_HEAD_CHARS))
            return (_name(level, target), branch) if branch is not None else ("", "")
    return "", ""


def read_head(head: bytes) -> str | None:
    """Return the branch in the content of a HEAD file, or the short hash of a detached commit.

    "" if the branch is stored elsewhere (`reftable`), None if the content is not that of HEAD.
    """
    words = head.split()
    if len(words) == 2 and words[0] == b"ref:" and words[1].startswith(b"refs/"):
        ref = words[1]
        return "" if ref == _ELSEWHERE else os.fsdecode(ref.removeprefix(b"refs/heads/"))
    if len(words) == 1 and _HASH.fullmatch(words[0]):
        return words[0][:SHORT_HASH_CHARS].decode()
    return None


def _target(level: PurePosixPath) -> str | None:
    """Return the target of a `.git` file of a worktree or a submodule; None if there is none."""
    text = read_start(f"{level}/.git", MAX_FILE_BYTES).rstrip(b"\r\n")
    if not text.startswith(b"gitdir: ") or b"\0" in text or b"\n" in text:
        return None
    return os.path.join(level, os.fsdecode(text.removeprefix(b"gitdir: ")))


def _name(level: PurePosixPath, target: str) -> str:
    """Return the name of the main repository of a worktree, else that of the directory."""
    common = os.fsdecode(read_start(f"{target}/commondir", MAX_FILE_BYTES).rstrip(b"\r\n"))
    if not common:
        return level.name
    home = PurePosixPath(os.path.normpath(os.path.join(target, common)))
    if home.name.startswith("."):  # `.git`, or a bare one hidden beside its worktrees
        return home.parent.name
    return home.name.removesuffix(".git")
