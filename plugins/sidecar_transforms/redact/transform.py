"""The transform `redact`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from sidecar import (
    ResponseTransform,
    Transform,
    TransformCall,
    TransformedRequest,
    TransformRefused,
    hookimpl,
)
from sidecar_transforms.redact.answers import EventAnswer, JsonAnswer
from sidecar_transforms.redact.detectors import NAMED, Detector, detector_of, hinted
from sidecar_transforms.redact.placeholders import Placeholders
from sidecar_transforms.redact.requests import texts_of


class Redact(Transform):
    """Replaces secrets in the text of requests, and puts them back in the text of answers."""

    name = "redact"
    title = "Secrets in the text of requests become placeholders"
    options: ClassVar[Mapping[str, str]] = {
        "find": f"what is a secret: {', '.join(NAMED)}, or a /pattern/; all that have a name",
    }

    def __init__(self, detectors: tuple[Detector, ...] = tuple(NAMED.values())) -> None:
        self._detectors = detectors

    def configured(self, options: Mapping[str, tuple[str, ...]]) -> Redact:
        """Return the transform with the detectors of `find`; with all named ones if it is empty."""
        return Redact(tuple(detector_of(word) for word in options.get("find", tuple(NAMED))))

    def request(self, call: TransformCall) -> TransformedRequest | None:
        """Return the request with placeholders; None if it has no secret."""
        if not call.readable:
            raise TransformRefused("the body of this endpoint is sent on unread")
        if not call.body:
            return None
        try:
            body = msgspec.json.decode(call.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise TransformRefused(
                "the body is not JSON, so that its text cannot be read"
            ) from None
        texts, placeholders = texts_of(body), Placeholders()
        detectors = hinted([each.text for each in texts], self._detectors)
        for each in texts if detectors else ():
            redacted = placeholders.redacted(each.text, detectors)
            if redacted != each.text:
                each.replace(redacted)
        if not placeholders:
            return None
        return TransformedRequest(msgspec.json.encode(body), context=placeholders)

    def response(
        self, request: TransformedRequest, status: int, content_type: str
    ) -> ResponseTransform:
        """Return what restores the secrets of this request."""
        placeholders = request.context
        if not isinstance(placeholders, Placeholders):
            raise TypeError("the request was not made by redact")
        if content_type.startswith("text/event-stream"):
            return EventAnswer(placeholders, status, content_type)
        return JsonAnswer(placeholders, status, content_type)


@hookimpl
def sidecar_transforms() -> list[Transform]:
    """Return the transform."""
    return [Redact()]
