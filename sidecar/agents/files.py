"""Files of agents: where they are, and what belongs into them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from sidecar.errors import SidecarError
from sidecar.files import read_regular

MAX_FILE_BYTES = 4 << 20


class Format(StrEnum):
    """The format of an agent's configuration."""

    ENV = "env"
    JSON = "json"
    SETTINGS = "settings"
    """YAML with a setting in each line."""
    TOML = "toml"
    YAML = "yaml"


class AgentFileError(SidecarError):
    """A file of an agent cannot be read as what it should be."""


class AgentFile(Struct, frozen=True):
    """A file of an agent, and what Sidecar adds to it.

    Attributes:
        path: Below the user's home; of a file for one run, its name.
        directory: The variable that moves the first folder of `path` elsewhere.
        content: What is laid over the file.
        variable: The variable that names a file for one run.
        flag: The argument that names it instead.
        beside: The file that the one for a run starts from, since it stands in its place.
        links: True if the variable moves the agent's whole folder: what else is in the user's is
            linked into the one for a run.
        uses_env: True if the key stays in the environment.
        only_missing: The fields that a user's own value keeps.
        rewritten: The fields of JSON, at any depth, that the agent itself writes at each start.
    """

    path: str
    format: Format
    content: Mapping[str, Any]
    directory: str = ""
    variable: str = ""
    flag: str = ""
    beside: str = ""
    links: bool = False
    uses_env: bool = False
    only_missing: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()

    def place(self, environ: Mapping[str, str]) -> Path:
        """Return where the agent reads it."""
        moved = environ.get(self.directory, "") if self.directory else ""
        if moved:
            return Path(moved) / self.path.partition("/")[2]
        return Path(environ.get("HOME") or Path.home()) / self.path


def laid_over(under: Any, over: Any) -> Any:
    """Return `over` laid over `under`: objects are merged, lists have the new items first."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        merged = {name: laid_over(under.get(name), value) for name, value in over.items()}
        return {**under, **merged}
    if isinstance(under, list) and isinstance(over, list):
        return [*over, *(each for each in under if each not in over)]
    return over


def with_values(content: Any, values: Mapping[str, str]) -> Any:
    """Return the content of the table with values in place of their names in braces."""
    if isinstance(content, str):
        for name, value in values.items():
            content = content.replace("{" + name + "}", value)
        return content
    if isinstance(content, Mapping):
        return {name: with_values(value, values) for name, value in content.items()}
    if isinstance(content, list):
        return [with_values(each, values) for each in content]
    return content


def read_content(path: Path, kind: Format) -> dict[str, Any]:
    """Return the object in a file; {} where there is none. Raises `AgentFileError`."""
    content = read_agent_file(path)
    return {} if content is None else parsed(path, text_of(path, content), kind)


def read_agent_file(path: Path) -> bytes | None:
    """Return the content of a file; None for no file. Raises `AgentFileError`."""
    try:
        content = read_regular(path, MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgentFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise AgentFileError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB")
    return content


def text_of(path: Path, content: bytes) -> str:
    """Return the content of a file as a text. Raises `AgentFileError`."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise AgentFileError(f"{path} is no UTF-8 text; nothing was changed") from None


def parsed(path: Path, text: str, kind: Format) -> dict[str, Any]:
    """Return the object in a text. Raises `AgentFileError`."""
    try:
        found = json.loads(text or "{}") if kind is Format.JSON else yaml.safe_load(text or "{}")
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise AgentFileError(
            f"{path} is no {kind.value.upper()} that can be changed safely: {_why(error)}; nothing "
            "was changed"
        ) from None
    if not isinstance(found, dict):
        raise AgentFileError(f"{path} holds no object; nothing was changed")
    return found


def _why(error: Exception) -> str:
    """Return what is wrong, without the line of the file, which may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    return "it is nested too deeply" if isinstance(error, RecursionError) else "it is malformed"


def dumped(content: Mapping[str, Any], kind: Format) -> str:
    """Return the content as a text."""
    if kind is Format.JSON:
        return json.dumps(content, indent=2, ensure_ascii=False) + os.linesep
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
