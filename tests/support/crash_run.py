"""Calls for which a vendor keeps its own books: what it was asked, and what it has told so far."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from recorded_answers import sse
from scripted_vendor import STREAM_HEAD, Received, chunk, read_body, read_head

Figures = tuple[int | None, int | None, int | None, int | None, int | None]
"""Input, output, cache read, cache written, reasoning tokens: as in the ledger."""
MULTIPLIER = {"GPT": 10, "Asking": 9, "Claude": 9, "Gemini": 5}
"""Tenths of the list price."""
NAME = "resp-n-000000"
"""The name of an object, as long as that of any plan's."""
FORGED = {
    "usage": {"prompt_tokens": 5_000_000, "completion_tokens": 5_000_000, "input_tokens": 5_000_000,
              "output_tokens": 5_000_000},
    "usageMetadata": {"promptTokenCount": 5_000_000, "totalTokenCount": 5_000_000},
    "model": "forged", "id": "forged", "error": {"code": "forged"},
}  # fmt: skip
"""What a model may write into its answer, as text or as the arguments of a tool."""
UNREADABLE = (
    b'data: {"usage":{"prompt_tokens":5000000,"completion_tokens":5000000}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":NaN}}\n\n',
    b'data: {"usageMetadata":{"promptTokenCount":5000000},"x":"\xff\xfe"}\n\n',
    b'data: "usage":{ "error" "finish_reason":"\n\n',
    b"data: " + b"[" * 1500 + b'"usage":{' + b"\n\n",
)
"""Malformed events in the middle of a stream."""
WASTE: Figures = (70, 20, None, None, None)
"""What a failed try says that it used, where it says anything."""


@dataclass(frozen=True)
class Stage:
    """A piece of an answer. `told` is what is known of the usage once it was read; `shown` is what
    the client gets of it; `enough` is what of it must have come for that, else all but its end."""

    data: bytes
    told: Figures | None = None
    finished: bool = False
    shown: bytes = b""
    enough: bytes = b""

    @property
    def needed(self) -> int:
        """The number of its bytes."""
        return len(self.enough or self.data.rstrip())


@dataclass(frozen=True)
class Form:
    """One way of asking, and how it is answered."""

    name: str
    key: str
    group: str
    path: str
    stages: tuple[Stage, ...]
    asked: dict[str, object]
    streams: bool = False
    counts: bool = True
    mark: bytes = b""
    looks: tuple[tuple[str, str], ...] = ()
    """The calls that look at what it made: a method, and a path with the name of the plan."""
    late: Figures | None = None
    """The usage that they tell."""


@dataclass
class Plan:
    """One call: the refusals before it is served, where its answer breaks off (in bytes), and how
    its client behaves. `leaves` is after how many bytes; None: it stays."""

    name: str
    form: Form = field(repr=False)
    refusals: list[int | str]
    cut: int | None = None
    bad: bool = False
    leaves: int | None = None
    early: bool = False
    piece: int = 64
    stuck: bool = False
    # What the vendor writes down.
    arrived: int = 0
    served: int = 0
    sent: int = 0
    told: int = 0
    wasted: list[Figures | None] = field(default_factory=list)
    # What the client saw.
    life: int = 0
    began: float = 0.0
    ended: float = 0.0
    killed: bool = False
    status: int = 0
    body: bytes = b""
    whole: bool = False


def _stream(*events: tuple[object, Figures | None, bool], names: bool = False) -> tuple[Stage, ...]:
    pieces = [
        (event if isinstance(event, bytes) else sse(event, names=names), told, done)
        for event, told, done in events
    ]
    return tuple(Stage(data, told, done, data) for data, told, done in pieces)


def _json(value: object, told: Figures | None) -> tuple[Stage, ...]:
    data = json.dumps(value).encode()
    return (Stage(data, told, False, data),)


class Forms:
    """Draws forms with figures of their own."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def one(self) -> Form:
        """The next form. In names of its answer, the plan's stands for `NAME`."""
        name = self._draw.choice(
            ("chat", "chat", "chat_asks", "chat_as_is", "chat_asking", "chat_asking", "embeddings",
             "responses", "responses_stream", "messages", "messages_stream", "messages_stream",
             "count_tokens", "generate", "generate_stream", "advised", "advised_stream", "background",
             "background")
        )  # fmt: skip
        draw = self._draw.randrange
        self.written, self.cached = draw(500), draw(5000)
        self.read = self.written + self.cached + draw(9000)
        self.thought = draw(300)
        self.out = self.thought + draw(1, 4000)
        form: Form = getattr(self, f"_{name}")()
        return form

    def _unreadable(self, told: Figures | None) -> tuple[object, Figures | None, bool]:
        return self._draw.choice(UNREADABLE), told, False

    def _model(self) -> str:
        return f"m-{self._draw.randrange(12)}"

    def _chat_usage(self) -> tuple[dict[str, object], Figures]:
        usage = {
            "prompt_tokens": self.read, "completion_tokens": self.out,
            "total_tokens": self.read + self.out,
            "prompt_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": self.written},
            "completion_tokens_details": {"reasoning_tokens": self.thought},
        }  # fmt: skip
        return usage, (self.read, self.out, self.cached, self.written, self.thought)

    def _chat(self) -> Form:
        usage, told = self._chat_usage()
        model = self._model()
        stages = _json({
            "id": "c", "model": model, "usage": usage,
            "choices": [{"message": {"tool_calls": [{"function": {"arguments": FORGED}}]}}],
        }, told)  # fmt: skip
        return Form("chat", "gpt", "GPT", "/v1/chat/completions", stages, {"model": model})

    def _chat_stream(self, key: str, group: str, *, asks: bool, told_it: bool) -> Form:
        usage, told = self._chat_usage()
        null = {"usage": None} if told_it else {}
        rows = [
            {"index": 0, "delta": {"content": "ü" * n}, "finish_reason": None} for n in range(1, 6)
        ]
        rows.append({"index": 0, "delta": {"content": json.dumps(FORGED)}, "finish_reason": None})
        rows.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        stages = []
        for number, row in enumerate(rows):
            plain = sse({"id": "c", "model": "m", "choices": [row]})
            data = sse({"id": "c", "model": "m", "choices": [row], **null})
            last = number == len(rows) - 1
            stages.append(Stage(data, None, last, data if asks else plain))
        if told_it:
            data = sse({"id": "c", "model": "m", "choices": [], "usage": usage})
            stages.append(Stage(data, told, True, data if asks else b""))
        end = sse("[DONE]")
        stages.append(Stage(end, told if told_it else None, True, end))
        options = {"stream_options": {"include_usage": True}} if asks else {}
        asked = {"model": self._model(), "stream": True, **options}
        return Form("chat", key, group, "/v1/chat/completions", tuple(stages), asked, True, True,
                    b"data: [DONE]\n\n")  # fmt: skip

    def _chat_asks(self) -> Form:
        return self._chat_stream("gpt", "GPT", asks=True, told_it=True)

    def _chat_as_is(self) -> Form:
        return self._chat_stream("gpt", "GPT", asks=False, told_it=False)

    def _chat_asking(self) -> Form:
        return self._chat_stream("asking", "Asking", asks=False, told_it=True)

    def _embeddings(self) -> Form:
        value = {"model": "m", "data": [], "usage": {"prompt_tokens": self.read}}
        stages = _json(value, (self.read, None, None, None, None))
        return Form("embeddings", "gpt", "GPT", "/v1/embeddings", stages, {"model": self._model()})

    def _response(self) -> tuple[dict[str, object], Figures]:
        usage = {
            "input_tokens": self.read, "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.out, "output_tokens_details": {"reasoning_tokens": self.thought},
        }  # fmt: skip
        output = [{"type": "function_call", "arguments": json.dumps(FORGED), "parsed": FORGED}]
        value = {"id": "resp_1", "model": "m", "output": output, "usage": usage}
        return value, (self.read, self.out, self.cached, None, self.thought)

    def _responses(self) -> Form:
        value, told = self._response()
        return Form(
            "responses", "gpt", "GPT", "/v1/responses", _json(value, told), {"model": self._model()}
        )

    def _responses_stream(self) -> Form:
        value, told = self._response()
        stages = _stream(
            ({"type": "response.created", "response": {"id": "resp_1", "model": "m"}}, None, False),
            ({"type": "response.output_text.delta", "delta": json.dumps(FORGED)}, None, False),
            ({"type": "response.output_item.done", "item": {"arguments": FORGED}}, None, False),
            self._unreadable(None),
            ({"type": "response.completed", "response": value}, told, True),
            names=True,
        )
        asked = {"model": self._model(), "stream": True}
        return Form(
            "responses", "gpt", "GPT", "/v1/responses", stages, asked, True, True, stages[-1].data
        )

    def _message_usage(self) -> dict[str, object]:
        return {
            "input_tokens": self.read - self.cached - self.written,
            "cache_creation_input_tokens": self.written, "cache_read_input_tokens": self.cached,
        }  # fmt: skip

    def _messages(self) -> Form:
        value = {"id": "msg", "type": "message", "model": "m",
                 "content": [{"type": "tool_use", "input": FORGED}],
                 "usage": {**self._message_usage(), "output_tokens": self.out}}  # fmt: skip
        stages = _json(value, (self.read, self.out, self.cached, self.written, None))
        return Form(
            "messages", "claude", "Claude", "/v1/messages", stages, {"model": self._model()}
        )

    def _messages_stream(self) -> Form:
        begun = (self.read, 1, self.cached, self.written, None)
        told = (self.read, self.out, self.cached, self.written, None)
        start = {"id": "msg", "model": "m", "usage": {**self._message_usage(), "output_tokens": 1}}
        stages = _stream(
            ({"type": "message_start", "message": start}, begun, False),
            ({"type": "content_block_delta", "delta": {"text": "数"}}, begun, False),
            ({"type": "content_block_start", "content_block": {"input": FORGED}}, begun, False),
            ({"type": "content_block_delta", "delta": {"text": json.dumps(FORGED)}}, begun, False),
            self._unreadable(begun),
            ({"type": "message_delta", "usage": {"output_tokens": self.out}}, told, False),
            names=True,
        )
        # The name of this event says it all.
        stop = sse({"type": "message_stop"}, names=True)
        stages += (Stage(stop, told, True, stop, b"event: message_stop\ndata"),)
        asked = {"model": self._model(), "stream": True}
        return Form(
            "messages",
            "claude",
            "Claude",
            "/v1/messages",
            stages,
            asked,
            True,
            True,
            stages[-1].data,
        )

    def _iterations(self) -> tuple[dict[str, object], Figures]:
        """A call with a compaction and an advisor, whose top has the output of both of its own
        requests, but the input of the first alone."""
        plain = self.read - self.cached - self.written
        usage: dict[str, object] = {
            **self._message_usage(), "output_tokens": self.out,
            "iterations": [
                {"type": "compaction", "input_tokens": 7, "output_tokens": self.thought,
                 "cache_creation_input_tokens": self.written, "cache_read_input_tokens": 11},
                {"type": "message", "output_tokens": self.out - 1, "input_tokens": plain,
                 "cache_creation_input_tokens": self.written,
                 "cache_read_input_tokens": self.cached},
                {"type": "advisor_message", "model": f"advisor-{self._draw.randrange(3)}",
                 "input_tokens": self.read, "output_tokens": 77,
                 "cache_read_input_tokens": self.cached},
                {"type": "message", "input_tokens": 5, "output_tokens": 1,
                 "cache_read_input_tokens": self.read},
            ],
        }  # fmt: skip
        told = (
            3 * self.read + 23 + self.written + self.cached, self.out + self.thought + 77,
            11 + 2 * self.cached + self.read, 2 * self.written, None,
        )  # fmt: skip
        return usage, told

    def _advised(self) -> Form:
        usage, told = self._iterations()
        value = {"id": "msg", "type": "message", "model": "m", "usage": usage}
        asked: dict[str, object] = {"model": self._model()}
        return Form("messages", "claude", "Claude", "/v1/messages", _json(value, told), asked)

    def _advised_stream(self) -> Form:
        usage, told = self._iterations()
        begun = (self.read, 1, self.cached, self.written, None)
        start = {"id": "msg", "model": "m", "usage": {**self._message_usage(), "output_tokens": 1}}
        stages = _stream(
            ({"type": "message_start", "message": start}, begun, False),
            self._unreadable(begun),
            ({"type": "message_delta", "usage": usage}, told, False),
            names=True,
        )
        stop = sse({"type": "message_stop"}, names=True)
        stages += (Stage(stop, told, True, stop, b"event: message_stop\ndata"),)
        asked: dict[str, object] = {"model": self._model(), "stream": True}
        return Form("messages", "claude", "Claude", "/v1/messages", stages, asked, True, True, stop)

    def _background(self) -> Form:
        """A response that is told of as often as it is looked at."""
        _, told = self._response()
        looks = [
            ("GET", ""),
            ("GET", ""),
            ("POST", "/cancel"),
            ("GET", "?stream=true"),
            ("GET", ""),
        ]
        self._draw.shuffle(looks)
        value = {"id": NAME, "model": "m", "status": "queued", "usage": None}
        path = f"/v1/responses/{NAME}"
        return Form(
            "responses", "gpt", "GPT", "/v1/responses", _json(value, None), {"model": self._model()},
            looks=tuple((method, path + end) for method, end in looks), late=told,
        )  # fmt: skip

    def _count_tokens(self) -> Form:
        stages = _json({"input_tokens": self.read}, None)
        return Form("count_tokens", "claude", "Claude", "/v1/messages/count_tokens", stages,
                    {"model": self._model()}, counts=False)  # fmt: skip

    def _generated(
        self, out: int, finish: str | None, *forged: object
    ) -> tuple[dict[str, object], Figures]:
        usage = {
            "promptTokenCount": self.read, "cachedContentTokenCount": self.cached,
            "candidatesTokenCount": out, "thoughtsTokenCount": self.thought,
            "totalTokenCount": self.read + out + self.thought,
        }  # fmt: skip
        row = {
            "content": {"parts": [{"text": "Hi"}, *forged]},
            **({"finishReason": finish} if finish else {}),
        }
        value = {"candidates": [row], "modelVersion": "m", "usageMetadata": usage}
        return value, (self.read, out + self.thought, self.cached, None, self.thought)

    def _generate(self) -> Form:
        path = f"/v1beta/models/{self._model()}:generateContent"
        return Form(
            "generate",
            "gemini",
            "Gemini",
            path,
            _json(
                *self._generated(self.out, "STOP", {"functionCall": {"name": "f", "args": FORGED}})
            ),
            {},
        )

    def _generate_stream(self) -> Form:
        steps = [
            self._generated(1, None),
            self._generated(2, None, {"functionCall": {"name": "f", "args": FORGED}}),
            self._generated(self.out, "STOP"),
        ]
        stages = _stream(*((value, told, n == 2) for n, (value, told) in enumerate(steps)))
        path = f"/v1beta/models/{self._model()}:streamGenerateContent?alt=sse"
        return Form("generate", "gemini", "Gemini", path, stages, {}, True, True, stages[-1].data)


def plans(calls: int, seed: int) -> Iterator[Plan]:
    """The same calls for the same seed."""
    draw = random.Random(seed)
    forms = Forms(draw)
    for number in range(calls):
        form = forms.one()
        length = sum(len(stage.data) for stage in form.stages)
        plan = Plan(
            f"n-{number:06}",
            _named(form, f"resp-n-{number:06}"),
            [],
            piece=draw.choice((5, 33, 64, 250, 4000)),
        )
        fate = draw.random() if not form.looks else 1.0
        if fate < 0.10:
            plan.cut = draw.randrange(length)
        elif fate < 0.13:
            plan.bad = True
        elif fate < 0.17:
            plan.stuck, plan.leaves = True, 0
        elif fate < 0.29:
            plan.leaves = draw.choice((0, draw.randrange(length + 400)))
        elif fate < 0.45 and form.streams:
            plan.early = True
        if form.looks:
            yield plan
            continue
        if draw.random() < 0.05:
            plan.refusals = [draw.choice((429, 503, 529)) for _ in range(draw.choice((1, 1, 2)))]
        if draw.random() < 0.06:
            # Not asked again there, so that one candidate is left for it.
            plan.refusals.append(draw.choice(("told", "told", "lost")))
        yield plan


def _named(form: Form, name: str) -> Form:
    """The form with a name of its own for what it makes."""
    if not form.looks:
        return form
    data = form.stages[0].data.replace(NAME.encode(), name.encode())
    looks = tuple((method, path.replace(NAME, name)) for method, path in form.looks)
    return replace(form, stages=(Stage(data, None, False, data),), looks=looks)


def looked_at(plan: Plan, *, stream: bool) -> bytes:
    """Return the vendor's body for a response that is done."""
    read, out, cached, _, thought = plan.form.late or (None,) * 5
    value = {
        "id": f"resp-{plan.name}", "model": "m", "status": "completed",
        "usage": {
            "input_tokens": read, "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": out, "output_tokens_details": {"reasoning_tokens": thought},
        },
    }  # fmt: skip
    if not stream:
        return json.dumps(value).encode()
    created = {"type": "response.created", "response": {"id": value["id"], "model": "m"}}
    return sse(created, {"type": "response.completed", "response": value}, names=True)


@dataclass
class BookVendor:
    """Answers each call as it is planned, and writes down what it sent of it."""

    plans: dict[str, Plan]
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                request = await read_head(reader)
                request.body = await read_body(reader, request)
                await self._answer(request, reader, writer)
        writer.close()

    async def _answer(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if "/responses/resp-" in request.path:
            self._tell(request, writer)
            await writer.drain()
            return
        asked = request.json()
        plan = self.plans[str(asked["nonce"])]
        plan.arrived += 1
        if plan.refusals and isinstance(plan.refusals[0], str):
            self._waste(plan, writer)
        elif plan.refusals:
            writer.write(_head(f"{plan.refusals.pop(0)} No", b"{}", b"retry-after-ms: 5\r\n"))
        elif plan.bad:
            writer.write(_head("400 Bad", b'{"error":{"code":"bad"}}'))
        else:
            if plan.form.key == "asking":
                assert asked["stream_options"] == {"include_usage": True}
            plan.served += 1
            if plan.stuck:
                await reader.read()
                writer.close()
                return
            await self._good(plan, writer)
        await writer.drain()

    def _tell(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Tell again what a response used."""
        path, _, query = request.path.partition("?")
        plan = self.plans[path.split("/")[3].removeprefix("resp-")]
        plan.told += 1
        data = looked_at(plan, stream="stream" in query)
        if "stream" in query:
            writer.write(STREAM_HEAD + chunk(data) + b"0\r\n\r\n")
        else:
            writer.write(_head("200 OK", data))

    def _waste(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        """Work for nothing: say what it took, or nothing that can be read."""
        told = plan.refusals.pop(0) == "told"
        plan.wasted.append(WASTE if told else None)
        if told:
            writer.write(_head("500 Oops", USED[plan.form.key]))
        else:
            writer.write(b"nonsense\r\n\r\n")
            writer.close()

    async def _good(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        data = b"".join(stage.data for stage in plan.form.stages)
        upto = data if plan.cut is None else data[: plan.cut]
        streams = plan.form.streams
        plan.sent = 0
        writer.write(STREAM_HEAD if streams else _head("200 OK", data)[: -len(data)])
        for start in range(0, len(upto), plan.piece):
            piece = upto[start : start + plan.piece]
            writer.write(chunk(piece) if streams else piece)
            # What may have left counts as sent; what surely arrived, the client says.
            plan.sent += len(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if plan.cut is not None:
            writer.close()
        elif streams:
            writer.write(b"0\r\n\r\n")


_OPENAI = b'{"error":{"code":"x"},"usage":{"prompt_tokens":70,"completion_tokens":20}}'
USED = {
    "gpt": _OPENAI,
    "asking": _OPENAI,
    "claude": b'{"type":"error","error":{"type":"x"},"usage":{"input_tokens":70,"output_tokens":20}}',
    "gemini": b'{"error":{"status":"X"},"usageMetadata":'
    b'{"promptTokenCount":70,"candidatesTokenCount":20}}',
}
"""An error that says what it took, as each vendor would."""


def _head(status: str, body: bytes, more: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + more + b"\r\n" + body


@asynccontextmanager
async def book_vendor(planned: dict[str, Plan]) -> AsyncIterator[BookVendor]:
    vendor = BookVendor(planned)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(vendor.serve(reader, writer))
        vendor.tasks.add(task)
        task.add_done_callback(vendor.tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 26, backlog=1024)
    vendor.port = server.sockets[0].getsockname()[1]
    try:
        yield vendor
    finally:
        server.close()
        for task in list(vendor.tasks):
            task.cancel()
        await asyncio.gather(*vendor.tasks, return_exceptions=True)
        await server.wait_closed()
