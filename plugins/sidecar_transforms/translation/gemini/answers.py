"""Write whole answers; read and write usage, stops and errors."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar_transforms.translation.gemini.thoughts import Carrier
from sidecar_transforms.translation.model import (
    KIND_OF_STATUS,
    Failure,
    FailureKind,
    JsonObject,
    ModelAnswer,
    StopReason,
    TextPart,
    ThinkingPart,
    TokenCounts,
    ToolCallPart,
)
from sidecar_transforms.translation.wire_format import (
    as_dict,
    as_dicts,
    as_integer,
    as_text,
    read_arguments,
)

_REFUSALS = (
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
)  # fmt: skip
STOPS: Mapping[str, StopReason] = {
    "STOP": "end", "MAX_TOKENS": "length", **dict.fromkeys(_REFUSALS, "refusal"),
}  # fmt: skip
"""Reasons of a proper end. With any other one, such as MALFORMED_FUNCTION_CALL, it failed."""
_STOP_NAMES: Mapping[StopReason, str] = {
    "length": "MAX_TOKENS", "context_full": "MAX_TOKENS", "refusal": "SAFETY",
}  # fmt: skip
_KINDS: Mapping[str, FailureKind] = {
    "INVALID_ARGUMENT": "invalid_request", "FAILED_PRECONDITION": "invalid_request",
    "OUT_OF_RANGE": "invalid_request", "UNAUTHENTICATED": "authentication",
    "PERMISSION_DENIED": "permission", "NOT_FOUND": "not_found", "ALREADY_EXISTS": "conflict",
    "ABORTED": "conflict", "RESOURCE_EXHAUSTED": "rate_limit", "INTERNAL": "server",
    "UNKNOWN": "server", "UNAVAILABLE": "overloaded", "DEADLINE_EXCEEDED": "timeout",
}  # fmt: skip
_BY_STATUS = frozenset({402, 413})
"""Statuses that mean more than the word beside them."""
_WRITTEN: Mapping[FailureKind, tuple[int, str]] = {
    "invalid_request": (400, "INVALID_ARGUMENT"), "authentication": (401, "UNAUTHENTICATED"),
    "billing": (429, "RESOURCE_EXHAUSTED"), "permission": (403, "PERMISSION_DENIED"),
    "not_found": (404, "NOT_FOUND"), "conflict": (409, "ABORTED"),
    "too_large": (413, "INVALID_ARGUMENT"), "rate_limit": (429, "RESOURCE_EXHAUSTED"),
    "server": (500, "INTERNAL"), "overloaded": (503, "UNAVAILABLE"),
    "timeout": (504, "DEADLINE_EXCEEDED"),
}  # fmt: skip
_NO_RETRY: JsonObject = {
    "@type": "type.googleapis.com/google.rpc.RetryInfo",
    "retryDelay": "86400s",
}
"""A delay so long that Google's clients do not try again."""


def read_counts(usage: JsonObject) -> TokenCounts | None:
    """Return the figures; None if there are none. Google's output excludes the thoughts."""
    if not usage:
        return None
    prompt = as_integer(usage.get("promptTokenCount")) or 0
    prompt += as_integer(usage.get("toolUsePromptTokenCount")) or 0
    thoughts = as_integer(usage.get("thoughtsTokenCount"))
    output = (as_integer(usage.get("candidatesTokenCount")) or 0) + (thoughts or 0)
    total = as_integer(usage.get("totalTokenCount"))
    if total is not None and total >= prompt:
        output = total - prompt  # some models include the thoughts in the candidates
    cached = as_integer(usage.get("cachedContentTokenCount"))
    return TokenCounts(prompt, output, cached, None, None, thoughts)


def write_counts(counts: TokenCounts) -> JsonObject:
    """Return `usageMetadata`."""
    thoughts = min(counts.reasoning or 0, counts.output)
    found: JsonObject = {
        "promptTokenCount": counts.input,
        "candidatesTokenCount": counts.output - thoughts,
        "totalTokenCount": counts.input + counts.output,
    }
    if counts.cache_read:
        found["cachedContentTokenCount"] = counts.cache_read
    if thoughts:
        found["thoughtsTokenCount"] = thoughts
    return found


def stop_name(stop: StopReason) -> str:
    """Return Google's reason of a stop, which is the same after a text and after calls."""
    return _STOP_NAMES.get(stop, "STOP")


def function_call(ident: str, name: str, arguments: str) -> JsonObject:
    """Return the part of a function call."""
    return {"functionCall": {"id": ident, "name": name, "args": read_arguments(arguments)}}


def thought_parts(part: ThinkingPart, carrier: Carrier, text: str) -> list[JsonObject]:
    """Return what a complete thinking part adds, of which `text` is not written yet."""
    signature = part.signature
    if part.text and signature is not None and signature.origin == "gemini":
        return [{"text": text, "thought": True, "thoughtSignature": signature.value}]
    carrier.hold(part)
    return [{"text": text, "thought": True}] if text else []


def write_answer(answer: ModelAnswer) -> JsonObject:
    """Return a response with one candidate."""
    parts: list[JsonObject] = []
    carrier = Carrier()
    for part in answer.parts:
        match part:
            case TextPart(text=text):
                parts.append(carrier.sign({"text": text}))
            case ToolCallPart(id=ident, name=name, arguments=arguments):
                parts.append(carrier.sign(function_call(ident, name, arguments)))
            case ThinkingPart(text=text):
                parts += thought_parts(part, carrier, text)
    parts += carrier.rest()
    candidate = {
        "content": {"parts": parts or [{"text": ""}], "role": "model"},
        "finishReason": stop_name(answer.stop),
        "index": 0,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": write_counts(answer.counts or TokenCounts()),
        "modelVersion": answer.model,
        "responseId": answer.id,
    }


def read_error(status: int, body: JsonObject) -> Failure:
    """Return the failure by the error's reason, then its status."""
    error = as_dict(body.get("error"))
    word, code = as_text(error.get("status")), as_integer(error.get("code")) or status
    reasons = {as_text(each.get("reason")) for each in as_dicts(error.get("details"))}
    kind = _KINDS.get(word) or KIND_OF_STATUS.get(code, "server")
    if code in _BY_STATUS:
        kind = KIND_OF_STATUS[code]
    if "API_KEY_INVALID" in reasons:
        kind = "authentication"  # Google sends it with the status 400
    message = as_text(error.get("message")) or f"The provider answered with status {status}."
    return Failure(kind, message, word, status)


def write_error(failure: Failure) -> tuple[int, JsonObject]:
    """Return the error. Spent money has a delay that ends the tries of Google's clients."""
    code, word = _WRITTEN[failure.kind]
    error: JsonObject = {"code": code, "message": failure.message, "status": word}
    if failure.kind == "billing":
        error["details"] = [_NO_RETRY]
    return code, {"error": error}
