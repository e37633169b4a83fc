"""Candidates for tests that need no configuration."""

from __future__ import annotations

from functools import cache

from sidecar import Serving, Vendor
from sidecar.config.model import Provider, Route
from sidecar.errors import SourceLocation
from sidecar.routing.candidates import Candidate


class Acme(Vendor):
    name = title = "acme"


@cache
def candidate(name: str) -> Candidate:
    """Return the one candidate at a provider of this name, without a credential."""
    place = SourceLocation("routes.yaml", 1)
    return Candidate(Route(Provider(name, Acme(), "", (), place), place), None, Serving(), "m")
