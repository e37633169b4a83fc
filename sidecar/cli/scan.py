"""`sidecar keys scan`: where did a key's text end up?

Finds well-formed keys in files and in the whole history of git repositories, and names them by
their hash. Never prints one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from sidecar.cli.common import config_option, note, open_config
from sidecar.config import Snapshot
from sidecar.keytext import digest, find_keys

LARGEST = 32 << 20
"""Bytes of a file beyond which it is passed over, and named."""
_COMMIT = b"\x01commit "
_LOG = (
    "log", "--all", "--reflog", "--patch", "--unified=0", "--diff-merges=first-parent", "--text",
    "--no-color", "--no-ext-diff", "--no-textconv", "--format=%x01commit %h%n%w(0,1,1)%B",
)  # fmt: skip
"""Everything that was ever added; a repository's own settings run no program of theirs."""


@click.command("scan")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@config_option
def scan(paths: tuple[Path, ...], config: Path) -> None:
    """Search files and git history for local keys, and name each one found.

    \b
    Example:
      sidecar keys scan ~/projects ~/.bash_history

    Exit status: 0 when none is found, 1 when one is.
    """
    snapshot = open_config(config).snapshot
    found = sorted({(place, name_of(snapshot, key)) for place, key in places(paths)})
    for place, name in found:
        click.echo(f"{place}: {name}")
    if found:
        note("whoever can read these can use the keys: sidecar keys rotate NAME")
        raise SystemExit(1)
    note("no key found")


def name_of(snapshot: Snapshot, key: str) -> str:
    """Whose text it is."""
    known = snapshot.by_digest.get(digest(key))
    if known is None:
        return "a key that this file does not know"
    whose, which = known
    return f'key "{whose.name}"' + (" (its text before the rotation)" if which.until else "")


def places(paths: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Every (place, key) below the paths, and in the history of what lies there."""
    for path in paths:
        if path.is_dir():
            yield from _in_history(path)
            yield from _in_tree(path)
        else:
            yield from _in_history(path.parent, path.name)
            yield from _in_file(path)


def _in_tree(root: Path) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(root):
        if Path(folder) != root and (".git" in folders or ".git" in files):
            yield from _in_history(Path(folder))
        if ".git" in folders:
            folders.remove(".git")
        for name in files:
            yield from _in_file(Path(folder) / name)


def _in_file(path: Path) -> Iterator[tuple[str, str]]:
    try:
        if not path.is_file():
            return
        if path.stat().st_size > LARGEST:
            note(f"{path}: larger than {LARGEST >> 20} MiB, passed over")
            return
        text = path.read_bytes()
    except OSError as error:
        note(f"{path}: {error.strerror}")
        return
    for key in find_keys(text):
        line = text[: text.index(key.encode())].count(b"\n") + 1
        yield f"{path}:{line}", key


def _in_history(folder: Path, only: str = ".") -> Iterator[tuple[str, str]]:
    """What any commit ever added below `folder`, also one that no branch holds any more."""
    git = shutil.which("git")
    if git is None:
        note(f"{folder}: git is not here, so no history was searched")
        return
    argv = [git, "-C", str(folder), *_LOG, "--", only]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as log:
        yield from _added(folder, log.stdout or ())
        told = b"" if log.stderr is None else log.stderr.read()
    if log.returncode and b"not a git repository" not in told:
        why = told.decode(errors="replace").strip()
        note(f"{folder}: its history was not searched: {why}")


def _added(folder: Path, log: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    commit = file = ""
    for line in log:
        if line.startswith(_COMMIT):
            commit, file = line[len(_COMMIT) :].strip().decode(), "message"
        elif line.startswith(b"+++ "):
            file = line[4:].strip().removeprefix(b"b/").decode(errors="replace")
        elif line[:1] in {b"+", b" "}:
            yield from ((f"{folder} at {commit}: {file}", key) for key in find_keys(line))
