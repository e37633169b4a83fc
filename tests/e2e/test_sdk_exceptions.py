"""Each of our own errors is the right exception in the vendors' SDKs, with our words in it.

The clients are the blocking ones, each call in a thread: the asynchronous ones have their own page.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from raw_http_client import exchange
from recorded_answers import (
    CHAT_USAGE,
    MESSAGE_DELTA,
    MESSAGE_START,
    MESSAGE_STOP,
    delta,
    generated,
    sse,
)
from recorded_answers import chunk as chat_chunk
from running_sidecar import CANARY, Sidecar, request
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import Script, ScriptedVendor, Wire, answer, hang, stream

from sidecar.errors import ErrorKind, LocalReply
from sidecar.plugin_api.manager import discover

TROUBLES = ("refused", "silent", "unset", "rejected", "big", "gone")
HELLO: Any = [{"role": "user", "content": "Hello"}]
BIG = "x" * 20_000
Call = Callable[[Sidecar, str], object]


def closed_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def yaml(url: str) -> str:
    """For each API, a key for each kind of trouble."""
    lines = ["server: {max_body: 16KiB}", "providers:"]
    dead = f"http://127.0.0.1:{closed_port()}"
    for name, plugin, base in (
        ("o", "openai", "/v1"),
        ("a", "anthropic", ""),
        ("g", "gemini", ""),
    ):
        lines += [
            f'  {name}-{trouble}: {{plugin: {plugin}, base_url: "{address}{base}", '
            f"credential: env:{variable}, timeouts: {{first_byte: {max_wait}}}}}"
            for trouble, address, variable, max_wait in (
                ("refused", dead, "UPSTREAM_KEY", "30s"),
                ("silent", f"{url}/silent", "UPSTREAM_KEY", "100ms"),
                ("unset", url, "NOBODY_SET_THIS", "30s"),
                ("rejected", f"{url}/rejected", "UPSTREAM_KEY", "30s"),
                ("big", url, "UPSTREAM_KEY", "30s"),
                ("gone", url, "UPSTREAM_KEY", "30s"),
            )
        ]
    lines.append("groups:")
    for name, vendor in (("o", "openai"), ("a", "anthropic"), ("g", "gemini")):
        lines += [f"  {name}-{t}: {{vendor: {vendor}, routes: [{name}-{t}]}}" for t in TROUBLES]
    lines.append("keys:")
    lines += [f'  {key}: {{group: {key}, hash: "{{{key}}}"}}' for key in KEYS]
    return "\n".join(lines)


KEYS = tuple(f"{name}-{trouble}" for name in "oag" for trouble in TROUBLES)


@pytest.fixture
async def troubled(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    vendor.play(by_prefix)
    async with start_sidecar(tmp_path, yaml(vendor.url), KEYS) as started:
        yield started


async def by_prefix(wire: Wire) -> None:
    if wire.request.path.startswith("/silent"):
        await hang(wire)
        return
    status = "401 Unauthorized" if wire.request.path.startswith("/rejected") else "404 Not Found"
    await answer(b'{"error":{"message":"wrong key ' + CANARY.encode() + b'"}}', status)(wire)


def chat(proxy: Sidecar, key: str, text: str = "Hello") -> object:
    with openai.OpenAI(
        base_url=f"{proxy.url}/v1", api_key=proxy.keys[key], max_retries=0
    ) as client:
        return client.chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": text}]
        )


def message(proxy: Sidecar, key: str, text: str = "Hello") -> object:
    with anthropic.Anthropic(base_url=proxy.url, api_key=proxy.keys[key], max_retries=0) as client:
        return client.messages.create(
            model="claude-x", max_tokens=9, messages=[{"role": "user", "content": text}]
        )


def generate(proxy: Sidecar, key: str, text: str = "Hello") -> object:
    with genai.Client(api_key=proxy.keys[key], http_options={"base_url": proxy.url}) as client:
        return client.models.generate_content(model="gemini-3", contents=text)


OPENAI = [
    ("o-refused", openai.InternalServerError, 502, "no provider could be reached"),
    ("o-silent", openai.InternalServerError, 504, "timeouts.first_byte"),
    ("o-unset", openai.InternalServerError, 503, "NOBODY_SET_THIS"),
    ("o-rejected", openai.InternalServerError, 502, "upstream_credential_rejected"),
    ("o-big", openai.APIStatusError, 413, "server.max_body"),
    ("o-gone", openai.NotFoundError, 404, "wrong key"),
]
ANTHROPIC = [
    ("a-refused", anthropic.InternalServerError, 502, "no provider could be reached"),
    ("a-silent", anthropic.InternalServerError, 504, "timeouts.first_byte"),
    ("a-unset", anthropic.InternalServerError, 503, "NOBODY_SET_THIS"),
    ("a-rejected", anthropic.InternalServerError, 502, "upstream_credential_rejected"),
    ("a-big", anthropic.APIStatusError, 413, "server.max_body"),
    ("a-gone", anthropic.NotFoundError, 404, "wrong key"),
    ("g-gone", anthropic.NotFoundError, 404, "belongs to the anthropic API"),
]
GEMINI = [
    ("g-refused", genai_errors.ServerError, 503, "no provider could be reached"),
    ("g-silent", genai_errors.ServerError, 504, "timeouts.first_byte"),
    ("g-unset", genai_errors.ServerError, 503, "NOBODY_SET_THIS"),
    ("g-rejected", genai_errors.ServerError, 502, "upstream_credential_rejected"),
    ("g-gone", genai_errors.ClientError, 404, "wrong key"),
    ("o-gone", genai_errors.ClientError, 404, "belongs to the gemini API"),
]


def text_for(key: str) -> str:
    return BIG if key.endswith("big") else "Hello"


@pytest.mark.parametrize(("key", "kind", "status", "words"), OPENAI)
async def test_openais_sdk_raises_its_own_exception(
    troubled: Sidecar, key: str, kind: type[openai.APIStatusError], status: int, words: str
) -> None:
    with pytest.raises(kind) as caught:
        await asyncio.to_thread(chat, troubled, key, text_for(key))
    assert caught.value.status_code == status
    assert words in caught.value.message
    assert CANARY not in str(caught.value)
    assert caught.value.request_id is not None or status == 404


@pytest.mark.parametrize(("key", "kind", "status", "words"), ANTHROPIC)
async def test_anthropics_sdk_raises_its_own_exception(
    troubled: Sidecar, key: str, kind: type[anthropic.APIStatusError], status: int, words: str
) -> None:
    with pytest.raises(kind) as caught:
        await asyncio.to_thread(message, troubled, key, text_for(key))
    assert caught.value.status_code == status
    assert words in caught.value.message
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(("key", "kind", "status", "words"), GEMINI)
async def test_googles_sdk_raises_its_own_exception(
    troubled: Sidecar, key: str, kind: type[genai_errors.APIError], status: int, words: str
) -> None:
    with pytest.raises(kind) as caught:
        await asyncio.to_thread(generate, troubled, key)
    assert caught.value.code == status
    assert words in str(caught.value.message)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "tries"), [("o-unset", 1), ("o-rejected", 1), ("o-big", 1), ("o-refused", 1)]
)
async def test_sdks_repeat_only_what_may_help(troubled: Sidecar, key: str, tries: int) -> None:
    def call() -> None:
        with openai.OpenAI(
            base_url=f"{troubled.url}/v1", api_key=troubled.keys[key], max_retries=1
        ) as client:
            client.chat.completions.create(
                model="gpt-5", messages=[{"role": "user", "content": text_for(key)}]
            )

    with pytest.raises(openai.APIStatusError):
        await asyncio.to_thread(call)
    await troubled.record(tries)
    assert len(troubled.records) == tries


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", openai.BadRequestError),
        ("409 Conflict", openai.ConflictError),
        ("422 Unprocessable", openai.UnprocessableEntityError),
        ("429 Too Many", openai.RateLimitError),
        ("500 Oops", openai.InternalServerError),
    ],
)
async def test_openais_own_errors_keep_their_class_and_hints(
    impatient: Sidecar, vendor: ScriptedVendor, status: str, kind: type[openai.APIStatusError]
) -> None:
    error = b'{"error":{"message":"as the vendor said","type":"t","param":"p","code":"c"}}'
    vendor.play(answer(error, status, retry_after="7", x_request_id="req_1"))
    with pytest.raises(kind) as caught:
        await asyncio.to_thread(chat, impatient, "gpt")
    raised = caught.value
    assert (raised.code, raised.param, raised.type) == ("c", "p", "t")
    assert raised.request_id == "req_1"
    assert raised.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", anthropic.BadRequestError),
        ("413 Too Large", anthropic.APIStatusError),
        ("429 Too Many", anthropic.RateLimitError),
        ("529 Overloaded", anthropic.InternalServerError),
    ],
)
async def test_anthropics_own_errors_keep_their_class_and_hints(
    impatient: Sidecar, vendor: ScriptedVendor, status: str, kind: type[anthropic.APIStatusError]
) -> None:
    error = b'{"type":"error","error":{"type":"x_error","message":"as the vendor said"}}'
    vendor.play(answer(error, status, retry_after="7", request_id="req_1"))
    with pytest.raises(kind, match="as the vendor said") as caught:
        await asyncio.to_thread(message, impatient, "claude")
    assert caught.value.request_id == "req_1"
    assert caught.value.response.headers["retry-after"] == "7"


async def in_thread(work: Callable[[], Iterator[object]]) -> list[object]:
    return await asyncio.to_thread(lambda: list(work()))


async def test_blocking_sdk_clients_stream_responses(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    def openai_text() -> Iterator[object]:
        with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.keys["gpt"]) as client:
            for part in client.chat.completions.create(model="m", messages=HELLO, stream=True):
                yield from (choice.delta.content for choice in part.choices)

    said = [chat_chunk(choices=[delta("数")]), chat_chunk(choices=[delta("é", "stop")])]
    vendor.play(stream(sse(*said, chat_chunk(choices=[], usage=CHAT_USAGE), "[DONE]")))
    assert await in_thread(openai_text) == ["数", "é"]

    def anthropic_events() -> Iterator[object]:
        with anthropic.Anthropic(base_url=proxy.url, api_key=proxy.keys["claude"]) as client:
            for event in client.messages.create(
                model="m", max_tokens=1, messages=HELLO, stream=True
            ):
                yield event.type

    vendor.play(stream(sse(MESSAGE_START, MESSAGE_DELTA, MESSAGE_STOP, names=True)))
    assert await in_thread(anthropic_events) == ["message_start", "message_delta", "message_stop"]

    def gemini_text() -> Iterator[object]:
        with genai.Client(
            api_key=proxy.keys["gemini"], http_options={"base_url": proxy.url}
        ) as client:
            for part in client.models.generate_content_stream(model="g", contents="x"):
                yield part.text

    vendor.play(stream(sse(generated(1, 1, None), generated(1, 2, 3, "STOP"), end="\r\n\r\n")))
    assert await in_thread(gemini_text) == ["é", "é"]


async def test_openais_sdk_raises_where_a_stream_of_responses_fails(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """The event that Codex reads as the response's end is an exception for the vendor's SDK."""

    def events() -> Iterator[object]:
        with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.keys["gpt"]) as client:
            for event in client.responses.create(model="m", input="x", stream=True):
                yield event.type

    vendor.play(stream(sse({"type": "response.created", "response": {}}, names=True), end=b""))
    with pytest.raises(openai.APIError, match="broke off") as caught:
        await in_thread(events)
    assert caught.value.code == "upstream_unreachable"


async def test_openais_tool_calls_arrive_as_they_were_sent(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    arguments = '{"path":"a b","n":1e3,"数":"\\ud83e\\udd8a"}'
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole = chat_chunk(choices=[{"index": 0, "finish_reason": "tool_calls", "message": said}])
    vendor.play(answer(sse(whole).removeprefix(b"data: ").strip()))
    found: Any = await asyncio.to_thread(chat, proxy, "gpt")
    assert found.choices[0].message.tool_calls[0].function.arguments == arguments


@pytest.mark.xfail(strict=True, reason="the vendor's SDK sends the second half without any key")
async def test_googles_resumable_upload_stays_on_this_side(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """The vendor answers with an absolute URL of its own. Its SDK then sends the file there, with
    no key: the URL itself says who may."""
    there = f"{vendor.url}/upload/v1beta/files?upload_id=u1&upload_protocol=resumable"
    vendor.play(answer(b"", X_Goog_Upload_URL=there), answer(b'{"file":{"name":"files/f1"}}'))
    started = [("x-goog-api-key", proxy.keys["gemini"]), ("X-Goog-Upload-Command", "start")]
    got = await exchange(proxy.port, request("POST", "/upload/v1beta/files", started, b"{}"))
    (here,) = got.get("x-goog-upload-url")
    assert here.startswith(f"{proxy.url}/upload/v1beta/files?")
    went_on = [("X-Goog-Upload-Command", "upload, finalize"), ("X-Goog-Upload-Offset", "0")]
    target = here.removeprefix(proxy.url)
    got = await exchange(proxy.port, request("POST", target, went_on, b"abc"))
    assert got.status == 200, got.body
    assert vendor.last.body == b"abc"
    assert vendor.last.get("x-goog-api-key") == [CANARY]
    assert "sk-sidecar" not in str([each.head for each in vendor.requests])


EVERY_KIND = pytest.mark.parametrize("kind", list(ErrorKind), ids=lambda kind: kind.name.lower())
REGISTRY = discover()


def refusing(dialect: str, kind: ErrorKind) -> Script:
    """A refusal of ours as it leaves: what no test can bring about is shown by its shape."""
    status, said = REGISTRY.dialects[dialect].error(
        LocalReply(kind, "words to act on", 7.0), "call_1"
    )
    return answer(said, f"{status} Refused", retry_after="7", x_should_retry="false")


OPENAI_KINDS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}


@EVERY_KIND
async def test_every_refusal_has_a_class_in_openais_sdk(
    vendor: ScriptedVendor, kind: ErrorKind
) -> None:
    vendor.play(refusing("openai", kind))
    with (
        openai.OpenAI(base_url=vendor.url, api_key="k") as client,
        pytest.raises(openai.APIStatusError, match="words to act on") as caught,
    ):
        await asyncio.to_thread(client.chat.completions.create, model="m", messages=HELLO)
    raised = caught.value
    assert raised.status_code == kind.status
    assert type(raised) is OPENAI_KINDS.get(kind.status, openai.APIStatusError)
    assert raised.code is None or raised.code.isidentifier()
    assert len(vendor.requests) == 1


@EVERY_KIND
async def test_every_refusal_has_a_class_in_anthropics_sdk(
    vendor: ScriptedVendor, kind: ErrorKind
) -> None:
    vendor.play(refusing("anthropic", kind))
    with (
        anthropic.Anthropic(base_url=vendor.url, api_key="k") as client,
        pytest.raises(anthropic.APIStatusError, match="words to act on") as caught,
    ):
        await asyncio.to_thread(client.messages.create, model="m", max_tokens=1, messages=HELLO)
    raised = caught.value
    other = {ErrorKind.BUDGET_SPENT: 402, ErrorKind.DRAINING: 529, ErrorKind.OVERLOADED: 529}
    assert raised.status_code == other.get(kind, kind.status)
    assert raised.type is not None
    assert len(vendor.requests) == 1


@EVERY_KIND
async def test_every_refusal_has_a_class_in_googles_sdk(
    vendor: ScriptedVendor, kind: ErrorKind
) -> None:
    vendor.play(refusing("gemini", kind))
    with (
        genai.Client(api_key="k", http_options={"base_url": vendor.url}) as client,
        pytest.raises(genai_errors.APIError) as caught,
    ):
        await asyncio.to_thread(client.models.generate_content, model="m", contents="x")
    raised = caught.value
    wanted = genai_errors.ClientError if raised.code < 500 else genai_errors.ServerError
    assert type(raised) is wanted
    assert raised.message == "words to act on"
    assert raised.status
    assert raised.status.isupper()
    if kind is ErrorKind.RATE_LIMITED:
        assert '"retryDelay": "7s"' in json.dumps(raised.details)
