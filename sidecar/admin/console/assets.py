"""The console's static files, packaged with the code and served by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct

from sidecar.errors import ErrorKind, ProxyError
from sidecar.files import content_digest
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SHELL = "index.html"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Asset(Struct, frozen=True):
    """One file: its bytes, its content type, and its entity tag."""

    content: bytes
    content_type: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """Return every file by its path below `static`."""
    from importlib.resources import files  # slow to import

    return dict(_walk(files("sidecar.admin.console") / "static", ""))


def answer(request: AgentRequest, name: str) -> LocalResponse:
    """Return the file of that name, or 304 when the browser has it. Raises `ProxyError`."""
    asset = assets().get(name)
    if asset is None:
        raise ProxyError(ErrorKind.NOT_FOUND, "there is no such page here; the console begins at /")
    if request.method not in {"GET", "HEAD"}:
        raise ProxyError(ErrorKind.METHOD_NOT_ALLOWED, "the console's files are read with GET")
    known = request.headers.get("If-None-Match") == asset.tag
    # Revalidated at each load, so that an upgrade shows at once.
    headers = {
        "Content-Type": asset.content_type, "ETag": asset.tag, "Cache-Control": "no-cache",
    }  # fmt: skip
    if known:
        return LocalResponse(b"", status=304, headers=headers)
    return LocalResponse(asset.content, headers=headers)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Asset]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            content = entry.read_bytes()
            kind = _TYPES[entry.name.rpartition(".")[2]]
            yield (
                f"{prefix}{entry.name}",
                Asset(content, kind, f'"{content_digest(content)[:20]}"'),
            )
