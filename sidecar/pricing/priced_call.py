"""A call that has ended, as its price needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.records import AttemptRecord, Usage


class PricedCall(Protocol):
    """What the cost of a finished call depends on: its record has it, and the call before that."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def status(self) -> int:
        """The status of its response."""

    @property
    def attempts(self) -> Sequence[AttemptRecord]:
        """Its attempts, the one whose response was relayed last."""

    @property
    def model_asked(self) -> str | None:
        """The model that the client named."""

    @property
    def model_served(self) -> str | None:
        """The model that the response names."""

    @property
    def usage(self) -> Usage | None:
        """The usage of its response."""

    @property
    def started(self) -> float:
        """When it began, in seconds since the epoch."""
