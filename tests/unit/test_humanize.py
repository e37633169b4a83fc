"""Texts for people: the nearest name."""

from __future__ import annotations

import pytest

from sidecar.humanize import MAX_LISTED_NAMES, nearest, suggestion


@pytest.mark.parametrize(
    ("word", "known", "name"),
    [
        ("mian", ["other", "main"], "main"),
        ("GPT", ["gpt"], "gpt"),
        ("gpt", ["claude"], None),
        ("gpt", [], None),
    ],
)
def test_nearest_name_is_found_in_any_case(word: str, known: list[str], name: str | None) -> None:
    assert nearest(word, iter(known)) == name


def test_suggestion_names_the_nearest_else_lists_the_known_names() -> None:
    assert suggestion("mian", ["main"], otherwise="") == 'did you mean "main"?'
    assert suggestion("zzz", ["main", "other", "main"], otherwise="") == "there is: main, other"
    assert suggestion("zzz", [], otherwise="there is none yet") == "there is none yet"


def test_suggestion_of_many_names_is_cut() -> None:
    names = [f"key-{number}" for number in range(MAX_LISTED_NAMES + 1)]
    assert suggestion("zzz", names, otherwise="").endswith(f"key-{MAX_LISTED_NAMES - 1}, …")
