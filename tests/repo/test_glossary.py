"""docs/glossary.md has each word of the file and of the metrics, with one meaning each."""

from __future__ import annotations

import re
from collections import Counter

from project_paths import ROOT

from sidecar.config.schema.docs import BLOCKS
from sidecar.metrics.definitions import TABLE

GLOSSARY = (ROOT / "docs/glossary.md").read_text()
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


def words_after(kind: str) -> set[str]:
    """Return the code words of the last column that stand behind `YAML`, `code` or `label`."""
    parts = [part for cell in PLACES for part in cell.split(";") if part.split()[0] in kind.split()]
    return {word for part in parts for word in re.findall(r"`([^`]+)`", part)}


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
