"""No module uses private parts of libraries."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from house_checks import (
    Source,
    foreign_private_names,
    found_in,
    inherited_private_names,
    own_private_names,
)
from project_paths import MODULES

IMPORTABLE = [path for path in MODULES if path.stem != "__main__"]


def inherited(source: Source) -> list[str]:
    return inherited_private_names(source, importlib.import_module(source.module))


def test_module_uses_no_private_name_of_a_library() -> None:
    own = own_private_names(map(Source.read, MODULES))
    assert found_in(IMPORTABLE, foreign_private_names, own) == []


def test_class_overrides_no_private_name_of_a_library() -> None:
    assert found_in(IMPORTABLE, inherited) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("x._payload_writer", "_payload_writer"),
        ("getattr(x, '_payload')", "_payload"),
        ("from aiohttp.web_protocol import RequestHandler", "aiohttp.web_protocol"),
        ("from asyncio import _set_running_loop", "asyncio._set_running_loop"),
    ],
)
def test_private_name_check_reports_a_name_of_a_library(line: str, found: str) -> None:
    source = Source("sidecar/a.py", f"import aiohttp\n{line}\n")
    assert foreign_private_names(source, set()) == [f"sidecar/a.py:2: {found}"]


def test_private_name_check_passes_names_of_our_own() -> None:
    text = (
        "from aiohttp import web\nfrom sidecar.a import _Own\n"
        "class A:\n    def _f(self):\n        self._x = self.__dict__\n        return other._x\n"
    )
    source = Source("sidecar/a.py", text)
    assert foreign_private_names(source, own_private_names([source])) == []


def test_inherited_name_check_reports_an_overridden_and_a_used_name() -> None:
    text = (
        "from aiohttp import ClientSession\n"
        "class Session(ClientSession):\n"
        "    async def _request(self): ...\n"
        "    def mine(self): return self._connector, self._mine\n"
        "class Other:\n"
        "    def mine(self): return self._connector\n"
    )
    module = ModuleType("sidecar.sample")
    with pytest.warns(DeprecationWarning, match="Inheritance class"):
        exec(text, vars(module))
    assert inherited_private_names(Source("sidecar/sample.py", text), module) == [
        "sidecar/sample.py:3: Session._request", "sidecar/sample.py:4: Session._connector",
    ]  # fmt: skip
