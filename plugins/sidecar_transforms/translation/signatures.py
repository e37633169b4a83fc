"""Signatures of thinking, carried through clients of another protocol.

A client returns a signature as it got it. One from another protocol is wrapped with its origin and
model, so that it is recognised when it comes back, and goes to no other model.
"""

from __future__ import annotations

from sidecar_transforms.translation.model import Signature

_MARK = "sidecar|"


def wrap_signature(signature: Signature | None, protocol: str) -> str:
    """Return the text of a signature for clients of this protocol; "" if there is none."""
    if signature is None:
        return ""
    if signature.origin == protocol:
        return signature.value
    return f"{_MARK}{signature.origin}|{signature.model}|{signature.value}"


def unwrap_signature(text: str, protocol: str) -> Signature | None:
    """Return the signature in a text from a client of this protocol; None for ""."""
    if not text:
        return None
    if text.startswith(_MARK):
        _, origin, model, value = (*text.split("|", 3), "", "", "")[:4]
        return Signature(origin, value, model)
    return Signature(protocol, text)
