"""`sidecar keys scan`: where did a key's text end up?

Finds well-formed keys in files and in the whole history of git repositories, and names them by
their hash. Never prints one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from sidecar.cli.common import config_option, note, open_config
from sidecar.config import Snapshot
from sidecar.keytext import digest, find_keys

LARGEST = 32 << 20
"""Bytes of a file beyond which it is passed over, and named."""


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
    """Every (place, key) below the paths."""
    for path in paths:
        if path.is_dir():
            yield from _in_tree(path)
        else:
            yield from _in_file(path)


def _in_tree(root: Path) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(root):
        if ".git" in folders or ".git" in files:
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


def _in_history(repository: Path) -> Iterator[tuple[str, str]]:
    git = shutil.which("git")
    if git is None:
        note(f"{repository}: git is not here, so its history was not searched")
        return
    argv = [git, "-C", str(repository), "log", "--all", "--patch", "--format=commit %h", "--text"]
    commit = ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as log:
        for line in log.stdout or ():
            if line.startswith(b"commit "):
                commit = line.split()[1].decode()
            elif line.startswith(b"+"):
                yield from ((f"{repository}@{commit}", key) for key in find_keys(line))
