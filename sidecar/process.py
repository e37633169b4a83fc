"""The process around a sidecar: signals, logging, the exit status.

SIGTERM and SIGINT drain and end, a second one ends at once; SIGHUP reads the file again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from ctypes import CDLL
from pathlib import Path
from shlex import quote

from sidecar.access import CallLog, set_up_logging
from sidecar.app import Running, serve
from sidecar.errors import ConfigError, SidecarError
from sidecar.log_queue import LogQueue, open_standard_streams
from sidecar.signals import catch_signals

log = logging.getLogger("sidecar")

M_MMAP_THRESHOLD = -3
"""The parameter's number (malloc.h of glibc)."""
MMAP_THRESHOLD_BYTES = 1 << 18
"""Blocks of so many bytes go back to the system as soon as they are free."""
LOG_PATIENCE_SECONDS = 1.0
"""How long the end of the process waits for a log that is not read."""


def run(
    config: Path,
    state: Path,
    listen: str | None = None,
    admin: str | None = None,
    greet: Callable[[Running], None] | None = None,
) -> int:
    """Serve until a signal says stop; the exit status. Problems are printed, not raised. `greet`
    is called once it serves."""
    catch_signals()
    open_standard_streams()
    lines = LogQueue(sys.stderr.fileno())
    with redirect_stderr(lines):  # also what warnings and libraries print
        set_up_logging()
        try:
            with asyncio.Runner(loop_factory=_fast_loop()) as runner:
                runner.run(_until_told(config, state, listen, admin, greet, lines))
        except ConfigError as error:
            print(error, file=sys.stderr)  # noqa: T201 - the answer to the person who started it
            return 2
        except SidecarError as error:
            print(f"sidecar: {error}", file=sys.stderr)  # noqa: T201 - see above
            return 2
        finally:
            lines.finish(LOG_PATIENCE_SECONDS)
    return 0


async def _until_told(
    config: Path,
    state: Path,
    listen: str | None,
    admin: str | None,
    greet: Callable[[Running], None] | None,
    lines: LogQueue,
) -> None:
    loop = asyncio.get_running_loop()
    stop, stop_soon = asyncio.Event(), asyncio.Event()
    hung_up = asyncio.Event()

    def told() -> None:
        (stop_soon if stop.is_set() else stop).set()

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, told)
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    calls = CallLog(lines)
    async with serve(
        config, state, listen=listen, admin=admin, stop_soon=stop_soon, log_line=calls,
        log_lines_dropped=lambda: lines.dropped,
    ) as running:  # fmt: skip
        settle_memory()
        reloads: set[asyncio.Task[object]] = set()

        def reload() -> None:
            task: asyncio.Task[object] = loop.create_task(running.configuration.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        if hung_up.is_set():  # the file may have changed after it was read
            reload()
        _greet(running, state)
        if greet is not None:
            greet(running)
        await stop.wait()
        log.info("draining %d calls; a second signal stops at once", len(running.live))
    calls.flush()


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, where it is installed (the extra of that name), else the standard loop."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def settle_memory() -> None:
    """Leave what was built at start out of every later collection, and collect less often: a call
    leaves hardly any cycles, and looking for them would cost it a tenth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    with suppress(OSError, AttributeError):  # another C library has no such setting
        # Without it glibc keeps what large bodies took: it learns that such sizes come again.
        CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def _greet(running: Running, state: Path) -> None:
    snapshot = running.snapshot
    log.info("serving agents on %s, admin on %s", running.url, running.admin_url)
    log.info(
        "%s: %d keys, %d groups, %d providers", running.configuration.file,
        len(snapshot.keys), len(snapshot.groups), len(snapshot.providers),
    )  # fmt: skip
    for name, why_not in running.unavailable():
        log.warning("provider %s is unavailable: %s", name, why_not)
    if sys.stderr.isatty():  # a link in a file would be a secret in a file
        print(f"console: {running.console.link()} (once, within 5 minutes)", file=sys.stderr)  # noqa: T201
    else:
        log.info("for a link to the console: sidecar open --state %s", quote(str(state.absolute())))
