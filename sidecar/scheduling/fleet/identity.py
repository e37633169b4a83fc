"""By what two processes recognise that an upstream of theirs is the same one.

The name of a provider does not suffice: two machines may have other credentials or servers under
it. So its address, its options and its secrets are a part of the identity, as a slow digest, from
which a short secret cannot be guessed in bulk.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator

from sidecar.config.model import CredentialRef, Provider, SecretSource
from sidecar.plugin_api.vendor import Secret
from sidecar.routing.upstream_key import is_remote

SecretOf = Callable[[CredentialRef], Secret | None]
_DIGEST_BYTES = 8


class Identities:
    """The identities of upstreams; each is computed once, as that takes hundredths of a second.

    Args:
        secret_of: Returns the secret of a reference, None if there is none.
    """

    def __init__(self, secret_of: SecretOf) -> None:
        self._secret_of = secret_of
        self._computed: dict[tuple[str, str], tuple[Secret, str]] = {}

    def of(self, provider: Provider) -> Iterator[tuple[str, str]]:
        """Yield the name and the identity of each credential of a provider, "" as the name of none.

        None is yielded for a server within this process, for a login of a caller, and for a secret
        that cannot be resolved.
        """
        if not provider.base_url or provider.takes_login:
            return
        if not provider.credentials:
            yield "", self._identity(provider, "", None)
        for ref in provider.credentials:
            secret = self._secret_of(ref)
            if secret is not None or ref.source is SecretSource.NONE:
                yield ref.name, self._identity(provider, ref.name, secret)

    def _identity(self, provider: Provider, credential: str, secret: Secret | None) -> str:
        at = (provider.name, credential)
        text = _text(provider, secret)
        old = self._computed.get(at)
        if old is None or old[0] != text:
            old = self._computed[at] = text, _digest(provider.name, text)
        return old[1]


def _text(provider: Provider, secret: Secret | None) -> Secret:
    # The server behind a loopback address is another one on each machine.
    machine = "" if is_remote(provider) else socket.gethostname()
    options = sorted((name, repr(value)) for name, value in provider.options.items())
    parts = (provider.vendor.name, provider.base_url, machine, options, provider.set_headers)
    return Secret(repr((*parts, "" if secret is None else secret.reveal())))


def _digest(name: str, text: Secret) -> str:
    salt = f"sidecar upstream {name}".encode()
    return hashlib.scrypt(
        text.reveal().encode("utf-8", "backslashreplace"),
        salt=salt, n=2**13, r=8, p=1, dklen=_DIGEST_BYTES,
    ).hex()  # fmt: skip
