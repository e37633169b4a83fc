"""The events of an answer as it arrives, in the order in which a reader makes them.

`Started`, then for each part `PartStarted`, deltas, `PartEnded`; then `Stopped` and `Finished`.
`TokenCounts` may come anywhere; later figures replace earlier ones. Parts never overlap. `Failed`
ends an answer at any place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from msgspec import Struct

from sidecar_transforms.translation.model import (
    Failure,
    ModelAnswer,
    Signature,
    StopReason,
    TextPart,
    ThinkingPart,
    TokenCounts,
    ToolCallPart,
)


class Started(Struct, gc=False):
    """The provider began to answer."""

    id: str
    model: str


class PartStarted(Struct, gc=False):
    """A part began; a tool call has its id and name."""

    kind: Literal["text", "tool_call", "thinking", "hidden_thinking"]
    id: str = ""
    name: str = ""


class TextDelta(Struct, gc=False):
    """More text of the part."""

    text: str


class ArgumentsDelta(Struct, gc=False):
    """More JSON text of a tool call's arguments."""

    text: str


class ThinkingDelta(Struct, gc=False):
    """More thinking of the part."""

    text: str


class Signed(Struct, gc=False):
    """The signature of a thinking part."""

    signature: Signature


class PartEnded(Struct, gc=False):
    """The part is complete."""


class Stopped(Struct, gc=False):
    """The reason why the model stopped."""

    reason: StopReason
    sequence: str | None = None


class Finished(Struct, gc=False):
    """Nothing follows."""


class Failed(Struct, gc=False):
    """The provider failed after it began to answer."""

    failure: Failure


class KeptAlive(Struct, gc=False):
    """The provider showed that it still works."""


AnswerEvent: TypeAlias = (
    Started | PartStarted | TextDelta | ArgumentsDelta | ThinkingDelta | Signed | PartEnded
    | TokenCounts | Stopped | Finished | Failed | KeptAlive
)  # fmt: skip


def events_of(answer: ModelAnswer) -> Iterator[AnswerEvent]:
    """Yield a whole answer as events, one delta a part."""
    yield Started(answer.id, answer.model)
    for part in answer.parts:
        match part:
            case TextPart(text=text):
                yield PartStarted("text")
                yield TextDelta(text)
            case ToolCallPart(id=ident, name=name, arguments=arguments):
                yield PartStarted("tool_call", ident, name)
                if arguments:
                    yield ArgumentsDelta(arguments)
            case ThinkingPart(text=text, signature=signature, hidden=hidden):
                yield PartStarted("hidden_thinking" if hidden else "thinking")
                if text:
                    yield ThinkingDelta(text)
                if signature is not None:
                    yield Signed(signature)
        yield PartEnded()
    if answer.counts is not None:
        yield answer.counts
    yield Stopped(answer.stop, answer.stop_sequence)
    yield Finished()


class AnswerCollector:
    """Collect the events of an answer."""

    def __init__(self) -> None:
        self.answer = ModelAnswer("", "", [])
        self._pieces: list[str] = []

    def add(self, event: AnswerEvent) -> None:
        """Add the next event."""
        answer = self.answer
        match event:
            case TextDelta(text=text) | ArgumentsDelta(text=text) | ThinkingDelta(text=text):
                self._pieces.append(text)
            case Started(id=ident, model=model):
                answer.id, answer.model = ident, model
            case PartStarted(kind=kind, id=ident, name=name):
                self._pieces = []
                answer.parts.append(_part(kind, ident, name))
            case Signed(signature=signature):
                part = answer.parts[-1]
                if isinstance(part, ThinkingPart):
                    part.signature = signature
            case PartEnded():
                self._end_part()
            case TokenCounts():
                answer.counts = event
            case Stopped(reason=reason, sequence=sequence):
                answer.stop, answer.stop_sequence = reason, sequence
            case _:
                pass

    def _end_part(self) -> None:
        part, whole = self.answer.parts[-1], "".join(self._pieces)
        if isinstance(part, ToolCallPart):
            part.arguments = whole
        else:
            part.text = whole


def _part(kind: str, ident: str, name: str) -> TextPart | ToolCallPart | ThinkingPart:
    if kind == "text":
        return TextPart("")
    if kind == "tool_call":
        return ToolCallPart(ident, name, "")
    return ThinkingPart("", hidden=kind == "hidden_thinking")
