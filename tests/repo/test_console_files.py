"""The console's files are small, plain, and safe: no markup from text, nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from project_paths import CONSOLE_MODULES, STATIC, below_root

from sidecar.config.model import LimitKind

UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(|DOMParser"
    r"|localStorage|document\.cookie|https?://"
)
"""Makes markup or code from text, keeps a secret for good, or asks another server."""
MAX_CONSOLE_BYTES = 152_000
"""All its files together, without the indentation that the formatter adds."""


def test_console_files_stay_below_152_kb() -> None:
    files = (path.read_bytes() for path in STATIC.rglob("*") if path.is_file())
    lines = (line.lstrip() for content in files for line in content.splitlines(keepends=True))
    assert sum(map(len, lines)) < MAX_CONSOLE_BYTES


@pytest.mark.parametrize("path", CONSOLE_MODULES, ids=below_root)
def test_page_opens_with_a_comment_of_its_purpose(path: Path) -> None:
    assert path.read_text().startswith("// ")


@pytest.mark.parametrize("path", CONSOLE_MODULES, ids=below_root)
def test_page_makes_no_markup_from_text_and_loads_nothing_from_elsewhere(path: Path) -> None:
    assert UNSAFE.findall(path.read_text()) == []


def test_shell_has_no_inline_script_or_style() -> None:
    shell = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=\"/console/)", shell) == []
    assert re.search(r"<style|\bstyle=|\bon\w+=", shell) is None
    assert set(re.findall(r"(?:src|href)=\"([^\"#]+)\"", shell)) <= {
        f"/console/{p.relative_to(STATIC)}" for p in STATIC.rglob("*")
    }


def test_forms_offer_every_kind_of_limit() -> None:
    found = re.search(r"const KINDS = \[(.*?)\]", (STATIC / "forms.js").read_text())
    assert found is not None
    assert set(re.findall(r'"(\w+)"', found[1])) == {str(kind) for kind in LimitKind}
