"""Pauses and resumes: holds what a name stands for, and says what that means by now."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sidecar.admin.introspect.limit_views import View, held_view
from sidecar.config.model import Snapshot
from sidecar.proxy.in_flight import LiveCall, LiveCalls
from sidecar.scheduling.pauses import (
    EVERYTHING,
    PauseTarget,
    describe_target,
    find,
    find_paused,
    hashes_of,
    resume_command_for,
    touches,
)
from sidecar.scheduling.scheduler import Scheduler

log = logging.getLogger("sidecar.admin.introspect.pauses")


class PauseControl:
    """What a person may stop and let go on. `current` gives the configuration in force."""

    def __init__(
        self, current: Callable[[], Snapshot], scheduler: Scheduler, live: LiveCalls
    ) -> None:
        self._current = current
        self._scheduler = scheduler
        self._live = live
        for each in scheduler.pauses:
            log.warning(
                "%s is still paused (%s)",
                describe_target(each.target),
                resume_command_for(each.target),
            )

    def pause(self, kind: str, name: str, by: str) -> View:
        """Park what is called from now on; `by` says from where it is asked for. Raises
        `ProxyError` when nothing has the name, or more than one thing."""
        snapshot = self._current()
        held = find(snapshot, kind, name)
        news = self._scheduler.pause(held, hashes_of(held, snapshot), by)
        return held_view(held) | {"news": news, **self._touched(held)}

    def resume(self, kind: str, name: str) -> View:
        """Let it go on; `still` is what keeps parts of it parked all the same. Raises `ProxyError`
        as `pause` does."""
        snapshot, holds = self._current(), self._scheduler.pauses
        held = find_paused(holds, snapshot, kind, name)
        news = self._scheduler.resume(held)
        still = [held_view(each.target) for each in self._scheduler.pauses
                 if touches(each.target, held, snapshot)]  # fmt: skip
        return held_view(held) | {"news": news, "still": still, **self._touched(held)}

    def _touched(self, held: PauseTarget) -> View:
        """The calls that it is about: those that run on, and those that wait; and whether it is
        kept over a restart."""
        mine = [call for call in self._live if _is_of(call, held)]
        waiting = sum(1 for call in mine if call.waiter is not None and call.waiter.queued_at)
        kept = self._scheduler.pauses_are_stored
        return {"running": len(mine) - waiting, "waiting": waiting, "kept": kept}


def _is_of(call: LiveCall, held: PauseTarget) -> bool:
    kind, name = held
    if held == EVERYTHING:
        return True
    if kind == "provider":
        stands = call.waiter.queued_at if call.waiter is not None else {}
        wanted = {option.candidate.provider.name for option in stands.values()}
        return name in (wanted or {call.provider})
    key = call.key
    return key is not None and name == (key.name if kind == "key" else key.group.name)
