"""What asking for usage adds to a stream is taken out of it, to the byte, however it is cut."""

from __future__ import annotations

import json
import re
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_answers import CHAT_USAGE, RECORDED, sse

from sidecar import Endpoint, ModelAt
from sidecar.plugin_api.manager import discover
from sidecar.plugin_api.usage_meter import MAX_EVENT_BYTES
from sidecar.proxy.stream.filter import StreamFilter

DIALECT = discover().dialects["openai"]
CHAT = Endpoint("chat", ModelAt.BODY, counts=True)
STREAMS = [
    each.body
    for each in RECORDED
    if each.dialect == "openai" and each.endpoint == "chat" and each.body.startswith(b"data")
]
FIGURES = b'data: {"id":"c1","choices":[],"usage":' + json.dumps(CHAT_USAGE).encode() + b"}\n\n"
NULL = b'"usage":null'


def hidden(*pieces: bytes) -> bytes:
    hiding = StreamFilter(partial(DIALECT.strip_injected_usage, CHAT))
    return b"".join(map(hiding.feed, pieces)) + hiding.rest()


def pieces_of(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    return [stream[a:b] for a, b in pairwise(sorted({0, len(stream), *cuts}))]


def plain_and_asked(data: st.DataObject) -> tuple[bytes, bytes]:
    """A stream as a vendor sends it to who did not ask, and to who did."""
    end = data.draw(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]))
    space = data.draw(st.sampled_from(["", " "]))
    comma, colon = f",{space}", f":{space}"
    values = st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
        | st.just('"usage":null') | st.just("\ud83d"),
        lambda inner: st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["usage", "a", "choices"]), inner, max_size=2),
        max_leaves=6,
    )  # fmt: skip
    fields = st.dictionaries(st.sampled_from(["id", "é", "x_new", "choices"]), values, max_size=4)
    plain, asked = b"", b""
    for chunk in data.draw(st.lists(fields, min_size=1, max_size=5)):
        rows = [
            f"{json.dumps(name)}{colon}{json.dumps(value, separators=(comma, colon))}"
            for name, value in chunk.items()
        ]
        at = data.draw(st.integers(0, len(rows)))
        with_null = [*rows[:at], f'"usage"{colon}null', *rows[at:]]
        before = data.draw(
            st.sampled_from([b"", b": keep-alive" + end, b"id: 7" + end[: len(end) // 2]])
        )
        plain += before + b"data: {" + comma.join(rows).encode() + b"}" + end
        asked += before + b"data: {" + comma.join(with_null).encode() + b"}" + end
    asked += FIGURES.replace(b"\n\n", end)
    return plain + b"data: [DONE]" + end, asked + b"data: [DONE]" + end


@given(st.data())
def test_a_stream_is_as_it_would_have_been_without_asking(data: st.DataObject) -> None:
    plain, asked = plain_and_asked(data)
    assert hidden(*pieces_of(data, asked)) == plain


def _events(stream: bytes) -> list[bytes]:
    """The events, each with its end; the last one may have none."""
    ends = [match.end() for match in re.finditer(rb"\r\n\r\n|\n\n|\r\r", stream)]
    return [stream[a:b] for a, b in pairwise([0, *ends, len(stream)])]


def adds(event: bytes) -> bool:
    """Whether it is the chunk of the figures, as a JSON parser sees it."""
    try:
        chunk = json.loads(event.removeprefix(b"data: "))
    except ValueError:
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and bool(chunk.get("usage"))


@pytest.mark.parametrize("stream", STREAMS)
@given(data=st.data())
def test_recorded_stream_loses_its_injected_figures_only(
    data: st.DataObject, stream: bytes
) -> None:
    kept = [event for event in _events(stream) if not adds(event)]
    expected = b"".join(kept).replace(b"," + NULL, b"")
    assert hidden(*pieces_of(data, stream)) == expected


@given(st.data(), st.integers(0, 400))
def test_a_stream_that_was_cut_lacks_no_whole_event(data: st.DataObject, at: int) -> None:
    """The half event at its end passes as it is."""
    chunks = [
        b'data: {"choices":[{"delta":{"content":"%d"}}],"usage":null}\n\n' % n for n in range(6)
    ]
    stream = b"".join(chunks)[:at]
    whole, half = stream.rpartition(b"\n\n")[0], stream.rpartition(b"\n\n")[2]
    expected = (whole + b"\n\n" if whole else b"").replace(b"," + NULL, b"")
    found = hidden(*pieces_of(data, stream))
    assert found.startswith(expected)
    assert found[len(expected) :] in {half, half.replace(b"," + NULL, b"")}


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: {", NULL, b"}\n\n"]), max_size=9))
def test_garbage_passes_as_it_is(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    if b'"usage"' not in stream:
        assert hidden(*pieces) == stream
    else:
        assert len(hidden(*pieces)) <= len(stream)


def test_a_whole_event_is_never_held() -> None:
    hiding = StreamFilter(partial(DIALECT.strip_injected_usage, CHAT))
    for event in (b'data: {"a":1}\n\n', b": ping\r\n\r\n", b"data: x\r\r"):
        assert hiding.feed(event) == event
    assert hiding.feed(b"data: half") == b""
    assert hiding.feed(b" and half\n\n: an") == b"data: half and half\n\n"
    assert hiding.rest() == b": an"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_huge_event_is_let_through_and_what_follows_is_not(end: bytes, whole: bool) -> None:
    hiding = StreamFilter(partial(DIALECT.strip_injected_usage, CHAT))
    piece = b"x" * 65536
    pieces = [piece] * (MAX_EVENT_BYTES // len(piece) + 2)
    assert b"".join(map(hiding.feed, pieces)) == b"".join(pieces)
    rest = [b"x" + end + FIGURES] if whole else [b"x", *(bytes([byte]) for byte in end), FIGURES]
    assert b"".join(map(hiding.feed, rest)) + hiding.rest() == b"x" + end
    assert hiding.feed(FIGURES + b"data: x\n\n") == b"data: x\n\n"


def test_stream_passes_unchanged_when_the_dialect_raises(caplog: pytest.LogCaptureFixture) -> None:
    def unasked(event: bytes) -> bytes:
        raise KeyError("a prompt")

    hiding = StreamFilter(unasked)
    assert hiding.feed(FIGURES) + hiding.feed(FIGURES) == FIGURES + FIGURES
    assert [each.getMessage() for each in caplog.records] == [
        "dialect plugin: strip_injected_usage raised KeyError; the rest of the stream passes"
    ]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b'data: {"choices":[],"usage":{"a":1}}\n\n', b""),
        (b'data: {"usage" : {"a":1} , "choices" : [ ]}\n\n', b""),
        (b'data: {"id":"","choices":[],"prompt_filter_results":[{}],"usage":null}\n\n',
         b'data: {"id":"","choices":[],"prompt_filter_results":[{}]}\n\n'),
        (b'data: {"choices":[{"usage":null}],"usage":null}\n\n', b'data: {"choices":[{"usage":null}]}\n\n'),
        (b'data: {"usage":null}\n\n', b"data: {}\n\n"),
        (b'data: {"error":{"code":"x"},"usage":null}\n\n', b'data: {"error":{"code":"x"}}\n\n'),
    ],
    ids=["figures", "spaced", "content filter", "deeper down", "alone", "error"],
)  # fmt: skip
def test_event_loses_its_injected_usage(event: bytes, expected: bytes) -> None:
    assert DIALECT.strip_injected_usage(CHAT, event) == expected


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"index":0}],"usage":{"a":1}}\n\n',
        b'data: {"choices":[],"x_groq":{"usage":{"a":1}}}\n\n',
        b'data: {"choices":[],\ndata: "usage":null}\n\n',
        b'data: {"choices":[],"usage":null\n\n',
        b'data: {"choices":[{"usage":null}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"usage\\":null"}}]}\n\n',
        b'event: usage\n: "usage":null\n\n',
        b'data: ["usage",null]\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_an_event_that_asking_does_not_add(event: bytes) -> None:
    assert DIALECT.strip_injected_usage(CHAT, event) == event


BODIES = [
    (b'{"model":"m","stream":true}', b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'),
    (b'{"model":"m" }\r\n ', b'{"model":"m" ,"stream_options":{"include_usage":true}}\r\n '),
    (b'{"stream_options":null,"a":1}', b'{"stream_options":{"include_usage":true},"a":1}'),
    (b'{"stream_options":{}}', b'{"stream_options":{"include_usage":true}}'),
    (b'{"stream_options" : { "include_obfuscation" : false } , "x":1E2}',
     b'{"stream_options" : { "include_obfuscation" : false ,"include_usage":true} , "x":1E2}'),
    (b'{"stream_options":{"include_usage":false,"new":[1]}}', b'{"stream_options":{"include_usage":true,"new":[1]}}'),
    (b'{"stream_options":{"include_usage": null}}', b'{"stream_options":{"include_usage": true}}'),
    (b'{"a":{"stream_options":{}},"stream_options":{},"b":{"stream_options":{}}}',
     b'{"a":{"stream_options":{}},"stream_options":{"include_usage":true},"b":{"stream_options":{}}}'),
    (b'{"stream_\\u006fptions":{}}', b'{"stream_\\u006fptions":{"include_usage":true}}'),
    (b'{"half":"\\ud83d"}', b'{"half":"\\ud83d","stream_options":{"include_usage":true}}'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), BODIES, ids=lambda each: each.decode())
def test_the_question_is_spliced_in(body: bytes, expected: bytes) -> None:
    assert DIALECT.inject_usage_option(CHAT, body) == expected
    assert DIALECT.inject_usage_option(Endpoint("completions", ModelAt.BODY), body) == expected
    assert DIALECT.inject_usage_option(CHAT, expected) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream_options":{"include_usage":true}}',
        b'{"stream_options":{"include_usage":"yes"}}',
        b'{"stream_options":"all"}',
        b"[1]",
        b"{",
        b'{"a":' * 100_000,
    ],
    ids=["asked", "wrong", "no object", "a list", "broken", "deep"],
)
def test_where_the_vendor_should_speak_nothing_is_asked(body: bytes) -> None:
    assert DIALECT.inject_usage_option(CHAT, body) is None


@pytest.mark.parametrize("name", ["responses", "embeddings", "other"])
def test_other_answers_report_usage_unasked(name: str) -> None:
    assert DIALECT.inject_usage_option(Endpoint(name, ModelAt.BODY), b'{"stream":true}') is None


def test_the_figures_on_record_are_seen_as_asked_for() -> None:
    """So that the properties above are about streams that hold something to hide."""
    assert sum(NULL in each or b'"choices":[],"usage":{' in each for each in STREAMS) >= 2
    assert sse({"choices": [], "usage": CHAT_USAGE}).startswith(b'data: {"choices":[],"usage":{')
