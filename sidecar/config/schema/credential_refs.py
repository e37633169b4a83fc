"""Parse references to credentials: the place of a secret, never the secret.

Rejects a credential that is written into the file itself, says how to move it, and repeats no part
of it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.model import CredentialRef, SecretSource
from sidecar.config.schema import parsers
from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.schema.types import Block, FieldType, Many, OptionField, Placed, Schema, Word
from sidecar.config.yaml.reader import Reader
from sidecar.config.yaml.secret_forms import has_known_form, looks_secret, shown
from sidecar.errors import SourceLocation

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BARE_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", re.ASCII)
_FOREIGN_VARIABLE = re.compile(r"(?:os\.environ/|env\.|\$)([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
"""An environment variable as LiteLLM, Bifrost and shells write it."""
_WORDS = "env:NAME, file:PATH, command:WORDS, keyring:SERVICE/USER or none"
_WITHOUT_ARGUMENT = frozenset({SecretSource.CALLER, SecretSource.NONE})
_MOVE = (
    "put the credential into an environment variable and write env:NAME, or into a file that only "
    "you may read and write file:PATH"
)


def reference(word: str, place: SourceLocation) -> CredentialRef:
    """Parse `env:NAME`, `file:PATH`, `command:WORDS`, `keyring:SERVICE/USER` or `none`."""
    if word == "none":
        return CredentialRef(SecretSource.NONE, "none", place)
    if word == SecretSource.CALLER:
        raise InvalidValue(
            "caller stands alone, as the one credential of a provider",
            "write credential: caller, and a second provider for other credentials",
        )
    scheme, colon, argument = word.partition(":")
    if not colon or scheme not in set(SecretSource) - _WITHOUT_ARGUMENT:
        raise _not_a_reference(word)
    if not argument.strip():
        raise InvalidValue(f"nothing follows {scheme}:", f"write {_WORDS}")
    argument = argument.strip()
    source = SecretSource(scheme)
    name = f"{scheme}:{argument}"
    match source:
        case SecretSource.ENV:
            return CredentialRef(source, name, place, _variable(argument))
        case SecretSource.COMMAND:
            return command(_split(argument), place)
    if has_known_form(argument):
        raise InvalidValue("the credential is written into the file itself (not shown)", _MOVE)
    if source is SecretSource.FILE:
        return CredentialRef(source, name, place, str(_beside(place.file, argument)))
    return CredentialRef(source, name, place, argument)


def command(
    argv: tuple[str, ...], place: SourceLocation, refresh: float | None = None
) -> CredentialRef:
    """Return the reference of a command that prints the credential.

    Raises `InvalidValue` when its words hold the secret.
    """
    if has_known_form(" ".join(argv)):
        raise InvalidValue("the credential is written into a command's words (not shown)", _MOVE)
    name = f"command:{shlex.join(argv)}"
    return CredentialRef(SecretSource.COMMAND, name, place, "", argv, refresh)


def _not_a_reference(word: str) -> InvalidValue:
    foreign = _FOREIGN_VARIABLE.fullmatch(word)
    variable = foreign.group(1) if foreign else word
    if (foreign or _BARE_VARIABLE.fullmatch(word)) and not looks_secret(variable):
        return InvalidValue(
            "this is not a reference to a credential",
            f'did you mean "env:{variable}"? It can be {_WORDS}',
        )
    return InvalidValue(
        "this is not a reference to a credential (not shown: it may be the credential)", _MOVE
    )


def _variable(name: str) -> str:
    if _VARIABLE.fullmatch(name) is None or looks_secret(name):
        raise InvalidValue(
            "what follows env: is not the name of an environment variable (not shown)",
            "write the variable's name, such as env:OPENAI_API_KEY; the credential is its value",
        )
    return name


def _split(argument: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(argument))
    except ValueError:
        raise InvalidValue(
            "this command cannot be split into words",
            "close its quotes, or write {command: [word, word]}",
        ) from None


def _beside(file: str, path: str) -> Path:
    """Return a path; a relative one starts at the folder of the file that names it."""
    return Path(path) if path.startswith("~") else Path(file).absolute().parent / path


ONE_REFERENCE = Placed(lambda word, place, _: reference(word, place), _WORDS, {"type": "string"})
_COMMAND = Block(
    "a credential",
    (
        OptionField(
            "command",
            Many(Word(parsers.text, "the words of a command", {"type": ["string", "number"]})),
            "The command's words; its output is the credential.",
            required=True,
        ),
        OptionField(
            "refresh",
            Word(parsers.positive_duration, "a duration", {"type": ["string", "number"]}),
            "The time after which the command runs again, besides after a vendor's 401.",
            "never",
        ),
    ),
)


class Credential(Struct, frozen=True):
    """The type of a field with one reference: a word, or the mapping form of a command."""

    words: str = _WORDS

    def read(self, reader: Reader, node: Node) -> CredentialRef | None:
        """Return the reference; None, with the problem recorded, when it is invalid."""
        if not isinstance(node, MappingNode):
            found: CredentialRef | None = ONE_REFERENCE.read(reader, node)
            return found
        first = node.value[0][0].value if node.value else ""
        if isinstance(first, str) and first in set(SecretSource) - {"command", *_WITHOUT_ARGUMENT}:
            reader.error(node, f"{first}: takes no space after its colon", f"write {first}:NAME")
            return None
        record = _COMMAND.read(reader, node)
        if not record.get("command"):
            return None
        argv: tuple[str, ...] = record.get("command")
        try:
            argv = _split(argv[0]) if len(argv) == 1 else argv
            return replace(command(argv, record.place), refresh=record.get("refresh"))
        except InvalidValue as error:
            reader.invalid(record.at("command"), error)
            return None

    def schema(self) -> Schema:
        """Return the JSON Schema: a word of a known source, or the mapping form."""
        pattern = r"^(none|(env|file|command|keyring):.+)$"
        return {"anyOf": [{"type": "string", "pattern": pattern}, _COMMAND.schema()]}


class Credentials(Struct, frozen=True):
    """The type of a field with `none`, one reference or several."""

    words: str = f"{_WORDS}, a list of these, or caller"

    def read(self, reader: Reader, node: Node) -> tuple[CredentialRef, ...] | None:
        """Return the references, each once; () for `none`."""
        if isinstance(node, ScalarNode) and node.value == SecretSource.CALLER:
            return (CredentialRef(SecretSource.CALLER, "caller", reader.place(node)),)
        found: tuple[CredentialRef, ...] | None = Many(Credential()).read(reader, node)
        if found is None:
            return None
        if len(found) == 1 and found[0].source is SecretSource.NONE:
            return ()
        for index, ref in enumerate(found):
            if ref in found[:index] and isinstance(node, SequenceNode):
                what = f"the credential {shown(ref.name)} is listed twice"
                reader.error(ref.place, what, "remove one")
        return found

    def schema(self) -> Schema:
        """Return the JSON Schema: one reference, or an array."""
        kind: FieldType = Many(Credential())
        return {"anyOf": [{"const": SecretSource.CALLER.value}, kind.schema()]}
