"""The certificate authorities that a provider's `ca_file` names, and why one cannot be used."""

from __future__ import annotations

import ssl

from sidecar.config.model import Snapshot
from sidecar.errors import Problem
from sidecar.files import NotRegularFile, open_regular


def unusable_authorities(snapshot: Snapshot) -> tuple[Problem, ...]:
    """Return a problem for each provider whose `ca_file` cannot be used. Blocking."""
    return tuple(
        Problem(
            provider.place,
            f"provider {provider.name}: ca_file {provider.ca_file} {why_not}",
            "write the path of a PEM file of certificates",
        )
        for provider in snapshot.providers.values()
        if provider.ca_file is not None and (why_not := why_unusable(provider.ca_file))
    )


def why_unusable(ca_file: str) -> str:
    """Return why no certificates can be read from this file; "" when they can."""
    try:
        with open_regular(ca_file):  # OpenSSL would wait for the writer of a pipe
            pass
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        return "holds no certificate in PEM form"
    except NotRegularFile:
        return "is not a regular file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
