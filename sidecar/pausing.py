"""Reading that stops while nobody takes what came, without a price for who never stops it."""

from __future__ import annotations

from aiohttp.base_protocol import BaseProtocol


class Pausing(BaseProtocol):
    """Has the library's parser look for held bytes only where it can hold any.

    The library has it look after every read. But one that was paused once may hold bytes later,
    when reading goes on: a pause between two pieces stops it only in the piece after them.
    """

    was_paused = False

    def pause_reading(self) -> None:
        """Take no more, until what came was read."""
        self.was_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001 - the library's
        """Go on, if ever it stopped."""
        if self.was_paused:
            super().resume_reading(resume_parser)
