"""Answers as vendors send them, with the usage that a reader finds in each."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sidecar import Part, Usage

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True)
class Recorded:
    name: str
    dialect: str
    endpoint: str
    content_type: str
    body: bytes
    usage: Usage | None
    model: str | None = None
    finished: bool = True
    created: tuple[str, ...] = ()
    error: str | None = None


def sse(*events: object, names: bool = False, end: str = "\n\n") -> bytes:
    lines = []
    for event in events:
        name = (
            f"event: {event['type']}{end[: len(end) // 2]}"
            if names and isinstance(event, dict)
            else ""
        )
        data = (
            event
            if isinstance(event, str)
            else json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        )
        lines.append(f"{name}data: {data}{end}")
    return "".join(lines).encode()


def chunk(**more: object) -> dict[str, object]:
    return {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-5-mini-2026", **more}


def delta(text: str, finish: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": {"content": text}, "finish_reason": finish}


CHAT_USAGE = {
    "prompt_tokens": 1200, "completion_tokens": 340, "total_tokens": 1540,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 200, "audio_tokens": 0},
}  # fmt: skip
CHAT = Usage(1200, 340, 1024, 64, None, 200)
MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5", "content": [],
        "usage": {
            "input_tokens": 12, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 5000,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
            "output_tokens": 1, "service_tier": "standard",
        },
    },
}  # fmt: skip
MESSAGE_TEXT = {
    "type": "content_block_delta", "index": 0,
    "delta": {"type": "text_delta", "text": "数 é 🦊 message_delta"},
}  # fmt: skip
MESSAGE_DELTA = {
    "type": "message_delta", "delta": {"stop_reason": "end_turn"},
    "usage": {"output_tokens": 89, "output_tokens_details": {"thinking_tokens": 40},
              "server_tool_use": {"web_search_requests": 2}},
}  # fmt: skip
MESSAGE_STOP = {"type": "message_stop"}
MESSAGES = Usage(5312, 89, 5000, 300, 200, 40, (("web_searches", 2),), "standard")
RESPONSE = {
    "id": "resp_1", "object": "response", "model": "gpt-5.5", "service_tier": "default",
    "usage": {
        "input_tokens": 75, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 1186,
        "output_tokens_details": {"reasoning_tokens": 1024}, "total_tokens": 1261,
    },
}  # fmt: skip
RESPONSES = Usage(75, 1186, 64, None, None, 1024, (), "default")


def generated(
    prompt: int, answer: int | None, thoughts: int | None, finish: str | None = None
) -> dict[str, object]:
    usage = {"promptTokenCount": prompt, "cachedContentTokenCount": 20}
    usage |= {} if answer is None else {"candidatesTokenCount": answer}
    usage |= {} if thoughts is None else {"thoughtsTokenCount": thoughts}
    usage["totalTokenCount"] = prompt + (answer or 0) + (thoughts or 0)
    candidate: dict[str, object] = {"content": {"parts": [{"text": "é"}]}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-3.5-pro"}


def grounded(model: str, *queries: str) -> dict[str, object]:
    metadata = {"webSearchQueries": list(queries), "groundingChunks": []}
    answer = generated(100, 30, 12, "STOP")
    rows: list[dict[str, object]] = answer["candidates"]  # type: ignore[assignment]
    return answer | {
        "candidates": [{**rows[0], "groundingMetadata": metadata}], "modelVersion": model,
    }  # fmt: skip


RECORDED = [
    Recorded("chat", "openai", "chat", JSON,
             json.dumps({"id": "c1", "model": "gpt-5-mini-2026", "usage": CHAT_USAGE}).encode(),
             CHAT, "gpt-5-mini-2026", created=("c1",)),
    Recorded("chat stream with usage", "openai", "chat", SSE,
             sse(chunk(choices=[delta("Hi")], usage=None), chunk(choices=[delta("", "stop")], usage=None),
                 chunk(choices=[], usage=CHAT_USAGE), "[DONE]"),
             CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream without usage", "openai", "chat", SSE,
             sse(chunk(choices=[delta('"usage":')]), chunk(choices=[delta("", "stop")]), "[DONE]"),
             None, "gpt-5-mini-2026"),
    Recorded("chat stream cut", "openai", "chat", SSE, sse(chunk(choices=[delta("Hi")])), None, None,
             finished=False),
    Recorded("chat stream with CRLF and comments", "openai", "chat", SSE,
             b": keep-alive\r\n\r\n" + sse(chunk(choices=[], usage=CHAT_USAGE), "[DONE]", end="\r\n\r\n"),
             CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream with CR alone", "openai", "chat", SSE,
             sse(chunk(choices=[], usage=CHAT_USAGE), "[DONE]", end="\r\r"), CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream whose last event lacks its blank line", "openai", "chat", SSE,
             sse(chunk(choices=[delta("", "stop")]), chunk(choices=[], usage=CHAT_USAGE)).rstrip(b"\n"),
             CHAT, "gpt-5-mini-2026"),
    Recorded("chat stream that fails", "openai", "chat", SSE,
             sse(chunk(choices=[delta("Hi")]), {"error": {"message": "no", "code": "server_error"}}),
             None, None, error="server_error"),
    Recorded("absurd figures", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":-5,"completion_tokens":1e300,"prompt_tokens_details":[]}}',
             Usage(0, 1_000_000_000)),
    Recorded("usage of a wrong type", "openai", "chat", JSON, b'{"usage":"many","model":7}', None),
    Recorded("embeddings", "openai", "embeddings", JSON,
             b'{"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}', Usage(8, None), "e"),
    Recorded("transcription by duration", "openai", "transcriptions", JSON,
             b'{"text":"hi","usage":{"type":"duration","seconds":31}}',
             Usage(units=(("audio_seconds", 31),))),
    Recorded("response", "openai", "responses", JSON, json.dumps(RESPONSE).encode(), RESPONSES, "gpt-5.5",
             created=("resp_1",)),
    Recorded("responses stream", "openai", "responses", SSE,
             sse({"type": "response.created", "response": {**RESPONSE, "usage": None}},
                 {"type": "response.output_text.delta", "delta": '"response.completed"'},
                 {"type": "response.completed", "response": RESPONSE}, names=True),
             RESPONSES, "gpt-5.5", created=("resp_1",)),
    Recorded("responses stream cut", "openai", "responses", SSE,
             sse({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5.5"}}, names=True),
             None, "gpt-5.5", finished=False, created=("resp_1",)),
    Recorded("message", "anthropic", "messages", JSON,
             json.dumps({"id": "msg_1", "model": "claude-opus-5-5",
                         "usage": {**MESSAGE_START["message"]["usage"], **MESSAGE_DELTA["usage"]}}).encode(),  # type: ignore[index,dict-item]
             MESSAGES, "claude-opus-5-5", created=("msg_1",)),
    Recorded("messages stream", "anthropic", "messages", SSE,
             sse(MESSAGE_START, {"type": "ping"}, MESSAGE_TEXT, MESSAGE_DELTA, MESSAGE_STOP, names=True),
             MESSAGES, "claude-opus-5-5"),
    Recorded("messages stream with two deltas is not added up", "anthropic", "messages", SSE,
             sse(MESSAGE_START, {**MESSAGE_DELTA, "usage": {"output_tokens": 50}}, MESSAGE_DELTA,
                 MESSAGE_STOP, names=True), MESSAGES, "claude-opus-5-5"),
    Recorded("messages stream cut after its start", "anthropic", "messages", SSE,
             sse(MESSAGE_START, MESSAGE_TEXT, names=True),
             Usage(5312, 1, 5000, 300, 200, None, (), "standard"), "claude-opus-5-5", finished=False),
    Recorded("messages stream that fails", "anthropic", "messages", SSE,
             sse(MESSAGE_START, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
                 names=True), Usage(5312, 1, 5000, 300, 200, None, (), "standard"), "claude-opus-5-5",
             error="overloaded_error"),
    Recorded("generateContent", "gemini", "generate", JSON,
             json.dumps(generated(100, 30, 12, "STOP")).encode(), Usage(100, 42, 20, None, None, 12),
             "gemini-3.5-pro"),
    Recorded("generateContent whose visible count holds the thoughts", "gemini", "generate", JSON,
             b'{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":42,"thoughtsTokenCount":12,'
             b'"totalTokenCount":52}}', Usage(10, 42, None, None, None, 12)),
    Recorded("streamGenerateContent", "gemini", "stream", SSE,
             sse(generated(100, 1, None), generated(100, 2, 12), generated(100, 30, 12, "STOP"), end="\r\n\r\n"),
             Usage(100, 42, 20, None, None, 12), "gemini-3.5-pro"),
    Recorded("generateContent of sound, pictures and papers", "gemini", "generate", JSON, json.dumps({
                 "usageMetadata": {
                     "promptTokenCount": 1000, "candidatesTokenCount": 300, "totalTokenCount": 1320,
                     "toolUsePromptTokenCount": 20, "cachedContentTokenCount": 400, "serviceTier": "flex",
                     "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}, {"modality": "AUDIO", "tokenCount": 500},
                                             {"modality": "DOCUMENT", "tokenCount": 250}, {"modality": "IMAGE", "tokenCount": 150}],
                     "toolUsePromptTokensDetails": [{"modality": "IMAGE", "tokenCount": 20}],
                     "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 400}],
                     "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 290}, {"modality": "ODD", "tokenCount": 1}, 7],
                 }, "candidates": [{"finishReason": "STOP"}]}).encode(),
             Usage(1020, 300, 400, units=(("input_audio_tokens", 500), ("input_image_tokens", 420),
                                          ("cache_audio_read_tokens", 400), ("output_image_tokens", 290)),
                   service_tier="flex")),
    Recorded("streamGenerateContent as one array", "gemini", "stream", JSON,
             json.dumps([generated(100, 1, None), generated(100, 30, 12, "STOP")]).encode(),
             Usage(100, 42, 20, None, None, 12), "gemini-3.5-pro"),
    Recorded("streamGenerateContent cut", "gemini", "stream", SSE, sse(generated(100, 1, None)),
             Usage(100, 1, 20), "gemini-3.5-pro", finished=False),
    Recorded("chat stream whose last chunk leaves figures out", "openai", "chat", SSE,
             sse(chunk(choices=[], usage=CHAT_USAGE),
                 chunk(choices=[], usage={"prompt_tokens": None, "completion_tokens": 341}), "[DONE]"),
             Usage(1200, 341, 1024, 64, None, 200), "gpt-5-mini-2026"),
    Recorded("chat stream with figures in every chunk", "openai", "chat", SSE,
             sse(*(chunk(choices=[delta("x")], usage={"prompt_tokens": 9, "completion_tokens": n})
                   for n in range(5)), "[DONE]"),
             Usage(9, 4), "gpt-5-mini-2026"),
    Recorded("chat stream with figures in a choice", "openai", "chat", SSE,
             sse(chunk(choices=[{**delta("", "stop"), "usage": {"prompt_tokens": 9, "completion_tokens": 4}}]),
                 "[DONE]"), Usage(9, 4), "gpt-5-mini-2026"),
    Recorded("chat stream with figures in x_groq", "openai", "chat", SSE,
             sse(chunk(choices=[delta("", "stop")],
                       x_groq={"id": "r", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}), "[DONE]"),
             Usage(9, 4), "gpt-5-mini-2026"),
    Recorded("chat stream with pretty printed figures", "openai", "chat", SSE,
             b'data: {"model": "m", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}\n\n'
             b"data: [DONE]\n\n", Usage(9, 4), "m"),
    Recorded("chat stream that opens with a content filter", "openai", "chat", SSE,
             sse({"choices": [], "id": "", "model": "", "prompt_filter_results": []},
                 chunk(choices=[delta("", "stop")]), chunk(choices=[], usage=CHAT_USAGE), "[DONE]"),
             CHAT, "gpt-5-mini-2026"),
    Recorded("chat that answers 200 with an error", "openai", "chat", JSON,
             b'{"error":{"code":502,"message":"x"}}', None, error="502"),
    Recorded("DeepSeek's blank lines and cache figures", "openai", "chat", JSON,
             b'\n\n\n{"model":"d","usage":{"prompt_tokens":10,"completion_tokens":2,'
             b'"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}}', Usage(10, 2, 8), "d"),
    Recorded("response that searched", "openai", "responses", JSON,
             json.dumps({**RESPONSE, "tool_usage": {"web_search": {"num_requests": 3}}}).encode(),
             Usage(75, 1186, 64, None, None, 1024, (("web_searches", 3),), "default"), "gpt-5.5",
             created=("resp_1",)),
    Recorded("responses stream that fails", "openai", "responses", SSE,
             sse({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5.5"}},
                 {"type": "response.failed", "response": {**RESPONSE, "error": {"code": "server_error"}}},
                 names=True), RESPONSES, "gpt-5.5", created=("resp_1",), error="server_error"),
    Recorded("responses stream with a flat error", "openai", "responses", SSE,
             sse({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, names=True), None,
             error="rate_limit_exceeded"),
    Recorded("responses stream with a nested error", "openai", "responses", SSE,
             sse({"type": "error", "error": {"code": "server_is_overloaded"}}, names=True), None,
             error="server_is_overloaded"),
    Recorded("image stream", "openai", "images", SSE,
             sse({"type": "image_generation.partial_image", "b64_json": "AAAA"},
                 {"type": "image_generation.completed", "b64_json": "AAAA", "usage": {
                     "input_tokens": 12, "output_tokens": 272, "input_tokens_details": {"image_tokens": 4}}},
                 names=True), Usage(12, 272, units=(("input_image_tokens", 4),))),
    Recorded("images", "openai", "images", JSON,
             b'{"created":1,"data":[{"b64_json":"AAAA"},{"b64_json":"[{}]"}],"usage":{"input_tokens":50,'
             b'"output_tokens":1000,"input_tokens_details":{"text_tokens":10,"image_tokens":40,'
             b'"cached_tokens":12,"cached_tokens_details":{"image_tokens":8}},'
             b'"output_tokens_details":{"image_tokens":1000,"text_tokens":0}}}',
             Usage(50, 1000, 12, units=(("input_image_tokens", 40), ("cache_image_read_tokens", 8),
                                        ("output_image_tokens", 1000), ("images", 2)))),
    Recorded("images without figures", "openai", "images", JSON, b'{"data":[{"url":"https://x"}]}',
             Usage(units=(("images", 1),))),
    Recorded("images that failed", "openai", "images", JSON, b'{"data":null,"error":{"code":"moderation"}}',
             None, error="moderation"),
    Recorded("spoken chat", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":90,"completion_tokens":60,'
             b'"prompt_tokens_details":{"audio_tokens":70},"completion_tokens_details":{"audio_tokens":50}}}',
             Usage(90, 60, units=(("input_audio_tokens", 70), ("output_audio_tokens", 50)))),
    Recorded("transcription by tokens", "openai", "transcriptions", JSON,
             b'{"usage":{"type":"tokens","input_tokens":14,"output_tokens":45,'
             b'"input_token_details":{"text_tokens":4,"audio_tokens":10}}}',
             Usage(14, 45, units=(("input_audio_tokens", 10),))),
    Recorded("OpenRouter's cost", "openai", "chat", SSE,
             sse(chunk(choices=[delta("", "stop")]),
                 chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4, "cost": 0.00014,
                                          "is_byok": False, "cost_details": {"upstream_inference_cost": 0.00012}}),
                 "[DONE]"), Usage(9, 4, reported_cost=140_000), "gpt-5-mini-2026"),
    Recorded("OpenRouter's fee and what the caller's own key paid", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":9,"completion_tokens":4,"cost":7e-06,"is_byok":true,'
             b'"cost_details":{"upstream_inference_cost":0.00014}}}', Usage(9, 4, reported_cost=147_000)),
    Recorded("OpenRouter's fee alone", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":9,"completion_tokens":4,"cost":7e-06,"is_byok":true}}', Usage(9, 4)),
    Recorded("xAI's ticks", "openai", "responses", JSON,
             b'{"usage":{"input_tokens":9,"output_tokens":4,"cost_in_usd_ticks":37756000}}',
             Usage(9, 4, reported_cost=3_775_600)),
    Recorded("a cost that is no number", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":9,"completion_tokens":4,"cost":{"total_cost":0.1}}}', Usage(9, 4)),
    Recorded("speech stream", "openai", "speech", SSE,
             sse({"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101}}),
             Usage(14, 101)),
    Recorded("message in fast mode", "anthropic", "messages", JSON,
             b'{"model":"c","usage":{"input_tokens":5,"output_tokens":7,"service_tier":"standard","speed":"fast"}}',
             Usage(5, 7, service_tier="fast"), "c"),
    Recorded("message with a compaction", "anthropic", "messages", JSON,
             b'{"id":"m","model":"c","usage":{"input_tokens":5,"output_tokens":7,"iterations":['
             b'{"type":"compaction","input_tokens":1000,"output_tokens":90},'
             b'{"type":"message","input_tokens":5,"output_tokens":7}]}}',
             Usage(1005, 97, parts=(Part("compaction", None, Usage(1000, 90)),
                                    Part("message", None, Usage(5, 7)))), "c", created=("m",)),
    Recorded("message with a compaction that writes and reads a cache", "anthropic", "messages", JSON,
             b'{"id":"m","model":"c","usage":{"input_tokens":5,"output_tokens":7,"service_tier":"standard","iterations":['
             b'{"type":"compaction","input_tokens":1000,"output_tokens":90,"cache_creation_input_tokens":55096,'
             b'"cache_read_input_tokens":300,"cache_creation":{"ephemeral_1h_input_tokens":96}},'
             b'{"type":"message","input_tokens":5,"output_tokens":7}]}}',
             Usage(56401, 97, 300, 55096, 96, service_tier="standard", parts=(
                 Part("compaction", None, Usage(56396, 90, 300, 55096, 96, service_tier="standard")),
                 Part("message", None, Usage(5, 7, service_tier="standard")))), "c", created=("m",)),
    # The top has the first request's input alone, but the output of both (platform.claude.com, advisor tool).
    Recorded("message with an advisor", "anthropic", "messages", JSON,
             b'{"id":"m","model":"claude-haiku-4-5-20251001","usage":{"input_tokens":412,"cache_read_input_tokens":0,'
             b'"cache_creation_input_tokens":0,"output_tokens":531,"server_tool_use":{"web_search_requests":2},'
             b'"iterations":['
             b'{"type":"message","input_tokens":412,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,'
             b'"output_tokens":89},'
             b'{"type":"advisor_message","model":"claude-opus-4-7","input_tokens":823,"cache_read_input_tokens":0,'
             b'"cache_creation_input_tokens":0,"output_tokens":1612},'
             b'{"type":"message","model":"claude-haiku-4-5","input_tokens":1348,"cache_read_input_tokens":412,'
             b'"cache_creation_input_tokens":0,"output_tokens":442}]}}',
             Usage(2995, 2143, 412, 0, units=(("web_searches", 2),), parts=(
                 Part("message", None, Usage(412, 89, 0, 0, units=(("web_searches", 2),))),
                 Part("advisor_message", "claude-opus-4-7", Usage(823, 1612, 0, 0)),
                 Part("message", None, Usage(1760, 442, 412, 0)))), "claude-haiku-4-5-20251001", created=("m",)),
    Recorded("messages stream whose top has the sum of the executor's requests", "anthropic", "messages", SSE,
             sse({"type": "message_start", "message": {"id": "m", "model": "f", "usage": {
                     "input_tokens": 2, "cache_read_input_tokens": 85338, "cache_creation_input_tokens": 2793, "output_tokens": 1}}},
                 {"type": "message_delta", "usage": {"input_tokens": 4, "cache_read_input_tokens": 173469,
                     "cache_creation_input_tokens": 4814, "output_tokens": 946, "iterations": [
                     {"type": "message", "input_tokens": 2, "output_tokens": 833,
                      "cache_read_input_tokens": 85338, "cache_creation_input_tokens": 2793},
                     {"type": "advisor_message", "model": "o", "input_tokens": 90314, "output_tokens": 5644},
                     {"type": "message", "input_tokens": 2, "output_tokens": 113,
                      "cache_read_input_tokens": 88131, "cache_creation_input_tokens": 2021}]}},
                 MESSAGE_STOP, names=True),
             Usage(268601, 6590, 173469, 4814, parts=(
                 Part("message", None, Usage(88133, 833, 85338, 2793)),
                 Part("advisor_message", "o", Usage(90314, 5644)),
                 Part("message", None, Usage(90154, 113, 88131, 2021)))), "f"),
    Recorded("message of a fallback, whose top is that of the model that served", "anthropic", "messages", JSON,
             b'{"model":"fable","usage":{"input_tokens":10,"output_tokens":4,"iterations":['
             b'{"type":"message","model":"fable","input_tokens":9,"output_tokens":1},'
             b'{"type":"fallback_message","model":"opus","input_tokens":10,"output_tokens":4}]}}',
             Usage(19, 5, parts=(Part("message", "fable", Usage(9, 1)),
                                 Part("fallback_message", None, Usage(10, 4)))), "opus"),
    Recorded("message of a fallback, whose top is the sum", "anthropic", "messages", JSON,
             b'{"model":"opus","usage":{"input_tokens":19,"output_tokens":5,"iterations":['
             b'{"type":"message","model":"fable","input_tokens":9,"output_tokens":1},'
             b'{"type":"fallback_message","model":"opus","input_tokens":10,"output_tokens":4}]}}',
             Usage(19, 5, parts=(Part("message", "fable", Usage(9, 1)),
                                 Part("fallback_message", None, Usage(10, 4)))), "opus"),
    Recorded("message with one request of its own", "anthropic", "messages", JSON,
             b'{"model":"c","usage":{"input_tokens":5,"output_tokens":7,"iterations":['
             b'{"type":"message","input_tokens":5,"output_tokens":7}]}}', Usage(5, 7), "c"),
    Recorded("message whose iterations are no rows, or have no figures", "anthropic", "messages", JSON,
             b'{"model":"c","usage":{"input_tokens":5,"output_tokens":7,"iterations":[1,null,{"type":"message"},'
             b'{"type":7,"input_tokens":"x"}]}}', Usage(5, 7), "c"),
    Recorded("message with an advisor and rows that the top does not have", "anthropic", "messages", JSON,
             b'{"model":"c","usage":{"input_tokens":5,"output_tokens":7,"iterations":['
             b'{"type":"advisor_message","model":"o","input_tokens":50,"output_tokens":70}]}}',
             Usage(55, 77, parts=(Part("message", None, Usage(5, 7)),
                                  Part("advisor_message", "o", Usage(50, 70)))), "c"),
    Recorded("messages stream of a compatible vendor, with all figures in its delta", "anthropic", "messages", SSE,
             sse({"type": "message_start", "message": {"model": "glm", "usage": {"input_tokens": 0, "output_tokens": 0}}},
                 {"type": "message_delta", "usage": {"input_tokens": 7, "cache_read_input_tokens": 90, "output_tokens": 3}},
                 MESSAGE_STOP, names=True), Usage(97, 3, 90), "glm"),
    Recorded("count_tokens", "anthropic", "count_tokens", JSON, b'{"input_tokens":5}', None),
    Recorded("streamGenerateContent as an array that was cut", "gemini", "stream", JSON,
             json.dumps([generated(100, 1, None), generated(100, 30, 12, "STOP")]).encode()[:-2],
             Usage(100, 42, 20, None, None, 12), "gemini-3.5-pro"),
    Recorded("streamGenerateContent as an array that was cut in its figures", "gemini", "stream", JSON,
             json.dumps([generated(100, 1, None), generated(100, 30, 12, "STOP")]).encode()[:-60],
             Usage(100, 1, 20), "gemini-3.5-pro"),
    Recorded("streamGenerateContent of a blocked prompt", "gemini", "stream", SSE,
             sse({"promptFeedback": {"blockReason": "SAFETY"},
                  "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}), Usage(9, None)),
    Recorded("streamGenerateContent that fails", "gemini", "stream", SSE,
             sse(generated(100, 1, None), {"error": {"code": 503, "status": "UNAVAILABLE"}}),
             Usage(100, 1, 20), "gemini-3.5-pro", error="503"),
    Recorded("interaction stream", "gemini", "interactions", SSE,
             sse({"event_type": "interaction.start", "interaction": {"id": "i1", "model": "g-3"}},
                 {"event_type": "interaction.complete", "interaction": {"id": "i1", "model": "g-3", "usage": {
                     "total_input_tokens": 10, "total_output_tokens": 5, "total_thought_tokens": 2,
                     "total_tokens": 17}}}, names=False),
             Usage(10, 7, None, None, None, 2), "g-3", created=("i1",)),
    Recorded("generateContent that searched twice", "gemini", "generate", JSON,
             json.dumps(grounded("gemini-3.5-flash", "cost of tea", "cost of milk", "cost of tea", "")).encode(),
             Usage(100, 42, 20, None, None, 12, (("web_searches", 2),)), "gemini-3.5-flash"),
    Recorded("generateContent of a model that searches at one price a prompt", "gemini", "generate", JSON,
             json.dumps(grounded("gemini-2.5-flash", "cost of tea", "cost of milk")).encode(),
             Usage(100, 42, 20, None, None, 12, (("web_searches", 1),)), "gemini-2.5-flash"),
    Recorded("streamGenerateContent that searched before its last chunk", "gemini", "stream", SSE,
             sse(grounded("gemini-3.5-flash", "cost of tea"), generated(100, 30, 12),
                 generated(100, 30, 12, "STOP"), end="\r\n\r\n"),
             Usage(100, 42, 20, None, None, 12, (("web_searches", 1),)), "gemini-3.5-pro"),
    Recorded("cache that was made", "gemini", "cached", JSON,
             b'{"name":"cachedContents/c1","usageMetadata":{"totalTokenCount":5000}}', None,
             created=("cachedContents/c1",)),
    Recorded("interaction that heard, saw and searched", "gemini", "interactions", JSON, json.dumps({
                 "id": "i2", "model": "gemini-3.5-flash", "usage": {
                     "total_input_tokens": 1000, "total_output_tokens": 300, "total_cached_tokens": 400,
                     "total_tool_use_tokens": 20, "total_thought_tokens": 7, "total_tokens": 1327,
                     "input_tokens_by_modality": [{"modality": "text", "tokens": 350}, {"modality": "audio", "tokens": 500},
                                                  {"modality": "document", "tokens": 150}],
                     "tool_use_tokens_by_modality": [{"modality": "image", "tokens": 20}],
                     "cached_tokens_by_modality": [{"modality": "audio", "tokens": 400}],
                     "output_tokens_by_modality": [{"modality": "image", "tokens": 290}, {"modality": "text", "tokens": 10}],
                     "grounding_tool_count": [{"type": "google_search", "count": 3}, {"type": "google_maps", "count": 9}],
                 }}).encode(),
             Usage(1020, 307, 400, None, None, 7,
                   (("input_audio_tokens", 500), ("input_image_tokens", 170), ("cache_audio_read_tokens", 400),
                    ("output_image_tokens", 290), ("web_searches", 3))), "gemini-3.5-flash", created=("i2",)),
    Recorded("interaction stream of several requests that was cut", "gemini", "interactions", SSE,
             sse({"event_type": "interaction.created", "interaction": {"id": "i3", "model": "gemini-3.1-pro-preview"}},
                 {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": '"total_usage"'},
                  "metadata": {"total_usage": {"total_input_tokens": 250000, "initial_input_tokens": 60000,
                                               "total_output_tokens": 5, "total_tokens": 250005}}}),
             Usage(250_000, 5, context_tokens=60_000), "gemini-3.1-pro-preview", finished=False, created=("i3",)),
    Recorded("interaction in a service tier", "gemini", "interactions", JSON,
             b'{"id":"i4","model":"gemini-3.5-flash","service_tier":"flex",'
             b'"usage":{"total_input_tokens":10,"total_output_tokens":5,"total_tokens":15}}',
             Usage(10, 5, service_tier="flex"), "gemini-3.5-flash", created=("i4",)),
    Recorded("Perplexity's searches", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":9,"completion_tokens":4,"num_search_queries":3}}',
             Usage(9, 4, units=(("web_searches", 3),))),
    Recorded("pages that Mistral read", "openai", "ocr", JSON,
             b'{"model":"mistral-ocr-latest","pages":[],"document_annotation":null,'
             b'"usage_info":{"pages_processed":29,"doc_size_bytes":3002783}}',
             Usage(units=(("input_document_pages", 29),)), "mistral-ocr-latest"),
    Recorded("pages that Mistral annotated", "openai", "ocr", JSON,
             b'{"model":"mistral-ocr-latest","document_annotation":"{}","usage_info":{"pages_processed":2}}',
             Usage(units=(("input_document_pages", 2), ("input_annotated_document_pages", 2))),
             "mistral-ocr-latest"),
    Recorded("xAI's context of the last of several requests", "openai", "responses", JSON,
             b'{"usage":{"input_tokens":250000,"output_tokens":4,"context_details":{"input_tokens":60000,"output_tokens":4}}}',
             Usage(250_000, 4, context_tokens=60_000)),
    Recorded("OpenRouter's searches", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens":9,"completion_tokens":4,"server_tool_use":{"web_search_requests":2}}}',
             Usage(9, 4, units=(("web_searches", 2),))),
    Recorded("OpenRouter's searches by their newer name", "openai", "chat", SSE,
             sse(chunk(choices=[delta("", "stop")]),
                 chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4, "cost": 0.007,
                                          "server_tool_use_details": {"web_search_requests": 1, "tool_calls_executed": 2}}),
                 "[DONE]"), Usage(9, 4, units=(("web_searches", 1),), reported_cost=7_000_000), "gpt-5-mini-2026"),
    Recorded("xAI's searches", "openai", "responses", JSON,
             b'{"usage":{"input_tokens":7583,"input_tokens_details":{"cached_tokens":3072},"output_tokens":3192,'
             b'"output_tokens_details":{"reasoning_tokens":0},"num_server_side_tools_used":5,'
             b'"cost_in_usd_ticks":292331500,"server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":3}}}',
             Usage(7583, 3192, 3072, None, None, 0, (("web_searches", 2), ("social_searches", 3)),
                   reported_cost=29_233_150)),
    Recorded("Mistral's older name of cached tokens", "openai", "chat", JSON,
             b'{"model":"m","usage":{"prompt_tokens":90,"completion_tokens":4,"total_tokens":94,"num_cached_tokens":64}}',
             Usage(90, 4, 64), "m"),
    Recorded("Mistral's details in the singular", "openai", "chat", JSON,
             b'{"model":"m","usage":{"prompt_tokens":90,"completion_tokens":4,"prompt_token_details":{"cached_tokens":64}}}',
             Usage(90, 4, 64), "m"),
    Recorded("Voxtral hears in chat", "openai", "chat", JSON,
             b'{"model":"voxtral-small-latest","usage":{"prompt_audio_seconds":203,"prompt_tokens":4,'
             b'"total_tokens":3264,"completion_tokens":635}}',
             Usage(4, 635, units=(("audio_seconds", 203),)), "voxtral-small-latest"),
    Recorded("Voxtral transcribes in a stream", "openai", "transcriptions", SSE,
             sse({"type": "transcription.text.delta", "text": "hi"},
                 {"type": "transcription.done", "model": "voxtral-mini-latest", "usage": {
                     "prompt_tokens": 8, "completion_tokens": 4, "prompt_audio_seconds": 12.7}}, names=True),
             Usage(8, 4, units=(("audio_seconds", 13),)), "voxtral-mini-latest"),
    Recorded("Voxtral transcribes in a stream that wraps its events", "openai", "transcriptions", SSE,
             sse({"event": "transcription.done", "data": {"model": "voxtral-mini-latest", "usage": {
                     "prompt_tokens": 8, "completion_tokens": 4, "prompt_audio_seconds": 12}}}),
             Usage(8, 4, units=(("audio_seconds", 12),)), "voxtral-mini-latest"),
    Recorded("Voyage's embeddings", "openai", "embeddings", JSON,
             b'{"object":"list","model":"voyage-4","usage":{"total_tokens":5000}}', Usage(5000), "voyage-4"),
    Recorded("a total alone of a chat", "openai", "chat", JSON,
             b'{"model":"m","usage":{"total_tokens":5000}}', None, "m"),
    Recorded("Cohere's native shape", "openai", "other", JSON,
             b'{"id":"c2","usage":{"billed_units":{"input_tokens":5,"output_tokens":7},'
             b'"tokens":{"input_tokens":71,"output_tokens":8},"cached_tokens":64}}', None, created=("c2",)),
    Recorded("parts without their totals", "openai", "chat", JSON,
             b'{"usage":{"prompt_tokens_details":{"cached_tokens":5,"audio_tokens":3}}}', None),
]  # fmt: skip
