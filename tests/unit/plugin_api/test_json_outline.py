"""The outline of JSON says what the JSON says, as far as it goes, however it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.plugin_api.json.outline import (
    ALL_OR_NOTHING,
    MAX_LEVELS,
    MAX_PARTS,
    MAX_TEXT_BYTES,
    Outline,
    outline,
)

NAMES = st.sampled_from(["a", "usage", "", 'q"\\', "é", "error"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def kept(value: object) -> object:
    """What an outline keeps: in lists, no numbers, truths and nulls."""
    if isinstance(value, dict):
        return {name: kept(each) for name, each in value.items()}
    if isinstance(value, list):
        return [kept(each) for each in value if isinstance(each, str | list | dict)]
    return value


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.booleans(), st.data())
def test_outline_of_json_equals_that_json_for_every_cut(
    value: dict[str, Any], ascii_only: bool, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=data.draw(st.sampled_from([None, 1])))
    body = text.encode("utf-8", "surrogatepass")
    found = Outline()
    size = data.draw(st.integers(1, 9))
    for at in range(0, len(body), size):
        assert not found.complete
        found.feed(body[at : at + size])
    assert found.complete
    assert not found.unfinished
    assert found.fields() == outline(body).fields()
    if _levels(value) <= MAX_LEVELS:
        assert found.fields() == json.loads(json.dumps(kept(value)))


def _levels(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max(map(_levels, inner), default=0)


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.data())
def test_outline_of_truncated_json_holds_complete_values_only(
    value: dict[str, Any], data: st.DataObject
) -> None:
    body = json.dumps(value).encode()
    found = outline(body[: data.draw(st.integers(0, len(body) - 1))])
    assert not found.complete
    _is_part(found.fields(), kept(value))


def _is_part(part: object, whole: object, name: str = "") -> None:
    if isinstance(part, dict) and name not in ALL_OR_NOTHING:
        assert isinstance(whole, dict)
        for each, value in part.items():
            _is_part(value, whole[each], each)
    elif isinstance(part, list) and name not in ALL_OR_NOTHING:
        assert isinstance(whole, list)
        for value, other in zip(part, whole, strict=False):
            _is_part(value, other)
    elif isinstance(part, dict | list):
        assert _levels(whole) > 3 or part == whole
    else:
        assert part == whole


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (rb'{"a":"\ud83d","b":1}', {"a": "\ufffd", "b": 1}),
        (rb'{"a":"\ud83d\ude00","b":1}', {"a": "\U0001f600", "b": 1}),
        (b'{"a":NaN,"b":-Infinity,"c":1}', {"c": 1}),
        (b'{"a":undefined,"b":1}', {"b": 1}),
        (b'{"a":"\xff\x01\n","b":1}', {"a": "\ufffd\x01\n", "b": 1}),
        (rb'{"a":"\x","b":1}', {"a": None, "b": 1}),
        (b'\xef\xbb\xbf{"b":1}', {"b": 1}),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b',"b":1}', {"b": 1}),
        (b'{"a":"' + b"x" * (MAX_TEXT_BYTES + 1) + b'","b":1}', {"a": None, "b": 1}),
        (b'{"a":' + b"9" * 5000 + b',"b":1}', {"b": 1}),
        (b'{"a":1}{"a":2}', {"a": 1}),
        (b'{"a":1}]]}', {"a": 1}),
        (b'{"usage":{"a":1},"usage":{"b":2}}', {"usage": {"b": 2}}),
    ],
)
def test_outline_reads_json_with_invalid_details(body: bytes, expected: dict[str, object]) -> None:
    found = outline(body)
    assert found.complete
    fields = found.fields()
    assert {name: fields.get(name) for name in expected} == expected


@pytest.mark.parametrize("name", sorted(ALL_OR_NOTHING))
def test_outline_leaves_out_a_truncated_usage_object(name: str) -> None:
    assert outline(b'{"a":{"%b":{"x":1,"y":{"z":2}' % name.encode()).fields() == {"a": {}}
    assert outline(b'{"a":{"%b":{"x":1}' % name.encode()).fields() == {"a": {name: {"x": 1}}}


def test_outline_marks_invalid_numbers_in_usage_only() -> None:
    assert outline(b'{"usage":{"details":{"tokens":NaN}}}').has_invalid_numbers
    assert not outline(b'{"logprob":-Infinity,"usage":{"tokens":1}}').has_invalid_numbers


@pytest.mark.parametrize("body", [b"", b"  ", b"12", b"nothing"])
def test_outline_without_brackets_is_never_unfinished(body: bytes) -> None:
    assert not outline(body).unfinished
    assert outline(body).fields() == {}


def test_outline_of_too_many_parts_stops_reading() -> None:
    found = outline(b'{"a":1,' * (MAX_PARTS + 1))
    assert found.complete is None
    assert not found.unfinished
    assert not found.has_invalid_numbers


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_outline_never_raises_on_garbage(pieces: list[bytes]) -> None:
    found = Outline()
    for piece in pieces:
        found.feed(piece)
    assert (found.fields(), found.unfinished, found.complete) is not None
