"""The console's own files: packaged with the code, served by name, nothing else beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

from sidecar.errors import ErrorKind, ProxyError
from sidecar.files import content_digest

SHELL = "index.html"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, its type, and a tag that changes with its bytes."""

    content: bytes
    content_type: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """Every file by its path below `static`."""
    return dict(_walk(files("sidecar.admin.console") / "static", ""))


def answer(request: web.BaseRequest, name: str) -> web.Response:
    """The file of that name, or 304 where the browser has it. Raises `ProxyError`."""
    asset = assets().get(name)
    if asset is None:
        raise ProxyError(ErrorKind.NOT_FOUND, "there is no such page here; the console begins at /")
    if request.method not in {"GET", "HEAD"}:
        raise ProxyError(ErrorKind.METHOD_NOT_ALLOWED, "the console's files are read with GET")
    known = request.headers.get("If-None-Match") == asset.tag
    response = web.Response(status=304) if known else web.Response(body=asset.content)
    if not known:
        response.headers["Content-Type"] = asset.content_type
    response.headers["ETag"] = asset.tag
    # Asked for again at each load, so that an upgrade shows at once; unchanged ones cost nothing.
    response.headers["Cache-Control"] = "no-cache"
    return response


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
