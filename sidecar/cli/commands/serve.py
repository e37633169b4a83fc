"""`sidecar serve`: signals, logging and the exit status of the process."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from ctypes import CDLL
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from sidecar.access_log import CallLog, LogQueue, open_standard_streams, set_up_logging
from sidecar.cli.options import config_option, need_file, state_option
from sidecar.config.yaml.nodes import gc_paused
from sidecar.errors import ConfigError, SidecarError
from sidecar.humanize import plural

if TYPE_CHECKING:
    from sidecar.app import Running
    from sidecar.records import CallRecord

log = logging.getLogger("sidecar")

M_MMAP_THRESHOLD = -3
"""The parameter's number (malloc.h of glibc)."""
MMAP_THRESHOLD_BYTES = 260 << 10
"""Larger blocks return to the system as soon as they are free. Those of 256 KiB do not: asyncio's
own loop makes one for each read."""
LOG_DRAIN_SECONDS = 1.0
"""Seconds that the end of the process waits for a log that is not read."""


def run(
    config: Path,
    state: Path,
    listen: str | None = None,
    admin: str | None = None,
    greet: Callable[[Running], None] | None = None,
    *,
    log_level: int = logging.INFO,
    log_as_json: bool | None = None,
) -> int:
    """Serve until a signal stops it, and return the exit status.

    Problems are printed, not raised. `greet` is called once the process serves. `log_as_json` is by
    default whether stderr is no terminal.
    """
    catch_signals()
    open_standard_streams()
    lines = LogQueue(sys.stderr.fileno(), as_json=log_as_json)
    with redirect_stderr(lines):  # for the output of warnings and libraries, too
        set_up_logging(log_level, as_json=lines.as_json)
        try:
            with asyncio.Runner(loop_factory=_fast_loop()) as runner:
                runner.run(_serve_until_stopped(config, state, listen, admin, greet, lines))
        except ConfigError as error:
            print(error, file=sys.stderr)  # noqa: T201 - the result for the user
            return 2
        except SidecarError as error:
            print(f"sidecar: {error}", file=sys.stderr)  # noqa: T201 - see above
            return 2
        finally:
            lines.finish(LOG_DRAIN_SECONDS)
    return 0


async def _serve_until_stopped(
    config: Path,
    state: Path,
    listen: str | None,
    admin: str | None,
    greet: Callable[[Running], None] | None,
    lines: LogQueue,
) -> None:
    from sidecar.app import serve  # a slow import, which `sidecar --help` does without

    gc.freeze()  # what was imported stays: the search of `tune_memory` need not walk it
    loop = asyncio.get_running_loop()
    stop, stop_soon = asyncio.Event(), asyncio.Event()
    hung_up = asyncio.Event()

    def on_stop_signal() -> None:
        (stop_soon if stop.is_set() else stop).set()

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, on_stop_signal)
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    calls = CallLog(lines, as_json=lines.as_json)
    log_line = calls if log.isEnabledFor(logging.INFO) else _log_no_call
    async with serve(
        config, state, listen=listen, admin=admin, stop_soon=stop_soon, log_line=log_line,
        log_lines_dropped=lambda: lines.dropped,
    ) as running:  # fmt: skip
        tune_memory()
        running.services.configuration.building = lasting
        reloads: set[asyncio.Task[object]] = set()

        def reload() -> None:
            task: asyncio.Task[object] = loop.create_task(running.services.configuration.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        if hung_up.is_set():  # the file may have changed since it was read
            reload()
        _greet(running, state)
        if greet is not None:
            greet(running)
        await stop.wait()
        log.info("draining %d calls; a second signal stops at once", len(running.services.live))


def _log_no_call(*_: CallRecord) -> None:
    """Write no line: the log is limited to warnings."""


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the event loop of uvloop where it is installed, else None for the standard one."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def tune_memory() -> None:
    """Exclude the objects of the start from garbage collection, and collect less often.

    A call leaves hardly any cycles; searching for them took a tenth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    with suppress(OSError, AttributeError):  # other C libraries lack this setting
        # Without it glibc raises this threshold by itself and keeps the memory of large bodies.
        CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


@contextmanager
def lasting() -> Iterator[None]:
    """Exclude the objects of the block from garbage collection, for good.

    A search that walks thousands of keys delays all calls, whichever thread it runs in. What has
    no cycles is freed all the same. Garbage in cycles would stay, too, so it is collected before.
    """
    gc.collect()
    with gc_paused():
        yield
        gc.freeze()


def _greet(running: Running, state: Path) -> None:
    snapshot = running.snapshot
    log.info("serving agents on %s, admin on %s", running.url, running.admin_url)
    log.info(
        "%s: %s, %s, %s", running.services.configuration.file, plural(len(snapshot.keys), "key"),
        plural(len(snapshot.groups), "group"), plural(len(snapshot.providers), "provider"),
    )  # fmt: skip
    if missing := running.unavailable():
        reasons = "; ".join(f"{name} ({why_not})" for name, why_not in missing)
        log.warning("%s cannot be used: %s", plural(len(missing), "provider"), reasons)
    if sys.stderr.isatty():  # a link is a secret and must not be stored in a file
        print(f"console: {running.console.link()} (once, within 5 minutes)", file=sys.stderr)  # noqa: T201
    else:
        log.info(
            "print a link to the console: sidecar open --state %s", quote(str(state.absolute()))
        )


@click.command("serve")
@config_option
@state_option
@click.option("--listen", metavar="HOST:PORT", help="Where agents connect; overrides the file.")
@click.option("--admin", metavar="HOST:PORT", help="Metrics and health; overrides the file.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="info", show_default=True,
              help="The least important lines that are logged; calls are info.")  # fmt: skip
@click.option("--log-format", type=click.Choice(["human", "json"]),
              help="For people, or JSON  [default: human on a terminal, else json]")  # fmt: skip
def serve_command(
    config: Path, state: Path, listen: str | None, admin: str | None, log_level: str,
    log_format: str | None,
) -> None:  # fmt: skip
    """Serve the configuration in the foreground.

    Each valid edit of the file is reloaded.
    Agents connect to 127.0.0.1:8787 (and [::1] if available); /metrics, /healthz and /readyz are
    on 127.0.0.1:8788. SIGHUP reloads the file. SIGTERM drains and stops; a second one stops at
    once.

    \b
    Examples:
      sidecar serve
      sidecar serve --config ~/work/routes.yaml --listen 127.0.0.1:9000
      sidecar serve --log-level warning --log-format json

    Exit status: 0 after a signal; 2 when the file is missing or wrong, or an address is taken.
    """
    catch_signals()  # before the slow imports
    need_file(config)
    level = logging.getLevelNamesMapping()[log_level.upper()]
    as_json = None if log_format is None else log_format == "json"
    raise SystemExit(run(config, state, listen, admin, log_level=level, log_as_json=as_json))


IGNORED_SIGNALS = (
    "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT",
)  # fmt: skip
"""Signals that end a process by default, and that people and tools send by mistake."""


def catch_signals() -> None:
    """Do nothing on the signals `IGNORED_SIGNALS`, and on SIGHUP until the service handles it.

    Called before anything else at start. A handler is set rather than `SIG_IGN`, which commands
    that are run for credentials would inherit.
    """
    for name in (*IGNORED_SIGNALS, "SIGHUP"):
        number = getattr(signal, name, None)  # some systems lack some of them
        if number is not None:
            signal.signal(number, _do_nothing)


def _do_nothing(number: int, frame: object) -> None:
    pass
