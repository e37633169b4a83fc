"""Names have one meaning, constants end in their unit, names of tests have a subject."""

from __future__ import annotations

import pytest
from house_checks import (
    Source,
    constants_without_unit,
    found_in,
    repeated_public_names,
    vague_test_names,
)
from project_paths import MODULES, ROOT, TEST_MODULES, below_root
from unused_functions import Sources


def test_public_class_and_alias_names_are_unique() -> None:
    assert repeated_public_names(map(Source.read, MODULES)) == []


def test_constant_of_a_duration_or_size_ends_in_its_unit() -> None:
    assert found_in(MODULES, constants_without_unit) == []


def test_test_name_has_subject_condition_and_result() -> None:
    assert found_in(TEST_MODULES, vague_test_names) == []


def test_public_functions_have_a_caller_besides_the_tests() -> None:
    folders = ("tools", "bench", "examples")
    others = [path for each in folders for path in ROOT.glob(f"{each}/**/*.py")]
    found = Sources(map(Source.read, MODULES), map(Source.read, others)).unused()
    assert list(map(str, found)) == []


def test_unique_name_check_reports_each_place_of_a_repeated_name() -> None:
    sources = [
        Source("sidecar/a.py", "class Line: ...\nclass _Own: ...\nView = dict[str, int]\n"),
        Source("sidecar/b.py", "class Other: ...\nclass Line: ...\nclass _Own: ...\n"),
        Source("sidecar/c.py", "View = int | str\nrows = list[int]\n"),
        Source("sidecar/d.py", "rows = list[int]\n"),
    ]
    assert repeated_public_names(sources) == [
        "sidecar/a.py:1: Line", "sidecar/b.py:2: Line",
        "sidecar/a.py:3: View", "sidecar/c.py:1: View",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "POLL = 1.0", "SETTLE: Final = 0.2", "SIZE = 4 << 20", "MAX_KEPT = 64 * 1024",
        "MAX_TIMEOUT = 5", "LONGEST = 256", "MOST_ROWS = 3", "_PATIENCE_SECONDS = 60.0",
    ],
)  # fmt: skip
def test_unit_check_reports_a_constant_without_unit(line: str) -> None:
    (found,) = constants_without_unit(Source("sidecar/a.py", f"import os\n{line}\n"))
    assert found.startswith(f"sidecar/a.py:2: {line.split(' ', maxsplit=1)[0].rstrip(':')}")


@pytest.mark.parametrize(
    "line",
    [
        "POLL_SECONDS = 1.0", "MAX_KEPT_BYTES = 64 * 1024", "MAX_ROWS = 5", "SAFETY_MARGIN = 0.03",
        "NEVER = float('inf')", "poll = 1.0", "TIMEOUTS = {'connect': 1.0}",
    ],
)  # fmt: skip
def test_unit_check_passes_a_constant_that_needs_none(line: str) -> None:
    assert constants_without_unit(Source("sidecar/a.py", line)) == []


@pytest.mark.parametrize(
    "name",
    [
        "test_what_is_kept_is_shown", "test_it_is_said_everywhere", "test_openai_chat",
        "test_call_is_held_for_nobody", "test_patience_of_a_call_ends",
    ],
)  # fmt: skip
def test_test_name_check_reports_a_name_without_subject(name: str) -> None:
    text = f"class TestGroup:\n    async def {name}(): ...\n"
    assert vague_test_names(Source("tests/a.py", text)) == [f"tests/a.py:2: {name}"]


def test_test_name_check_passes_subject_condition_and_result() -> None:
    text = "def test_paused_call_is_resumed(): ...\ndef what_is(): ...\n"
    assert vague_test_names(Source("tests/a.py", text)) == []


def test_method_that_only_shares_a_name_with_used_ones_is_found_unused() -> None:
    text = (
        "class Held:\n    def clear(self): ...\n    def count(self): ...\n"
        "class Other:\n    def count(self): ...\n"
        "def used(table: dict, other: Other): table.clear(); other.count()\n"
        "def unused(held: Held): unused(held)\n"
    )
    other = Source("tools/a.py", "from sidecar.errors import Other, used")
    found = Sources([Source("sidecar/errors.py", text)], [other]).unused()
    assert {each.name for each in found} == {"clear", "count", "unused"}


ONE_HOME = {
    "O_NONBLOCK": "sidecar/files.py",  # `open_regular`: the one safe read of what may be a pipe
    "O_EXCL": "sidecar/files.py",  # `create_private` and `write_private`: the one private write
    "get_close_matches": "sidecar/humanize.py",  # `nearest`: the one "did you mean"
}


@pytest.mark.parametrize("call", ONE_HOME)
def test_shared_helper_is_the_only_user_of_its_library_call(call: str) -> None:
    users = [below_root(path) for path in MODULES if call in path.read_text()]
    assert users == [ONE_HOME[call]]
