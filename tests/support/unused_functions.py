"""Finds public functions and methods that the product never uses, by reading its source.

A use is an import, a name or an attribute outside of the function's own body. An attribute counts
for a class when its receiver may be of that class, as far as annotations and constructor calls
tell; where they do not, its name counts unless a type of the standard library has it too.
"""

from __future__ import annotations

import ast
import asyncio
import collections
import importlib
import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from house_checks import Source

_STANDARD = (
    dict, list, set, frozenset, str, bytes, bytearray, tuple, int, float, collections.deque,
    collections.Counter, Path, io.TextIOWrapper, io.BytesIO, asyncio.Event, asyncio.Queue,
    asyncio.Task, asyncio.TimerHandle, asyncio.Transport, asyncio.StreamReader,
    asyncio.StreamWriter, logging.Logger,
)  # fmt: skip
_AMBIGUOUS = {name for each in _STANDARD for name in dir(each)}
_Function = ast.FunctionDef | ast.AsyncFunctionDef
Place = tuple[str, int]
"""A path, and a line of it."""


@dataclass(frozen=True)
class Public:
    """A public function, or a method of the class `owner`, and where it is defined."""

    module: str
    owner: str
    name: str
    path: str = field(compare=False)
    node: _Function = field(compare=False)

    def contains(self, place: Place) -> bool:
        """Return whether a place is in the function, or in a decorator of it."""
        path, line = place
        first = min(each.lineno for each in (self.node, *self.node.decorator_list))
        return path == self.path and first <= line <= (self.node.end_lineno or 0)

    def __str__(self) -> str:
        return ".".join(filter(None, (self.module, self.owner, self.name)))


class Sources:
    """Python sources: those that are checked, and others that may use them."""

    def __init__(self, checked: Iterable[Source], others: Iterable[Source] = ()) -> None:
        self._checked = list(checked)
        self._all = [*self._checked, *others]
        self._bases: dict[str, set[str]] = {}
        self._types: dict[str, set[str]] = {}
        self._protocols: dict[str, set[str]] = {}
        self._variables: set[str] = set()
        self._aliases: list[tuple[str, str]] = []
        for source in self._all:
            self._learn(source.nodes)
        for target, value in self._aliases:
            self._types.setdefault(target, set()).update({value, *self._types.get(value, ())})
        self._uses: dict[str, dict[str | None, list[Place]]] = {}
        for name, receiver, place in self._every_use():
            self._uses.setdefault(name, {}).setdefault(receiver, []).append(place)

    def unused(self) -> Iterator[Public]:
        """Every public function and method without a use, except those that a framework calls."""
        for each in self._public():
            uses = self._uses.get(each.name, {})
            if not any(
                self._is_use(each, receiver) and not all(map(each.contains, places))
                for receiver, places in uses.items()
            ):
                yield each

    def _learn(self, nodes: Iterable[ast.AST]) -> None:
        """Note the bases of each class, and which names and attributes are of which classes."""
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                bases = set(map(_last, node.bases))
                self._bases.setdefault(node.name, set()).update(bases)
                if "Protocol" in bases:
                    self._protocols[node.name] = {getattr(each, "name", "") for each in node.body}
            elif isinstance(node, ast.alias) and node.asname:
                self._types.setdefault(node.asname, set()).add(node.name.rpartition(".")[2])
            elif isinstance(node, ast.Assign) and _last(node.value) == "TypeVar":
                self._variables |= set(map(_last, node.targets))
            for name, annotation in _annotated(node):
                self._bind(name, annotation)
            for target, value in _handed_on(node):
                self._aliases.append((_last(target), _last(value)))

    def _bind(self, name: str, annotation: ast.expr) -> None:
        found = {
            _last(node)
            for node in ast.walk(annotation)
            if isinstance(node, ast.Name | ast.Attribute)
        }
        self._types.setdefault(name, set()).update(found)

    def _public(self) -> Iterator[Public]:
        for source in self._checked:
            module = source.module
            for node in source.tree.body:
                if isinstance(node, _Function) and _is_public(node):
                    yield Public(module, "", node.name, source.path, node)
                if isinstance(node, ast.ClassDef) and node.name not in self._protocols:
                    for inner in filter(_is_public, node.body):
                        assert isinstance(inner, _Function)
                        if not _overrides_foreign(module, node.name, inner.name):
                            yield Public(module, node.name, inner.name, source.path, inner)

    def _every_use(self) -> Iterator[tuple[str, str | None, Place]]:
        """Each use: the name, what it is an attribute of, and where; None for a name.

        `self` is given as `self.` and its class.
        """
        for source in self._all:
            for owner, node in source.owned_nodes:
                if isinstance(node, ast.Name):
                    yield node.id, None, (source.path, node.lineno)
                elif isinstance(node, ast.alias):
                    yield node.name.rpartition(".")[2], None, (source.path, node.lineno)
                elif isinstance(node, ast.Attribute):
                    last = _last(node.value)
                    receiver = f"self.{owner}" if last == "self" else last
                    yield node.attr, receiver, (source.path, node.lineno)

    @cache  # noqa: B019 - lives as long as one test
    def _classes_of(self, receiver: str) -> tuple[set[str], set[str]]:
        """Return the classes that a receiver may be of, and those of them that are known."""
        _, is_self, owner = receiver.partition("self.")
        found = {owner} if is_self else {receiver, *self._types.get(receiver, ())}
        return found, found & self._bases.keys()

    def _is_use(self, public: Public, receiver: str | None) -> bool:
        name = public.name
        if receiver is None:
            return not public.owner
        receivers, known = self._classes_of(receiver)
        if not public.owner:
            return public.module.rpartition(".")[2] in receivers
        if known & self._family(public.owner):
            return True
        if any(name in self._protocols.get(each, ()) for each in known):
            return True
        unknown = not known or bool(receivers & self._variables)
        return unknown and name not in _AMBIGUOUS

    def _family(self, owner: str) -> set[str]:
        """The class, what it inherits from, and what inherits from it."""
        found, more = {owner}, {owner}
        while more:
            above = set().union(*(self._bases.get(each, set()) for each in more))
            below = {name for name, bases in self._bases.items() if bases & more}
            more = (above | below) - found
            found |= more
        return found


def _annotated(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name whose class this node declares, and the expression that declares it."""
    if isinstance(node, ast.arg) and node.annotation is not None:
        yield node.arg, node.annotation
    elif isinstance(node, ast.AnnAssign):
        yield _last(node.target), node.annotation
    elif isinstance(node, _Function) and node.returns is not None:
        yield node.name, node.returns
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        for target in node.targets:
            yield _last(target), node.value.func


def _handed_on(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each name that takes over a value, or one of a container's, and that value."""
    if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


def _last(node: ast.expr) -> str:
    """The last word of an expression: `self.a.b` is `b`, `f(x)` is `f`."""
    if isinstance(node, ast.Call):
        return _last(node.func)
    if isinstance(node, ast.Subscript | ast.Await):
        return _last(node.value)
    return (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )


def _is_public(node: ast.stmt) -> bool:
    """Return whether the function is called by name: it is no command, hook or overload."""
    if not isinstance(node, _Function):
        return False
    decorators = {_last(each) for each in node.decorator_list}
    called = {"command", "group", "hookimpl", "hookspec", "overload", "setter"}
    return not node.name.startswith("_") and not decorators & called


def _overrides_foreign(module: str, owner: str, name: str) -> bool:
    """Return whether a base class of another package has the method, and therefore calls it."""
    found = getattr(importlib.import_module(module), owner, object)
    ours = module.partition(".")[0]
    return any(
        name in vars(base)
        for base in found.__mro__
        if base.__module__.partition(".")[0] not in {ours, "sidecar"}
    )
