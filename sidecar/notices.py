"""What the books show that a person should hear of: one log line each, and never twice a day.

Decides nothing and stops nothing.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping
from datetime import date

from sidecar.habits import Spike
from sidecar.tables import NewProgram

LOG = logging.getLogger("sidecar.notices")


class Notices:
    """Writes them to the log. `spikes` are the keys whose use of today is far above their habit,
    as of the last look, replaced whole: any thread may read it."""

    def __init__(self) -> None:
        self.spikes: Mapping[str, Spike] = {}
        self._told: set[tuple[str, date]] = set()

    def new_programs(self, found: Iterable[NewProgram]) -> None:
        """These programs used keys that others had used before."""
        for each in found:
            earlier = ", ".join(each.earlier[:3]) + (", …" if len(each.earlier) > 3 else "")
            LOG.info(
                'key "%s" is used from a new program: %s (until now: %s)',
                each.key, each.program, earlier,
            )  # fmt: skip

    def looked(self, spikes: Mapping[str, Spike]) -> None:
        """This is how things stand."""
        self.spikes = spikes
        for key, spike in spikes.items():
            if (key, spike.day) not in self._told:
                self._told = {each for each in self._told if each[1] == spike.day}
                self._told.add((key, spike.day))
                LOG.warning(
                    'key "%s": %s (see: sidecar usage --by day,model --key %s)',
                    key, spike, shlex.quote(key),
                )  # fmt: skip
