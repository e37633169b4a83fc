"""Pause and resume by name, and report which calls are concerned."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from msgspec import structs

from sidecar.admin.api_types.limits import PauseResult, ResumeResult
from sidecar.admin.introspect.limit_states import paused_scope
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


class ConcernedCalls(NamedTuple):
    """Calls that a pause concerns: how many run and wait; and whether it is kept on disk."""

    running: int
    waiting: int
    kept: bool


class PauseControl:
    """Pauses and resumes. `current` returns the configuration in force."""

    def __init__(
        self, current: Callable[[], Snapshot], scheduler: Scheduler, live: LiveCalls
    ) -> None:
        self._current = current
        self._pauses = scheduler.pauses
        self._live = live
        for each in self._pauses:
            log.warning(
                "%s is still paused (%s)",
                describe_target(each.target),
                resume_command_for(each.target),
            )

    def pause(self, kind: str, name: str, by: str, *, here: bool = False) -> PauseResult:
        """Pause what has this name; `by` is from where, `here` in this process alone. Raises
        `ProxyError` when nothing has the name, or more than one thing."""
        snapshot = self._current()
        target = find(snapshot, kind, name)
        news = self._pauses.pause(target, hashes_of(target, snapshot), by, here=here)
        scope = structs.asdict(paused_scope(target))
        shared = any(each.fact for each in self._pauses if each.target == target)
        concerned = self._concerned(target)._asdict()
        return PauseResult(**scope, news=news, shared=shared, **concerned)

    def resume(self, kind: str, name: str, *, here: bool = False) -> ResumeResult:
        """Resume what has this name, or end the pauses of this process alone. Raises `ProxyError`
        as `pause` does."""
        snapshot = self._current()
        target = find_paused(list(self._pauses), snapshot, kind, name)
        before = [each for each in self._pauses if target in {each.target, EVERYTHING}]
        news = self._pauses.resume(target, here=here)
        still = [
            paused_scope(each.target)
            for each in self._pauses
            if touches(each.target, target, snapshot)
        ]
        scope = structs.asdict(paused_scope(target))
        concerned = self._concerned(target)._asdict()
        shared = not here and any(each.fact for each in before)
        return ResumeResult(**scope, news=news, shared=shared, still=still, **concerned)

    def _concerned(self, target: PauseTarget) -> ConcernedCalls:
        mine = [call for call in self._live if _is_of(call, target)]
        waiting = sum(1 for call in mine if call.waiter is not None and call.waiter.queued_at)
        return ConcernedCalls(len(mine) - waiting, waiting, self._pauses.is_stored)


def _is_of(call: LiveCall, target: PauseTarget) -> bool:
    kind, name = target
    if target == EVERYTHING:
        return True
    if kind == "provider":
        stands = call.waiter.queued_at if call.waiter is not None else {}
        wanted = {option.candidate.provider.name for option in stands.values()}
        return name in (wanted or {call.provider})
    key = call.key
    return key is not None and name == (key.name if kind == "key" else key.group.name)
