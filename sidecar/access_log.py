"""The JSON log and the line of each call, written through a bounded queue."""

from __future__ import annotations

import io
import json
import logging
import os
import select
import sys
import time
from collections import deque
from functools import lru_cache
from threading import Condition, Thread
from typing import TextIO

import msgspec
from msgspec import Struct, structs

from sidecar.humanize import dollars
from sidecar.records import NANODOLLARS, Caller, CallRecord, Outcome

log = logging.getLogger("sidecar.call")

_MAX_CHARS = 256


def log_call(*records: CallRecord) -> None:
    """Log the line of each finished call through the logging library."""
    if log.isEnabledFor(logging.INFO):
        for record in records:
            log.info("call", extra={"call": record})


class CallLog:
    """Write the lines of finished calls to a stream, those of one batch at once.

    `as_json` is by default whether it is no terminal.
    """

    def __init__(self, stream: TextIO | LogQueue, *, as_json: bool | None = None) -> None:
        self._stream = stream
        self._human = stream.isatty() if as_json is None else not as_json

    def __call__(self, *records: CallRecord) -> None:
        """Write the line of each call."""
        line = _line_for_people if self._human else _json_line
        self._stream.write("".join([line(record) for record in records]))
        self._stream.flush()


def _line_for_people(record: CallRecord) -> str:
    return f"{_clock(record.started + record.duration)} {_safe(_call_text(record))}\n"


def _json_line(record: CallRecord) -> str:
    fields = _call_fields(record)
    try:
        return f"{_beginning(record)}{_ENCODER.encode(fields).decode()[1:]}\n"
    except UnicodeEncodeError:  # half a character, from a client
        text = json.dumps(structs.asdict(fields), ensure_ascii=True, separators=(",", ":"))
        return f"{_beginning(record)}{text[1:]}\n"


def _beginning(record: CallRecord) -> str:
    """Return the line as far as it has no values of the call but its time, which needs no
    escaping."""
    when = _stamp(record.started + record.duration)
    return f'{{"time":"{when}","level":"info","logger":"{log.name}",'


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _stamp(seconds: float) -> str:
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class Lines(logging.Formatter):
    """Format a log record as `when level text` for people, or as one JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with control characters escaped and long values cut.

        Logged values may come from a client.
        """
        call: CallRecord | None = getattr(record, "call", None)
        if self._as_json:
            return json.dumps(self._fields(record, call), ensure_ascii=True)
        when = _clock(record.created)
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = _call_text(call) if call is not None else record.getMessage()
        lines = [f"{when} {level}{_safe(line)}" for line in text.splitlines() or [""]]
        if record.exc_info:
            lines.append(self._trace(record))
        return "\n".join(lines)

    def _fields(self, record: logging.LogRecord, call: CallRecord | None) -> dict[str, object]:
        fields: dict[str, object] = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if call is not None:
            return fields | structs.asdict(_call_fields(call))
        fields["message"] = record.getMessage()[: 16 * _MAX_CHARS]
        if record.exc_info:
            fields["trace"] = self._trace(record)
        return fields

    def _trace(self, record: logging.LogRecord) -> str:
        """Return the error's type and its frames, without its text, which may quote a request."""
        kind, _, trace = record.exc_info or (None, None, None)
        frames = []
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
            trace = trace.tb_next
        return f"{getattr(kind, '__name__', '')} at " + " < ".join(reversed(frames))


class _CallFields(Struct):
    """The fields of a call's line, as JSON has them."""

    call: str
    key: str | None
    caller: str | None
    provider: str | None
    endpoint: str | None
    model: str | None
    status: int
    outcome: str
    ms: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    reason: str | None


_ENCODER = msgspec.json.Encoder()


def _call_fields(call: CallRecord) -> _CallFields:
    who, usage, cost = call.caller, call.usage, call.cost
    # By position, in the order of the fields: by name takes longer.
    return _CallFields(
        call.call_id, call.key or None,
        None if who is None else _caller(who) or None,
        call.provider or None, call.endpoint or None,
        None if call.model_asked is None else call.model_asked[:_MAX_CHARS],
        call.status, call.outcome, round(call.duration * 1000),
        None if usage is None else usage.input_tokens,
        None if usage is None else usage.output_tokens,
        None if cost is None else cost.charged / NANODOLLARS,
        call.reason[:_MAX_CHARS] or None,
    )  # fmt: skip


def _caller(who: Caller) -> str:
    """Return `claude@sidecar`: the calling program and its repository, as far as known."""
    return f"{who.program}@{who.repo}" if who.repo else who.program


def _call_text(call: CallRecord) -> str:
    fields = _call_fields(call)
    words = [
        str(fields.status or "-"),
        call.key or "-",
        f"{call.endpoint or call.method} {fields.model or ''}".strip(),
        f"via {call.provider}" if call.provider else "",
        f"by {fields.caller}" if fields.caller else "",
        f"{fields.ms} ms",
    ]
    if call.usage is not None:
        words.append(f"{call.usage.input_tokens or 0}+{call.usage.output_tokens or 0} tokens")
    if call.cost is not None:
        words.append(dollars(call.cost.charged))
    if call.outcome is not Outcome.OK:
        words.append(f"{call.outcome}: {fields.reason or ''}".rstrip(": "))
    return "  ".join(word for word in words if word) + f"  {call.call_id}"


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class _NoQuotes(logging.Filter):
    """Drop libraries' records below warning, and their traces, which may quote a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        record.exc_text = None
        return record.levelno >= logging.WARNING


def set_up_logging(level: int, *, as_json: bool) -> None:
    """Log to stderr: lines for people, or JSON objects."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(as_json=as_json))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sidecar").setLevel(level)
    for name in ("aiohttp", "asyncio"):
        logging.getLogger(name).addFilter(_NoQuotes())
    for name in ("aiohttp.server", "aiohttp.client", "aiohttp.internal", "aiohttp.web"):
        logging.getLogger(name).addFilter(_NoQuotes())


MAX_QUEUE_BYTES = 1 << 20
"""About 3,000 lines of calls."""
WRITE_BYTES = 1 << 16
"""The size of one write: a pipe on Linux holds as much."""


class LogQueue(io.TextIOBase):
    """A text stream over the file descriptor `handle`, whose `write` never blocks or raises.

    `handle` is left open. `max_bytes` bounds what waits, besides the piece being written.
    `as_json` is the form of its own lines, by default whether it is no terminal.
    """

    def __init__(
        self, handle: int, max_bytes: int = MAX_QUEUE_BYTES, *, as_json: bool | None = None
    ) -> None:
        super().__init__()
        self._handle = handle
        self._max_bytes = max_bytes
        self._is_terminal = _is_terminal(handle)
        self.as_json = not self._is_terminal if as_json is None else as_json
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._writing = False
        self._closing = False
        self._dropped = 0
        self._reported = 0
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="sidecar-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """The number of lines dropped since the start."""
        return self._dropped

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the lines go to a terminal."""
        return self._is_terminal

    def fileno(self) -> int:
        """Return the file descriptor that is written to."""
        return self._handle

    def write(self, text: str) -> int:
        """Queue `text`, or drop it when the queue is full."""
        piece = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._bytes + len(piece) > self._max_bytes or self._closing:
                self._dropped += text.count("\n")
            elif piece:
                self._pieces.append(piece)
                self._bytes += len(piece)
                self._changed.notify_all()
        return len(text)

    def finish(self, max_wait: float) -> bool:
        """Accept no more lines and wait at most `max_wait` seconds until all are written.

        Returns whether they are.
        """
        until = time.monotonic() + max_wait
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while self._pieces or self._writing:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _run(self) -> None:
        while (piece := self._next()) is not None:
            written = _write_all(self._handle, piece)
            with self._changed:
                self._writing = False
                if not written:
                    self._dropped += piece.count(b"\n")
                elif not self._pieces:
                    self._report()
                self._changed.notify_all()

    def _next(self) -> bytes | None:
        """Return the next bytes to write, joined from what waits; None at the end."""
        with self._changed:
            while not self._pieces and not self._closing:
                self._changed.wait()
            parts: list[bytes] = []
            size = 0
            while self._pieces and size < WRITE_BYTES:
                part = self._pieces.popleft()
                parts.append(part)
                size += len(part)
            self._bytes -= size
            self._writing = bool(parts)
            return b"".join(parts) or None

    def _report(self) -> None:
        """Queue a line with the number of lines dropped since the last such line, if any."""
        missing = self._dropped - self._reported
        if not missing:
            return
        self._reported = self._dropped
        text = f"{missing} log lines were dropped, because its reader was too slow"
        if not self.as_json:
            line = f"{time.strftime('%H:%M:%S')} warning: {text}"
        else:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            line = json.dumps(
                {"time": stamp, "level": "warning", "logger": "sidecar", "message": text}
            )
        piece = f"{line}\n".encode()
        self._pieces.append(piece)
        self._bytes += len(piece)


def open_standard_streams() -> None:
    """Open `/dev/null` in place of standard streams that were closed at start.

    A database or a socket would otherwise get their numbers, and whatever is printed.
    """
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _is_terminal(handle: int) -> bool:
    try:
        return os.isatty(handle)
    except OSError:
        return False


def _write_all(handle: int, data: bytes) -> bool:
    """Write `data`, blocking; return False when the reader or the descriptor is gone."""
    view = memoryview(data)
    while view:
        try:
            try:
                view = view[os.write(handle, view) :]
            except BlockingIOError:  # another process made it non-blocking
                select.select([], [handle], [])
        except (OSError, ValueError):  # ValueError: a number too high for select
            return False
    return True
