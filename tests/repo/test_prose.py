"""Docstrings, comments, texts and documents are in plain English and use the glossary's words."""

from __future__ import annotations

import pytest
from house_checks import Source, forbidden_words, found_in, vague_docstrings
from project_paths import CONSOLE_MODULES, DOCUMENTS, MODULES, TEST_HELPERS


def test_docstring_starts_with_a_verb_or_a_noun() -> None:
    assert found_in([*MODULES, *TEST_HELPERS], vague_docstrings) == []


def test_text_uses_the_words_of_the_glossary() -> None:
    assert found_in([*MODULES, *CONSOLE_MODULES, *DOCUMENTS], forbidden_words) == []


@pytest.mark.parametrize(
    "start", ["What is left.", "Whether it is.", "Who is it?", "As above.", "It is over."]
)
def test_docstring_check_reports_a_summary_that_is_no_sentence(start: str) -> None:
    text = f'"""What a module is for."""\nclass A:\n    async def f():\n        """{start}"""\n'
    assert vague_docstrings(Source("sidecar/a.py", text)) == [f"sidecar/a.py:3: {start}"]


def test_docstring_check_passes_an_imperative_summary() -> None:
    text = 'def f():\n    """Return what is left."""\n\ndef g(): ...\n'
    assert vague_docstrings(Source("sidecar/a.py", text)) == []


def test_word_check_reports_every_forbidden_word_in_any_case() -> None:
    text = "A call waits.\nNobody waits of late,\nwhoever goes on.\nThe limit is a note.\n"
    assert forbidden_words(Source("docs/a.md", text)) == [
        "docs/a.md:2: Nobody", "docs/a.md:2: of late",
        "docs/a.md:3: whoever", "docs/a.md:3: goes on",
    ]  # fmt: skip
