"""Counts the calls of Sidecar's own functions in one warm call, by module.

    python bench/warm_call.py [--all]

The gateway runs under a profile function, first for a few calls and then for more of them: the
difference is what each further call takes. Counts are exact and the same on every machine, so a
change of them says more than a time. A *switch* is a call from one of Sidecar's modules into
another one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from bodies import agent_body
from rig import Rig

FEW, MANY = 100, 300
BODY_BYTES = 1 << 10
OWN = ("/sidecar/", "/plugins/sidecar_")


def serve(out: Path, arguments: list[str]) -> None:
    """Run `sidecar` under the profile function; write the counts to `out` at SIGTERM."""
    calls: Counter[str] = Counter()
    switches = 0
    names: dict[str, str | None] = {}

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal switches
        if event != "call":
            return
        module = module_of(frame.f_code.co_filename, names)
        if module is None:
            return
        calls[module] += 1
        back = frame.f_back
        caller = None if back is None else module_of(back.f_code.co_filename, names)
        switches += caller is not None and caller != module

    from sidecar.cli import main

    sys.argv = ["sidecar", *arguments]
    sys.setprofile(count)
    try:
        main()
    finally:
        sys.setprofile(None)
        out.write_text(json.dumps({"calls": calls, "switches": switches}))


def module_of(filename: str, names: dict[str, str | None]) -> str | None:
    """Return the module of a file of Sidecar or its plugins; None for any other file."""
    if filename not in names:
        at = max(filename.rfind(each) for each in OWN)
        names[filename] = None if at < 0 else filename[at + 1 :].removeprefix("plugins/")
    return names[filename]


def measure(calls: int) -> tuple[Counter[str], int]:
    """Return the counts of a gateway that served so many calls after its start."""
    with Rig("asyncio") as rig:
        out = Path(rig.folder) / "counts.json"
        gateway = rig.sidecar(argv=[__file__, "--serve", out])
        line = http.client.HTTPConnection("127.0.0.1", gateway.port)
        headers = {"Authorization": f"Bearer {rig.key}", "Content-Type": "application/json"}
        body = agent_body(BODY_BYTES, streaming=False, model_first=True)
        for _ in range(calls):
            line.request("POST", "/v1/chat/completions", body, headers)
            answer = line.getresponse()
            answer.read()
            if answer.status != 200:
                sys.exit(f"the gateway answered {answer.status}")
        line.close()
        os.kill(gateway.pid, signal.SIGTERM)
        rig.stop(gateway)
        found = json.loads(out.read_text())
    return Counter(found["calls"]), found["switches"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="print every module")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(Path(options.serve[0]), options.serve[1:])
        return
    few, few_switches = measure(FEW)
    many, many_switches = measure(MANY)
    many.subtract(few)
    each = {module: count / (MANY - FEW) for module, count in many.items()}
    shown = {module: count for module, count in each.items() if count >= 0.9}
    print(f"{sum(each.values()):6.0f}  calls of own functions")
    print(f"{len(shown):6}  modules")
    print(f"{(many_switches - few_switches) / (MANY - FEW):6.0f}  switches between modules")
    ordered = sorted(shown.items(), key=lambda pair: -pair[1])
    for module, count in ordered if options.all else ordered[:15]:
        print(f"{count:6.1f}  {module}")


if __name__ == "__main__":
    main()
