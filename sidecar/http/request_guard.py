"""The request guard of both listeners: rejects requests by host, origin, method and path.

It runs before authentication. Loopback does not protect a listener: any web page can send requests
to it, and DNS rebinding makes them look local. So the Host must be in a list, foreign origins are
rejected, and no response has a CORS header. Routing uses no URL that is built from the Host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct
from multidict import CIMultiDictProxy

from sidecar.errors import ErrorKind, ProxyError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")
_DOT_SEGMENT = re.compile(r"(?:^|/|%2f)(?:\.|%2e){1,2}(?:/|%2f|$)", re.IGNORECASE)
# Letters, digits, `-`, `.` and `_`, which no client needs to encode (RFC 3986 section 2.3). A
# vendor would decode them, and serve a path that Sidecar has not recognised.
_DISGUISED = re.compile(r"%(?:2[de]|3\d|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])", re.IGNORECASE)
MAX_KEPT_CHARACTERS = 512
"""Characters of a target whose check is cached. Requests without a key could fill a cache of longer
ones."""
_FORBIDDEN_METHODS = frozenset({"CONNECT", "TRACE"})


class RequestGuard(Struct, frozen=True):
    """Allow only certain hosts and origins, by name and without ports, as ports may be forwarded.

    DNS rebinding cannot forge the host name; a page on another local port has an Origin of its own.
    """

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()

    def check(self, method: str, target: str, headers: CIMultiDictProxy[str]) -> None:
        """Raise `ProxyError` unless the method, the path, the host and the origin are allowed."""
        if method in _FORBIDDEN_METHODS:
            raise ProxyError(ErrorKind.METHOD_NOT_ALLOWED, f"{method} is not served here")
        check_target(target)
        self._check_host(headers.getall("Host", []))
        self._check_origin(headers)

    def check_console(
        self, method: str, target: str, headers: CIMultiDictProxy[str], *, page: bool
    ) -> None:
        """Raise `ProxyError` unless the request is from the console's own pages, or from no page.

        With `page`, a browser may also come from another site to open the console.
        """
        if method in _FORBIDDEN_METHODS:
            raise ProxyError(ErrorKind.METHOD_NOT_ALLOWED, f"{method} is not served here")
        check_target(target)
        self._check_host(headers.getall("Host", []))
        host = headers["Host"]
        origin = headers.get("Origin")
        site = headers.get("Sec-Fetch-Site", "none")
        coming = page and method == "GET" and headers.get("Sec-Fetch-Dest") == "document"
        own = origin is None or origin in (f"http://{host}", f"https://{host}")
        if not own or (site not in {"none", "same-origin"} and not coming):
            raise ProxyError(ErrorKind.FORBIDDEN, "only the console's own pages may ask this")

    def _check_host(self, hosts: list[str]) -> None:
        name = _name_of(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            raise ProxyError(ErrorKind.BAD_REQUEST, "exactly one valid Host header is needed")
        if name not in self.hosts:
            raise ProxyError(
                ErrorKind.FORBIDDEN,
                "this Host is not served here; if it is yours, add it to server.allow_hosts",
            )

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        origin = headers.get("Origin")
        if origin is not None and origin in self.origins:
            return
        # Node's fetch sends Sec-Fetch-Mode: cors and nothing else, so the mode "cors" proves
        # nothing.
        foreign = (
            origin is not None
            or headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
            or headers.get("Sec-Fetch-Mode") == "no-cors"
        )
        if foreign:
            raise ProxyError(
                ErrorKind.FORBIDDEN,
                "web pages may not call Sidecar; if this one is yours, add its origin to "
                "server.allow_origins",
            )


@lru_cache(maxsize=256)
def _name_of(host: str) -> str | None:
    """Return the name in a Host header, without its port; None if it is not valid."""
    match = _HOST.fullmatch(host)
    return None if match is None else (match["six"] or match["name"]).lower()


def check_target(target: str) -> None:
    """Raise `ProxyError` on a request target that two readers could understand differently."""
    if len(target) <= MAX_KEPT_CHARACTERS:
        _check_kept(target)
    else:
        _check(target)


def _check(target: str) -> None:
    path = target.partition("?")[0]
    if not target.startswith("/") or "#" in target or "\\" in target or not target.isascii():
        raise ProxyError(
            ErrorKind.BAD_REQUEST, "the request target must be a plain path that starts with /"
        )
    if _DOT_SEGMENT.search(path):
        raise ProxyError(ErrorKind.BAD_REQUEST, "the path must not contain dot segments")
    if _DISGUISED.search(path):
        raise ProxyError(
            ErrorKind.BAD_REQUEST, "the path must not percent-encode letters and digits"
        )


_check_kept = lru_cache(maxsize=1024)(_check)  # the same few come again; a refusal is not kept


def allowed_hosts(listen_hosts: list[str], extra: tuple[str, ...]) -> frozenset[str]:
    """Return the host names that may address this process: loopback, where it listens, and those of
    the configuration. A wildcard address adds none."""
    bound = {host.lower() for host in listen_hosts if host not in {"0.0.0.0", "::", ""}}  # noqa: S104
    return LOOPBACK | bound | {name.lower() for name in extra}
