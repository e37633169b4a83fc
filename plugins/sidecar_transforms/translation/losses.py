"""What a translation loses: one code for each, with a text, and which pair can lose it.

Nothing is lost without a code. `docs/translation.md` has the same table; a test compares them.
"""

from __future__ import annotations

from enum import Enum

from sidecar_transforms.translation.model import CacheMark, TextPart


class Loss(Enum):
    """A feature that a target lacks. The value is the code in `Translated.notes`."""

    text: str

    def __new__(cls, code: str, text: str) -> Loss:
        """Return a member whose value is its code."""
        member = object.__new__(cls)
        member._value_ = code
        member.text = text
        return member

    TOP_K = "top_k", "`top_k` is left out"
    SEED = "seed", "`seed` is left out"
    PENALTIES = "penalties", "the frequency and presence penalties are left out"
    TEMPERATURE = "temperature", "the temperature is reduced to 1, or left out while thinking"
    TOP_P = "top_p", "`top_p` is left out beside a temperature, or while thinking"
    STOP_SEQUENCES = (
        "stop_sequences",
        "only the first stop sequences are sent: as many as the provider takes",
    )
    CACHE_MARKS = "cache_marks", "cache marks are left out; the provider caches by itself"
    CACHE_KEY = "cache_key", "the cache key is left out; the provider finds its cache by the prompt"
    TOOL_ERROR = "tool_error", "a failed tool's result starts with `Error:` instead of a flag"
    TOOL_MEDIA = "tool_media", "images and documents of a tool's result follow as a user message"
    PREFILL = "prefill", "an answer that the request begins is not continued; a new one begins"
    PART_ORDER = "part_order", "text after a tool call in one message stands before the call"
    THINKING = "thinking", "thinking that this model did not write is left out"
    EFFORT = "effort", "the reasoning effort is changed to one that the model has, or left out"
    THINKING_OFF = "thinking_off", "the wish for no thinking is left out; the model decides"
    SYSTEM_ORDER = "system_order", "a system message in the conversation is sent as the user's"
    JSON_OBJECT = "json_object", "any JSON object: asked for in the system prompt, not enforced"
    MAX_OUTPUT = (
        "max_output",
        "the bound on the output is added or changed, as the provider requires",
    )
    ARGUMENTS = "arguments", "a tool call's malformed arguments are sent as a JSON string"
    USER = "user", "the user's id is left out"
    IMAGE_DETAIL = "image_detail", "the detail of an image is left out"
    CITATIONS = "citations", "citations of documents are not asked for"
    PARALLEL = "parallel", "the wish for one tool call at a time is left out"
    STRICT = "strict", "the strict schema of a tool is sent as a usual one"
    SCHEMA = "schema", "keywords of JSON Schema that the provider rejects are left out"
    SAFETY = "safety", "settings of Google's safety filters are left out"
    TOOL_HINTS = "tool_hints", "further fields of tools, such as examples, are left out"
    VERBOSITY = "verbosity", "the wish for a shorter or longer answer is left out"
    SERVER_TOOLS = "server_tools", "web search and other tools that run at the vendor are left out"
    GRAMMAR = "grammar", "a custom tool's grammar is shown to the model, and not enforced"
    FIELDS = "fields", "further fields of the request are left out"


LOSS_TEXTS = {str(each.value): each.text for each in Loss}
"""The text of each code."""


class LossLog:
    """The losses of one translation, each once, in the order in which they occur."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, loss: Loss) -> None:
        """Record a loss."""
        self._found[loss.value] = None

    def marks(self, *marks: CacheMark | None) -> None:
        """Record the loss of cache marks, if there are any."""
        for mark in marks:
            if mark is not None:
                self.add(Loss.CACHE_MARKS)

    def texts(self, parts: list[TextPart]) -> str:
        """Return texts as one, and record the loss of their cache marks."""
        self.marks(*[part.cache for part in parts])
        return "\n\n".join(part.text for part in parts)

    def codes(self) -> tuple[str, ...]:
        """Return the codes of the losses."""
        return tuple(self._found)
