"""Write values as YAML text that parses to the same values.

`sidecar.config.editor` changes a file in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | bool | Sequence[Value] | Mapping[str, Value]"
"""A value of the file."""

MAX_LINE_CHARS = 100
_PLAIN = re.compile(
    r"[A-Za-z0-9$/.(][A-Za-z0-9$/.()@%+*_~^;=<>|!&-]*(?: [A-Za-z0-9$/.()%+*_~=-]+)*"
)
_REFERENCE = re.compile(
    r"(?:env|file|command|keyring|sha256|https?):[A-Za-z0-9~/._:%+-]*[A-Za-z0-9/._-]"
)
_ADDRESS = re.compile(r"(?=.*[A-Za-z.])[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*:\d+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)?")
_AMBIGUOUS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "", "<<"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def scalar(value: str | int | bool) -> str:  # noqa: FBT001 - one of the values there are
    """Return one word or a quoted text, on one line, valid in flow and in block style."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    plain = any(form.fullmatch(text) for form in (_PLAIN, _REFERENCE, _ADDRESS, _TIME))
    if plain and text.lower() not in _AMBIGUOUS and not text.startswith(("---", "...")):
        return text
    return '"' + "".join(_escaped(c) for c in text) + '"'


def flow(value: Value) -> str:
    """Return a value on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{scalar(name)}: {flow(item)}" for name, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, str | int):
        return scalar(value)
    return f"[{', '.join(map(flow, value))}]"


def entry(value: Value) -> str:
    """Return an entry of a list without its dash: `openai`, or `ollama: {models: qwen3*}`."""
    text = flow(value)
    return text[1:-1] if isinstance(value, Mapping) and len(value) == 1 else text


def block(value: Mapping[str, Value], indent: str = "", *, open_levels: int = 0) -> list[str]:
    """Return the lines of a mapping.

    Its mappings have a line for each field down to `open_levels`, and wherever a line would be
    longer than `MAX_LINE_CHARS`.
    """
    lines = []
    for name, item in value.items():
        line = f"{indent}{scalar(name)}: {flow(item)}"
        if isinstance(item, str | int) or not item:
            lines.append(line)
        elif isinstance(item, Mapping) and (open_levels > 0 or len(line) > MAX_LINE_CHARS):
            lines.append(f"{indent}{scalar(name)}:")
            lines += block(item, indent + "  ", open_levels=open_levels - 1)
        elif not isinstance(item, Mapping) and len(line) > MAX_LINE_CHARS:
            lines.append(f"{indent}{scalar(name)}:")
            lines += [f"{indent}  - {entry(each)}" for each in item]
        else:
            lines.append(line)
    return lines


def _escaped(character: str) -> str:
    known = _ESCAPES.get(character)
    if known is not None:
        return known
    code = ord(character)
    if character.isprintable() or character == " ":
        return character
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
