"""The neutral form of a request and of an answer, between any two protocols.

Every protocol is read into these values and written from them, so that a protocol needs one module
pair and not one for each other protocol. Values are plain data. Nothing here names a protocol.
A conversation has thousands of parts and no cycles, so the garbage collector need not visit them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from msgspec import Struct, field

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS = frozenset(get_args(Effort))
StopReason: TypeAlias = Literal[
    "end", "length", "tool_calls", "stop_sequence", "refusal", "context_full", "pause"
]
JsonObject: TypeAlias = dict[str, object]


class TranslationError(Exception):
    """A request or an answer that cannot be translated; its text is for the client."""


class AnswerFailed(TranslationError):
    """A whole answer that is the provider's own failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class CacheMark(Struct, frozen=True):
    """The end of a prefix that the client wants cached; `ttl` such as "1h", "" for the usual."""

    ttl: str = ""


class Signature(Struct, frozen=True):
    """The proof with which a model takes its own thinking back.

    Attributes:
        origin: The name of the protocol that made it.
        value: The vendor's opaque text.
        model: The model that made it; "" if it is not recorded.
    """

    origin: str
    value: str
    model: str = ""

    def fits(self, origin: str, model: str) -> bool:
        """Return whether it may be sent to this model over this protocol."""
        return self.origin == origin and self.model in {"", model}


class TextPart(Struct, gc=False):
    """A text."""

    text: str
    cache: CacheMark | None = None


class ImagePart(Struct, gc=False):
    """An image: base64 `data` of a media type, or a `url`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    cache: CacheMark | None = None


class DocumentPart(Struct, gc=False):
    """A document: base64 `data` of a media type, or a `url`. A plain text is a `TextPart`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    name: str = ""
    cache: CacheMark | None = None


class ToolCallPart(Struct, gc=False):
    """A call of a tool by the model. `arguments` is JSON text, as the model wrote it.

    Where a protocol signs a tool call, a `ThinkingPart` without text precedes it.
    """

    id: str
    name: str
    arguments: str
    cache: CacheMark | None = None


class ToolResultPart(Struct, gc=False):
    """The result of a tool call, whose `content` is text, images and documents."""

    id: str
    content: list[TextPart | ImagePart | DocumentPart]
    error: bool = False
    cache: CacheMark | None = None


class ThinkingPart(Struct, gc=False):
    """Thinking of the model. A hidden one has no text; its signature is the encrypted thinking."""

    text: str
    signature: Signature | None = None
    hidden: bool = False


TurnPart: TypeAlias = (
    TextPart | ImagePart | DocumentPart | ToolCallPart | ToolResultPart | ThinkingPart
)


class Turn(Struct, gc=False):
    """One message. Results of tools stand in the turn of the user that follows the calls."""

    role: Literal["user", "assistant", "system"]
    parts: list[TurnPart]


class ToolSpec(Struct, gc=False):
    """A tool that the client runs."""

    name: str
    description: str
    parameters: JsonObject
    strict: bool | None = None
    cache: CacheMark | None = None


class ToolChoice(Struct, frozen=True):
    """Which tools the model may or must call.

    Attributes:
        mode: "auto", "required" (any of them), "tool" (the one in `name`) or "none".
        name: The tool of the mode "tool".
        parallel: False if one answer may hold one call at most.
        allowed: The tools that may be called; None for all.
    """

    mode: Literal["auto", "required", "tool", "none"] = "auto"
    name: str = ""
    parallel: bool = True
    allowed: tuple[str, ...] | None = None


class Reasoning(Struct, frozen=True):
    """The thinking before an answer; `budget` is in tokens.

    `enabled` is None if only the effort is set. `shown` is whether the client wants to see it; None
    for the vendor's usual.
    """

    effort: Effort | None = None
    budget: int | None = None
    enabled: bool | None = None
    shown: bool | None = None


class OutputFormat(Struct):
    """A JSON answer: of this schema, or any object if it is None."""

    schema: JsonObject | None = None
    name: str = ""
    strict: bool | None = None


class Sampling(Struct, frozen=True):
    """The choice of the next token; None for the model's own way."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


class ModelRequest(Struct):
    """One request to a model.

    Attributes:
        streaming: The client wants a stream.
        stream_usage: The client wants usage in the stream.
        user: A stable, opaque name of the end user, or of the conversation.
        cache_key: The name under which a vendor may find the cached prefix.
        cache: A mark for the whole prompt.
        verbosity: How long the answer should be: "low", "medium", "high", or "" for the usual.
        echo: What the client's protocol repeats in the answer (see `WireFormat.answering`).
    """

    turns: list[Turn]
    system: list[TextPart] = field(default_factory=list)
    tools: list[ToolSpec] = field(default_factory=list)
    tool_choice: ToolChoice = ToolChoice()
    max_output: int | None = None
    sampling: Sampling = Sampling()
    stop: list[str] = field(default_factory=list)
    reasoning: Reasoning = Reasoning()
    output: OutputFormat | None = None
    streaming: bool = False
    stream_usage: bool = True
    user: str = ""
    cache_key: str = ""
    cache: CacheMark | None = None
    verbosity: str = ""
    echo: JsonObject = field(default_factory=dict)


class TokenCounts(Struct, frozen=True):
    """The provider's own figures. `input` includes the cache, `output` the reasoning."""

    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None


class ModelAnswer(Struct):
    """A whole answer."""

    id: str
    model: str
    parts: list[TextPart | ToolCallPart | ThinkingPart]
    counts: TokenCounts | None = None
    stop: StopReason = "end"
    stop_sequence: str | None = None


FailureKind: TypeAlias = Literal[
    "invalid_request", "authentication", "billing", "permission", "not_found", "conflict",
    "too_large", "rate_limit", "overloaded", "timeout", "server",
]  # fmt: skip


class Failure(Struct, frozen=True):
    """An error of a provider. `code` is its own word for it; "" if it has none."""

    kind: FailureKind
    message: str
    code: str = ""
    status: int = 0


KIND_OF_STATUS: Mapping[int, FailureKind] = {
    400: "invalid_request", 401: "authentication", 402: "billing", 403: "permission",
    404: "not_found", 408: "timeout", 409: "conflict", 413: "too_large", 422: "invalid_request",
    429: "rate_limit", 500: "server", 502: "server", 503: "overloaded", 504: "timeout",
    529: "overloaded",
}  # fmt: skip
