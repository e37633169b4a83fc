"""The command line as a user runs it: processes, a real file, a clean environment."""

from __future__ import annotations

import http.client
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from click.testing import CliRunner
from warm_starts import WarmProcess, warm_start

from sidecar.cli import cli

SIDECAR = [sys.executable, "-m", "sidecar"]
PATIENCE = 20.0
FILE = """\
# Mine, with everything that an edit must not touch.
groups:
  demo:   {vendor: echo}     # answers offline
  other:  { vendor: echo , description: "spaces  stay" }

keys:
  first:  {group: demo, description: 'a "quoted" one'}   # no text yet

  # the last comment
"""


@dataclass
class Done:
    """The exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@dataclass
class Cli:
    """A configuration file, a state directory and a shell to type in."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    text: str = FILE

    def __post_init__(self) -> None:
        if self.text:
            self.config.write_text(self.text)
            self.config.chmod(0o600)

    @property
    def config(self) -> Path:
        return self.folder / "routes.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "SIDECAR_CONFIG": str(self.config),
            "SIDECAR_STATE": str(self.state),
            "COLUMNS": "200",
            **self.environ,
        }

    def run(self, *words: str | Path, piped: str | None = None, **environ: str) -> Done:
        """Type a command, which runs in this process: the same code in a third of the time."""
        gone: dict[str, str | None] = dict.fromkeys(os.environ)
        with chdir(self.folder):
            done = CliRunner().invoke(
                cli, [*map(str, words)], input=piped, prog_name="sidecar",
                env=gone | self.env | environ,
            )  # fmt: skip
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def spawn(self, *words: str | Path, stdin: int | None = None, **environ: str) -> Done:
        """Type a command; its standard input is no terminal unless `stdin` says otherwise."""
        nothing = Path(os.devnull)
        with nothing.open() as absent, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            streams = [absent.fileno() if stdin is None else stdin, out.fileno(), err.fileno()]
            process = warm_start([*map(str, words)], self.folder, self.env | environ, streams)
            try:
                status = process.wait(PATIENCE)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            done = Done(status, out.read(), err.read())
        assert "Traceback" not in done.err, done.err
        return done

    def spawn_cold(self, *words: str, **environ: str) -> Done:
        """Type a command with what Python reads at its start, such as `PYTHONIOENCODING`."""
        done = subprocess.run(
            [*SIDECAR, *words], cwd=self.folder, env=self.env | environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def typed(self, answer: str, *words: str, **environ: str) -> Done:
        """Type a command on a terminal, and `answer` to what it asks."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, answer.encode())
            return self.spawn(*words, stdin=theirs, **environ)
        finally:
            os.close(ours)
            os.close(theirs)

    def create(self, name: str, *words: str) -> str:
        """Make a key in group `demo`; its text."""
        done = self.run("keys", "create", name, "--group", "demo", *words)
        assert done.status == 0, done.err
        return done.out.strip()

    @contextmanager
    def serving(self, *words: str) -> Iterator[Served]:
        """`sidecar serve` on free ports, until it is told to stop; it must end with 0."""
        words = words or ("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        log, out = self.folder / "serve.log", self.folder / "serve.out"
        with Path(os.devnull).open() as stdin, out.open("w") as stdout, log.open("w") as stderr:
            streams = [stdin.fileno(), stdout.fileno(), stderr.fileno()]
            process = warm_start(words, self.folder, self.env, streams)
        try:
            yield Served(address_in(log, process), log, out, process)
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(PATIENCE)
        assert status == 0, log.read_text()


@dataclass
class Served:
    """A process that serves."""

    url: str
    log: Path
    out: Path
    process: WarmProcess
    call_ids: list[str] = field(default_factory=list)

    def call(self, key: str, agent: str = "curl/8.5.0") -> int:
        """One chat completion; the status."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello"}]})
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers | {"User-Agent": agent})
        answer = connection.getresponse()
        self.call_ids.append(answer.headers["x-sidecar-call"])
        connection.close()
        return answer.status


def address_in(log: Path, process: subprocess.Popen[bytes] | WarmProcess) -> str:
    """Where it says that it serves, once it does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "serving agents on " in line:
                return line.partition("serving agents on ")[2].partition(",")[0]
        time.sleep(0.02)
    raise AssertionError(f"it did not start:\n{log.read_text()}")
