"""A vendor whose answers wait until the test releases them."""

from __future__ import annotations

import asyncio

from running_sidecar import Sidecar
from sample_answers import CHAT, body
from scripted_vendor import Wire, answer


class Gate:
    """A vendor's answer that the test releases; `order` are the keys of the calls, in order."""

    def __init__(self, reply: object = CHAT) -> None:
        self.order: list[str] = []
        self.at_once = 0
        self.most = 0
        self._reply = body(reply)
        self._go = asyncio.Semaphore(0)

    def let(self, number: int) -> None:
        for _ in range(number):
            self._go.release()

    async def __call__(self, wire: Wire) -> None:
        self.order.append((wire.request.get("x-who") or [""])[0])
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self._go.acquire()
        self.at_once -= 1
        await answer(self._reply)(wire)


def waiting(proxy: Sidecar) -> int:
    return len(proxy.running.services.scheduler.waiting)
