"""Usage comes out the same, however the bytes of an answer are cut."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from recorded_answers import (
    CHAT,
    CHAT_USAGE,
    RECORDED,
    RESPONSE,
    Recorded,
    chunk,
    delta,
    sse,
)
from recorded_answers import RESPONSES as RESPONSES_USAGE

from sidecar import Endpoint, JsonMeter, Meter, ModelAt, ResponseFields, SseMeter, Usage, as_cost
from sidecar.plugin_api.manager import discover
from sidecar.plugin_api.usage_meter import MAX_COST, MAX_EVENT_BYTES

REGISTRY = discover()


def meter_for(recorded: Recorded) -> Meter:
    endpoint = Endpoint(recorded.endpoint, ModelAt.BODY, counts=True)
    return REGISTRY.dialects[recorded.dialect].meter(endpoint, recorded.content_type)


def check(recorded: Recorded, meter: Meter) -> None:
    assert meter.usage() == recorded.usage
    assert meter.model == recorded.model
    assert meter.error == recorded.error
    if meter.expects_end:
        assert meter.finished is recorded.finished
    if recorded.created:
        assert meter.created() == recorded.created


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.name)
def test_meter_reads_usage_of_a_complete_response(recorded: Recorded) -> None:
    meter = meter_for(recorded)
    meter.feed(recorded.body)
    check(recorded, meter)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.name)
def test_meter_reads_usage_byte_by_byte(recorded: Recorded) -> None:
    meter = meter_for(recorded)
    for byte in recorded.body:
        meter.feed(bytes([byte]))
    check(recorded, meter)


@given(st.data())
def test_meter_reads_the_same_usage_for_every_cut(data: st.DataObject) -> None:
    recorded = data.draw(st.sampled_from(RECORDED))
    cuts = data.draw(st.lists(st.integers(0, len(recorded.body)), max_size=8))
    meter = meter_for(recorded)
    for start, end in pairwise(sorted({0, len(recorded.body), *cuts})):
        meter.feed(recorded.body[start:end])
    check(recorded, meter)


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from(RECORDED))
def test_meter_never_raises_on_garbage(pieces: list[bytes], recorded: Recorded) -> None:
    meter = meter_for(recorded)
    for piece in pieces:
        meter.feed(piece)
    meter.usage()
    meter.created()


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_meter_is_at_a_boundary_only_between_two_events(end: bytes) -> None:
    meter = SseMeter()
    assert meter.at_boundary
    meter.feed(b"data: half")
    assert not meter.at_boundary
    meter.feed(b" and half" + end)
    assert meter.at_boundary


OPTIONAL = {"usage": CHAT_USAGE, "error": {"code": "x"}, "x_groq": {"usage": CHAT_USAGE}}
CHOICES = st.fixed_dictionaries(
    {"index": st.integers(0, 1), "finish_reason": st.sampled_from([None, None, "stop", ""])},
    optional={
        "delta": st.sampled_from([
            None, {}, {"content": " a"}, {"tool_calls": [{"index": 0}, {"index": 1}]},
            {"tool_calls": None}, {"tool_calls": [{"index": 0, "id": "call_1"}]},
        ]),
        "usage": st.sampled_from([None, CHAT_USAGE]),
    },
)  # fmt: skip
CHUNKS = st.fixed_dictionaries(
    {"model": st.sampled_from(["m-1", "m-2"])},
    optional={
        "choices": st.none() | st.lists(CHOICES, max_size=2),
        **{name: st.sampled_from([None, value]) for name, value in OPTIONAL.items()},
    },
)


def state(meter: Meter) -> dict[str, object]:
    """All that a meter knows, apart from how it reads ordinary events."""
    assert isinstance(meter, SseMeter)
    found = vars(meter).copy()
    found.pop("ordinary", None)
    is_between = meter._begun and not meter._tail and meter._large is None
    assert is_between or found.get("_decode_ordinary") is None
    found.pop("_decode_ordinary", None)
    return found


def quick_and_plain(dialect: str, endpoint: Endpoint) -> tuple[Meter, Meter]:
    """Return two meters of streams, of which the second one takes no event for ordinary."""
    quick, plain = (
        REGISTRY.dialects[dialect].meter(endpoint, "text/event-stream") for _ in range(2)
    )
    assert isinstance(plain, SseMeter)
    assert plain.ordinary is not None
    plain.ordinary = None
    return quick, plain


@given(st.lists(st.tuples(CHUNKS, st.sampled_from([(",", ":"), (", ", ": ")])), max_size=6))
def test_chat_meter_passes_over_no_chunk_that_matters(
    chunks: list[tuple[dict[str, object], tuple[str, str]]],
) -> None:
    endpoint = Endpoint("chat", ModelAt.BODY, counts=True)
    quick, plain = quick_and_plain("openai", endpoint)
    for value, separators in chunks:
        event = b"data: %b\n\n" % json.dumps(value, separators=separators).encode()
        quick.feed(event)
        plain.feed(event)
    assert state(plain) == state(quick)


TEXTS = st.sampled_from([
    " a", "message_stop", "\n\nevent: message_stop\ndata: {}", "response.completed", '"error"', "€",
])  # fmt: skip
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from([
            "content_block_delta", "message_stop", "error", "response.output_text.delta",
            "response.completed",
        ]),
        "delta": TEXTS | st.builds(lambda text: {"text": text}, TEXTS),
        "error": st.just({"code": "x"}),
        "usage": st.just({"input_tokens": 4, "output_tokens": 5}),
        "response": st.none() | st.just({"id": "resp_1", "model": "m-3"}),
    },
)  # fmt: skip
EVENTS = st.tuples(
    st.sampled_from([
        "event: content_block_delta\n", "event: response.output_text.delta\n",
        "event: message_delta\n", "event: message_stop\n", "event: error\n",
        "event: response.completed\n", "",
    ]),
    st.sampled_from(["data: ", "data:", "data: x\ndata: "]),
    VALUES.map(json.dumps) | VALUES.map(partial(json.dumps, indent=1)),
    st.sampled_from(["\n\n", "\r\n\r\n", "\n", "\n\nevent: message_stop\ndata: {}\n\n"]),
)  # fmt: skip


@given(st.sampled_from([("anthropic", "messages"), ("openai", "responses")]),
       st.lists(EVENTS.map("".join), max_size=6))  # fmt: skip
def test_meter_of_named_events_passes_over_none_that_matters(
    kind: tuple[str, str], events: list[str]
) -> None:
    dialect, name = kind
    endpoint = Endpoint(name, ModelAt.BODY, counts=True)
    quick, plain = quick_and_plain(dialect, endpoint)
    for event in events:
        quick.feed(event.encode())
        plain.feed(event.encode())
    assert state(plain) == state(quick)


CANDIDATES = st.fixed_dictionaries(
    {"content": st.just({"parts": [{"text": "a"}]})},
    optional={
        "index": st.sampled_from([0, 0, 1]),
        "finishReason": st.sampled_from([None, "STOP", ""]),
        "groundingMetadata": st.sampled_from([None, {"webSearchQueries": ["a", "b"]}]),
    },
)
GEMINI_CHUNKS = st.fixed_dictionaries(
    {"modelVersion": st.just("m-1")},
    optional={
        "candidates": st.none() | st.lists(CANDIDATES, max_size=2),
        "usageMetadata": st.none()
        | st.integers(1, 9).map(lambda n: {"promptTokenCount": n, "candidatesTokenCount": 3}),
        "error": st.sampled_from([None, "", {"code": 401, "status": "X"}]),
        "promptFeedback": st.sampled_from([None, {}, {"blockReason": "SAFETY"}]),
        "event_type": st.sampled_from(["", "interaction.complete"]),
        "interaction": st.sampled_from([None, {"id": "i-1", "usage": {"total_input_tokens": 2}}]),
    },
)


@example([{"event_type": "interaction.complete"}, {"error": ""}], "\n\n")
@example([{"event_type": "interaction.complete"}, {"event_type": ""}], "\n\n")
@given(st.lists(GEMINI_CHUNKS, max_size=6), st.sampled_from(["\n\n", "\r\n\r\n", "\n"]))
def test_gemini_meter_passes_over_no_chunk_that_matters(
    chunks: list[dict[str, object]], end: str
) -> None:
    endpoint = Endpoint("generate", ModelAt.PATH, counts=True)
    quick, plain = quick_and_plain("gemini", endpoint)
    for value in chunks:
        event = f"data: {json.dumps(value)}{end}".encode()
        quick.feed(event)
        plain.feed(event)
        known = [(each.usage(), each.finished, each.error) for each in (quick, plain)]
        assert known[0] == known[1]
        assert quick.created() == plain.created()


LINES = st.sampled_from([
    b"data: {}", b"data: a b", b"data:x", b"data", b"data:  y", b"event: a", b"event:b", b"event",
    b"event:  c", b": z", b"id: 1", b"",
])  # fmt: skip


@given(st.lists(LINES, max_size=4), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_event_of_the_usual_form_is_read_as_one_of_any_form(lines: list[bytes], end: bytes) -> None:
    event = b"".join(line + end for line in lines)
    usual, general = Collector(), Collector()
    usual.feed(event + end)
    general.feed(event.replace(end, end + b": any" + end) + end)
    assert usual.events == [each for each in general.events if each[1]]


class Failing(SseMeter):
    wanted = (b"x",)

    def on_event(self, event: bytes, data: bytes) -> None:
        raise KeyError("a prompt")


class FailingJson(JsonMeter):
    def read_response(self, answer: ResponseFields) -> None:
        raise KeyError("a prompt")


@pytest.mark.parametrize(
    ("meter", "what"),
    [
        (Failing(), "on_event raised KeyError; usage not counted further"),
        (FailingJson(), "read_bytes raised KeyError; usage not counted"),
    ],
    ids=["events", "json"],
)
def test_meter_that_raises_is_logged_once_and_reports_no_usage(
    meter: Meter, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    meter.feed(b"data: x\n\n")
    meter.feed(b"data: x\n\n")
    assert meter.usage() is None
    assert not meter.expects_end
    assert [record.getMessage() for record in caplog.records] == [
        f"meter {type(meter).__name__}: {what}"
    ]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.name)
def test_meter_read_in_the_middle_reports_the_same_at_the_end(recorded: Recorded) -> None:
    meter = meter_for(recorded)
    for start in range(0, len(recorded.body), 7):
        meter.feed(recorded.body[start : start + 7])
        meter.usage()
        _ = meter.finished
    check(recorded, meter)


def test_meter_parses_only_the_latest_of_repeated_events() -> None:
    meter = Repeating()
    for number in range(1000):
        meter.feed(b"data: figures %d\n\n" % number)
    meter.feed(b"data: end\n\n")
    meter.feed(b"data: figures 1000\n\n")
    meter.feed(b"data: nothing\n\n")
    meter.feed(b"data: figures 10")
    meter.usage()
    assert meter.seen == [b"figures 999", b"end", b"figures 1000", b"figures 10"]


class Repeating(SseMeter):
    wanted = (b"end",)
    repeated = b"figures"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def on_event(self, event: bytes, data: bytes) -> None:
        self.seen.append(data)


class Collector(SseMeter):
    wanted = (b"",)

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[bytes, bytes]] = []

    def on_event(self, event: bytes, data: bytes) -> None:
        if data:
            self.events.append((event, data))


@pytest.mark.parametrize(
    ("amount", "per_dollar", "nano"),
    [
        (0.00014, 1, 140_000),
        (1e-10, 1, 0),
        (3, 1, 3 * 10**9),
        (0, 1, 0),
        (37_756_005, 10**10, 3_775_600),
        (-1, 1, 0),
        (1e300, 1, MAX_COST),
        (10**400, 1, MAX_COST),
        (float("nan"), 1, None),
        (float("inf"), 1, None),
        (True, 1, None),
        ("0.1", 1, None),
        (None, 1, None),
        ({}, 1, None),
    ],
)
def test_as_cost_returns_exact_nano_dollars(
    amount: object, per_dollar: int, nano: int | None
) -> None:
    assert as_cost(amount, per_dollar) == nano


def test_sse_meter_joins_data_lines_and_drops_one_space() -> None:
    meter = Collector()
    meter.feed(b"event: a\ndata:  x\ndata:y\nid: 1\n: comment\n\ndata\n\ndata: z\n\n")
    assert meter.events == [(b"a", b" x\ny"), (b"", b"z")]


def huge(name: str, event: str) -> bytes:
    """An event whose middle is too large to keep."""
    assert event.count("FILL") == 1
    return f"{name}data: {event}\n\n".replace("FILL", "A" * (MAX_EVENT_BYTES + 5)).encode()


HUGE = {
    "picture first": ("responses", huge("event: image\n", '{"type":"x.partial_image","b64":"FILL"}')
        + sse({"type": "response.completed", "response": RESPONSE}, names=True), RESPONSES_USAGE),
    "picture last": ("responses", huge(
        "event: response.completed\n", '{"type":"response.completed","response":{"id":"resp_1",'
        '"output":[{"result":"FILL\\"usage\\":{\\"input_tokens\\":9}"}],"model":"gpt-5.5",'
        '"usage":{"input_tokens":75,"output_tokens":3}}}'), Usage(75, 3)),
    "chat": ("chat", huge("", '{"choices":[{"index":0,"delta":{"audio":"FILL"}}]}')
        + sse(chunk(choices=[delta("", "stop")]), chunk(choices=[], usage=CHAT_USAGE), "[DONE]"),
        CHAT),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("size", [65_536, 1 << 24])
def test_sse_meter_reads_a_huge_event_and_those_after_it(name: str, size: int) -> None:
    endpoint, body, usage = HUGE[name]
    meter = REGISTRY.dialects["openai"].meter(Endpoint(endpoint, counts=True), "text/event-stream")
    for start in range(0, len(body), size):
        meter.feed(body[start : start + size])
    assert meter.usage() == usage
    assert meter.finished
    assert meter.at_boundary
    assert not meter.unread


def test_sse_meter_with_a_truncated_huge_event_is_unfinished() -> None:
    meter = REGISTRY.dialects["openai"].meter(Endpoint("responses"), "text/event-stream")
    body = HUGE["picture last"][1][:-9]
    for start in range(0, len(body), 65_536):
        meter.feed(body[start : start + 65_536])
    assert meter.usage() is None
    assert meter.unfinished
    assert not meter.at_boundary
