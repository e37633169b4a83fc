"""The one guard around plugin code: log what it raised, and continue without it."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sidecar.plugin_api.dialect import Dialect

if TYPE_CHECKING:
    from sidecar.plugin_api.vendor import Vendor

log = logging.getLogger("sidecar.plugin_api.guard")


class plugin_guard:  # noqa: N801 - a context manager that reads like `contextlib.suppress`
    """Suppress and log whatever plugin code raises in the block.

    An error in a plugin must never fail a call. The log line has only the type of the error,
    because its text may quote a prompt or a secret.

        with plugin_guard(vendor, "read_quota", "its quota is unknown"):
            return vendor.read_quota(headers, now)
        return ()

    Args:
        plugin: The vendor or the dialect, or the subject of the log line as text.
        hook: The name of the method that is called.
        consequence: What follows from an error, as the end of the log line.
        level: The level of the log line. `logging.DEBUG` where another guard logs the same error.

    `error` is what was raised, or None.
    """

    __slots__ = ("_consequence", "_hook", "_level", "_plugin", "error")

    def __init__(
        self, plugin: Vendor | Dialect | str, hook: str, consequence: str = "using the default",
        *, level: int = logging.WARNING,
    ) -> None:  # fmt: skip
        self._plugin = plugin
        self._hook = hook
        self._consequence = consequence
        self._level = level
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:  # fmt: skip
        if not isinstance(error, Exception):
            return False
        self.error = error
        log.log(self._level, "%s; %s", self.reason, self._consequence)
        return True

    @property
    def reason(self) -> str:
        """Return the plugin, the hook and the type of the error, for logs and for users."""
        return _reason(self.error, self._plugin, self._hook)


def log_plugin_error(
    error: Exception, plugin: Vendor | Dialect | str, hook: str, consequence: str
) -> str:
    """Log what plugin code raised, as `plugin_guard` does. Return its `reason`.

    For an `except` on the path of each call, where the context manager costs more than the hook.
    """
    reason = _reason(error, plugin, hook)
    log.warning("%s; %s", reason, consequence)
    return reason


def _reason(error: Exception | None, plugin: Vendor | Dialect | str, hook: str) -> str:
    return f"{_subject(plugin)}: {hook} raised {type(error).__name__}"


def _subject(plugin: Vendor | Dialect | str) -> str:
    if isinstance(plugin, str):
        return plugin
    kind = "dialect" if isinstance(plugin, Dialect) else "vendor"
    return f"{kind} plugin {plugin.name}"
