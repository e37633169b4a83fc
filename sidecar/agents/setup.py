"""Write the address of Sidecar into an agent's own configuration, and take it out again.

What a file was before is kept in the state directory, so that an undo restores it byte for byte.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sidecar.agents.agent import Agent
from sidecar.agents.files import (
    AgentFile,
    AgentFileError,
    Format,
    laid_over,
    parsed,
    read_agent_file,
    text_of,
    with_values,
)
from sidecar.agents.launch import AgentTarget
from sidecar.files import PRIVATE, content_digest, prepare, replace_file, write_private

_FOLDER = "setup"
_INDENT = re.compile(r"^[\[{]\n([ \t]+)")
_TABLE = re.compile(r"^\s*\[", re.MULTILINE)


class Backup(Struct, frozen=True):
    """A file before it was set up: its content, None for no file, and its mode; and the fingerprint
    of what was written."""

    path: str
    before: bytes | None
    mode: int
    written: str


class SetupChange(Struct, frozen=True):
    """A planned change of one file."""

    path: Path
    now: bytes | None
    after: bytes
    backup: Backup
    private: bool

    @property
    def is_needed(self) -> bool:
        """True if the file does not have the content yet."""
        return self.now != self.after


def plan(
    agent: Agent, target: AgentTarget, environ: Mapping[str, str], state: Path
) -> list[SetupChange]:
    """Return the changes that set an agent up. Raises `AgentFileError`.

    A file that still is as Sidecar wrote it is planned from what it was before.
    """
    kept = {each.path: each for each in backups(agent, state)}
    return [_planned(each, target, environ, kept) for each in agent.own]


def _planned(
    own: AgentFile, target: AgentTarget, environ: Mapping[str, str], kept: Mapping[str, Backup]
) -> SetupChange:
    path = own.place(environ)
    now, mode = _content(path)
    earlier = kept.get(str(path))
    if earlier is not None and now is not None and _fingerprint(now, own) == earlier.written:
        before, mode = earlier.before, earlier.mode
    else:
        before = now
    text = text_of(path, before or b"")
    content = with_values(own.content, target.values)
    after = _WRITERS[own.format](path, text, content, own).encode()
    backup = Backup(str(path), before, mode, _fingerprint(after, own))
    if own.rewritten and now is not None and _fingerprint(now, own) == backup.written:
        after = now
    if earlier is not None and now == after:
        backup = earlier
    holds_key = bool(target.key) and target.key.encode() in after
    return SetupChange(path, now, after, backup, holds_key)


def write(changes: list[SetupChange], agent: Agent, state: Path) -> None:
    """Make the changes; the backups are on the disk before. Raises `EditRefused`, `OSError`.

    A file that an earlier setup changed elsewhere keeps its backup.
    """
    prepare(state)
    place = _place(agent, state)
    place.parent.mkdir(mode=0o700, exist_ok=True)
    kept = {each.path: each for each in (*backups(agent, state), *(c.backup for c in changes))}
    write_private(place, msgspec.json.encode(list(kept.values())))
    for each in changes:
        each.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if each.private and each.now is not None:
            each.path.chmod(PRIVATE)
        replace_file(each.path, each.now or b"", each.after)


def backups(agent: Agent, state: Path) -> list[Backup]:
    """Return what the files of an agent were before; [] if it is not set up. Raises
    `AgentFileError`."""
    place = _place(agent, state)
    try:
        return msgspec.json.decode(place.read_bytes(), type=list[Backup])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError:
        raise AgentFileError(
            f"{place} is damaged, so what the files of {agent.name} were before is lost; nothing "
            "was changed. Remove it to set the agent up without them"
        ) from None


def undo(agent: Agent, state: Path) -> Iterator[Path]:
    """Restore every file of an agent, and yield its path. Raises `AgentFileError` before any
    change when one was changed since."""
    kept = backups(agent, state)
    for each in kept:
        now, _ = _content(Path(each.path))
        own = next((own for own in agent.own if Path(own.path).name == Path(each.path).name), None)
        if now != each.before and (now is None or _fingerprint(now, own) != each.written):
            raise AgentFileError(
                f"{each.path} was changed since; nothing was restored. Take Sidecar's settings out "
                f"by hand, then remove {_place(agent, state)}, which has the file as it was before"
            )
    for each in kept:
        _restore(each)
        yield Path(each.path)
    _place(agent, state).unlink(missing_ok=True)


def _restore(backup: Backup) -> None:
    path = Path(backup.path)
    now, _ = _content(path)
    if backup.before is None:
        Path(os.path.realpath(path)).unlink(missing_ok=True)  # a link of the user's stays
        return
    replace_file(path, now or b"", backup.before)
    path.chmod(backup.mode)


def _fingerprint(content: bytes, own: AgentFile | None) -> str:
    """Return the digest of a file, without the fields that the agent itself writes."""
    if own is None or not own.rewritten:
        return content_digest(content)
    with suppress(ValueError, RecursionError):
        found = _without(json.loads(content), own.rewritten)
        content = json.dumps(found, sort_keys=True).encode()
    return content_digest(content)


def _without(found: Any, names: Collection[str]) -> Any:
    if isinstance(found, dict):
        return {k: _without(v, names) for k, v in found.items() if k not in names}
    return [_without(each, names) for each in found] if isinstance(found, list) else found


def _place(agent: Agent, state: Path) -> Path:
    return state / _FOLDER / f"{agent.name}.json"


def _content(path: Path) -> tuple[bytes | None, int]:
    """Return the content of a file, None for no file, and its mode."""
    content = read_agent_file(path)
    return content, PRIVATE if content is None else stat.S_IMODE(path.stat().st_mode)


def _json(path: Path, text: str, content: Mapping[str, Any], own: AgentFile) -> str:
    under = parsed(path, text, Format.JSON)
    over = {k: v for k, v in content.items() if k not in own.only_missing or k not in under}
    merged = laid_over(under, over)
    if text.strip() and merged == under:
        return text
    indent = _INDENT.match(text)
    ending = "" if text and not text.endswith("\n") else "\n"
    return json.dumps(merged, indent=indent[1] if indent else 2, ensure_ascii=False) + ending


def _toml(path: Path, text: str, content: Mapping[str, Any], _: AgentFile) -> str:
    """Return the text with top-level values before its first table, and new tables at its end."""
    known = _toml_values(path, text)
    for name, value in content.items():
        if isinstance(value, Mapping):
            if _at(known, name) is None:
                rows = "\n".join(f"{each} = {json.dumps(text)}" for each, text in value.items())
                gap = "\n" if text and text.endswith("\n") else "\n\n" if text else ""
                text = f"{text}{gap}[{name}]\n{rows}\n"
            continue
        if known.get(name) == value:
            continue
        first = _TABLE.search(text)
        head, rest = (text[: first.start()], text[first.start() :]) if first else (text, "")
        line, pattern = f"{name} = {json.dumps(value)}", rf"(?m)^{name}\s*=.*$"
        found = re.subn(pattern, lambda _, line=line: line, head)  # type: ignore[misc]
        text = (found[0] if found[1] else f"{line}\n{head}") + rest
    after = _toml_values(path, text)
    if any(_at(after, name) != value for name, value in content.items()):
        raise AgentFileError(
            f"{path} has another entry where Sidecar's belongs ({', '.join(content)}); nothing was "
            "changed"
        )
    return text


def _toml_values(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AgentFileError(f"{path} is no TOML: {error}; nothing was changed") from None


def _at(values: Mapping[str, Any], name: str) -> Any:
    found: Any = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _lines(separator: str) -> Callable[[Path, str, Mapping[str, Any], AgentFile], str]:
    """Return the writer of files with a setting in each line."""

    def write_lines(_: Path, text: str, content: Mapping[str, Any], __: AgentFile) -> str:
        for name, value in content.items():
            line = f"{name}{separator}{value}"
            pattern = rf"(?m)^{re.escape(name)}\s*{separator.strip()}.*$"
            text, found = re.subn(pattern, lambda _, line=line: line, text)  # type: ignore[misc]
            if not found:
                gap = "" if not text or text.endswith("\n") else "\n"
                text = f"{text}{gap}{line}\n"
        return text

    return write_lines


_WRITERS: dict[Format, Callable[[Path, str, Mapping[str, Any], AgentFile], str]] = {
    Format.JSON: _json,
    Format.TOML: _toml,
    Format.ENV: _lines("="),
    Format.SETTINGS: _lines(": "),
}
