"""Keep signals that have no meaning here from ending the process."""

from __future__ import annotations

import signal

WITHOUT_MEANING = (
    "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT",
)  # fmt: skip
"""Signals whose default is to end the process, and which people and tools send by mistake."""


def catch_signals() -> None:
    """Do nothing on the signals `WITHOUT_MEANING`, and on SIGHUP until the service handles it.

    Called before anything else at start. A handler is set rather than `SIG_IGN`, which commands
    that are run for credentials would inherit.
    """
    for name in (*WITHOUT_MEANING, "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has all of them
        if number is not None:
            signal.signal(number, _do_nothing)


def _do_nothing(number: int, frame: object) -> None:
    pass
