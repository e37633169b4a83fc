"""Thinking of other providers, carried through clients of Gemini.

Such a client returns the signature of a text or of a function call, and often drops the thoughts
before it. So a signature carries whole thoughts of other protocols. It is base64, as Google's is.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from sidecar_transforms.translation.model import JsonObject, Signature, ThinkingPart

_MARK = b"sidecar||"
_MARK_BASE64 = base64.b64encode(_MARK).decode()


class _Thought(msgspec.Struct, array_like=True):
    text: str
    hidden: bool
    origin: str
    value: str
    model: str


class Carrier:
    """Hold back signed thinking until a part that can carry it."""

    def __init__(self) -> None:
        self._held: list[ThinkingPart] = []

    def hold(self, part: ThinkingPart) -> None:
        """Take a thinking part, which is complete."""
        if part.signature is not None:
            self._held.append(part)

    def sign(self, part: JsonObject) -> JsonObject:
        """Return a text or a function call with what was held before it."""
        if self._held:
            part["thoughtSignature"] = _carry(self._held)
            self._held = []
        return part

    def rest(self) -> list[JsonObject]:
        """Return an empty text with what no part has carried; [] if there is nothing."""
        return [self.sign({"text": ""})] if self._held else []


def _carry(parts: list[ThinkingPart]) -> str:
    last = parts[-1].signature
    if last is not None and last.origin == "gemini":
        return last.value
    signed = ((part, part.signature) for part in parts)
    rows = [
        _Thought(part.text, part.hidden, found.origin, found.value, found.model)
        for part, found in signed
        if found is not None
    ]
    return base64.b64encode(_MARK + msgspec.json.encode(rows)).decode()


def carried(signature: str) -> list[ThinkingPart] | None:
    """Return the thoughts that a client's signature carries; None if it is Google's own."""
    if not signature.startswith(_MARK_BASE64):
        return None
    # Google's SDKs return it in the alphabet of URLs.
    text = signature.replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4))
        rows = msgspec.json.decode(raw.removeprefix(_MARK), type=list[_Thought])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return []
    return [
        ThinkingPart(row.text, Signature(row.origin, row.value, row.model), row.hidden)
        for row in rows
    ]
