"""Discover plugins, and keep the dialects, vendors and transforms that they provide.

A broken plugin is reported and skipped; the others, and a reload, work without it.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy
from msgspec import Struct

from sidecar.plugin_api import hookspecs
from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.transform import Transform
from sidecar.plugin_api.vendor import Vendor
from sidecar.records import CallRecord

if TYPE_CHECKING:
    from sidecar.config.model import Snapshot


GROUP = hookspecs.PROJECT_NAME
T = TypeVar("T")
Observer = Callable[[Any], Any]

# A module may also try to end the process as it is imported.
_BROKEN = (Exception, SystemExit)


class Registry(Struct, frozen=True):
    """The dialects, vendors and transforms of all plugins.

    Attributes:
        dialects: By name.
        vendors: By name.
        sources: The distribution and module, or the path, of each vendor, by its name.
        transform_sources: The same of each transform.
        problems: What was skipped and why, one sentence each.
        failures: The number of errors that hooks raised, by plugin.
        transforms: By name.
    """

    dialects: Mapping[str, Dialect]
    vendors: Mapping[str, Vendor]
    sources: Mapping[str, str]
    problems: tuple[str, ...]
    failures: dict[str, int] = {}
    transforms: Mapping[str, Transform] = {}
    transform_sources: Mapping[str, str] = {}
    _checks: tuple[tuple[str, Observer], ...] = ()
    _observers: tuple[tuple[str, Observer], ...] = ()

    def check(self, snapshot: Snapshot) -> list[str]:
        """Return the problems that plugins find in a configuration. An error is no problem."""
        vetoes: list[str] = []
        for name, hook in self._checks:
            with self._guard(name, "sidecar_check_config") as guard:
                found = hook(snapshot) or ()
                vetoes += [
                    f"{name}: {veto}" for veto in ([found] if isinstance(found, str) else found)
                ]
            self._count(name, guard)
        return vetoes

    def finished(self, *records: CallRecord) -> None:
        """Call `sidecar_call_finished` of every plugin with each record."""
        for name, hook in self._observers:
            for record in records:
                with self._guard(name, "sidecar_call_finished") as guard:
                    hook(record)
                self._count(name, guard)

    def _guard(self, name: str, hook: str) -> plugin_guard:
        """Return a guard that logs a warning for the plugin's first failure only."""
        level = logging.DEBUG if name in self.failures else logging.WARNING
        return plugin_guard(f"plugin {name}", hook, "further failures are counted", level=level)

    def _count(self, name: str, guard: plugin_guard) -> None:
        if guard.error is not None:
            self.failures[name] = self.failures.get(name, 0) + 1


def discover(local: Sequence[Path] = ()) -> Registry:
    """Load the plugins of all entry points and of the `local` files. Never raises."""
    return _Discovery().run(local)


class _Discovery:
    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._problems: list[str] = []
        self._dialects: dict[str, Dialect] = {}
        self._vendors: dict[str, Vendor] = {}
        self._transforms: dict[str, Transform] = {}
        self._sources: dict[str, str] = {}
        self._transform_sources: dict[str, str] = {}

    def run(self, local: Sequence[Path]) -> Registry:
        for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
            self._register(_from(entry), entry.load)
        for path in local:
            self._register(str(path), partial(_load_file, path))
        self._collect_dialects()
        self._collect_vendors()
        self._collect_transforms()
        return Registry(
            self._dialects,
            self._vendors,
            self._sources,
            tuple(self._problems),
            transforms=self._transforms,
            transform_sources=self._transform_sources,
            _checks=self._bound("sidecar_check_config"),
            _observers=self._bound("sidecar_call_finished"),
        )

    def _register(self, source: str, load: Callable[[], object]) -> None:
        if self._manager.has_plugin(source):
            self._problems.append(f"{source} is named twice")
            return
        try:
            self._manager.register(load(), name=source)
            self._manager.check_pending()
        except _BROKEN as error:
            self._problems.append(f"{source} could not be loaded: {type(error).__name__}: {error}")
            if self._manager.has_plugin(source):
                self._manager.unregister(name=source)

    def _collect_dialects(self) -> None:
        for source, dialect in self._returned_by("sidecar_dialects", Dialect):
            if dialect.name in self._dialects:
                self._problems.append(f'{source}: dialect "{dialect.name}" exists already')
            else:
                self._dialects[dialect.name] = dialect

    def _collect_vendors(self) -> None:
        for source, vendor in self._returned_by("sidecar_vendors", Vendor):
            unknown = [name for name in vendor.dialects if name not in self._dialects]
            if vendor.name in self._vendors:
                other = self._sources[vendor.name]
                self._problems.append(
                    f'{source}: vendor "{vendor.name}" exists already, from {other}'
                )
            elif unknown:
                why = f"needs the dialect {', '.join(unknown)}, which no plugin provides"
                self._problems.append(f'{source}: vendor "{vendor.name}" {why}')
            else:
                self._vendors[vendor.name] = vendor
                self._sources[vendor.name] = source

    def _collect_transforms(self) -> None:
        for source, transform in self._returned_by("sidecar_transforms", Transform):
            if transform.name in self._transforms:
                other = self._transform_sources[transform.name]
                self._problems.append(
                    f'{source}: transform "{transform.name}" exists already, from {other}'
                )
            else:
                self._transforms[transform.name] = transform
                self._transform_sources[transform.name] = source

    def _returned_by(self, hook: str, kind: Callable[..., T]) -> list[tuple[str, T]]:
        found: list[tuple[str, T]] = []
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            source = impl.plugin_name
            try:
                for each in impl.function():
                    if not isinstance(each, kind):  # type: ignore[arg-type]  # a class
                        self._problems.append(f"{source}: {hook} returned a {type(each).__name__}")
                    elif not isinstance(getattr(each, "name", None), str):
                        what = type(each).__name__
                        self._problems.append(f"{source}: {hook} returned a {what} without a name")
                    else:
                        found.append((source, each))
            except _BROKEN as error:
                self._problems.append(f"{source}: {hook} raised {type(error).__name__}: {error}")
        return found

    def _bound(self, hook: str) -> tuple[tuple[str, Observer], ...]:
        impls = getattr(self._manager.hook, hook).get_hookimpls()
        return tuple((impl.plugin_name, _call(impl)) for impl in impls)


def _call(impl: pluggy.HookImpl) -> Observer:
    """Return the hook as a function of one argument, which the plugin may leave out."""
    function = impl.function
    return function if impl.argnames else lambda _: function()


def _from(entry: EntryPoint) -> str:
    return f"{_name(entry.dist)}: {entry.value}" if entry.dist is not None else entry.value


@lru_cache(maxsize=8)
def _name(distribution: Distribution) -> str:
    return distribution.name  # parses the whole metadata each time


def _load_file(path: Path) -> ModuleType:
    """Import a local file as a module with a name of its own."""
    name = f"sidecar_local_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
