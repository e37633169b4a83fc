"""Where the first event of a stream ends, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.sse import first_event

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(
    end=ENDS,
    before=st.lists(st.sampled_from([b": comment", b"", b"retry: 5", b"event: ping"]), max_size=4),
    data=st.binary(max_size=40).map(lambda b: b.translate(None, b"\r\n")),
    rest=st.binary(max_size=40),
    cut=st.integers(0, 200),
)
def test_it_is_the_first_one_with_data_and_only_when_it_is_whole(
    end: bytes, before: list[bytes], data: bytes, rest: bytes, cut: int
) -> None:
    noise = b"".join(line + end + end for line in before)
    event = b"event: error" + end + b"data: " + data + end + end
    assert first_event(noise + event + b"data" + rest) == event
    # The last byte of the last line end may be missing: it says nothing.
    assert first_event((noise + event)[: min(cut, len(noise + event) - 2)]) == b""


NONE = [b"", b"\n\n", b": x\n\n", b"data: x", b"data: x\n", b"event: a\n\n"]


@pytest.mark.parametrize("stream", NONE)
def test_there_is_none_without_data_or_its_end(stream: bytes) -> None:
    assert first_event(stream) == b""
