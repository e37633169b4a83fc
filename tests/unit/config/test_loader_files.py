"""Every rule of the file: good ones that load, bad ones with their exact messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_vendors import PLUGINS, bare, read
from jsonschema import Draft202012Validator
from project_paths import TESTS
from yaml import SafeLoader
from yaml import load as parse

from sidecar.config.loader import describe, difference, load
from sidecar.config.loader.json_schema import schema
from sidecar.config.schema.docs import BLOCKS, refresh
from sidecar.config.schema.fields import FILE
from sidecar.errors import ConfigError
from sidecar.plugin_api.manager import discover

GOOD = sorted((TESTS / "config" / "good").glob("*.yaml"))
BAD = sorted((TESTS / "config" / "bad").glob("*.yaml"))
EXAMPLE = TESTS.parent / "config" / "routes.example.yaml"
MANUAL = TESTS.parent / "docs" / "configuration.md"


class EditorLoader(SafeLoader):
    """Reads as editors' YAML services do: numbers and booleans, but no dates."""


EditorLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
}


def stem(path: Path) -> str:
    return path.stem


def errors(text: bytes) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(text)
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("path", GOOD, ids=stem)
def test_good_file_loads_without_a_warning(path: Path) -> None:
    warnings = [str(each) for each in read(path.read_bytes()).warnings]
    clear = [each for each in warnings if "in the clear" not in each]
    assert not clear


@pytest.mark.parametrize("path", GOOD, ids=stem)
def test_full_dump_of_a_file_loads_to_an_equal_snapshot(path: Path) -> None:
    snapshot = read(path.read_bytes())
    full = describe(snapshot)
    again = read(full)
    assert bare(again) == bare(snapshot)
    assert difference(snapshot, again) == []
    assert describe(again) == full


@pytest.mark.parametrize("path", BAD, ids=stem)
def test_bad_file_is_refused_with_the_recorded_messages(path: Path) -> None:
    assert errors(path.read_bytes()) == path.with_suffix(".txt").read_text().splitlines()


@pytest.mark.parametrize("path", BAD, ids=stem)
def test_messages_repeat_no_secret(path: Path) -> None:
    assert "hunter2" not in path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", BAD, ids=stem)
def test_messages_have_a_next_step(path: Path) -> None:
    for line in path.with_suffix(".txt").read_text().splitlines():
        assert "; " in line, line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfgroups: {}\n", "routes.yaml:1:1: the file begins with a byte order mark"),
        ("groups: {}\n".encode("utf-16"), "routes.yaml:1:1: the file is not UTF-8 text"),
        ("groups: {}\n".encode("utf-16-le"), "routes.yaml:1:1: the file is not UTF-8 text"),
        ("groups: {}\n".encode("utf-32-be"), "routes.yaml:1:1: the file is not UTF-8 text"),
        (b"groups:\n  G\xff: {}\n", "routes.yaml:2:4: this byte is not UTF-8 text"),
        (b"groups:\n  G: \x07\n", "routes.yaml:2:6: there is a control character (U+0007)"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "routes.yaml:1:1: there is a control character"),
        (b"#" * ((4 << 20) + 1), "routes.yaml:1:1: the file has 4,194,305 bytes; at most"),
    ],
)
def test_file_that_is_no_text_is_refused(data: bytes, expected: str) -> None:
    assert errors(data)[0].startswith(expected)


def test_example_file_loads_with_the_bundled_vendors() -> None:
    registry = discover()
    assert registry.problems == ()
    snapshot = load(EXAMPLE.read_bytes(), file=str(EXAMPLE), registry=registry)
    assert [str(each) for each in snapshot.warnings] == []
    assert snapshot.groups["demo"].vendor.name == "echo"
    again = load(describe(snapshot).encode(), file=str(EXAMPLE), registry=registry)
    assert bare(again) == bare(snapshot)


def test_example_file_has_every_field() -> None:
    text = EXAMPLE.read_text()
    missing = [
        f"{block.title}: {option.name}"
        for block in BLOCKS.values()
        for option in block.options
        if f"{option.name}:" not in text
    ]
    assert missing == []


def problems_of(text: bytes, registry: Any) -> list[str]:
    validator = Draft202012Validator(schema(registry))
    found = validator.iter_errors(parse(text, EditorLoader))
    return [f"{list(each.absolute_path)}: {each.message}" for each in found]


def test_json_schema_is_valid() -> None:
    Draft202012Validator.check_schema(schema(PLUGINS))


@pytest.mark.parametrize("path", [p for p in GOOD if p.stem != "words_stay_text"], ids=stem)
def test_json_schema_accepts_good_files(path: Path) -> None:
    """All but the one with names that editors make numbers and booleans of."""
    assert problems_of(path.read_bytes(), PLUGINS) == []


def test_json_schema_accepts_the_example_file() -> None:
    assert problems_of(EXAMPLE.read_bytes(), discover()) == []


@pytest.mark.parametrize(
    "name",
    [
        "an_unknown_section",
        "an_unknown_field_of_a_key",
        "wrong_plugin_fields",
        "a_missing_plugin_field",
        "a_route_with_unknown_options",
        "numbers",
        "money",
        "durations",
        "percentages",
        "choices",
        "a_key_without_group",
        "a_literal_credential",
    ],
)
def test_json_schema_refuses_wrong_fields(name: str) -> None:
    assert problems_of((TESTS / "config" / "bad" / f"{name}.yaml").read_bytes(), PLUGINS)


def test_json_schema_completes_vendors_and_flags_unknown_ones() -> None:
    properties = schema(discover())["properties"]
    group = properties["groups"]["additionalProperties"]["properties"]
    assert {"openai", "anthropic"} <= set(group["vendor"]["enum"])
    assert "openrouter" in group["routes"]["items"]["anyOf"][0]["enum"]
    assert problems_of(b"groups: {G: {vendor: opnai}}", discover())
    own = b"groups: {G: {vendor: openai, routes: [mine, openai]}}"
    assert problems_of(own, discover()) == []


def objects(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "properties" in part and "additionalProperties" in part:
            yield part
        for inner in part.values():
            yield from objects(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from objects(inner)


def test_json_schema_and_loader_have_the_same_fields() -> None:
    """Of every block: what one knows, the other does, in the same order."""
    found = {tuple(each["properties"]) for each in objects(schema(PLUGINS))}
    for name, block in BLOCKS.items():
        names = tuple(option.name for option in block.options)
        exact = name not in ("file", "providers")
        assert names in found if exact else any(names == each[: len(names)] for each in found)


def test_manual_explains_every_field() -> None:
    text = MANUAL.read_text("utf-8")
    assert [name for name in BLOCKS if f"<!-- fields: {name} -->" not in text] == []
    assert refresh(text) == text, "python -m sidecar.config.schema.docs docs/configuration.md"


def test_manual_has_a_chapter_for_every_section() -> None:
    text = MANUAL.read_text("utf-8")
    assert [o.name for o in FILE.options if f"`{o.name}`" not in headings(text)] == []


def headings(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("#"))


def examples(text: str) -> list[str]:
    return [part.split("```", 1)[0] for part in text.split("```yaml\n")[1:]]


@pytest.mark.parametrize("example", examples(MANUAL.read_text("utf-8")))
def test_manual_examples_load(example: str) -> None:
    load(example.encode(), file="routes.yaml", registry=discover())
