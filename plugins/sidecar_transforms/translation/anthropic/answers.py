"""Read and write whole answers and errors of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sidecar_transforms.translation.model import (
    KIND_OF_STATUS,
    Failure,
    FailureKind,
    JsonObject,
    ModelAnswer,
    Signature,
    StopReason,
    TextPart,
    ThinkingPart,
    TokenCounts,
    ToolCallPart,
    TranslationError,
)
from sidecar_transforms.translation.signatures import wrap_signature
from sidecar_transforms.translation.wire_format import (
    as_dict,
    as_dicts,
    as_integer,
    as_text,
    read_arguments,
)

STOPS: Mapping[str, StopReason] = {
    "end_turn": "end", "max_tokens": "length", "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls", "pause_turn": "pause", "refusal": "refusal",
    "model_context_window_exceeded": "context_full",
}  # fmt: skip
STOP_NAMES: Mapping[StopReason, str] = {reason: name for name, reason in STOPS.items()}
_KINDS: Mapping[str, FailureKind] = {
    "invalid_request_error": "invalid_request", "authentication_error": "authentication",
    "billing_error": "billing", "permission_error": "permission", "not_found_error": "not_found",
    "conflict_error": "conflict", "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "overloaded_error": "overloaded", "timeout_error": "timeout", "api_error": "server",
}  # fmt: skip
_TYPES = {kind: name for name, kind in _KINDS.items()}
_STATUSES: Mapping[FailureKind, int] = {
    "invalid_request": 400, "authentication": 401, "billing": 402, "permission": 403,
    "not_found": 404, "conflict": 409, "too_large": 413, "rate_limit": 429, "server": 500,
    "timeout": 504, "overloaded": 529,
}  # fmt: skip
_SPENT = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})


def message_id(ident: str) -> str:
    """Return an answer's id with Anthropic's prefix."""
    return ident if ident.startswith("msg_") else f"msg_{ident.rpartition('chatcmpl-')[2]}"


def read_answer(body: JsonObject, model: str) -> ModelAnswer:
    """Return the answer."""
    if not isinstance(body.get("content"), list):
        raise TranslationError("it has no `content`")
    return ModelAnswer(
        as_text(body.get("id")),
        as_text(body.get("model")) or model,
        [_part(block, model) for block in as_dicts(body.get("content"))],
        read_counts(as_dict(body.get("usage"))),
        STOPS.get(as_text(body.get("stop_reason")), "end"),
        as_text(body.get("stop_sequence")) or None,
    )


def _part(block: JsonObject, model: str) -> TextPart | ToolCallPart | ThinkingPart:
    match block.get("type"):
        case "text":
            return TextPart(as_text(block.get("text")))
        case "tool_use":
            arguments = msgspec.json.encode(block.get("input", {})).decode()
            return ToolCallPart(as_text(block.get("id")), as_text(block.get("name")), arguments)
        case "thinking":
            return ThinkingPart(as_text(block.get("thinking")), _signed(block, "signature", model))
        case "redacted_thinking":
            return ThinkingPart("", _signed(block, "data", model), hidden=True)
        case kind:
            raise TranslationError(f"it has the unknown content block `{kind}`")


def _signed(block: JsonObject, name: str, model: str) -> Signature | None:
    value = as_text(block.get(name))
    return Signature("anthropic", value, model) if value else None


def read_counts(usage: JsonObject, before: TokenCounts | None = None) -> TokenCounts | None:
    """Return the figures; where one is missing, that of `before` stays. None if all are."""
    if not usage:
        return before
    old = before or TokenCounts()
    read = _first(as_integer(usage.get("cache_read_input_tokens")), old.cache_read)
    write = _first(as_integer(usage.get("cache_creation_input_tokens")), old.cache_write)
    split = as_dict(usage.get("cache_creation"))
    fresh = as_integer(usage.get("input_tokens"))
    if fresh is None:
        fresh = old.input - (old.cache_read or 0) - (old.cache_write or 0)
    details = as_dict(usage.get("output_tokens_details"))
    return TokenCounts(
        fresh + (read or 0) + (write or 0),
        _first(as_integer(usage.get("output_tokens")), old.output) or 0,
        read,
        write,
        _first(as_integer(split.get("ephemeral_1h_input_tokens")), old.cache_write_1h),
        _first(as_integer(details.get("thinking_tokens")), old.reasoning),
    )


def _first(new: int | None, old: int | None) -> int | None:
    return old if new is None else new


def write_counts(counts: TokenCounts) -> JsonObject:
    """Return `usage`, whose input excludes the cache."""
    read, write = counts.cache_read or 0, counts.cache_write or 0
    found: JsonObject = {
        "input_tokens": max(0, counts.input - read - write),
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
        "output_tokens": counts.output,
    }
    if counts.cache_write_1h:
        found["cache_creation"] = {
            "ephemeral_5m_input_tokens": max(0, write - counts.cache_write_1h),
            "ephemeral_1h_input_tokens": counts.cache_write_1h,
        }
    if counts.reasoning is not None:
        found["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return found


def write_answer(answer: ModelAnswer) -> JsonObject:
    """Return a message."""
    return {
        "id": message_id(answer.id),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [_block(part) for part in answer.parts],
        "stop_reason": STOP_NAMES[answer.stop],
        "stop_sequence": answer.stop_sequence,
        "usage": write_counts(answer.counts or TokenCounts()),
    }


def _block(part: TextPart | ToolCallPart | ThinkingPart) -> JsonObject:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ToolCallPart(id=ident, name=name, arguments=arguments):
            return {
                "type": "tool_use",
                "id": ident,
                "name": name,
                "input": read_arguments(arguments),
            }
        case ThinkingPart(text=text, signature=signature, hidden=hidden):
            value = wrap_signature(signature, "anthropic")
            if hidden:
                return {"type": "redacted_thinking", "data": value}
            return {"type": "thinking", "thinking": text, "signature": value}


def read_error(status: int, body: JsonObject) -> Failure:
    """Return the failure by the error's type, then by the status."""
    error = as_dict(body.get("error"))
    name = as_text(error.get("type"))
    code = as_text(as_dict(error.get("details")).get("error_code"))
    kind = _KINDS.get(name) or KIND_OF_STATUS.get(status, "server")
    if code in _SPENT:
        kind = "billing"
    message = as_text(error.get("message")) or f"The provider answered with status {status}."
    return Failure(kind, message, code or name, status)


def write_error(failure: Failure) -> tuple[int, JsonObject]:
    """Return the error. Of the statuses, Anthropic's SDKs retry 409, 429 and those from 500."""
    error = {"type": _TYPES[failure.kind], "message": failure.message}
    return _STATUSES[failure.kind], {"type": "error", "error": error}
