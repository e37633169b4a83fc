"""Placeholders: made from secrets in a request, and replaced again in the text of its answer."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b32encode
from bisect import bisect_left

from sidecar_transforms.redact.detectors import Detector, find

_PLACEHOLDER = re.compile(r"\[(?:KEY|TOKEN|EMAIL|CARD|TEXT)-[A-Z2-7]{12}\]")
_BEGINNING = re.compile(r"\[[A-Z]{0,5}(?:-[A-Z2-7]{0,12})?\Z")
_SALT = secrets.token_bytes(32)
"""Of this process: a placeholder is the same in every call, and a provider cannot test guesses."""


class Placeholders:
    """The placeholders of one call, each with its secret."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._names: list[str] = []

    def __bool__(self) -> bool:
        """Return whether anything was redacted."""
        return bool(self._secrets)

    def redacted(self, text: str, detectors: tuple[Detector, ...]) -> str:
        """Return a text with placeholders for what the detectors find."""
        pieces, end = [], 0
        for found in find(text, detectors):
            secret = text[found.start : found.end]
            if _PLACEHOLDER.fullmatch(secret):
                continue
            name = _placeholder(found.label, secret)
            self._secrets[name] = secret
            pieces += [text[end : found.start], name]
            end = found.end
        return "".join([*pieces, text[end:]]) if pieces else text

    def restored(self, text: str) -> str:
        """Return a text with the secrets of its placeholders."""
        if "[" not in text:
            return text
        return _PLACEHOLDER.sub(lambda match: self._secrets.get(match[0], match[0]), text)

    def cut(self, text: str) -> int:
        """Return where the beginning of a placeholder stands at the end of a text; its length if
        there is none."""
        match = _BEGINNING.search(text)
        return match.start() if match is not None and self._begins(match[0]) else len(text)

    def _begins(self, beginning: str) -> bool:
        """Return whether a placeholder begins so. A request may have thousands."""
        if len(self._names) != len(self._secrets):
            self._names = sorted(self._secrets)
        at = bisect_left(self._names, beginning)
        return at < len(self._names) and self._names[at].startswith(beginning)


def _placeholder(label: str, secret: str) -> str:
    digest = hmac.digest(_SALT, secret.encode("utf-8", "surrogatepass"), "sha256")
    return f"[{label}-{b32encode(digest)[:12].decode()}]"
