"""An event loop whose clock jumps to the next timer when nothing is left to do.

Hours of waiting take no time, and the same program does the same things in the same order, always.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Stuck(Exception):
    """Everything waits, and there is no timer that would end it."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time()` begins at 0 and passes only while everything waits.

    For programs that wait for timers, futures and each other. What comes from outside (sockets,
    threads) is seen, but no time is given to it: `receive` is called before time passes, and
    returns when all that is on its way has arrived. Raises `Stuck` where a real loop would wait
    for ever.
    """

    def __init__(self, receive: Callable[[], None] | None = None) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self._pass, receive))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def _pass(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for `timeout` seconds, it says that they have passed."""

    def __init__(self, passed: Callable[[float], None], receive: Callable[[], None] | None) -> None:
        super().__init__()
        self._passed = passed
        self._receive = receive

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the callbacks that are ready now."""
        ready = super().select(0)
        if not ready and self._receive is not None and timeout != 0:
            self._receive()
            ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck("nothing is left to do, and no timer is set")
            self._passed(timeout)
        return ready


def run(
    main: Callable[[], Coroutine[Any, Any, Result]], receive: Callable[[], None] | None = None
) -> Result:
    """Run `main` to its end in virtual time and return its result; tasks it left are cancelled."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(receive)) as runner:
        return runner.run(main())
