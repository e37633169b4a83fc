"""Counts the calls of Sidecar's own functions in one warm call, by module.

    python bench/warm_call.py [--all]

The gateway runs under a profile function, first for a few calls and then for more of them: the
difference is what each further call takes. Counts are exact and the same on every machine, so a
change of them says more than a time. A *switch* is a call from one of Sidecar's modules into
another one. What is done for many calls together, after they have ended, counts once for each of
them: the first figures have it, the second ones leave it out.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
from collections import Counter
from http.client import HTTPResponse
from pathlib import Path
from types import FrameType
from typing import Any

from bodies import message
from rig import Rig

FEW, MANY = 100, 300
OFTEN = 0.9
"""Calls of a module in each warm call from which on it counts."""
BODY_BYTES = 1 << 10
OWN = ("/sidecar/", "/plugins/sidecar_")
BATCHES = frozenset({"FinishedCalls.flush", "Estimates.learn_collected"})
"""The functions that work for many calls together."""


class Counts:
    """The calls by module and the switches, those of batches apart."""

    def __init__(self) -> None:
        self.calls: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self.switches = [0, 0]
        self._batches = 0
        self._names: dict[str, str | None] = {}

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """Be the profile function."""
        code = frame.f_code
        is_batch = code.co_qualname in BATCHES
        if event == "return":
            self._batches -= is_batch
        if event != "call":
            return
        module, back = module_of(code.co_filename, self._names), frame.f_back
        self._batches += is_batch
        if module is None:
            return
        batched = self._batches > 0
        self.calls[batched][module] += 1
        caller = None if back is None else module_of(back.f_code.co_filename, self._names)
        self.switches[batched] += caller is not None and caller != module


def serve(out: Path, arguments: list[str]) -> None:
    """Run `sidecar` under the profile function; write the counts to `out` at SIGTERM."""
    from sidecar.cli import main

    counts = Counts()
    sys.argv = ["sidecar", *arguments]
    sys.setprofile(counts.note)
    try:
        main()
    finally:
        sys.setprofile(None)
        out.write_text(json.dumps({"calls": counts.calls, "switches": counts.switches}))


def module_of(filename: str, names: dict[str, str | None]) -> str | None:
    """Return the module of a file of Sidecar or its plugins; None for any other file."""
    if filename not in names:
        at = max(filename.rfind(each) for each in OWN)
        names[filename] = None if at < 0 else filename[at + 1 :].removeprefix("plugins/")
    return names[filename]


def measure(calls: int) -> tuple[list[Counter[str]], list[int]]:
    """Return the counts of a gateway that served so many calls after its start: of the calls and
    switches on their own paths, and of those in batches."""
    with Rig("asyncio") as rig:
        out = rig.folder / "counts.json"
        gateway = rig.sidecar(argv=[__file__, "--serve", out])
        request = message(rig.key, BODY_BYTES, "", streaming=False, model_first=True)
        with socket.create_connection(("127.0.0.1", gateway.port)) as line:
            for _ in range(calls):
                line.sendall(request)
                answer = HTTPResponse(line, method="POST")
                answer.begin()
                answer.read()
                if answer.status != 200:
                    sys.exit(f"the gateway answered {answer.status}")
        os.kill(gateway.pid, signal.SIGTERM)
        rig.stop(gateway)
        found = json.loads(out.read_text())
    return [Counter(each) for each in found["calls"]], found["switches"]


def print_counts(calls: dict[str, float], switches: float, where: str) -> None:
    """Print the counts of one call."""
    print(f"{sum(calls.values()):6.0f}  calls of own functions{where}")
    print(f"{len(calls):6}  modules{where}")
    print(f"{switches:6.0f}  switches between modules{where}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="print every module")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(Path(options.serve[0]), options.serve[1:])
        return
    few, many = measure(FEW), measure(MANY)
    (path, path_switches), (batch, batch_switches) = (
        (each_call(late, early), (more - fewer) / (MANY - FEW))
        for early, late, fewer, more in zip(few[0], many[0], few[1], many[1], strict=True)
    )
    whole = {name: path.get(name, 0) + batch.get(name, 0) for name in path.keys() | batch.keys()}
    print_counts(whole, path_switches + batch_switches, "")
    print_counts(path, path_switches, ", without batches")
    ordered = sorted(whole.items(), key=lambda pair: -pair[1])
    for module, count in ordered if options.all else ordered[:15]:
        print(f"{count:6.1f}  {module}")


def each_call(late: Counter[str], early: Counter[str]) -> dict[str, float]:
    """Return how often a further call takes each module; what runs now and then is left out."""
    late.subtract(early)
    each = {module: count / (MANY - FEW) for module, count in late.items()}
    return {module: count for module, count in each.items() if count >= OFTEN}


if __name__ == "__main__":
    main()
