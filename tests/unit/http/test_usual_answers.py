"""Answers that are read without a parser, compared with the reading of the parser."""

from __future__ import annotations

from httptools import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sidecar.http.headers import for_client, lines_of, pass_by_name
from sidecar.http.wire.framing import chunk_of
from sidecar.http.wire.response_head import HeadForm, ResponseHead, head_of_fields, usual_head


class Reading:
    """What the parser reads of an answer."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.text = b""
        self.body = b""
        self.answers = 0
        self.parser = HttpResponseParser(self)
        self.keeps = False

    def on_headers_complete(self) -> None:
        self.keeps = self.parser.should_keep_alive()

    def on_status(self, text: bytes) -> None:
        self.text += text

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.answers += 1


NAMES = st.sampled_from(
    [
        b"Content-Type", b"content-length", b"Content-Length", b"Connection", b"X-A", b"Date",
        b"Transfer-Encoding", b"transfer-encoding", b"Upgrade", b"Set-Cookie", b"content-encoding",
        b"X:Y", b"a b", b"Proxy-Connection", b" X", b"", b"\xff", b"Trailer",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            b"0", b"2", b"02", b"+2", b"2 ", b"2, 2", b"", b" ", b"keep-alive", b"close",
            b"Keep-Alive",
            b"chunked", b"Chunked", b"gzip, chunked", b"websocket",
            b"\xe2\x82\xac", b"\xb2", b"gzip", b"a\tb", b"\ta", b"a\x0bb",
            b"a\x00", b"a\rb", b"a\nb", b"9" * 30,
        ]
    ),
    st.binary(max_size=6),
)  # fmt: skip
SEPARATORS = st.sampled_from([b": ", b": ", b": ", b":", b":  ", b" : ", b""])
LINES = st.tuples(NAMES, SEPARATORS, VALUES).map(b"".join)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n "])
STARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 500", b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified", b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 200  OK", b"HTTP/1.1 299 caf\xc3\xa9", b"HTTP/1.1 600 X", b"\r\nHTTP/1.1 200 OK",
        b"HTTP/2.0 200 OK", b"http/1.1 200 OK", b"HTTP/1.1 200 O\tK", b"HTTP/1.1 2000 OK",
    ]
)  # fmt: skip


LAST = b"0\r\n\r\n"
BODIES = st.binary(min_size=1, max_size=4)
FRAMED = st.one_of(
    BODIES.map(lambda body: (body, b"Content-Length: %d\r\n\r\n%b" % (len(body), body))),
    BODIES.map(lambda body: (body, b"Transfer-Encoding: chunked\r\n\r\n" + chunk_of(body) + LAST)),
    st.just((b"", b"Content-Length: 0\r\n\r\n")),
)


@given(STARTS, st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=4), FRAMED)
def test_head_that_is_read_without_the_parser_has_what_the_parser_reads(
    start: bytes, lines: list[bytes], framed: tuple[bytes, bytes]
) -> None:
    body, rest = framed
    data = b"".join([start, b"\r\n", *lines, rest])
    head = usual_head(data)
    if head is None:
        return
    size = len(data) if head.length is None else len(head.raw) + head.length
    reading = Reading()
    reading.parser.feed_data(data[:size])
    assert head.fields == reading.fields
    assert (head.status, head.reason) == (reading.parser.get_status_code(), reading.text.decode())
    read = head_of_fields(head.status, head.reason, reading.fields)
    assert structs.replace(head, raw=b"", form=None) == read
    assert reading.answers == (len(data) >= size)
    assert reading.body == (body if head.length is None else data[len(head.raw) : size])
    assert reading.keeps


USUAL = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 10:00:00 GMT\r\ncontent-type: application/json\r\n"
    b"x-request-id: req_a: b\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
)
SPOILT = st.sampled_from(
    [b":", b" ", b": ", b"\r", b"\n", b"\r\n", b"\t", b"\0", b"x", b"\xe9", b"2", b"a: b\r\n", b""]
)


@given(st.integers(0, len(USUAL) - 3), st.integers(0, 3), SPOILT)
def test_usual_head_that_is_spoilt_anywhere_is_not_read_differently(
    at: int, gone: int, put: bytes
) -> None:
    data = USUAL[:at] + put + USUAL[at + gone :]
    head = usual_head(data)
    if head is None:
        assert data != USUAL
        return
    reading = Reading()
    reading.parser.feed_data(head.raw + b"x" * (head.length or 0))
    assert head.fields == reading.fields
    assert (head.status, head.reason) == (reading.parser.get_status_code(), reading.text.decode())
    assert reading.answers == 1


@given(st.integers(0, len(USUAL) - 3), st.integers(0, 3), SPOILT)
def test_head_of_a_form_that_came_before_is_read_as_any_other(
    at: int, gone: int, put: bytes
) -> None:
    data = USUAL[:at] + put + USUAL[at + gone :]
    found = _repeated(USUAL).find(data)
    assert found is None or _without_lines(found) == usual_head(data)


@given(st.lists(st.tuples(NAMES, SEPARATORS, VALUES).map(b"".join), max_size=3), FRAMED)
def test_head_is_found_by_its_own_form_with_the_same_values(
    lines: list[bytes], framed: tuple[bytes, bytes]
) -> None:
    data = b"\r\n".join([b"HTTP/1.1 200 OK", *lines, framed[1]])
    head = usual_head(data)
    if head is not None:
        assert _without_lines(_repeated(data).find(data)) == head


URLS = frozenset({"location"})


@given(
    st.lists(st.tuples(NAMES, SEPARATORS, VALUES).map(b"".join), max_size=4),
    st.sampled_from([b"Retry-After: 1", b"location: /a", b"X-Sidecar-Call: a", b"ETag: b"]),
    FRAMED,
)
def test_lines_of_a_usual_answer_for_the_client_are_those_of_any_other(
    lines: list[bytes], last: bytes, framed: tuple[bytes, bytes]
) -> None:
    data = b"\r\n".join([b"HTTP/1.1 200 OK", *lines, last, framed[1]])
    if usual_head(data) is None:
        return
    form = _repeated(data)
    head = form.find(data)
    assert head is not None
    judged = {b"retry-after", b"location"}.intersection(name.lower() for name, _ in head.fields)
    assert pass_by_name(form.names, URLS) != bool(judged)
    if not judged:
        assert head.lines == lines_of(for_client(head.fields, URLS, lambda _: None))


def test_head_of_another_form_is_not_found() -> None:
    form = _repeated(USUAL)
    assert form.find(USUAL.replace(b"200 OK", b"201 Created")) is None
    assert form.find(USUAL.replace(b"x-request-id", b"x-other")) is None
    assert form.find(USUAL.replace(b"keep-alive", b"close")) is None
    assert form.find(USUAL.replace(b"application/json", b"application/jsonl")) is None
    assert form.find(USUAL.replace(b"h: 2", b"h: +2")) is None
    assert form.find(USUAL[:-4]) is None


def test_forms_of_heads_that_differ_in_what_is_read_are_kept_apart() -> None:
    text = USUAL.replace(b"application/json", b"text/plain").replace(b"keep", b"Keep")
    forms = [_repeated(data) for data in (USUAL, text)]
    assert [form.content_type for form in forms] == ["application/json", "text/plain"]
    assert forms[0].find(text) is forms[1].find(USUAL) is None
    assert _without_lines(forms[1].find(text)) == usual_head(text)


def test_form_of_very_many_fields_is_left_to_the_general_way() -> None:
    many = b"".join([b"x-%d: a\r\n" % at for at in range(500)])
    data = b"HTTP/1.1 200 OK\r\n" + many + b"Content-Length: 2\r\n\r\n{}"
    assert usual_head(data) is not None
    assert _repeated(data).find(data) is None


def _without_lines(head: ResponseHead | None) -> ResponseHead:
    """Return a head that a form read as the general reading returns it."""
    assert head is not None
    assert head.fields
    return structs.replace(head, lines=b"")


def _repeated(data: bytes) -> HeadForm:
    """Return the form of a usual head that came twice."""
    heads = [usual_head(data), usual_head(data)]
    assert heads[0] is not None
    assert heads[0].form is not None
    return heads[0].form
