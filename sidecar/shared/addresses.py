"""Where the server of shared state is now: one address, the nodes of a cluster, or by Sentinel.

    redis://HOST:PORT                                 one server
    redis://HOST:PORT,HOST:PORT                       the nodes of a cluster
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE      what Sentinels state

A namespace lies in one slot of a cluster, so one of its nodes has all of it. After a failure the
next node is tried; it serves the slot, or names the one that does.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

SENTINEL_SECONDS = 0.2
"""Seconds for which one Sentinel is asked."""
SENTINEL_PORT = 26379
_ASK = "GET-MASTER-ADDR-BY-NAME"
_FOR_SENTINEL = "sentinel_"
"""The options of a URL that begin so are those of the connection to Sentinels."""


class ServerAddresses:
    """The addresses of a server, each as the URL that redis-py connects to.

    Raises `ValueError` for a URL without a host, or without the service that Sentinels watch.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        scheme, _, self._by = self._parts.scheme.partition("+")
        self._parts = self._parts._replace(scheme=scheme)
        self._user, self._at, hosts = self._parts.netloc.rpartition("@")
        self._hosts = deque(hosts.split(","))
        self._service = self._parts.path.strip("/")
        if self._by and (self._by != "sentinel" or not self._service):
            raise ValueError("no service")
        self._found = "" if self._by else self._url(self._hosts[0])

    @property
    def any(self) -> str:
        """A URL by which the options of a connection can be checked."""
        return self._url(self._hosts[0])

    async def find(self) -> str:
        """Return the address to use now. Raises the errors of redis-py if no Sentinel names it."""
        if not self._found:
            host, port = await self._by_sentinel()
            self._found = self._url(_joined(host, port))
        return self._found

    def follow(self, host: str, port: int) -> None:
        """Use the node that another one has named; the same host if it names none."""
        named = host if host not in {"", "?"} else urlsplit(self._found).hostname or ""
        self._found = self._url(_joined(named, port))

    def fail(self) -> None:
        """Look for the server elsewhere: what was found does not work."""
        self._hosts.rotate(-1)
        self._found = "" if self._by else self._url(self._hosts[0])

    async def _by_sentinel(self) -> tuple[str, int]:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as Unreachable
        from redis.exceptions import RedisError

        for _ in range(len(self._hosts)):
            async with Redis.from_url(
                self._sentinel_url(self._hosts[0]), decode_responses=True,
                socket_timeout=SENTINEL_SECONDS, socket_connect_timeout=SENTINEL_SECONDS,
                retry=Retry(NoBackoff(), 0),
            ) as sentinel:  # fmt: skip
                with suppress(RedisError, OSError):
                    # Not by the method for it, which fails in redis-py 6.
                    ask: Any = sentinel.execute_command
                    found = await ask("SENTINEL", _ASK, self._service)
                    if found:
                        return str(found[0]), int(found[1])
            self._hosts.rotate(-1)
        raise Unreachable("no Sentinel names a primary")

    def _url(self, host: str) -> str:
        path = "" if self._by else self._parts.path
        options = [each for each in self._options() if not each[0].startswith(_FOR_SENTINEL)]
        return self._made(f"{self._user}{self._at}{host}", path, options)

    def _sentinel_url(self, host: str) -> str:
        options = [
            (name.removeprefix(_FOR_SENTINEL), value) for name, value in self._options()
            if name.startswith((_FOR_SENTINEL, "ssl_"))
        ]  # fmt: skip
        has_port = host.rpartition("]")[2].rpartition(":")[1]
        return self._made(host if has_port else f"{host}:{SENTINEL_PORT}", "", options)

    def _options(self) -> list[tuple[str, str]]:
        return parse_qsl(self._parts.query)

    def _made(self, place: str, path: str, options: list[tuple[str, str]]) -> str:
        # Not by `urlunsplit`, which drops the slashes of unix:///PATH.
        query = f"?{urlencode(options)}" if options else ""
        return f"{self._parts.scheme}://{place}{path}{query}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
