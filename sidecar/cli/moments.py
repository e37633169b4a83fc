"""A moment ahead, as typed behind an option; ends the command with status 2 when it is none."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from sidecar import moments
from sidecar.cli.common import fail
from sidecar.errors import EditRefused


def after(option: str, text: str) -> datetime:
    """So long from now."""
    try:
        return moments.after(text, datetime.now(UTC))
    except EditRefused as error:
        fail(f"{option} {error}")


def until(option: str, text: str, zone: tzinfo | None) -> datetime:
    """A date or time, or so long from now."""
    try:
        return moments.until(text, zone, datetime.now(UTC))
    except EditRefused as error:
        fail(f"{option} {error}")
