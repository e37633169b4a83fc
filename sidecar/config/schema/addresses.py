"""Parse URLs, hosts and listen addresses; the one rule for what is loopback."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from sidecar.config.model import Address
from sidecar.config.schema.parsers import InvalidValue

_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/@ ]+)):(\d{1,5})", re.ASCII)
_URL_TEXT = re.compile(r"[!-~]+")
_HOME_SUFFIXES = (".local", ".lan", ".internal", ".home.arpa", ".test")
_METADATA = frozenset({"metadata", "metadata.google.internal", "instance-data"})
_MAX_PORT = 65535
IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def listen(word: str) -> tuple[Address, ...]:
    """Parse `127.0.0.1:8787`, `[::1]:8787`, or a bare port, which means both loopback addresses."""
    if word.isascii() and word.isdigit() and len(word) < 6:
        port = _port(word)
        return Address("127.0.0.1", port), Address("::1", port)
    match = _LISTEN.fullmatch(word)
    if match is None or not (match.group(1) or _HOST.fullmatch(match.group(2))):
        raise InvalidValue(
            "this is not an address to listen on", "write HOST:PORT, such as 127.0.0.1:8787"
        )
    host = match.group(1) or match.group(2)
    if match.group(1) and _ip(host) is None:
        raise InvalidValue("this is not an IPv6 address", "write one such as [::1]:8787")
    return (Address(host, _port(match.group(3))),)


def one_address(word: str) -> Address:
    """Parse an address as `listen` does; a bare port means 127.0.0.1."""
    return listen(word)[0]


def base_url(word: str) -> str:
    """Parse a provider's base URL; return it without a slash at its end."""
    parts = _split(word, ("http", "https"), "a base URL", "https://api.example.com/v1")
    if parts.query or parts.fragment or "?" in word or "#" in word:
        raise InvalidValue("a base URL has no query and no fragment", "end it before the ? or #")
    if any(piece in (".", "..") for piece in parts.path.split("/")):
        raise InvalidValue("a base URL has no . or .. in its path", "write the path itself")
    _refuse_link_local(parts.hostname or "")
    return word.rstrip("/")


def proxy(word: str) -> str:
    """Parse `env` (HTTPS_PROXY and NO_PROXY apply) or the URL of an HTTP proxy."""
    if word == "env":
        return word
    parts = _split(word, ("http", "https"), "a proxy", "http://proxy.example.com:3128")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidValue("a proxy's URL ends after its port", "remove the rest")
    return word


def origin(word: str) -> str:
    """Parse the origin of a web page: `https://console.example.com`."""
    parts = _split(word, ("http", "https"), "an origin", "https://console.example.com")
    if parts.path or parts.query or parts.fragment:
        raise InvalidValue(
            "an origin ends after its host and port", "remove the rest, also a last /"
        )
    return word.lower()


def host(word: str) -> str:
    """Parse a host name (or name:port) that requests may use for this server."""
    bare = word.removeprefix("[").removesuffix("]")
    if _ip(bare) is not None:
        return word.lower()
    name, _, port = word.partition(":")
    if _HOST.fullmatch(name) is None or (port and not port.isdigit()):
        raise InvalidValue("this is not a host's name", "write one such as host.docker.internal")
    return word.lower()


def is_clear_public(url: str) -> bool:
    """Return whether requests to `url` cross a public network without encryption."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_near(parts.hostname or "")


def _split(word: str, schemes: tuple[str, ...], what: str, example: str) -> SplitResult:
    try:
        parts = urlsplit(word) if _URL_TEXT.fullmatch(word) else None
        port = parts.port if parts else None
    except ValueError:
        parts = port = None
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        raise InvalidValue(f"this is not {what}", f"write one such as {example}")
    if "@" in parts.netloc:
        raise InvalidValue(
            f"{what} may not hold a user or a password", "remove what is before the @"
        )
    if port == 0 or (_ip(parts.hostname) is None and not _HOST.fullmatch(parts.hostname)):
        raise InvalidValue(f"this is not {what}", f"write one such as {example}")
    return parts


def _refuse_link_local(name: str) -> None:
    address = _ip(name)
    mapped = getattr(address, "ipv4_mapped", None) or address
    if name.lower().rstrip(".") in _METADATA or (mapped is not None and mapped.is_link_local):
        raise InvalidValue(
            "link-local addresses are refused: cloud services give out credentials there",
            "use the provider's own address",
        )
    last = name.rstrip(".").rpartition(".")[2].lower()
    if address is None and (last.isdigit() or last.startswith("0x")):
        raise InvalidValue("this host is a number", "write the address as 10.0.0.7")


def _is_near(name: str) -> bool:
    address = _ip(name)
    if address is not None:
        return address.is_private or is_loopback(name)
    return "." not in name or is_loopback(name) or name.lower().rstrip(".").endswith(_HOME_SUFFIXES)


def _ip(text: str) -> IP | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _port(digits: str) -> int:
    if int(digits) > _MAX_PORT:
        raise InvalidValue(f"there is no port {digits}", f"write one up to {_MAX_PORT}")
    return int(digits)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`: a name, or an address without brackets.

    `localhost` and the names below it always mean loopback. Source: RFC 6761 section 6.3.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


_LOCAL_HOSTS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing is bound to it
"""Where a client on this machine finds a server that listens on every address."""


def local_url(url: str) -> str:
    """Return a listener's URL as a client on this machine reaches it."""
    for everywhere, here in _LOCAL_HOSTS.items():
        url = url.replace(f"//{everywhere}:", f"//{here}:")
    return url
