"""`sidecar keys scan`: where did a key's text end up?

Finds well-formed keys in files and in the whole history of git repositories, and names them by
their hash. Never prints one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import click

from sidecar.api_keys import KEY_CHARS, digest, find_keys
from sidecar.cli.options import config_option, note, registry_for
from sidecar.config.manager import build_snapshot, read_file
from sidecar.config.model import Key, KeyHash
from sidecar.errors import ConfigError

READ_CHUNK_BYTES = 4 << 20
"""Bytes that are held at a time: agents' own logs can be very large."""
_COMMIT = b"\x01commit "
_LOG = (
    "log", "--all", "--reflog", "--full-history", "--patch", "--unified=0", "-c", "--text",
    "--no-color", "--no-ext-diff", "--no-textconv", "--no-show-signature",
    "--src-prefix=a/", "--dst-prefix=b/", "--format=%x01commit %h%n%w(0,1,1)%B",
)  # fmt: skip
"""Everything that was ever added; a repository's own settings run no program of theirs."""
_QUIET = {"LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}

Finding = tuple[str, str]
"""Where, and the text found there."""


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
    known = known_keys(config)
    found = sorted({(place, name_of(known, key)) for place, key in places(paths)})
    for place, name in found:
        click.echo(f"{place}: {name}")
    if found:
        note("whoever can read these can use the keys: sidecar keys rotate NAME")
        raise SystemExit(1)
    note("no key found")


def known_keys(config: Path) -> Mapping[bytes, tuple[Key, KeyHash]]:
    """The file's keys by their hashes; none without a good file, which a search does not need."""
    try:
        text = read_file(config) if config.exists() else b""
        known = build_snapshot(text, config, registry_for(config, text)).by_digest if text else {}
    except ConfigError:
        known = {}
    if not known:
        note(f"no key can be named: {config} is missing, wrong or has none")
    return known


def name_of(known: Mapping[bytes, tuple[Key, KeyHash]], key: str) -> str:
    """Whose text it is."""
    if digest(key) not in known:
        return "a key that this file does not know"
    whose, which = known[digest(key)]
    return f'key "{whose.name}"' + (" (its text before the rotation)" if which.until else "")


def places(paths: tuple[Path, ...]) -> Iterator[Finding]:
    """Everything below the paths, and in the history of what lies there."""
    for path in paths:
        if path.is_dir():
            yield from _in_history(path, () if (path / ".git").exists() else (".",))
            yield from _in_tree(path)
        else:
            yield from _in_history(path.parent, (path.name,))
            yield from _in_file(path)


def _in_tree(root: Path) -> Iterator[Finding]:
    for folder, folders, files in os.walk(root, onerror=_passed_over):
        if Path(folder) != root and _is_repository(folders, files):
            yield from _in_history(Path(folder))
        if ".git" in folders:
            folders.remove(".git")
        for name in files:
            yield from _in_file(Path(folder) / name)


def _is_repository(folders: list[str], files: list[str]) -> bool:
    bare = "HEAD" in files and {"objects", "refs"} <= set(folders)
    return bare or ".git" in folders or ".git" in files


def _passed_over(error: OSError) -> None:
    note(f"{click.format_filename(error.filename)}: {error.strerror}, passed over")


def _in_file(path: Path) -> Iterator[Finding]:
    try:
        if path.is_file():
            with path.open("rb") as file:
                yield from _in_pieces(click.format_filename(path), file)
    except OSError as error:
        _passed_over(error)


def _in_pieces(name: str, file: IO[bytes]) -> Iterator[Finding]:
    line, rest = 1, b""
    while piece := file.read(READ_CHUNK_BYTES):
        text, at = rest + piece, 0
        for key in find_keys(text):
            at = text.index(key.encode(), at) + 1
            yield f"{name}:{line + text.count(10, 0, at)}", key
        rest = text[-(KEY_CHARS - 1) :]  # the start of a key that goes on in the next piece
        line += text.count(10) - rest.count(10)


def _in_history(folder: Path, only: tuple[str, ...] = ()) -> Iterator[Finding]:
    """What any commit ever added below `folder`, also one that no branch holds any more."""
    name, git = click.format_filename(folder), shutil.which("git")
    if git is None:
        note(f"{name}: git is not here, so no history was searched")
        return
    argv = [git, "-C", str(folder), "--literal-pathspecs", "-c", "log.showRoot=true", *_LOG]
    # In a hook of git's, its own variables would point at another repository.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    with tempfile.TemporaryFile() as told:
        with subprocess.Popen(
            [*argv, "--", *only], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=told,
            env=environ | _QUIET,
        ) as log:  # fmt: skip
            if log.stdout is not None:
                yield from _added(name, log.stdout)
        told.seek(0)
        why = told.read(1000).decode(errors="replace").strip()
    if log.returncode and "not a git repository" not in why:
        note(f"{name}: its history was not searched: {why}")


def _added(folder: str, log: IO[bytes]) -> Iterator[Finding]:
    commit = file = ""
    for line in _bounded_lines(log):
        if line.startswith(_COMMIT):
            commit, file = line[len(_COMMIT) :].strip().decode(), "message"
        elif line.startswith(b"+++ "):
            file = line[4:].strip().removeprefix(b"b/").decode(errors="replace")
        elif line[:1] in {b"+", b" "}:
            yield from ((f"{folder} at {commit}: {file}", key) for key in find_keys(line))


def _bounded_lines(log: IO[bytes]) -> Iterator[bytes]:
    """Lines; a very long one in pieces that overlap and begin as it began."""
    start = b""
    while piece := log.readline(READ_CHUNK_BYTES):
        line = start + piece
        yield line
        start = b"" if line.endswith(b"\n") else line[:1] + line[-(KEY_CHARS - 1) :]
