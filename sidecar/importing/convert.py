"""Convert another gateway's file to ours, and check the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.config.loader import load
from sidecar.errors import ConfigError, Problem, SourceLocation
from sidecar.importing.channels import ChannelReader, channels_of, is_newer
from sidecar.importing.claude_code_router import ClaudeCodeRouterReader, is_claude_code_router
from sidecar.importing.draft import ImportDraft
from sidecar.importing.items import ForeignValue, no_counterpart, read_items
from sidecar.importing.litellm import LiteLLMReader, is_litellm
from sidecar.importing.vendors import VendorFinder, names_of
from sidecar.plugin_api.manager import Registry

_KNOWN = "the configuration of LiteLLM's proxy or claude-code-router, or channels of one-api"


@dataclass(frozen=True, slots=True)
class Imported:
    """A configuration made from another gateway's file.

    Attributes:
        text: The file's text, which the loader accepts.
        problems: What has no counterpart, in the order of the other file.
        exports: The environment variables for credentials that the other file holds itself, each
            with the line where it is.
        groups: The names of the groups.
    """

    text: str
    problems: tuple[Problem, ...]
    exports: Mapping[str, int]
    groups: tuple[str, ...]


def convert(data: bytes, file: str, registry: Registry, environ: Mapping[str, str]) -> Imported:
    """Return the configuration for another gateway's file.

    Raises `ConfigError` when the file cannot be read, is of no known gateway or serves no model.
    """
    root = read_items(data, file)
    draft = _draft_of(root, file, registry, environ)
    if not draft.deployments:
        what = "no model of this file can be served by a vendor of Sidecar"
        raise ConfigError((*draft.problems, Problem(SourceLocation(file, 1), what)))
    for line, what, next_step in no_counterpart(root):
        draft.note(line, what, next_step)
    text = draft.text()
    load(text.encode(), file=f"the configuration made from {file}", registry=registry)
    problems = sorted(draft.problems, key=lambda problem: problem.place.line)
    groups = tuple(draft.group_names())
    return Imported(text, tuple(dict.fromkeys(problems)), draft.exports, groups)


def _draft_of(
    root: ForeignValue, file: str, registry: Registry, environ: Mapping[str, str]
) -> ImportDraft:
    channels = channels_of(root)
    if is_litellm(root):
        gateway = "litellm"
    elif is_claude_code_router(root):
        gateway = "claude-code-router"
    elif channels:
        gateway = "new-api" if is_newer(channels) else "one-api"
    else:
        problem = Problem(SourceLocation(file, 1), "the file is of no known gateway",
                          f"give {_KNOWN} or new-api")  # fmt: skip
        raise ConfigError((problem,))
    finder = VendorFinder(names_of(gateway), registry.vendors)
    draft = ImportDraft(file, finder.names.api)
    match gateway:
        case "litellm":
            LiteLLMReader(root, draft, finder, environ).read()
        case "claude-code-router":
            ClaudeCodeRouterReader(root, draft, finder).read()
        case _:
            ChannelReader(root, draft, finder).read()
    return draft
