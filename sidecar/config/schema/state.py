"""The section `state`: the server where several processes share what their limits count."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct
from yaml.nodes import Node, ScalarNode

from sidecar.config.model import CredentialRef
from sidecar.config.schema.credential_refs import Credential
from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.schema.types import Block, Choice, OptionField, Schema, Word
from sidecar.config.schema.values import STRING
from sidecar.config.yaml.reader import Reader

_URL = re.compile(r"(rediss?(\+sentinel)?|unix)://[!-~]+", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_WORDS = (
    "redis://HOST:PORT, redis+sentinel://HOST:PORT/SERVICE, rediss for TLS, unix:///PATH, or a"
    " credential that has such a URL"
)


class ServerUrl(Struct, frozen=True):
    """The type of a field with the URL of a server without a password, or with a reference to a
    credential whose secret is a URL."""

    words: str = _WORDS

    def read(self, reader: Reader, node: Node) -> str | CredentialRef | None:
        """Return the URL or the reference; None, with the problem recorded, when it is invalid."""
        if not isinstance(node, ScalarNode) or "://" not in node.value:
            return Credential().read(reader, node)
        try:
            return server_url(node.value)
        except InvalidValue as error:
            reader.invalid(node, error)
            return None

    def schema(self) -> Schema:
        """Return the JSON Schema: a URL, or a credential."""
        url = {"type": "string", "pattern": r"^(rediss?(\+sentinel)?|unix)://[^@?]+$"}
        return {"anyOf": [url, Credential().schema()]}


def server_url(word: str) -> str:
    """Parse the URL of a server of shared state as the file may have it."""
    if _URL.fullmatch(word) is None:
        raise InvalidValue("this is not the URL of a server (not shown)", f"write {_WORDS}")
    try:
        named = _names_a_server(urlsplit(word))
    except ValueError:
        named = False
    if "@" in word or "?" in word:
        raise InvalidValue(
            "this URL may hold a user or a password, which the file may not (not shown)",
            "put the whole URL into an environment variable and write env:NAME",
        )
    if not named:
        raise InvalidValue("this is not the URL of a server (not shown)", f"write {_WORDS}")
    return word


def _names_a_server(parts: SplitResult) -> bool:
    if parts.scheme == "unix":
        return bool(parts.path)
    places = [urlsplit(f"//{each}") for each in parts.netloc.split(",")]
    has_service = parts.path.strip("/") or not parts.scheme.endswith("+sentinel")
    return bool(has_service) and all(each.hostname and each.port != 0 for each in places)


def _namespace(word: str) -> str:
    if _NAMESPACE.fullmatch(word) is None:
        raise InvalidValue(
            "a namespace has up to 64 letters, digits, dots, hyphens and underscores",
            "write a short name, such as team",
        )
    return word


STATE = Block(
    "state",
    (
        OptionField(
            "shared",
            ServerUrl(),
            "The Redis or Valkey server on which processes share limits and budgets.",
            required=True,
        ),
        OptionField(
            "namespace",
            Word(_namespace, "a name", STRING),
            "The name under which they share; other names on the server are apart.",
            "sidecar",
        ),
        OptionField(
            "on_outage",
            Choice({"local": False, "refuse": True}),
            "While the server fails: `local` admits by this process's part of each limit;"
            " `refuse` rejects calls that have limits.",
            "local",
        ),
    ),
)
