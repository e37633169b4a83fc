"""Reasoning items: their texts, and the encrypted thinking with which a model takes them back."""

from __future__ import annotations

from sidecar_transforms.translation.model import JsonObject, Signature, ThinkingPart
from sidecar_transforms.translation.signatures import unwrap_signature, wrap_signature
from sidecar_transforms.translation.wire_format import as_dicts, as_text

PROTOCOL = "openai_responses"
_HIDDEN = "hidden:"
"""Stands before another protocol's signature of hidden thinking, which has no text."""


def read_reasoning(item: JsonObject, model: str) -> ThinkingPart:
    """Return the thinking of an item; its own signature is `id:encrypted_content`."""
    summary = [as_text(each.get("text")) for each in as_dicts(item.get("summary"))]
    content = [as_text(each.get("text")) for each in as_dicts(item.get("content"))]
    text = "\n\n".join(filter(None, summary)) or "".join(content)
    given = as_text(item.get("encrypted_content"))
    found = unwrap_signature(given.removeprefix(_HIDDEN), PROTOCOL)
    if found is not None and found.origin != PROTOCOL:
        return ThinkingPart(text, found, hidden=given.startswith(_HIDDEN))
    signature = Signature(PROTOCOL, f"{as_text(item.get('id'))}:{given}", model)
    return ThinkingPart(text, signature, hidden=bool(given) and not text)


def write_encrypted(signature: Signature | None, *, hidden: bool) -> str:
    """Return `encrypted_content` for a client; "" if there is none."""
    if signature is None:
        return ""
    if signature.origin == PROTOCOL:
        return signature.value.partition(":")[2]
    return (_HIDDEN if hidden else "") + wrap_signature(signature, PROTOCOL)


def write_reasoning(part: ThinkingPart, model: str) -> JsonObject | None:
    """Return the item for the provider; None if this model did not write it."""
    if part.signature is None or not part.signature.fits(PROTOCOL, model):
        return None
    ident, _, encrypted = part.signature.value.partition(":")
    item: JsonObject = {"type": "reasoning"}
    if ident:
        item["id"] = ident
    if encrypted:
        item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text else []
        item["encrypted_content"] = encrypted
        return item
    # Providers that do not encrypt take the text itself back.
    item["summary"] = []
    item["content"] = [{"type": "reasoning_text", "text": part.text}]
    return item if part.text else None
