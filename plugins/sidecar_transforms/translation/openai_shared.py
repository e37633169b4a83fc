"""What OpenAI's two protocols share: errors, facts of its models, and the form of bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    KIND_OF_STATUS,
    Failure,
    FailureKind,
    JsonObject,
    ModelRequest,
    OutputFormat,
    Reasoning,
    ToolSpec,
    TranslationError,
)
from sidecar_transforms.translation.wire_format import as_dict, as_integer, as_text

MAX_CACHE_KEY = 64
_OPENAI = re.compile(r"(?:^|/)(?:gpt-(?!oss)|o\d|chatgpt|codex)")
"""Models of OpenAI. Servers of other models often reject its newer fields."""
_NEVER_REASONS = re.compile(r"(?:^|/)(?:gpt-[34]|chatgpt)")
_OTHER_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
_BUDGET_EFFORTS = ((4096, "low"), (16384, "medium"))
"""The effort of a budget up to so many tokens; a larger one is high."""
_SPENT = frozenset({
    "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
})  # fmt: skip
_CODES: Mapping[str, FailureKind] = {
    "invalid_api_key": "authentication", "model_not_found": "not_found",
    "rate_limit_exceeded": "rate_limit", "slow_down": "rate_limit",
    "server_is_overloaded": "overloaded", "server_error": "server",
    "invalid_prompt": "invalid_request", "context_length_exceeded": "invalid_request",
    "request_too_large": "too_large", "service_unavailable_error": "overloaded",
}  # fmt: skip
_WRITTEN: Mapping[FailureKind, tuple[int, str, str | None]] = {
    "invalid_request": (400, "invalid_request_error", None),
    "authentication": (401, "invalid_request_error", "invalid_api_key"),
    # A 402 ends the tries of every client, where a 429 with this code would not.
    "billing": (402, "insufficient_quota", "insufficient_quota"),
    "permission": (403, "permission_error", None),
    "not_found": (404, "invalid_request_error", "model_not_found"),
    "conflict": (409, "invalid_request_error", "conflict"),
    "too_large": (413, "invalid_request_error", "request_too_large"),
    "rate_limit": (429, "requests", "rate_limit_exceeded"),
    "server": (500, "server_error", None),
    "overloaded": (503, "service_unavailable_error", "server_is_overloaded"),
    "timeout": (504, "server_error", "timeout"),
}


def is_openai(model: str) -> bool:
    """Return whether it is a model of OpenAI, which takes OpenAI's newer fields."""
    return _OPENAI.search(model) is not None


def may_reason(model: str) -> bool:
    """Return whether the model is none of OpenAI's that never reason."""
    return _NEVER_REASONS.search(model) is None


def effort_of(reasoning: Reasoning, model: str, losses: LossLog) -> str | None:
    """Return the effort that the model takes; None for its own."""
    if reasoning.enabled is False:
        losses.add(Loss.THINKING_OFF)
        return None
    effort: str | None = reasoning.effort
    if effort is None and reasoning.budget is not None:
        found = (name for most, name in _BUDGET_EFFORTS if reasoning.budget <= most)
        effort = next(found, "high")
    if effort is None:
        return None
    if not may_reason(model):
        losses.add(Loss.EFFORT)
        return None
    if not is_openai(model) and effort in _OTHER_EFFORTS:
        losses.add(Loss.EFFORT)
        effort = _OTHER_EFFORTS[effort]
    return effort


def write_verbosity(verbosity: str, model: str, losses: LossLog) -> str:
    """Return the verbosity for the model; "" if it takes none."""
    if verbosity and not is_openai(model):
        losses.add(Loss.VERBOSITY)
        return ""
    return verbosity


def read_data_url(url: str) -> tuple[str, str, str]:
    """Return the media type and base64 of a `data:` URL, or the URL."""
    if not url.startswith("data:"):
        return "", "", url
    head, _, data = url[5:].partition(",")
    if not head.endswith(";base64"):
        raise TranslationError("a `data:` URL is not in base64")
    return head.partition(";")[0], data, ""


def read_error(status: int, body: JsonObject) -> Failure:
    """Return the failure by the error's code, then its type, then the status."""
    given = body.get("error")
    error = as_dict(given)
    message = as_text(given) or as_text(error.get("message"))
    codes = [as_text(error.get("code")), as_text(error.get("type"))]
    number = as_integer(error.get("code"))  # OpenRouter's code is a status
    kind = KIND_OF_STATUS.get(number or status, "server")
    kind = next((_CODES[each] for each in codes if each in _CODES), kind)
    if any(each in _SPENT for each in codes):
        kind = "billing"
    message = message or f"The provider answered with status {status}."
    return Failure(kind, message, next(filter(None, codes), ""), status)


def write_error(failure: Failure) -> tuple[int, JsonObject]:
    """Return the error. Of the statuses, OpenAI's SDKs retry 409, 429 and those from 500."""
    status, name, code = _WRITTEN[failure.kind]
    error = {"message": failure.message, "type": name, "param": None, "code": code}
    return status, {"error": error}


Typed = Callable[[str, JsonObject], JsonObject]
"""Returns the fields as an object of a type: chat nests them below the type's name."""


def write_tools(
    body: JsonObject, request: ModelRequest, losses: LossLog, typed: Typed,
    *, strict: bool | None = None,
) -> None:  # fmt: skip
    """Write the tools, and which of them the model may or must call.

    `strict` is that of a tool without a value of its own; None leaves it out.
    """
    if not request.tools:
        return
    losses.marks(*(tool.cache for tool in request.tools))
    body["tools"] = [_tool(tool, typed, strict=strict) for tool in request.tools]
    choice = request.tool_choice
    if choice.mode == "tool":
        body["tool_choice"] = typed("function", {"name": choice.name})
    elif choice.allowed is not None:
        tools = [typed("function", {"name": name}) for name in choice.allowed]
        body["tool_choice"] = typed("allowed_tools", {"mode": choice.mode, "tools": tools})
    elif choice.mode != "auto":
        body["tool_choice"] = choice.mode
    if not choice.parallel:
        body["parallel_tool_calls"] = False


def _tool(tool: ToolSpec, typed: Typed, *, strict: bool | None) -> JsonObject:
    function: JsonObject = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    strict = strict if tool.strict is None else tool.strict
    if strict is not None:
        function["strict"] = strict
    return typed("function", function)


def write_output(output: OutputFormat, typed: Typed) -> JsonObject:
    """Return the format of structured output."""
    if output.schema is None:
        return {"type": "json_object"}
    strict = fits_strict(output.schema) if output.strict is None else output.strict
    form = {"name": output.name or "answer", "schema": output.schema, "strict": strict}
    return typed("json_schema", form)


def fits_strict(schema: object) -> bool:
    """Return whether every object of the schema is closed and requires all of its properties."""
    if isinstance(schema, list):
        return all(map(fits_strict, schema))
    if not isinstance(schema, dict):
        return True
    if "properties" in schema:
        names = set(as_dict(schema["properties"]))
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if set(required) != names:
            return False
    return all(map(fits_strict, schema.values()))
