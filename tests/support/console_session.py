"""A client of the console's API over TCP, with a session's token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from admin_client import over_socket
from running_sidecar import Raw, Sidecar, parse, request, talk


async def code_of(proxy: Sidecar) -> str:
    """A one-time code, as `sidecar open` gets it."""
    url: str = (await over_socket(proxy, "POST", "/api/open")).json()["url"]
    return url.partition("#code=")[2]


@dataclass
class Api:
    """A signed-in page."""

    proxy: Sidecar
    token: str

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Raw:
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        content = b"" if body is None else json.dumps(body).encode()
        if method != "GET":
            sent.setdefault("Content-Type", "application/json")
        target = f"/console/api/{path}"
        return parse(await talk(self.proxy.admin_port, request(method, target, sent, content)))

    async def get(self, path: str) -> Any:
        found = await self.ask("GET", path)
        assert found.status == 200, found.body
        return found.json()

    async def digest(self) -> str:
        found: str = (await self.get("config"))["digest"]
        return found

    async def send(self, edit: dict[str, Any], seen: str | None = None, **more: Any) -> Raw:
        """An edit on the file of now, or on the one that was seen."""
        digest = await self.digest() if seen is None else seen
        return await self.ask("POST", "changes", {"edit": edit, **more}, {"If-Match": digest})

    async def change(self, do: str, name: str, **fields: Any) -> Any:
        """An edit that is made."""
        found = await self.send({"do": do, "name": name, **fields})
        assert found.status == 200, found.body
        return found.json()

    async def preview(self, do: str, name: str, *, question: Any = None, **fields: Any) -> Any:
        """Return the preview of an edit."""
        edit = {"do": do, "name": name, **fields}
        found = await self.send(edit, preview=True, question=question)
        assert found.status == 200, found.body
        return found.json()

    @asynccontextmanager
    async def events(self, path: str = "events") -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Listen."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.admin_port)
        head = {"Authorization": f"Bearer {self.token}"}
        writer.write(request("GET", f"/console/api/{path}", head))
        try:
            async with asyncio.timeout(20):
                await reader.readuntil(b"\r\n\r\n")
                yield _lines(reader)
        finally:
            writer.close()


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    while line := await reader.readline():
        if line.startswith(b"{"):  # between the lines stand the sizes of chunks
            yield json.loads(line)


async def sign_in(proxy: Sidecar) -> Api:
    """A page that came by a one-time link."""
    body = json.dumps({"code": await code_of(proxy)}).encode()
    head = {"Content-Type": "application/json"}
    found = parse(await talk(proxy.admin_port, request("POST", "/console/api/session", head, body)))
    assert found.status == 200, found.body
    return Api(proxy, found.json()["token"])
