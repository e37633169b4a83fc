"""What a call takes, by its vendor's own reckoning: guessed before, counted after. The guard around
the plugins' code, which must neither stop a call nor the counting.
"""

from __future__ import annotations

import logging

from sidecar.gates import Gate, Slots, Unit, Window
from sidecar.intake import Call
from sidecar.pacing import Bucket
from sidecar.routing import Candidate
from sidecar.usage import Usage

log = logging.getLogger("sidecar.needs")


def size_of(call: Call) -> int:
    """The bytes of a request."""
    return call.held.size


def guess(candidate: Candidate, size: int, bound: int | None) -> tuple[int, int | None]:
    """Input and output tokens by the size of a request and the bound on its output; the output is
    None when nothing is known of it."""
    try:
        return candidate.provider.vendor.estimate(size, bound)
    except Exception as error:  # noqa: BLE001 - the guard around foreign code
        _failed(candidate, error)
        return size // 4, bound


def counted(candidate: Candidate, usage: Usage) -> tuple[int, int]:
    """The input and output tokens of a usage that count against limits, as the vendor has it."""
    try:
        return candidate.provider.vendor.counted(usage)
    except Exception as error:  # noqa: BLE001 - the guard around foreign code
        _failed(candidate, error)
        return usage.input_tokens or 0, usage.output_tokens or 0


def binds_free_calls(gate: Gate) -> bool:
    """Whether a call that costs nothing must pass it, too: limits on calls at one time, those that
    admit nothing at all, and pauses and cooldowns. A vendor counts such calls by themselves."""
    if isinstance(gate, Window) and gate.unit is not Unit.MONEY:
        return isinstance(gate, Slots) or gate.limit <= 0
    return not isinstance(gate, Window | Bucket)


def _failed(candidate: Candidate, error: Exception) -> None:
    name = candidate.provider.vendor.name
    log.warning("the plugin of vendor %s failed: %s", name, type(error).__name__)
