"""The real application on real ports, with the test's own file."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.access_log import log_call
from sidecar.api_keys import digest, mint
from sidecar.app import Running, serve
from sidecar.records import CallRecord

CANARY = "sk-upstream-canary-7f3a"


@dataclass
class Sidecar:
    """A running sidecar, and the texts of its keys by name."""

    running: Running
    file: Path
    state: Path
    keys: dict[str, str] = field(default_factory=dict)
    records: list[CallRecord] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def admin_port(self) -> int:
        return int(self.running.admin_url.rpartition(":")[2])

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[name]}"}

    async def record(self, number: int = 1) -> CallRecord:
        """The record of the `number`th finished call, as soon as there is one.

        A batch is passed on early only if no caller of it is looked up: records keep their order.
        """
        services = self.running.services
        async with asyncio.timeout(10):
            while len(self.records) < number:
                lookups = [each.caller_lookup for each in services.finished._waiting]
                if not services.callers.held and all(each is None or each.done for each in lookups):
                    services.finished.flush()
                await asyncio.sleep(0.002)
        return self.records[number - 1]

    async def ask(
        self,
        target: str,
        body: bytes = b"",
        *,
        key: str = "gpt",
        method: str = "POST",
        headers: Sequence[tuple[str, str]] = (),
        seconds: float = 10,
    ) -> Raw:
        """One call on a connection of its own, with the key as a bearer token."""
        pairs = [*self.bearer(key).items(), *headers]
        asked = request(method, target, pairs, body)
        return parse(await talk(self.port, asked, seconds=seconds))

    async def admin(self, target: str) -> Raw:
        """GET from the admin side."""
        return parse(await talk(self.admin_port, request("GET", target, {})))

    async def rewrite(self, change: Callable[[str], str]) -> bool:
        """Change the file and have it read; whether it was accepted."""
        self.file.write_text(change(self.file.read_text()))
        return (await self.running.services.configuration.reload()).accepted


@asynccontextmanager
async def sidecar(
    folder: Path,
    yaml: str,
    keys: tuple[str, ...],
    environ: dict[str, str] | None = None,
    listen: str = "127.0.0.1:0",
) -> AsyncIterator[Sidecar]:
    """Serve `yaml`, in which `{name}` of a key stands for its hash."""
    texts = {name: mint() for name in keys}
    for name, text in texts.items():
        yaml = yaml.replace("{" + name + "}", f"sha256:{digest(text).hex()}")
    file = folder / "routes.yaml"
    file.write_text(yaml)
    file.chmod(0o600)
    state = folder / "state"
    environ = {} if environ is None else environ  # the caller may change it later
    environ.setdefault("UPSTREAM_KEY", CANARY)
    records: list[CallRecord] = []

    def log_lines(*finished: CallRecord) -> None:
        log_call(*finished)
        records.extend(finished)

    async with serve(
        file,
        state,
        listen=listen,
        admin="127.0.0.1:0",
        environ=environ,
        stop_soon=_now(),
        log_line=log_lines,
    ) as running:
        yield Sidecar(running, file, state, texts, records)


def _now() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Raw:
    """A response from a raw socket. `ended` is true if it is complete."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bytes
    pairs: list[tuple[str, str]]
    ended: bool

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Return the message of one of Sidecar's errors."""
        found: str = self.json()["error"]["message"]
        return found


async def talk(
    port: int, request: bytes, *, half: bool = False, to_the_end: bool = False, seconds: float = 10
) -> bytes:
    """Send bytes as they are; what comes back until the other side closes or, unless `to_the_end`,
    until the answer is whole by its own length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    if half:
        writer.write_eof()
    found = b""
    try:
        async with asyncio.timeout(seconds):
            while to_the_end or not _is_whole(found):
                if not (piece := await reader.read(1 << 16)):
                    break
                found += piece
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
    return found


async def talk_inside(proxy: Sidecar, method: str, target: str) -> bytes:
    """Ask over the unix socket, as our own commands do; all that comes back."""
    reader, writer = await asyncio.open_unix_connection(proxy.state / "admin.sock")
    writer.write(request(method, target, {}))
    async with asyncio.timeout(10):
        found = await reader.read(-1)
    writer.close()
    return found


def _is_whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return bool(blank) and length is not None and len(body) >= int(length[1])


def request(
    method: str, target: str, headers: dict[str, str] | list[tuple[str, str]], body: bytes = b""
) -> bytes:
    """A request that closes its connection."""
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    names = {name.lower() for name, _ in pairs}
    extra = [("Connection", "close")]
    if "host" not in names:
        extra.append(("Host", "127.0.0.1"))
    if body and "transfer-encoding" not in names and "content-length" not in names:
        extra.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in [*pairs, *extra])]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def parse(whole: bytes) -> Raw:
    """An answer; a chunked body is put together, and lacks its end if it was cut."""
    head, _, rest = whole.partition(b"\r\n\r\n")
    if not head:
        raise AssertionError("the connection was closed without an answer")
    first, *rows = head.decode("latin-1").split("\r\n")
    pairs = [(name, value.strip()) for name, _, value in (row.partition(":") for row in rows)]
    headers = {name.lower(): value for name, value in pairs}
    ended = len(rest) == int(headers.get("content-length", len(rest)))
    if headers.get("transfer-encoding") == "chunked":
        ended = rest.endswith(b"0\r\n\r\n")
        rest = _dechunk(rest)
    return Raw(int(first.split(" ")[1]), headers, rest, whole, pairs, ended)


def _dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if not size or int(size, 16) == 0:
            break
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body
