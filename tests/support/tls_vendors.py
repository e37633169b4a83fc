"""Vendors behind TLS, with good and bad certificates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from project_paths import TESTS
from running_sidecar import Sidecar, sidecar
from scripted_vendor import ScriptedVendor, answer, scripted_vendor

YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY, {more}}}
groups: {{GPT: {{vendor: openai, routes: [oa]}}}}
keys: {{gpt: {{group: GPT, hash: "{{gpt}}"}}}}
"""
PLAIN = "timeouts: {connect: 5s}"


CERTIFICATES = TESTS / "certificates"


@asynccontextmanager
async def serving(folder: Path, url: str, more: str = PLAIN) -> AsyncIterator[Sidecar]:
    async with sidecar(folder, YAML.format(url=url, more=more), ("gpt",)) as started:
        yield started


@asynccontextmanager
async def with_certificate(name: str) -> AsyncIterator[ScriptedVendor]:
    """A vendor behind TLS. Failed handshakes are meant, so that the loop need not report them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem")
    async with scripted_vendor(context) as vendor:
        vendor.play(answer(b"{}"))
        yield vendor
