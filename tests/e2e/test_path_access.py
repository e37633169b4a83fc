"""Access by path and body type: who may send a call, where its model is read, and which usage is
recorded."""

from __future__ import annotations

import json

import pytest
from raw_http_client import Got, exchange
from recorded_answers import RESPONSE, chunk, delta, generated, sse
from running_sidecar import Sidecar, request
from scripted_vendor import ScriptedVendor, answer, stream

from sidecar.records import Outcome, Usage, UsageState


async def send(
    proxy: Sidecar, target: str, body: bytes = b"", key: str = "gpt", method: str = "POST",
    content_type: str = "application/json",
) -> Got:  # fmt: skip
    pairs = [*proxy.bearer(key).items(), ("Content-Type", content_type)]
    return await exchange(proxy.port, request(method, target, pairs, body))


def form(model: str) -> bytes:
    head = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
    return head + model.encode() + b"\r\n--B--\r\n"


FORM = "multipart/form-data; boundary=B"


@pytest.mark.parametrize("target", ["/v1/images/edits", "/v1/videos", "/v1/images/generations"])
async def test_body_is_parsed_as_form_or_json_by_its_content_type(
    proxy: Sidecar, vendor: ScriptedVendor, target: str
) -> None:
    vendor.play(answer(b"{}"))
    for body, content_type, status in (
        (b'{"model":"gpt-5-mini"}', "application/json", 200),
        (b'{"model":"sora"}', "application/json", 403),
        (form("gpt-5-mini"), FORM, 200),
        (form("sora"), FORM, 403),
    ):
        got = await send(proxy, target, body, "mini", content_type=content_type)
        assert got.status == status, got.body


async def test_renamed_model_is_found_in_json_and_in_a_form(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    await send(proxy, "/v1/images/edits", b'{"model":"gpt-image"}', "renamed")
    assert vendor.last.body == b'{"model":"vendor/gpt-image"}'
    await send(proxy, "/v1/images/edits", form("gpt-image"), "renamed", content_type=FORM)
    assert vendor.last.body == form("vendor/gpt-image")


WITHOUT_A_MODEL = [
    "/v1/responses", "/v1/images/generations", "/v1/videos", "/v1/videos/v1/remix", "/v1/batches",
    "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/f1/resume", "/v1/containers", "/v1/vector_stores",
    "/v1/evals/e1/runs", "/v1/threads/t1/runs", "/v1/agents", "/v1/unheard/of",
]  # fmt: skip


@pytest.mark.parametrize("target", WITHOUT_A_MODEL)
async def test_post_without_a_model_needs_a_route_for_all_models(
    proxy: Sidecar, vendor: ScriptedVendor, target: str
) -> None:
    vendor.play(answer(b"{}"))
    for body in (b"", b'{"prompt":"x"}', b"no json"):
        sent = len(vendor.requests)
        assert (await send(proxy, target, body, "mini")).status == 403
        assert len(vendor.requests) == sent
        assert (await send(proxy, target, body)).status == 200


@pytest.mark.parametrize(
    "target", ["/v1beta/interactions", "/v1beta/cachedContents", "/v1beta/unheard/of"]
)
async def test_gemini_post_without_a_model_needs_a_route_for_all_models(
    proxy: Sidecar, vendor: ScriptedVendor, target: str
) -> None:
    vendor.play(answer(b"{}"))
    assert await proxy.rewrite(lambda text: text.replace("models: [gpt-5-mini]", "models: [g-*]"))
    assert await proxy.rewrite(
        lambda text: text.replace("mini: {group: GPT", "mini: {group: Gemini")
    )
    for body, status in ((b"{}", 403), (b'{"model":"models/g-3"}', 200), (b'{"model":"x"}', 403)):
        got = await send(proxy, target, body, "mini")
        assert got.status == status, got.body


async def test_response_fetched_by_id_is_not_counted_again(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(json.dumps(RESPONSE).encode()))
    await send(proxy, "/v1/responses", b'{"model":"gpt-5.5"}')
    await send(proxy, "/v1/responses/resp_1", method="GET")
    made, looked = await proxy.record(1), await proxy.record(2)
    assert made.usage is not None
    assert made.usage.output_tokens == 1186
    assert made.usage_state is UsageState.REPORTED
    assert looked.usage is None
    assert looked.usage_state is UsageState.NONE
    assert looked.model_served == "gpt-5.5"


UNREAD = [
    ("gpt", "POST", "/v1/unheard/of", UsageState.UNKNOWN),
    ("gpt", "POST", "/v1/videos", UsageState.UNKNOWN),
    ("gpt", "POST", "/v1/videos/video_1/remix", UsageState.UNKNOWN),
    ("gpt", "POST", "/v1/batches", UsageState.UNKNOWN),
    ("gpt", "POST", "/openai/deployments/gpt-5/extensions/chat/completions", UsageState.UNKNOWN),
    ("claude", "POST", "/anthropic/v1/unheard/of", UsageState.UNKNOWN),
    ("gemini", "POST", "/v1beta/models/veo-3:predictLongRunning", UsageState.UNKNOWN),
    ("gemini", "POST", "/v1beta/models/g-3:newVerb", UsageState.UNKNOWN),
    ("gemini", "POST", "/v1beta/unheard/of", UsageState.UNKNOWN),
    ("gpt", "GET", "/v1/unheard/of", UsageState.NONE),
    ("gpt", "DELETE", "/v1/unheard/of", UsageState.NONE),
    ("gpt", "POST", "/v1/files", UsageState.NONE),
    ("gpt", "POST", "/v1/moderations", UsageState.NONE),
    ("gpt", "POST", "/v1/responses/input_tokens", UsageState.NONE),
    ("gpt", "POST", "/v1/fine_tuning/jobs/f1/cancel", UsageState.NONE),
    ("claude", "POST", "/v1/messages/count_tokens", UsageState.NONE),
    ("claude", "GET", "/v1/messages/batches", UsageState.NONE),
    ("gemini", "POST", "/v1beta/models/g-3:countTokens", UsageState.NONE),
]  # fmt: skip


@pytest.mark.parametrize(("key", "method", "target", "state"), UNREAD)
async def test_usage_of_a_possibly_paid_call_without_a_report_is_unknown(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, method: str, target: str, state: UsageState
) -> None:
    vendor.play(answer(b'{"ok":true}'))
    got = await send(proxy, target, b'{"model":"m"}' if method == "POST" else b"", key, method)
    assert got.status == 200, got.body
    record = await proxy.record()
    assert record.usage_state is state
    assert record.usage is None


async def test_usage_on_an_unknown_endpoint_is_read_from_the_response(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"model":"gpt-5.5","usage":{"input_tokens":7,"output_tokens":2}}'))
    await send(proxy, "/v1/unheard/of", b'{"model":"gpt-5.5"}')
    record = await proxy.record()
    assert record.usage == Usage(7, 2)
    assert record.usage_state is UsageState.REPORTED


async def test_error_in_a_successful_stream_is_recorded(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    failed = {"error": {"message": "busy", "code": "server_is_overloaded"}}
    vendor.play(stream(sse(chunk(choices=[delta("Hi")])), sse(failed)))
    body = b'{"model":"gpt-5-mini","stream":true}'
    assert (await send(proxy, "/v1/chat/completions", body)).status == 200
    record = await proxy.record()
    assert record.outcome is Outcome.UPSTREAM_ERROR
    assert record.reason == "in its answer: server_is_overloaded"


ENDS = [
    ("gpt", "/v1/chat/completions", sse(chunk(choices=[delta("Hi")]), "[DONE]")),
    ("gemini", "/v1beta/models/g-3:streamGenerateContent?alt=sse",
     sse(generated(10, 2, None, "STOP"), end="\r\n\r\n")),
    ("gpt", "/v1/responses",
     sse({"type": "response.completed", "response": RESPONSE}, names=True)),
]  # fmt: skip


@pytest.mark.parametrize(("key", "target", "whole"), ENDS)
@pytest.mark.parametrize("left", [0, 1])
async def test_stream_whose_last_event_has_no_blank_line_is_complete(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, target: str, whole: bytes, left: int
) -> None:
    sent = whole.rstrip(b"\r\n") + b"\n" * left
    vendor.play(stream(sent))
    got = await send(proxy, target, b'{"model":"gpt-5-mini","stream":true}', key)
    assert got.body == sent
    assert (await proxy.record()).outcome is Outcome.OK


async def test_fine_tuned_model_name_with_a_colon_is_no_method(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    got = await send(proxy, "/v1/models/ft:gpt-4o:acme::7p4l", method="GET")
    assert got.status == 200, got.body
    assert vendor.last.path == "/v1/models/ft:gpt-4o:acme::7p4l"
