"""What a translation loses is noted, listed for its pair, and documented."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from project_paths import ROOT

from sidecar_transforms.translation import Loss, TranslationError, lost_between, translate_request
from sidecar_transforms.translation.formats import FORMATS

PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
ASK: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
TOOL = {"name": "read", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "t1", "name": "read", "input": {}}

ANSWER = {"type": "text", "text": "a"}


def result(content: object, **more: object) -> list[dict[str, Any]]:
    found = {"type": "tool_result", "tool_use_id": "t1", "content": content, **more}
    return [*ASK, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [found]}]


def thought(signature: str) -> list[dict[str, Any]]:
    block = {"type": "thinking", "thinking": "hm", "signature": signature}
    return [*ASK, {"role": "assistant", "content": [block, {"type": "text", "text": "a"}]}, *ASK]


FROM_ANTHROPIC: list[tuple[dict[str, Any], Loss]] = [
    ({"top_k": 4}, Loss.TOP_K),
    ({"temperature": 0.5}, Loss.TEMPERATURE),
    ({"top_p": 0.5}, Loss.TOP_P),
    ({"stop_sequences": ["a"]}, Loss.STOP_SEQUENCES),
    ({"cache_control": {"type": "ephemeral"}}, Loss.CACHE_MARKS),
    ({"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]}, Loss.CACHE_MARKS),
    ({"messages": result("x", is_error=True)}, Loss.TOOL_ERROR),
    ({"messages": result([{"type": "image", "source": PNG}])}, Loss.TOOL_MEDIA),
    (
        {"messages": [*ASK, {"role": "assistant", "content": [CALL, ANSWER]}, *ASK]},
        Loss.PART_ORDER,
    ),
    ({"messages": thought("c2ln")}, Loss.THINKING),
    ({"messages": [*ASK, {"role": "assistant", "content": "The answer is"}]}, Loss.PREFILL),
    ({"thinking": {"type": "disabled"}}, Loss.THINKING_OFF),
    ({"context_management": {"edits": []}}, Loss.FIELDS),
    ({"tools": [{**TOOL, "input_examples": [{}]}]}, Loss.TOOL_HINTS),
    (
        {"messages": [{"role": "user", "content": [
            {"type": "document", "source": PDF, "citations": {"enabled": True}}]}]},
        Loss.CITATIONS,
    ),
]  # fmt: skip
FROM_CHAT: list[tuple[dict[str, Any], Loss]] = [
    ({"top_k": 4, "reasoning_effort": "high"}, Loss.TOP_K),
    ({"seed": 4}, Loss.SEED),
    ({"presence_penalty": 0.5}, Loss.PENALTIES),
    ({"temperature": 1.5}, Loss.TEMPERATURE),
    ({"temperature": 1, "top_p": 0.5}, Loss.TOP_P),
    ({"prompt_cache_key": "k"}, Loss.CACHE_KEY),
    (
        {"messages": [*ASK, {"role": "assistant", "content": "a", "reasoning_content": "h"}]},
        Loss.THINKING,
    ),
    (
        {"reasoning_effort": "high", "tools": [{"type": "function", "function": {"name": "f"}}],
         "tool_choice": "required"},
        Loss.EFFORT,
    ),
    ({"messages": [*ASK, {"role": "developer", "content": "now"}]}, Loss.SYSTEM_ORDER),
    ({"response_format": {"type": "json_object"}}, Loss.JSON_OBJECT),
    ({"max_tokens": None}, Loss.MAX_OUTPUT),
    (
        {"messages": [*ASK, {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{bro"}}]}]},
        Loss.ARGUMENTS,
    ),
    ({"logprobs": True}, Loss.FIELDS),
    (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}}]}]},
        Loss.IMAGE_DETAIL,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "loss"), FROM_ANTHROPIC, ids=map(str, range(len(FROM_ANTHROPIC)))
)
def test_loss_from_anthropic_to_chat_is_noted(change: dict[str, Any], loss: Loss) -> None:
    request = {"max_tokens": 9, "messages": ASK} | change
    found = translate_request(
        "anthropic", "openai_chat", json.dumps(request).encode(), model="gpt-6"
    )
    assert found.notes == (loss.value,)
    assert loss in lost_between("anthropic", "openai_chat")


@pytest.mark.parametrize(("change", "loss"), FROM_CHAT, ids=map(str, range(len(FROM_CHAT))))
def test_loss_from_chat_to_anthropic_is_noted(change: dict[str, Any], loss: Loss) -> None:
    request = {"max_tokens": 9, "messages": ASK} | change
    found = translate_request(
        "openai_chat", "anthropic", json.dumps(request).encode(), model="claude-opus-5-5"
    )
    assert found.notes == (loss.value,)
    assert loss in lost_between("openai_chat", "anthropic")


@pytest.mark.parametrize(
    ("effort", "model"), [("high", "gpt-4.1"), ("max", "qwen3"), ("minimal", "qwen3")]
)
def test_effort_that_a_model_lacks_is_noted(effort: str, model: str) -> None:
    request = {"messages": ASK, "reasoning_effort": effort, "max_tokens": 9}
    found = translate_request(
        "openai_chat", "openai_chat", json.dumps(request).encode(), model=model
    )
    assert found.notes == ("effort",)


@pytest.mark.parametrize("model", ["qwen3", "llama3"])
def test_user_is_left_out_for_servers_that_may_reject_it(model: str) -> None:
    request = {"messages": ASK, "max_tokens": 9, "metadata": {"user_id": "u"}}
    body = json.dumps(request).encode()
    assert translate_request("anthropic", "openai_chat", body, model=model).notes == ("user",)
    kept = translate_request("anthropic", "openai_chat", body, model="gpt-6")
    assert json.loads(kept.body)["prompt_cache_key"] == "u"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n": 2}, "several answers"),
        ({"web_search_options": {"a": 1}}, "search"),
        ({"functions": [{"name": "f"}]}, "obsolete"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "custom"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
            "uploaded file",
        ),
    ],
)
def test_request_that_only_openai_has_is_refused_by_name(
    change: dict[str, Any], named: str
) -> None:
    body = json.dumps({"messages": ASK} | change).encode()
    with pytest.raises(TranslationError, match=named):
        translate_request("openai_chat", "anthropic", body, model="claude-opus-5-5")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"a":' + b"[" * 100_000])
def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(TranslationError, match="no JSON object"):
        translate_request("anthropic", "openai_chat", body, model="m")


def test_page_has_every_loss_and_those_of_every_pair() -> None:
    page = (ROOT / "docs/translation.md").read_text().partition("## What is lost")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|") and not line.startswith("|--")
    ]
    shown = {row[0].strip("`"): row[1] for row in rows}
    pairs = {key.replace("` → `", "→"): value for key, value in shown.items() if "→" in key}
    assert pairs == {
        f"{a}→{b}": ", ".join(f"`{loss.value}`" for loss in Loss if loss in lost_between(a, b))
        for a in FORMATS
        for b in FORMATS
        if a != b
    }
    assert {code: text for code, text in shown.items() if "→" not in code} == {
        "code": "what happens", "request": "may lose", **{each.value: each.text for each in Loss},
    }  # fmt: skip


def test_loss_texts_are_clauses() -> None:
    assert all(re.fullmatch(r"[^A-Z].*[^.]", loss.text) or loss.text[0] == "`" for loss in Loss)
