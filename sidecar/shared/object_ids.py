"""The owners of objects that vendors created, by a digest of each object's id.

They are too many to be kept by every node: a node sends its own in the background, and asks for one
that it does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

from sidecar.shared.server import EngineError

FIND_SECONDS = 0.05
"""Seconds that a call waits at most for the owner of an object."""
MAX_RESENT = 20_000
"""Ids of this node that are sent again to a server that lost its data: the newest."""
PAGE = 200


class ObjectIds:
    """The owners of objects in a namespace.

    Args:
        run: Runs an operation of the script. Raises `EngineError`.
        is_reached: Returns whether the server works.
    """

    def __init__(
        self, run: Callable[[str, list[str]], Awaitable[list[Any]]], is_reached: Callable[[], bool]
    ) -> None:
        self._run = run
        self._is_reached = is_reached
        self._own: dict[str, str] = {}
        self._unsent: dict[str, None] = {}
        self._wanted = asyncio.Event()

    def publish(self, digest: str, owner: str) -> None:
        """Let all nodes find the owner of an object."""
        self._own.pop(digest, None)
        self._own[digest] = owner
        self._unsent[digest] = None
        if len(self._own) > MAX_RESENT:
            oldest = next(iter(self._own))
            del self._own[oldest]
            self._unsent.pop(oldest, None)
        self._wanted.set()

    async def find(self, digest: str) -> str:
        """Return the owner of an object; "" if it is unknown, or the server does not answer within
        `FIND_SECONDS`."""
        if not self._is_reached():
            return ""
        try:
            async with asyncio.timeout(FIND_SECONDS):
                found: str = (await self._run("owner", [digest]))[-1]
        except (EngineError, TimeoutError):
            return ""
        return found

    def resume(self) -> None:
        """Send what is unsent: the server answers."""
        if self._unsent:
            self._wanted.set()

    def lose(self) -> None:
        """Have everything sent again: the server lost its data."""
        self._unsent = dict.fromkeys(self._own)

    async def keep_sending(self) -> None:
        """Send owners as they come, for ever; after a failure when `resume` is called."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.send()
            except EngineError:
                continue

    async def send(self) -> None:
        """Send all owners, if the server works. Raises `EngineError`."""
        while self._unsent and self._is_reached():
            sent = list(islice(self._unsent, PAGE))
            await self._run("own", [word for each in sent for word in (each, self._own[each])])
            for each in sent:
                self._unsent.pop(each, None)
