"""Examine an installation: each check passes, warns or fails, with its repair."""

from __future__ import annotations

import asyncio

from sidecar.doctor.environment import check_base_urls, check_proxies
from sidecar.doctor.local import (
    check_clock,
    check_file,
    check_permissions,
    check_ports,
    check_process,
    check_watching,
)
from sidecar.doctor.results import CheckResult, Installation
from sidecar.doctor.upstreams import check_credentials, check_network
from sidecar.doctor.versions import check_versions, installed_versions


async def examine(at: Installation, *, call: bool) -> list[CheckResult]:
    """Return the findings of every check; with `call`, a real call to each provider is one."""
    network = asyncio.create_task(check_network(at, call=call))
    watching = await check_watching(at)
    return [
        *check_file(at),
        *check_process(at),
        *check_permissions(at),
        *check_ports(at),
        watching,
        *check_credentials(at),
        *await network,
        *check_base_urls(at),
        *check_proxies(at),
        check_clock(at),
        *check_versions(installed_versions()),
    ]
