"""A credential is found in every spelling, at every cut, and nothing else is touched."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import Endpoint, ModelAt
from sidecar.http.wire.framing import chunk_of
from sidecar.masking import MIN_CREDENTIAL_CHARS, CredentialMask
from sidecar.plugin_api.manager import discover
from sidecar.plugin_api.sse import EventSplitter
from sidecar.plugin_api.usage_meter import BaseMeter
from sidecar.proxy.relay import Relay
from sidecar.proxy.stream.error_masking import (
    MASKED_BODY_BYTES,
    MAX_HELD_BYTES,
    ErrorEventMask,
    mask_body,
)

CREDENTIAL = "sk-pr/oj+4nA=9xQ_and-more"
DIALECTS = discover().dialects
CHAT = Endpoint("chat", ModelAt.BODY, counts=True)
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
CREDENTIALS = st.text(PRINTABLE, min_size=MIN_CREDENTIAL_CHARS, max_size=60)
USUAL = st.from_regex(r"[A-Za-z0-9_/+=.-]{12,60}", fullmatch=True)


@st.composite
def spelled(draw: st.DrawFn, text: str) -> str:
    """The text, each of its characters in some spelling."""
    how = draw(st.sampled_from(["raw", "json", "mixed", "unicode", "percent", "html"]))
    return "".join(
        draw(st.sampled_from(spellings(c))) if how == "mixed" else one_spelling(how, c)
        for c in text
    )


def one_spelling(how: str, char: str) -> str:
    code = ord(char)
    named = HTML.get(char, f"&#{code};")
    return {
        "raw": char, "unicode": f"\\u{code:04x}", "percent": f"%{code:02X}", "html": named,
        "json": json.dumps(char)[1:-1].replace("/", "\\/"),
    }[how]  # fmt: skip


def spellings(char: str) -> list[str]:
    code = ord(char)
    nested = json.dumps(json.dumps(char))[3:-3]
    return [
        *(one_spelling(how, char) for how in ("raw", "json", "unicode", "percent", "html")),
        nested, f"\\u{code:04X}", f"\\\\u{code:04x}", f"%{code:02x}", f"%25{code:02X}",
        f"&#x{code:x};", f"&#{code:05d};",
    ]  # fmt: skip


@given(st.data(), CREDENTIALS | USUAL)
def test_mask_finds_every_spelling_and_keeps_the_length(data: st.DataObject, text: str) -> None:
    form = data.draw(spelled(text)).encode()
    before, after = data.draw(
        st.sampled_from([(b"", b""), (b'{"m":"', b'"}'), (b"\xff key ", b"\n")])
    )
    found = CredentialMask(text).mask(before + form + after)
    assert len(found) == len(before + form + after)
    assert found.startswith(before)
    assert found[len(before) :].startswith(b"*" * len(form))


@given(st.binary(max_size=200), USUAL)
def test_mask_leaves_other_bytes_alone(data: bytes, text: str) -> None:
    assert CredentialMask(text).mask(data) == data


@pytest.mark.parametrize("size", range(MIN_CREDENTIAL_CHARS))
def test_mask_of_a_placeholder_finds_nothing(size: int) -> None:
    mask = CredentialMask("x" * size)
    data = b'{"error":"xxxxxxxxxx"}'
    assert (mask.mask(data), mask.mask_plain(data), mask.mask_cut(data)) == (data, data, data)
    assert mask.hold_from(data) == (len(data), False)


def test_mask_of_text_keeps_what_is_no_utf8() -> None:
    mask = CredentialMask(CREDENTIAL)
    assert mask.mask_text(f"é\udcff {CREDENTIAL}!") == f"é\udcff {'*' * len(CREDENTIAL)}!"
    assert mask.mask_text("Not \udcff Found") == "Not \udcff Found"


def test_mask_does_not_show_its_credential() -> None:
    mask = CredentialMask(CREDENTIAL)
    assert CREDENTIAL not in repr(mask)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(mask)


def test_mask_of_a_body_reaches_over_the_bound_of_spellings() -> None:
    mask = CredentialMask(CREDENTIAL)
    for at in (0, MASKED_BODY_BYTES - 5, MASKED_BODY_BYTES, 3 * MASKED_BODY_BYTES):
        body = b" " * at + CREDENTIAL.encode() + b"."
        assert mask_body(body, mask) == b" " * at + b"*" * len(CREDENTIAL) + b"."


@given(st.data(), USUAL)
def test_mask_of_what_was_cut_leaves_no_beginning(data: st.DataObject, text: str) -> None:
    form = data.draw(spelled(text)).encode()
    at = data.draw(st.integers(0, len(form)))
    found = CredentialMask(text).mask_cut(b'data: {"m":"' + form[:at])
    assert len(found) == 12 + at
    kept = found[12:].rstrip(b"*")
    assert len(kept) < 4 * 10  # fewer than four characters, however they are spelled
    assert form.startswith(kept)


# ── streams ─────────────────────────────────────────────────────────────────────────────────────

ORDINARY = {
    "openai": [
        '{"choices":[{"delta":{"content":"%s"}}],"error":null}',
        '{"type":"response.output_text.delta","delta":"%s"}',
        '{"choices":[{"delta":{"content":"an error: \\"error\\":{} %s"}}]}',
    ],
    "anthropic": ['{"type":"content_block_delta","delta":{"type":"text_delta","text":"%s"}}'],
    "gemini": ['{"candidates":[{"content":{"parts":[{"text":"%s"}]}}]}'],
}
ERRORS = {
    "openai": [
        '{"error":{"message":"%s","code":"invalid_api_key"}}',
        '{"message":"%s","error":{"type":"x"}}',
        '{"type":"response.failed","response":{"id":"r","error":{"code":"x","message":"%s"}}}',
        '{"type":"error","code":null,"message":"%s"}',
        '{"choices":[],"response":{"error":{"code":"x","message":"%s"}}}',
        '{"type":"response.output_text.delta","error":{"code":"x"},"delta":"%s"}',
    ],
    "anthropic": [
        '{"type":"error","error":{"type":"authentication_error","message":"%s"}}',
        '{"type":"content_block_delta","error":{"type":"x"},"delta":"%s"}',
        '{"type":"content_block_delta","response":{"error":{"type":"x","message":"%s"}}}',
    ],
    "gemini": ['{"error":{"code":401,"message":"%s","status":"UNAUTHENTICATED"}}'],
}
DELTAS = "content_block_delta", "response.output_text.delta"
ENDPOINTS = {"openai": ("chat", "responses"), "anthropic": ("messages",), "gemini": ("generate",)}


def filter_of(dialect: str, text: str, endpoint: str = "chat") -> ErrorEventMask:
    asked = Endpoint(endpoint, ModelAt.BODY, counts=True)
    return ErrorEventMask(
        CredentialMask(text), lambda: DIALECTS[dialect].meter(asked, "text/event-stream")
    )


def through(stream: ErrorEventMask, pieces: list[bytes]) -> bytes:
    return b"".join(map(stream.feed, pieces)) + stream.rest()


def cut_up(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    return [stream[a:b] for a, b in pairwise(sorted({0, len(stream), *cuts}))]


@st.composite
def streams(draw: st.DrawFn, dialect: str, text: str) -> tuple[bytes, bytes]:
    """A stream, and what of it a client may see. Not everything in it is JSON."""
    end = draw(st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]))
    stream = seen = ""
    for _ in range(draw(st.integers(1, 5))):
        is_error = draw(st.booleans())
        plain = spelled(text).filter(lambda form: '"' not in form and "\\" not in form)
        form = draw(plain | st.just(text.replace("/", "\\/")))
        noise = draw(st.sampled_from(["", "50% ", "\\u003c ", text[:5] + " ", text[:11] + " "]))
        template = draw(st.sampled_from((ERRORS if is_error else ORDINARY)[dialect]))
        name = draw(st.sampled_from([
            "", ": ping" + end,
            *(f"event: {each}{end[: len(end) // 2]}" for each in ("x", *DELTAS)),
        ]))  # fmt: skip
        before, after = template.split("%s")
        before, after = name + "data: " + before + noise, after + end
        stream += before + form + after
        seen += before + ("*" * len(form) if is_error else form) + after
    return stream.encode(), seen.encode()


@pytest.mark.parametrize("dialect", ORDINARY)
@given(data=st.data(), text=USUAL)
def test_stream_masks_error_events_and_nothing_else(
    data: st.DataObject, dialect: str, text: str
) -> None:
    stream, seen = data.draw(streams(dialect, text))
    endpoint = data.draw(st.sampled_from(ENDPOINTS[dialect]))
    assert through(filter_of(dialect, text, endpoint), cut_up(data, stream)) == seen


@pytest.mark.parametrize("name", ["", *(f"event: {each}\n" for each in DELTAS)])
@pytest.mark.parametrize(("dialect", "endpoint"), [(d, e) for d in ENDPOINTS for e in ENDPOINTS[d]])
def test_no_error_is_ordinary_to_a_meter(dialect: str, endpoint: str, name: str) -> None:
    meter = filter_of(dialect, CREDENTIAL, endpoint)._meter()
    meter.feed(b": begun\n\n")
    for error in (each % "x" for errors in ERRORS.values() for each in errors):
        assert not meter.feed(f"{name}data: {error}\n\n".encode()), error


@pytest.mark.parametrize("dialect", ORDINARY)
@given(data=st.data(), text=USUAL)
def test_event_that_a_meter_finds_ordinary_needs_no_mask(
    data: st.DataObject, dialect: str, text: str
) -> None:
    """Events come whole here, and some of them are cut: the mask is asked as the relay asks it."""
    stream, seen = data.draw(streams(dialect, text))
    endpoint = data.draw(st.sampled_from(ENDPOINTS[dialect]))
    mask = filter_of(dialect, text, endpoint)
    meter = mask._meter()
    passed, events = b"", EventSplitter()
    for whole in (*events.feed(b": begun\n\n" + stream), events.rest()):
        for piece in cut_up(data, whole) if data.draw(st.booleans()) else [whole]:
            is_ordinary = meter.feed(piece)
            passed += piece if is_ordinary and mask.is_between_events else mask.feed(piece)
    assert (passed + mask.rest()).removeprefix(b": begun\n\n") == seen


class Counting(BaseMeter):
    """Returns from `feed` what older meters may return: anything."""

    def feed(self, data: bytes) -> Any:
        return len(data)


def test_only_true_of_a_meter_makes_an_event_pass_without_the_mask() -> None:
    relay = Relay(cast(Any, None))
    relay.first_byte, relay._meter = 0.0, Counting()
    relay._masking, relay._keeps_ordinary = filter_of("openai", CREDENTIAL), True
    passed: dict[bytes, bytes] = {}
    relay._put = lambda data, chunk: passed.setdefault(data, chunk) == b""
    error = b'data: {"error":{"message":"%b"}}\n\n'
    event = error % CREDENTIAL.encode()
    relay._pass_on(event, chunk_of(event))
    assert passed == {error % (b"*" * len(CREDENTIAL)): b""}


@given(text=CREDENTIALS, data=st.data())
def test_data_that_has_the_opening_may_hold_it(text: str, data: st.DataObject) -> None:
    mask = CredentialMask(text)
    assert mask.may_hold(b"a" + data.draw(spelled(text[:12])).encode() + b"a")


@pytest.mark.parametrize("dialect", ORDINARY)
@pytest.mark.parametrize("kind", ["error", "ordinary"])
def test_stream_broken_off_at_any_byte_shows_no_credential(dialect: str, kind: str) -> None:
    """What a stream broke off in is no event yet: it may have been about to become an error."""
    for template in (ERRORS if kind == "error" else ORDINARY)[dialect]:
        event = f"data: {template % CREDENTIAL}\n\n".encode()
        for at in range(len(event)):
            found = through(filter_of(dialect, CREDENTIAL), [event[: at // 2], event[at // 2 : at]])
            assert len(found) == at
            assert CREDENTIAL[:4].encode() not in found or at >= len(event) - 2


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: {", b"%2", b"\n\n"]), max_size=9))
def test_stream_of_anything_passes_as_it_is(pieces: list[bytes]) -> None:
    assert through(filter_of("openai", CREDENTIAL), pieces) == b"".join(pieces)


def test_stream_holds_nothing_back_without_need() -> None:
    stream = filter_of("openai", CREDENTIAL)
    for piece in (
        b'data: {"a":"',
        b"50% of it ",
        b"passport",
        b'"}\n',
        b"\ndata: x\n\n",
        b"data: y",
    ):
        assert stream.feed(piece) == piece
    assert stream.feed(b" sk-p") == b" "
    assert stream.feed(b"assport, \\u00") == b"sk-passport, "
    assert stream.feed(b"3c") == b""
    assert stream.feed(b" and more") == b"\\u003c and more"


@pytest.mark.parametrize("size", [MAX_HELD_BYTES // 2, 3 * MAX_HELD_BYTES, 9 << 20])
@pytest.mark.parametrize("piece", [4096, 65536])
def test_stream_passes_large_ordinary_events_and_masks_what_follows(size: int, piece: int) -> None:
    text = CREDENTIAL.encode()
    large = b'data: {"delta":"' + text + b"x" * size + text + b'"}\n\n'
    error = b'data: {"error":{"message":"' + text + b'"}}\n\n'
    whole = large + error + large
    pieces = [whole[at : at + piece] for at in range(0, len(whole), piece)]
    expected = large + error.replace(text, b"*" * len(text)) + large
    assert through(filter_of("openai", CREDENTIAL), pieces) == expected


@pytest.mark.parametrize("name", [b"event: error\n", b""])
def test_stream_masks_all_of_a_large_error_event(name: bytes) -> None:
    text = CREDENTIAL.encode()
    event = name + b'data: {"error":{"message":"' + (text + b"x" * 5000) * 60 + b'"}}\n\n'
    pieces = [event[at : at + 999] for at in range(0, len(event), 999)]
    expected = event.replace(text, b"*" * len(text))
    assert through(filter_of("openai", CREDENTIAL), pieces) == expected


def test_stream_of_a_meter_that_fails_is_masked_by_what_is_plain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def meter() -> None:
        raise KeyError(CREDENTIAL)

    stream = ErrorEventMask(CredentialMask(CREDENTIAL), meter)  # type: ignore[arg-type]
    text = CREDENTIAL.encode()
    ordinary, error = b'data: {"a":"%b"}\n\n' % text, b'data: {"error":"%b"}\n\n' % text
    masked = error.replace(text, b"*" * len(text))
    assert stream.feed(ordinary) + stream.feed(error) == ordinary + masked
    assert CREDENTIAL not in caplog.text
