"""The set-up that every benchmark shares: a vendor, a client, and gateways between them.

Gateways run on one core, vendor and client on another. One process each, real sockets, loopback.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from types import TracebackType

from answers import DIALECTS
from load import Load, Outcome, Tally
from machine import GATEWAY, REST, cpu_seconds, end, free_port, running, settle, wait_for
from native import programs

from sidecar.api_keys import digest, mint

HERE = Path(__file__).parent
CERTIFICATE = HERE.parent / "tests/certificates/here.pem"
PROVIDER = '  {name}: {{plugin: {plugin}, base_url: "{url}", credential: env:BENCH_KEY{more}}}'
KEY = "  {name}: {{group: {group}, hash: sha256:{hash}{more}}}"
LOOPS = {
    "own": "what each takes by itself: bare asyncio's, Sidecar uvloop where it is installed",
    "asyncio": "asyncio's for both",
    "uvloop": "uvloop for both; it must be installed",
}
PYTHON = "vendor and client in Python, also where a C compiler is"
SCALE_OF_FIGURES = 0.1
"""Shorter loads are a trial."""
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from sidecar.cli import main; main()"
"""Sidecar takes uvloop where it finds it; this is how it does not find it."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Something on the way to the vendor. `admin` is its admin port, 0 for none; `started` the
    seconds from its start to its first answer. A peer is a gateway that ran before: it has no
    `process` here, and may want a `key` and `headers` of its own."""

    name: str
    port: int
    pid: int
    process: subprocess.Popen[str] | None = None
    admin: int = 0
    started: float = 0.0
    key: str = ""
    headers: str = ""


class Rig:
    """A vendor and a client, and gateways that are started on demand. A context manager.

    `loop` is the event loop of the gateways: one of `LOOPS`. With `tls`, gateways reach the vendor
    over TLS; the client speaks plain HTTP. `vendor` is the vendor's port, 0 for any. Loads last
    `scale` times as long as they say. Vendor and client are in C where there is a compiler, unless
    `python`.
    """

    def __init__(
        self,
        loop: str = "own",
        *,
        tls: bool = False,
        vendor: int = 0,
        scale: float = 1.0,
        python: bool = False,
    ) -> None:
        self._stack = ExitStack()
        self._loop, self._scale, self._python = loop, scale, python
        self.keys = {dialect: mint() for dialect in DIALECTS}
        self.vendor = vendor or free_port()
        self._tls = free_port() if tls else 0

    def __enter__(self) -> Rig:
        enter = self._stack.enter_context
        self.folder = Path(enter(tempfile.TemporaryDirectory()))
        tls = (self._tls, CERTIFICATE) if self._tls else ()
        self._programs = programs(self.folder, self.vendor, tls, python=self._python)
        log = self.folder / "vendor.log"
        vendor = enter(running(*self._programs.vendor, core=REST, log=log))
        wait_for(self.vendor, vendor, log)
        log = self.folder / "load.log"
        self._client = enter(running(*self._programs.client, core=REST, log=log, pipes=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def key(self) -> str:
        """The key of calls in OpenAI's dialect."""
        return self.keys["openai"]

    @property
    def _vendor_url(self) -> str:
        return f"https://127.0.0.1:{self._tls}" if self._tls else f"http://127.0.0.1:{self.vendor}"

    def bare(self, name: str = "bare") -> Gateway:
        """Start the reference."""
        port = free_port()
        argv: list[object] = [HERE / "bare.py", port, self._vendor_url]
        argv += ["--uvloop"] if self._loop == "uvloop" else []
        return self._start(name, port, [*argv, *(["--ca", CERTIFICATE] if self._tls else [])])

    def wire(self, name: str = "wire") -> Gateway:
        """Start a proxy of nothing but Sidecar's wire."""
        port = free_port()
        return self._start(name, port, [HERE / "wire.py", port, self._vendor_url])

    def sidecar(
        self, name: str = "sidecar", argv: Sequence[object] = (), *, config: str = ""
    ) -> Gateway:
        """Start Sidecar as anybody would: `sidecar serve`, one provider, one key.

        `argv` starts another program in place of `sidecar`, which gets the same arguments. `config`
        is the text of another file, with `Rig.key` in it.
        """
        port, admin = free_port(), free_port()
        # In a directory of its own, as usual: Sidecar watches it, and logs lie in this one.
        file = self.config_file(name)
        file.parent.mkdir()
        file.touch(0o600)
        file.write_text(config or self.config())
        command = ["-c", WITHOUT_UVLOOP] if self._loop == "asyncio" else ["-m", "sidecar"]
        arguments = [
            "serve", "--config", file, "--state", self.folder / f"{name}-state",
            "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
        ]  # fmt: skip
        return self._start(name, port, [*(argv or command), *arguments], admin)

    def config(self, dialects: Sequence[str] = ("openai",), idle_keys: int = 0) -> str:
        """The file of Sidecar: a provider, a group and a key for each dialect, and so many keys
        that no client uses, each with a limit."""
        url, more = self._vendor_url, f", ca_file: {CERTIFICATE}" if self._tls else ""
        lines = ["providers:"]
        for name in dialects:
            base = f"{url}/v1" if name == "openai" else url
            lines.append(PROVIDER.format(name=f"to-{name}", plugin=name, url=base, more=more))
        lines.append("groups:")
        lines += [f"  {name}: {{vendor: {name}, routes: [to-{name}]}}" for name in dialects]
        lines.append("keys:")
        for name in dialects:
            secret = digest(self.keys[name]).hex()
            lines.append(KEY.format(name=name, group=name, hash=secret, more=""))
        limit = ", limits: {rpm: 1000}"
        for number in range(idle_keys):
            of = {"name": f"idle-{number}", "hash": f"{number:064x}", "more": limit}
            lines.append(KEY.format(group=dialects[0], **of))
        return "\n".join(lines) + "\n"

    def config_file(self, name: str) -> Path:
        """The file of the Sidecar of this name."""
        return self.folder / f"{name}-config" / "routes.yaml"

    def peer(self, name: str, port: int, pid: int, key: str, headers: Sequence[str]) -> Gateway:
        """A gateway that already runs, with this vendor behind it."""
        lines = "".join(f"{line}\r\n" for line in headers)
        peer = Gateway(name, port, pid, key=key, headers=lines)
        if (outcome := self.serve(peer, Load(1, 1024))).bad:
            raise SystemExit(f"{name} does not answer 200: {outcome}")
        return peer

    def stop(self, gateway: Gateway) -> None:
        """End a gateway before the rest."""
        if gateway.process is not None:
            end(gateway.process)

    def play(self, port: int, load: Load) -> Outcome:
        """Have the client play `load` against a port."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        whole = replace(
            load, port=port, key=load.key or self.keys[load.dialect],
            seconds=load.seconds * self._scale, chunks=ceil(load.chunks * self._scale),
        )  # fmt: skip
        self._client.stdin.write(self._programs.order(whole) + "\n")
        self._client.stdin.flush()
        line = self._client.stdout.readline()
        if not line:
            raise SystemExit(f"the client failed:\n{(self.folder / 'load.log').read_text()}")
        return Tally(**json.loads(line)).sum_up()

    def serve(self, gateway: Gateway, load: Load) -> Outcome:
        """Have the client play `load` against a gateway."""
        exact = load.exact and gateway.process is not None
        key, headers = gateway.key, gateway.headers
        return self.play(gateway.port, replace(load, exact=exact, key=key, headers=headers))

    def measure(self, gateway: Gateway, load: Load) -> tuple[float, Outcome]:
        """The CPU seconds that a gateway uses for a load, and what came of it."""
        [(used, [outcome])] = self.compare([gateway], load, 1)
        return used, outcome

    def settle(self, gateway: Gateway) -> None:
        """Wait until a gateway is idle, but for a trial, whose figures are none."""
        if self._scale >= SCALE_OF_FIGURES:
            settle(gateway.pid)

    def compare(
        self, gateways: Sequence[Gateway], load: Load, times: int
    ) -> list[tuple[float, list[Outcome]]]:
        """`measure` for several gateways that take turns at the same load, `times` each.

        Short turns: what else the machine does then falls on all of them alike.
        """
        for gateway in gateways:
            self.settle(gateway)
        before = [cpu_seconds(gateway.pid) for gateway in gateways]
        outcomes: list[list[Outcome]] = [[] for _ in gateways]
        turns = list(zip(gateways, outcomes, strict=True))
        for number in range(times):
            # Nobody always comes first.
            for gateway, each in turns if number % 2 else turns[::-1]:
                each.append(self.serve(gateway, load))
        for gateway in gateways:
            self.settle(gateway)
        used = [cpu_seconds(g.pid) - was for g, was in zip(gateways, before, strict=True)]
        return list(zip(used, outcomes, strict=True))

    def scrape(self, gateway: Gateway) -> bytes:
        """Read a gateway's metrics once."""
        url = f"http://127.0.0.1:{gateway.admin}/metrics"
        with urllib.request.urlopen(url, timeout=5) as page:
            return bytes(page.read())

    def reloads(self, gateway: Gateway) -> int:
        """How often a Sidecar has taken its file, the first time included."""
        found = re.search(rb'config_reloads_total{result="success"} (\d+)', self.scrape(gateway))
        return int(found[1]) if found else 0

    def _start(self, name: str, port: int, argv: list[object], admin: int = 0) -> Gateway:
        log = self.folder / f"{name}.log"
        # Modules are compiled at the first start, as an installer does, whatever this shell says.
        environ = {"BENCH_KEY": "sk-bench-upstream", "PYTHONDONTWRITEBYTECODE": ""}
        command = (sys.executable, *argv)
        began = time.monotonic()
        process = self._stack.enter_context(
            running(*command, core=GATEWAY, log=log, environ=environ)
        )
        wait_for(port, process, log)
        outcome = self.play(port, Load(1, 1024))
        started = time.monotonic() - began
        if outcome.bad:
            raise SystemExit(f"{name} does not answer 200:\n{log.read_text()[-2000:]}")
        return Gateway(name, port, process.pid, process, admin, started)
