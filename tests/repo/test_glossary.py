"""docs/glossary.md has each word of the file and of the metrics; the pages keep to it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from project_paths import ROOT

from sidecar.config.schema.docs import BLOCKS
from sidecar.metrics.definitions import TABLE

GLOSSARY = (ROOT / "docs/glossary.md").read_text()
PAGES = sorted(
    path
    for path in [*ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    if path.name != "glossary.md"
)
SOURCES = sorted([*ROOT.glob("sidecar/**/*.py"), *ROOT.glob("plugins/**/*.py")])


def table_rows(text: str, columns: int) -> list[list[str]]:
    """Return the rows of the tables of this width, without heads and rules."""
    lines = text.splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("| ") and not following.startswith("|---")
    ]
    return [row for row in rows if len(row) == columns]


TERMS = table_rows(GLOSSARY, 4)
PLACES = [row[3] for row in TERMS]
AVOIDED = [row[0] for row in table_rows(GLOSSARY, 2)]


def words_after(kind: str) -> set[str]:
    """Return the code words of the last column that stand behind `YAML`, `code` or `label`."""
    parts = [part for cell in PLACES for part in cell.split(";") if part.split()[0] in kind.split()]
    return {word for part in parts for word in re.findall(r"`([^`]+)`", part)}


def without_generated(text: str) -> str:
    """Return the page without its tables of fields: their words are those of the code."""
    return re.sub(r"<!-- fields: \w+ -->\n(?:[^\n]+\n)*", "\n", text)


def test_glossary_has_every_field_of_the_file() -> None:
    fields = {option.name for block in BLOCKS.values() for option in block.options}
    assert fields - words_after("YAML") == set()


def test_glossary_names_no_field_that_is_gone() -> None:
    fields = {option.name for block in BLOCKS.values() for option in block.options}
    assert words_after("YAML") - fields == set()


def test_glossary_has_every_label_of_the_metrics() -> None:
    labels = {label for metric in TABLE.values() for label in metric.labels}
    assert labels - words_after("label labels") == set()


def test_glossary_names_metrics_that_exist() -> None:
    assert words_after("metric metrics") - set(TABLE) == set()


def test_glossary_names_classes_that_exist() -> None:
    text = "\n".join(path.read_text() for path in SOURCES)
    classes = set(re.findall(r"^(?:class )?([A-Z]\w+)(?:[:(]| = )", text, re.MULTILINE))
    assert words_after("code") - classes == set()


def test_glossary_gives_each_term_one_meaning() -> None:
    terms = [term.strip() for row in TERMS for term in row[0].split(",")]
    assert [term for term, n in Counter(terms).items() if n > 1] == []
    assert [row for row in TERMS if not all(row)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_avoids_the_words_that_the_glossary_replaces(path: Path) -> None:
    text = without_generated(path.read_text())
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, AVOIDED))})\b", re.IGNORECASE)
    found = [f"{n}: {line}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert found == []
