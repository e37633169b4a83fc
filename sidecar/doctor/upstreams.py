"""Check the providers: their credentials, and the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from time import monotonic
from urllib.parse import urlsplit

from msgspec import structs

from sidecar.config.model import CredentialRef, Key, Provider
from sidecar.config.schema.addresses import is_loopback
from sidecar.doctor.local import MAX_CLOCK_DIFFERENCE_SECONDS, clock_finding
from sidecar.doctor.results import CheckResult, Installation, Level, shown_reference
from sidecar.errors import Fault, UpstreamError
from sidecar.http.client import SendState, Upstream, open_upstream
from sidecar.routing.model_list import ModelList

NETWORK_TIMEOUT_SECONDS = 10.0
_REPAIRS = {
    Fault.CONNECT: "correct base_url: or the network's names; behind a proxy write proxy: env",
    Fault.TLS: "write ca_file: with the authority that signed it, such as that of your proxy",
    Fault.TIMEOUT: "let the firewall pass it, or write proxy: with the proxy to go through",
    Fault.CLOSED: "look at what is between: a proxy or firewall closes the connection",
    Fault.PROTOCOL: "correct base_url:, whose server does not speak HTTP",
}
_PROXY_REPAIR = "correct proxy: of the provider, or the variable HTTPS_PROXY that it takes"
_PROXY_AUTHENTICATION = 407


def check_credentials(at: Installation) -> Iterator[CheckResult]:
    """Find credentials that cannot be used: by the process where one runs, else by this shell."""
    snapshot = at.snapshot
    if snapshot is None:
        return
    held = {} if at.status is None else {
        ref: why for each in at.status.providers for ref, why in each.credentials.items()
    }  # fmt: skip
    unavailable: set[str] = set()
    for provider in snapshot.providers.values():
        problems = [_why_unusable(at, provider, ref, held) for ref in provider.credentials]
        for ref, why_not in zip(provider.credentials, problems, strict=True):
            yield _credential(provider, ref, why_not)
        if problems and all(problems):
            unavailable.add(provider.name)
    for key in snapshot.keys.values():
        if _is_cut_off(key, unavailable):
            what = f'key "{key.name}" has no provider with a usable credential'
            repair = "give one of its providers a credential, or write enabled: false on the key"
            yield CheckResult("credentials", Level.FAIL, what, repair)


def _why_unusable(
    at: Installation, provider: Provider, ref: CredentialRef, held: dict[str, str]
) -> str:
    why_not = held.get(ref.name)
    if why_not is None:
        why_not = at.vault.why_unusable(provider, ref)
    return why_not.replace(ref.name, shown_reference(ref))


def _credential(provider: Provider, ref: CredentialRef, why_not: str) -> CheckResult:
    if not why_not:
        what = f"provider {provider.name}: {shown_reference(ref)} is there"
        return CheckResult("credentials", Level.PASS, what)
    repair = "set it in a shell, and start Sidecar again from there; a running one: sidecar stop"
    return CheckResult("credentials", Level.WARN, f"provider {provider.name}: {why_not}", repair)


def _is_cut_off(key: Key, unavailable: set[str]) -> bool:
    used = [route.provider.name for route in key.routes if route.enabled]
    return key.enabled and bool(used) and unavailable.issuperset(used)


async def check_network(at: Installation, *, call: bool) -> list[CheckResult]:
    """Connect to each provider as a call would, without a credential.

    With `call`, ask each for its models with its first usable credential, which no vendor bills.
    """
    snapshot = at.snapshot
    if snapshot is None:
        return []
    remote = [each for each in snapshot.providers.values() if each.base_url]
    async with open_upstream() as upstream:
        reached = await asyncio.gather(*(_reach(at, upstream, each) for each in remote))
        found = [finding for findings in reached for finding in findings]
        if call:
            models = ModelList(upstream, at.vault, at.registry.dialects, {}, monotonic)
            found += await asyncio.gather(*(_call(models, each) for each in remote))
    clocks = [finding for finding in found if finding.check == "clock"]
    return [finding for finding in found if finding.check != "clock"] + clocks[:1]


async def _reach(at: Installation, upstream: Upstream, provider: Provider) -> list[CheckResult]:
    timeouts = structs.replace(provider.timeouts, first_byte=NETWORK_TIMEOUT_SECONDS)
    probed = structs.replace(provider, timeouts=timeouts)
    place = urlsplit(provider.base_url).netloc
    try:
        async with asyncio.timeout(NETWORK_TIMEOUT_SECONDS):
            reply = await upstream.send(probed, "HEAD", provider.base_url, b"", None, SendState())
    except TimeoutError:
        why = f"no answer within {NETWORK_TIMEOUT_SECONDS:.0f} s"
        return [_unreachable(provider, place, why, _REPAIRS[Fault.TIMEOUT])]
    except UpstreamError as error:
        repair = _PROXY_REPAIR if "the proxy" in str(error) else _REPAIRS[error.fault]
        return [_unreachable(provider, place, str(error), repair)]
    try:
        if reply.status == _PROXY_AUTHENTICATION:
            why = "the proxy asks for a user and a password"
            return [_unreachable(provider, place, why, _PROXY_REPAIR)]
        way = ", through a proxy" if provider.proxy else ""
        what = f"provider {provider.name}: {place} answers{way}"
        date = reply.fields.get("Date", "")
        return [CheckResult("network", Level.PASS, what), *_clock(at, date, provider)]
    finally:
        reply.close()


def _unreachable(provider: Provider, place: str, why: str, repair: str) -> CheckResult:
    near = is_loopback(urlsplit(provider.base_url).hostname or "")
    what = f"provider {provider.name}: {place} cannot be reached: {why}"
    if near:
        return CheckResult("network", Level.WARN, what, "start that server, or remove the provider")
    return CheckResult("network", Level.FAIL, what, repair)


def _clock(at: Installation, date: str, provider: Provider) -> Iterator[CheckResult]:
    try:
        ahead = parsedate_to_datetime(date).timestamp() - at.wall()
    except ValueError:
        return
    if abs(ahead) > MAX_CLOCK_DIFFERENCE_SECONDS:
        yield clock_finding(ahead, f"provider {provider.name} answered")


async def _call(models: ModelList, provider: Provider) -> CheckResult:
    probe = await models.probe(provider)
    if probe.why_not:
        what = f"provider {provider.name}: a call for its models failed: {probe.why_not}"
        repair = "look at the credential in the vendor's own console, and at base_url:"
        return CheckResult("call", Level.FAIL, what, repair)
    what = f"provider {provider.name}: a call for its models succeeded"
    return CheckResult("call", Level.PASS, what)
