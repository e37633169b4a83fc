"""The engine over TCP with a password, and over TLS."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from real_redis import needs_redis, redis_server

from sidecar.shared.engine import open_engine

pytestmark = needs_redis
CERTIFICATE = Path(__file__).parents[2] / "certificates" / "here.pem"
TLS = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("secure", [False, True])
async def test_server_on_a_network_is_reached_with_its_password(*, secure: bool) -> None:
    port = free_port()
    options = ["--bind", "127.0.0.1", "--requirepass", "canary"]
    options += ["--tls-port" if secure else "--port", str(port)]
    url = f"redis://:canary@localhost:{port}"
    if secure:
        options += [word for each in TLS for word in (each, str(CERTIFICATE))]
        options += ["--tls-auth-clients", "no"]
        url = f"rediss://:canary@localhost:{port}?ssl_ca_certs={CERTIFICATE}"
    with redis_server(*options):
        async with open_engine(url, "n", asyncio.get_running_loop().time) as engine:
            assert engine.is_reached, engine.failure


async def test_server_whose_certificate_is_unknown_is_not_used() -> None:
    port = free_port()
    options = [word for each in TLS for word in (each, str(CERTIFICATE))]
    with redis_server("--tls-port", str(port), "--tls-auth-clients", "no", *options):
        url = f"rediss://localhost:{port}"
        async with open_engine(url, "n", asyncio.get_running_loop().time) as engine:
            assert not engine.is_reached
