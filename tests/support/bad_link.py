"""A link to a server on a socket, which a test makes slow, dumb or dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class BadLink:
    """A link. `delay` is seconds; what is sent is lost while `loses_requests`, what is answered
    while `loses_answers`; no connection is accepted while it `is_down`."""

    def __init__(self, to: Path, name: str) -> None:
        self.to = to
        self.path = to.with_name(name)
        self.url = f"unix://{self.path}"
        self.delay = 0.0
        self.loses_requests = self.loses_answers = self.is_down = False
        self._writers: list[asyncio.StreamWriter] = []

    def mend(self) -> None:
        self.delay = 0.0
        self.loses_requests = self.loses_answers = self.is_down = False

    def cut(self) -> None:
        """End all connections."""
        for each in self._writers:
            each.transport.abort()
        self._writers.clear()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.is_down:
                raise ConnectionRefusedError
            there, back = await asyncio.open_unix_connection(str(self.to))
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, back]
        with suppress(OSError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, back, "loses_requests"))
                group.create_task(self._pass_on(there, writer, "loses_answers"))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: str
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay)
                if not getattr(self, lost):
                    writer.write(data)
        writer.close()


@asynccontextmanager
async def bad_link(to: Path, name: str = "link") -> AsyncIterator[BadLink]:
    """Open a link to the server at a socket."""
    link = BadLink(to, name)
    server = await asyncio.start_unix_server(link.connected, str(link.path))
    try:
        yield link
    finally:
        server.close()
        link.cut()
