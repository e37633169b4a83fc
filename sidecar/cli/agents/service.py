"""The service behind `sidecar run`: started detached when none answers; `sidecar stop` ends it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

import click

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.cli.client import ProcessError, RunningProcess, find_process
from sidecar.cli.options import NOT_RUNNING, default_state, fail, note, state_option
from sidecar.files import PRIVATE, is_held, prepare
from sidecar.humanize import plural

START_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.05
_LOG = "serve.log"
_LOG_LINES_SHOWN = 5


def running_or_started(config: Path, state: Path) -> RunningProcess:
    """Return the process that serves with this state; start one, detached, where there is none.
    Ends with status 2, and the end of its log, when it does not start."""
    found = find_process(state)
    if found is not None:
        return found
    prepare(state)
    log = state.absolute() / _LOG
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.1"))
    words = ["serve", "--config", str(config.absolute()), "--state", str(state.absolute())]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", *words], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, cwd=state,
        )  # fmt: skip
    finally:
        os.close(descriptor)
    live = _answering(process, state)
    if live is None:
        process.terminate()
        fail(f"the service did not start; the end of {log}:\n{_end_of(log)}")
    note(f"the service was started and stays (log: {log}); end it with: {stopped_by(state)}")
    return live


def note_unseen_variables(status: ProcessStatus, providers: Container[str], state: Path) -> None:
    """Name the variables of this shell without which the running process cannot use these
    providers: it has the environment of its start."""
    missing = {
        reference.removeprefix("env:")
        for each in status.providers
        if each.name in providers and not each.available
        for reference, why_not in each.credentials.items()
        if why_not and reference.startswith("env:")
    }
    if found := sorted(name for name in missing if os.environ.get(name)):
        note(
            f"the running process was started without {', '.join(found)}, which this shell has; "
            f"end it with {stopped_by(state)}, and start it again from here"
        )


def stopped_by(state: Path) -> str:
    """Return the command that stops the process with this state."""
    usual = Path(os.environ.get("SIDECAR_STATE") or default_state())
    return "sidecar stop" if state == usual else f"sidecar stop --state {shlex.quote(str(state))}"


def _answering(process: subprocess.Popen[bytes], state: Path) -> RunningProcess | None:
    """Return the process once it answers; None when it does not start."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        with suppress(ProcessError):
            live = find_process(state)
            if live is not None and live.get("/api/status", ProcessStatus).listen:
                return live  # another run may have started it at the same moment
        if ended and not is_held(state):
            return None
        time.sleep(_POLL_SECONDS)
    return None


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES_SHOWN:]) or "it is empty"


@click.command("stop")
@state_option
def stop_command(state: Path) -> None:
    """Stop the service, after its running calls.

    Running calls get at most `server.drain`. It stops the process that serves with this state, also
    one that `sidecar serve` started.

    \b
    Example:
      sidecar stop

    Exit status: 0 stopped; 3 no process runs.
    """
    live = find_process(state)
    if live is None:
        fail("no process runs", NOT_RUNNING)
    status = live.get("/api/status", ProcessStatus)
    os.kill(status.pid, signal.SIGTERM)
    if status.in_flight:
        note(f"waiting for {plural(status.in_flight, 'call')} to end")
    while is_held(state):
        time.sleep(_POLL_SECONDS)
    note("the service has stopped")
