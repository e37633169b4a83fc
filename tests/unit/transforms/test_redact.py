"""The transform `redact`: answers in pieces of any size, what stays redacted, costly patterns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import TransformCall, TransformTarget
from sidecar_transforms.redact.detectors import NAMED, detector_of, find
from sidecar_transforms.redact.transform import Redact

EMAIL = "ada@example.com"
TARGET = TransformTarget("openai", "chat")
COSTLY = [
    ("/(a+)+$/", "repeats without a bound"),
    ("/a{3,}/", "repeats without a bound"),
    ("/(?:a{1,3}){1,9}/", "repeats a group"),
    ("/a{1,99}b{1,99}/", "may match in 9801 ways"),
    ("/a{9,1}/", "may match in -7 ways"),
    (r"/(a)\1/", "back reference"),
    ("/(?P<x>a)/", "named group"),
]
ADVERSE = [
    "eyJ-" * 50_000, "-----BEGIN RSA PRIVATE KEY-----\n" * 6000, "a" * 200_000, "a.b@" * 50_000,
    "1 " * 100_000, "sk-" * 66_000, "Bearer " * 30_000, "a." * 100_000,
]  # fmt: skip


def redacted(body: object) -> tuple[Any, Any]:
    """The request that is sent for a body, and its document."""
    call = TransformCall(
        dialect="openai", endpoint="chat", target=TARGET, method="POST", path="/", query="",
        headers=(), body=json.dumps(body).encode(), readable=True, model="m", streaming=True,
    )  # fmt: skip
    made = Redact().request(call)
    assert made is not None
    return made, json.loads(made.body)


def placeholder() -> tuple[Any, str]:
    made, document = redacted({"messages": [{"role": "user", "content": EMAIL}]})
    return made, document["messages"][0]["content"]


def events_of(data: bytes) -> list[Any]:
    found = [event.partition(b"data: ")[2] for event in data.split(b"\n\n")]
    return [json.loads(each) for each in found if each and each != b"[DONE]"]


def answered(made: Any, pieces: list[bytes]) -> bytes:
    answer = Redact().response(made, 200, "text/event-stream")
    fed = [answer.feed(piece) for piece in pieces]
    assert all(each.endswith(b"\n\n") for each in fed if each)
    return b"".join(fed) + answer.end(complete=True)


def cut_at(data: Any, places: list[int]) -> list[Any]:
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(at)]


CUTS = st.lists(st.integers(0, 2000), max_size=20)


@given(text_cuts=CUTS, byte_cuts=CUTS, around=st.text(max_size=9), ending=st.booleans())
def test_text_of_a_stream_is_the_same_for_every_cut(
    text_cuts: list[int], byte_cuts: list[int], around: str, ending: bool
) -> None:
    made, name = placeholder()
    text = f"{around}{name}[EMAIL-{around}[{name}{around}" + ("[EMA" if ending else "")
    deltas = [{"choices": [{"index": 0, "delta": {"content": t}}]} for t in cut_at(text, text_cuts)]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in [*deltas, end])
    found = events_of(answered(made, cut_at(data + b"data: [DONE]\n\n", byte_cuts)))
    choices = [choice for each in found for choice in each["choices"]]
    shown = "".join(choice["delta"].get("content", "") for choice in choices)
    assert shown == text.replace(name, EMAIL)
    assert choices[-1]["finish_reason"] == "stop"


def test_ends_of_texts_wait_in_a_bounded_number_of_places() -> None:
    made, name = placeholder()
    answer = Redact().response(made, 200, "text/event-stream")
    deltas = [{"choices": [{"index": n, "delta": {"content": name[:9]}}]} for n in range(200)]
    fed = [answer.feed(b"data: " + json.dumps(each).encode() + b"\n\n") for each in deltas]
    shown = [each["choices"][0]["delta"]["content"] for each in events_of(b"".join(fed))]
    assert shown == [""] * 64 + [name[:9]] * 136


def test_placeholder_of_thousands_is_restored_from_pieces() -> None:
    emails = [f"u{n}@example.com" for n in range(3000)]
    made, document = redacted({"messages": [{"role": "user", "content": " ".join(emails)}]})
    name = document["messages"][0]["content"].split()[-1]
    deltas = [{"choices": [{"index": 0, "delta": {"content": each}}]} for each in ("[Z", *name)]
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in deltas)
    found = [each["choices"][0]["delta"]["content"] for each in events_of(answered(made, [data]))]
    assert "".join(found) == f"[Z{emails[-1]}"


def argument_events(name: str) -> Mapping[str, list[dict[str, Any]]]:
    """Events with the arguments of a tool and with thinking, of each dialect."""
    item = {"type": "function_call", "arguments": name, "name": "f", "call_id": "c"}
    call = {"index": 0, "function": {"arguments": name}}
    thinking = {"type": "thinking", "thinking": name, "signature": name}
    return {
        "chat": [
            {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
            {"choices": [{"index": 0, "delta": {"reasoning_content": name}}]},
        ],
        "responses": [
            {"type": "response.function_call_arguments.delta", "delta": name, "output_index": 0},
            {"type": "response.function_call_arguments.done", "arguments": name},
            {"type": "response.output_item.done", "item": item},
            {"type": "response.completed", "response": {"output": [item]}},
            {"type": "response.reasoning_summary_text.delta", "delta": name},
        ],
        "messages": [
            {"type": "content_block_delta", "index": 0,
             "delta": {"type": "input_json_delta", "partial_json": name}},
            {"type": "content_block_start", "index": 1,
             "content_block": {"type": "tool_use", "input": {"to": name}}},
            {"type": "content_block_delta", "index": 2,
             "delta": {"type": "thinking_delta", "thinking": name}},
            {"type": "content_block_delta", "index": 2,
             "delta": {"type": "signature_delta", "signature": name}},
            {"type": "content_block_start", "index": 3, "content_block": thinking},
        ],
        "gemini": [
            {"candidates": [{"content": {"parts": [
                {"functionCall": {"name": "f", "args": {"to": name, "text": name}}},
                {"text": name, "thought": True, "thoughtSignature": name}]}}]},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages", "gemini"])
def test_arguments_of_tools_and_thinking_keep_their_placeholders(dialect: str) -> None:
    made, name = placeholder()
    for event in argument_events(name)[dialect]:
        data = b"data: " + json.dumps(event).encode() + b"\n\n"
        assert events_of(answered(made, [data])) == [event]
        whole = Redact().response(made, 200, "application/json")
        whole.feed(json.dumps(event).encode())
        assert json.loads(whole.end(complete=True)) == event


@pytest.mark.parametrize(
    "message",
    [
        {"content": f'data: {{"to": "{EMAIL}"}}'},
        {"content": f"data:image/png;base64,iVBORw0KGgo= of {EMAIL}"},
        {"content": f"data:text/plain,{EMAIL}"},
        {"parts": [{"functionResponse": {"response": {EMAIL: {EMAIL: None}}}}]},
        {"content": [{"type": "tool_use", "id": "c", "name": "f", "input": {EMAIL: []}}]},
    ],
)
def test_text_that_looks_like_a_file_or_a_name_is_redacted(message: dict[str, Any]) -> None:
    made, _ = redacted({"messages": [{"role": "user", **message}]})
    assert EMAIL.encode() not in made.body


def test_file_in_a_url_is_untouched() -> None:
    url = "data:application/pdf;name=a.pdf;base64,AKIAABCDEFGHIJKLMNOP+/=="
    _, document = redacted({"messages": [{"role": "user", "content": [EMAIL, {"url": url}]}]})
    assert document["messages"][0]["content"][1] == {"url": url}


def test_signed_thinking_of_a_request_is_untouched() -> None:
    signed = [
        {"type": "thinking", "thinking": EMAIL, "signature": EMAIL},
        {"type": "redacted_thinking", "data": EMAIL},
        {"type": "reasoning", "summary": [{"text": EMAIL}], "encrypted_content": EMAIL},
        {"text": EMAIL, "thought": True, "thoughtSignature": EMAIL},
    ]
    _, document = redacted({"input": [*signed, {"type": "text", "text": EMAIL}]})
    assert document["input"][:-1] == signed
    assert document["input"][-1]["text"] != EMAIL


@pytest.mark.parametrize(("pattern", "problem"), COSTLY)
def test_costly_pattern_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        detector_of(pattern)


@pytest.mark.parametrize("pattern", [r"/PROJ-\d{1,9}/", "/[+*]x{3}/", r"/(a|b)c?\+/", "/(?<=A)b/"])
def test_bounded_pattern_is_accepted(pattern: str) -> None:
    assert detector_of(pattern).label == "TEXT"


@pytest.mark.parametrize("text", ADVERSE, ids=range(len(ADVERSE)))
def test_named_detectors_find_nothing_in_adverse_text_in_bounded_time(text: str) -> None:
    detectors = tuple(NAMED.values())
    assert len(find(text, detectors)) <= 1


def test_private_key_with_headers_is_found_whole() -> None:
    key = (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,AB\n\n"
        "MIIE+/=\n-----END RSA PRIVATE KEY-----"
    )
    (found,) = find(f"a {key} b", (NAMED["keys"],))
    assert found[:2] == (2, 2 + len(key))


SECRETS = [
    ("keys", "sk-" + "a" * 20), ("keys", "rk_" + "A1" * 10), ("keys", "pk-" + "_a" * 10),
    ("keys", "AKIA" + "A1" * 8), ("keys", "ASIA" + "B2" * 8), ("keys", "AIza" + "a-_9x" * 7),
    ("keys", "gsk_" + "a1" * 10), ("keys", "sidecar_" + "a-" * 10),
    ("tokens", "eyJ" + ".".join(["abcdefgh"] * 3)), ("tokens", "github_pat_" + "a" * 16),
    *[("tokens", f"gh{each}_" + "a1" * 8) for each in "pousr"],
    *[("tokens", f"xox{each}-" + "a-" * 8) for each in "abprs"],
    ("tokens", "glpat-" + "a" * 16), ("tokens", "npm_" + "a" * 16), ("tokens", "pypi-" + "a" * 16),
    ("email", EMAIL), ("email", "a@b.c-d.example"), ("cards", "4111 1111-1111 1111"),
    ("cards", "4222222222222"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "secret"), SECRETS)
@pytest.mark.parametrize("before", ["", "key = ", "ключ\n"])
def test_secret_is_found_whole_in_any_text(name: str, secret: str, before: str) -> None:
    (found,) = find(f"{before}{secret}", (NAMED[name],))
    assert found[:2] == (len(before), len(before + secret))


@pytest.mark.parametrize("word", ["Bearer", "bearer"])
def test_bearer_token_is_found_without_its_word(word: str) -> None:
    (found,) = find(f"{word} " + "a/" * 10, (NAMED["tokens"],))
    assert found[:2] == (7, 27)


def test_names_in_the_arguments_of_a_tool_are_redacted_in_place() -> None:
    arguments = {"a": 1, EMAIL: {EMAIL: EMAIL}, "z": 2}
    name = placeholder()[1]
    _, document = redacted({"messages": [{"type": "tool_use", "input": arguments}]})
    assert list(document["messages"][0]["input"].items()) == [
        ("a", 1),
        (name, {name: name}),
        ("z", 2),
    ]
