"""Where the first event of a stream ends, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.plugin_api.json.outline import BOM
from sidecar.proxy.stream.first_event import FirstEvent, usual_first_event

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
SAYING_NOTHING = st.sampled_from(
    [b": comment", b"", b"retry: 5", b"event: ping", b"data:", b"data: ", b"datas: x",
     b'data: {"type": "ping"}', b'data: {"type":"keepalive","sequence_number":1}']
)  # fmt: skip


@given(
    start=st.sampled_from([b"", BOM]),
    end=ENDS,
    before=st.lists(SAYING_NOTHING, max_size=4),
    data=st.binary(min_size=1, max_size=40).map(lambda b: b"." + b.translate(None, b"\r\n")),
    rest=st.binary(max_size=40),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_first_event_in_any_pieces_is_the_first_one_with_content(
    start: bytes, end: bytes, before: list[bytes], data: bytes, rest: bytes, cuts: list[int]
) -> None:
    event = b"event: error" + end + b"data: " + data + end + end
    whole = start + b"".join(line + end + end for line in before) + event
    stream = whole + b"data" + rest
    finder, found, came = FirstEvent(), b"", 0
    for until in sorted({*(min(cut, len(stream)) for cut in cuts), len(stream)}):
        found = finder.feed(stream[came:until])
        came = until
        if found:
            break
    assert found.strip(b"\r\n") == event.strip(b"\r\n")
    # The last byte of the last line end may be missing: it says nothing.
    assert came >= len(whole) - 1


@given(
    lines=st.lists(
        SAYING_NOTHING | st.sampled_from([b"event: response.created", b"event: heartbeat"])
        | st.sampled_from([b"data: {}", b'data: {"a":"b"}', b"data: x", b"data:{}", BOM]),
        max_size=6,
    ),
    ends=st.lists(ENDS | st.sampled_from([b"\n\n", b"\r\n\r\n"]), min_size=6, max_size=6),
    rest=st.binary(max_size=9),
)  # fmt: skip
def test_usual_first_event_is_the_one_that_is_found_in_any_form(
    lines: list[bytes], ends: list[bytes], rest: bytes
) -> None:
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=False)) + rest
    assert usual_first_event(stream) in {b"", FirstEvent().feed(stream)}


@pytest.mark.parametrize("name", [b"", b"event: message_start\n", b"event: response.created\n"])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_usual_first_event_is_found_in_what_vendors_send(name: bytes, end: bytes) -> None:
    event = name + b'data: {"type":"message_start"}' + end
    assert usual_first_event(event + event) == event
    assert usual_first_event(event[:-1]) == b""


SILENT = [b"", b"\n\n", b": x\n\n", b"event: a\n\n", b"data:\n\n", b"event: ping\ndata: {}\n\n"]


@pytest.mark.parametrize("stream", [*SILENT, b"data: x", b"data: x\n"])
def test_first_event_without_data_or_its_end_is_none(stream: bytes) -> None:
    assert FirstEvent().feed(stream) == b""


@pytest.mark.parametrize("stream", SILENT)
def test_rest_without_content_is_empty(stream: bytes) -> None:
    finder = FirstEvent()
    finder.feed(stream)
    assert finder.rest() == b""


def test_rest_of_a_stream_without_its_last_blank_line_is_an_event() -> None:
    finder = FirstEvent()
    finder.feed(b": x\n\ndata: y\n")
    assert finder.rest() == b"data: y\n"
