"""The set-up that every benchmark shares: a vendor, a client, and gateways between them.

Gateways run on one core, vendor and client on another. One process each, real sockets, loopback.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

from load import Load, Outcome
from machine import GATEWAY, REST, cpu_seconds, end, free_port, running, settle, wait_for

from sidecar.api_keys import digest, mint

HERE = Path(__file__).parent
CERTIFICATE = HERE.parent / "tests/certificates/here.pem"
CONFIG = """\
providers:
  vendor: {{plugin: openai, base_url: "{url}/v1", credential: env:BENCH_KEY{more}}}
groups:
  bench: {{vendor: openai, routes: [vendor]}}
keys:
  bench: {{group: bench, hash: sha256:{hash}}}
"""
LOOPS = {
    "own": "what each takes by itself: bare asyncio's, Sidecar uvloop where it is installed",
    "asyncio": "asyncio's for both",
    "uvloop": "uvloop for both; it must be installed",
}
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from sidecar.cli import main; main()"
"""Sidecar takes uvloop where it finds it; this is how it does not find it."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Something on the way to the vendor. `admin` is its admin port, 0 for none; `started` the
    seconds from its start to its first answer."""

    name: str
    port: int
    process: subprocess.Popen[str]
    admin: int = 0
    started: float = 0.0

    @property
    def pid(self) -> int:
        return self.process.pid


class Rig:
    """A vendor and a client, and gateways that are started on demand. A context manager.

    `loop` is the event loop of the gateways: one of `LOOPS`. With `tls`, gateways reach the vendor
    over TLS; the client speaks plain HTTP.
    """

    def __init__(self, loop: str = "own", *, tls: bool = False) -> None:
        self._stack = ExitStack()
        self._loop = loop
        self.key = mint()
        self.vendor = free_port()
        self._tls = free_port() if tls else 0

    def __enter__(self) -> Rig:
        enter = self._stack.enter_context
        self.folder = Path(enter(tempfile.TemporaryDirectory()))
        log = self.folder / "vendor.log"
        tls = (self._tls, CERTIFICATE) if self._tls else ()
        vendor = enter(running(HERE / "upstream.py", self.vendor, *tls, core=REST, log=log))
        wait_for(self.vendor, vendor, log)
        log = self.folder / "load.log"
        self._client = enter(running(HERE / "load.py", core=REST, log=log, pipes=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def _vendor_url(self) -> str:
        return f"https://127.0.0.1:{self._tls}" if self._tls else f"http://127.0.0.1:{self.vendor}"

    def bare(self, name: str = "bare") -> Gateway:
        """Start the reference."""
        port = free_port()
        argv: list[object] = [HERE / "bare.py", port, self._vendor_url]
        argv += ["--uvloop"] if self._loop == "uvloop" else []
        return self._start(name, port, [*argv, *(["--ca", CERTIFICATE] if self._tls else [])])

    def sidecar(
        self, name: str = "sidecar", argv: Sequence[object] = (), *, config: str = ""
    ) -> Gateway:
        """Start Sidecar as anybody would: `sidecar serve`, one provider, one key.

        `argv` starts another program in place of `sidecar`, which gets the same arguments. `config`
        is the text of another file, with `Rig.key` in it.
        """
        port, admin = free_port(), free_port()
        # In a directory of its own, as usual: Sidecar watches it, and logs lie in this one.
        file = self.folder / f"{name}-config" / "routes.yaml"
        file.parent.mkdir()
        file.touch(0o600)
        more = f", ca_file: {CERTIFICATE}" if self._tls else ""
        text = config or CONFIG.format(url=self._vendor_url, more=more, hash=digest(self.key).hex())
        file.write_text(text)
        command = ["-c", WITHOUT_UVLOOP] if self._loop == "asyncio" else ["-m", "sidecar"]
        arguments = [
            "serve", "--config", file, "--state", self.folder / f"{name}-state",
            "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
        ]  # fmt: skip
        return self._start(name, port, [*(argv or command), *arguments], admin)

    def stop(self, gateway: Gateway) -> None:
        """End a gateway before the rest."""
        end(gateway.process)

    def play(self, port: int, load: Load) -> Outcome:
        """Have the client play `load` against a port."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps(asdict(replace(load, port=port, key=self.key))) + "\n")
        self._client.stdin.flush()
        line = self._client.stdout.readline()
        if not line:
            raise SystemExit(f"the client failed:\n{(self.folder / 'load.log').read_text()}")
        return Outcome(**json.loads(line))

    def measure(self, gateway: Gateway, load: Load) -> tuple[float, Outcome]:
        """The CPU seconds that a gateway uses for a load, and what came of it."""
        [(used, [outcome])] = self.compare([gateway], load, 1)
        return used, outcome

    def compare(
        self, gateways: Sequence[Gateway], load: Load, times: int
    ) -> list[tuple[float, list[Outcome]]]:
        """`measure` for several gateways that take turns at the same load, `times` each.

        Short turns: what else the machine does then falls on all of them alike.
        """
        for gateway in gateways:
            settle(gateway.pid)
        before = [cpu_seconds(gateway.pid) for gateway in gateways]
        outcomes: list[list[Outcome]] = [[] for _ in gateways]
        turns = list(zip(gateways, outcomes, strict=True))
        for number in range(times):
            # Nobody always comes first.
            for gateway, each in turns if number % 2 else turns[::-1]:
                each.append(self.play(gateway.port, load))
        for gateway in gateways:
            settle(gateway.pid)
        used = [cpu_seconds(g.pid) - was for g, was in zip(gateways, before, strict=True)]
        return list(zip(used, outcomes, strict=True))

    def scrape(self, gateway: Gateway) -> None:
        """Read a gateway's metrics once."""
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin}/metrics", timeout=5) as page:
            page.read()

    def _start(self, name: str, port: int, argv: list[object], admin: int = 0) -> Gateway:
        log = self.folder / f"{name}.log"
        # Modules are compiled at the first start, as an installer does, whatever this shell says.
        environ = {"BENCH_KEY": "sk-bench-upstream", "PYTHONDONTWRITEBYTECODE": ""}
        began = time.monotonic()
        process = self._stack.enter_context(running(*argv, core=GATEWAY, log=log, environ=environ))
        wait_for(port, process, log)
        outcome = self.play(port, Load(1, 1024))
        started = time.monotonic() - began
        if outcome.bad:
            raise SystemExit(f"{name} does not answer 200:\n{log.read_text()[-2000:]}")
        return Gateway(name, port, process, admin, started)
