"""Write a request of Google's generateContent API."""

from __future__ import annotations

import re

from sidecar_transforms.translation.gemini.conversation_writer import write_contents
from sidecar_transforms.translation.gemini.schemas import write_schema
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    Effort,
    JsonObject,
    ModelRequest,
    Reasoning,
    ToolChoice,
    ToolSpec,
)

_LEVELLED = re.compile(r"gemini-(?:[3-9]|\d\d)")
"""Models that think by a level; those of 2.5 think within a budget, and older ones do not."""
_BUDGETED = re.compile(r"gemini-2\.5|gemini-(?:pro|flash|flash-lite)-latest")
_FEW_LEVELS = re.compile(r"gemini-3-pro")
_SMALL = re.compile(r"gemini-(?:1|2\.0|pro-vision)")
_MAX_OUTPUT, _SMALL_MAX_OUTPUT = 65_536, 8192
_MAX_STOPS = 5
_LEVELS: dict[Effort, str] = {
    "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH",
    "max": "HIGH",
}  # fmt: skip
_BUDGETS: dict[Effort, int] = {
    "minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 32_768,
}  # fmt: skip
_BUDGET_EFFORTS: tuple[tuple[int, Effort], ...] = ((4096, "low"), (16_384, "medium"))
"""The effort of a budget up to so many tokens; a larger one is high."""
_LEAST_PRO_BUDGET, _MOST_PRO_BUDGET = 128, 32_768
_LEAST_BUDGET, _MOST_BUDGET = 512, 24_576


def write_request(request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
    """Return the body, which names neither the model nor the stream."""
    body: JsonObject = {}
    losses.marks(request.cache, *(part.cache for part in request.system))
    system = [{"text": part.text} for part in request.system if part.text]
    if system:
        body["systemInstruction"] = {"parts": system}
    body["contents"] = write_contents(
        request.turns, model, losses, signs_calls=_LEVELLED.search(model) is not None
    )
    if request.turns and request.turns[-1].role == "assistant":
        losses.add(Loss.PREFILL)
    _write_tools(body, request, losses)
    config = _config(request, model, losses)
    thinking = _thinking(request.reasoning, model, losses)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    if request.cache_key:
        losses.add(Loss.CACHE_KEY)
    if request.verbosity:
        losses.add(Loss.VERBOSITY)
    if request.user:
        losses.add(Loss.USER)
    return body


def _write_tools(body: JsonObject, request: ModelRequest, losses: LossLog) -> None:
    if not request.tools:
        return
    losses.marks(*(tool.cache for tool in request.tools))
    body["tools"] = [{"functionDeclarations": [_tool(tool, losses) for tool in request.tools]}]
    if not request.tool_choice.parallel:
        losses.add(Loss.PARALLEL)
    calling = _calling(request.tool_choice)
    if calling:
        body["toolConfig"] = {"functionCallingConfig": calling}


def _calling(choice: ToolChoice) -> JsonObject:
    allowed: JsonObject = {}
    if choice.allowed is not None:
        allowed = {"allowedFunctionNames": list(choice.allowed)}
    match choice.mode:
        case "none":
            return {"mode": "NONE"}
        case "tool":
            return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        case "required":
            return {"mode": "ANY", **allowed}
        case "auto":
            # Of the modes that leave the model the choice, only this one takes names.
            return {"mode": "VALIDATED", **allowed} if allowed else {}


def _tool(tool: ToolSpec, losses: LossLog) -> JsonObject:
    found: JsonObject = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    if set(tool.parameters) - {"type"}:
        found["parametersJsonSchema"] = write_schema(tool.parameters, losses)
    if tool.strict:
        losses.add(Loss.STRICT)
    return found


def _config(request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
    sampling = request.sampling
    most = _SMALL_MAX_OUTPUT if _SMALL.search(model) else _MAX_OUTPUT
    bound = request.max_output
    if bound is not None and bound > most:
        losses.add(Loss.MAX_OUTPUT)
        bound = most
    if len(request.stop) > _MAX_STOPS:
        losses.add(Loss.STOP_SEQUENCES)
    given: JsonObject = {
        "maxOutputTokens": bound,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "seed": sampling.seed,
        "frequencyPenalty": sampling.frequency_penalty,
        "presencePenalty": sampling.presence_penalty,
        "stopSequences": request.stop[:_MAX_STOPS] or None,
    }
    if request.output is not None:
        given["responseMimeType"] = "application/json"
        if request.output.schema is not None:
            given["responseJsonSchema"] = write_schema(request.output.schema, losses)
    return {name: value for name, value in given.items() if value is not None}


def _thinking(reasoning: Reasoning, model: str, losses: LossLog) -> JsonObject:
    off = reasoning.enabled is False or reasoning.effort == "none"
    if not off and reasoning == Reasoning():
        return {}
    if _LEVELLED.search(model):
        return _level(reasoning, model, losses, off=off)
    if _BUDGETED.search(model):
        return _budget(reasoning, model, losses, off=off)
    if not off:
        losses.add(Loss.EFFORT)
    return {}


def _level(reasoning: Reasoning, model: str, losses: LossLog, *, off: bool) -> JsonObject:
    least = "LOW" if "pro" in model else "MINIMAL"
    if off:
        losses.add(Loss.THINKING_OFF)
        return {"thinkingLevel": least}
    effort = reasoning.effort
    if effort is None and reasoning.budget is not None:
        fitting = (name for most, name in _BUDGET_EFFORTS if reasoning.budget <= most)
        effort = next(fitting, "high")
    if effort is None:
        return {"includeThoughts": True}
    level = _LEVELS[effort]
    if level == "MINIMAL":
        level = least
    elif level == "MEDIUM" and _FEW_LEVELS.search(model):
        level = "HIGH"
    if level.lower() != effort:
        losses.add(Loss.EFFORT)
    return {"includeThoughts": True, "thinkingLevel": level}


def _budget(reasoning: Reasoning, model: str, losses: LossLog, *, off: bool) -> JsonObject:
    pro = "pro" in model
    if off:
        if pro:
            losses.add(Loss.THINKING_OFF)
        return {"thinkingBudget": _LEAST_PRO_BUDGET if pro else 0}
    wanted = reasoning.budget
    if wanted is None and reasoning.effort is None:
        return {"includeThoughts": True, "thinkingBudget": -1}
    if wanted is None:
        wanted = _BUDGETS[reasoning.effort or "medium"]
    least, most = (_LEAST_PRO_BUDGET, _MOST_PRO_BUDGET) if pro else (_LEAST_BUDGET, _MOST_BUDGET)
    budget = min(max(wanted, least), most)
    if reasoning.budget is not None and budget != wanted:
        losses.add(Loss.EFFORT)
    return {"includeThoughts": True, "thinkingBudget": budget}
