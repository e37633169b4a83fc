"""Measure what a translation costs: a request of 1 KiB, one of 200 KiB, and one chunk of a stream.

Run: `python bench/translation.py`; `--check` makes it an error when a figure is above its goal.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from responses_samples import message_item, response_stream
from translation_samples import (
    CHAT_USAGE,
    GEMINI_USAGE,
    chat_stream,
    generate_stream,
    message_stream,
)

from sidecar_transforms.translation import (
    ResponseTranslator,
    TranslationContext,
    estimate_tokens,
    translate_error,
    translate_request,
)
from sidecar_transforms.translation.formats import FORMATS

SMALL_GOAL_MICROSECONDS = 150.0
LARGE_GOAL_MICROSECONDS = 2000.0
CHUNK_GOAL_MICROSECONDS = 40.0
ROUNDS = 200
PIECES = 400


def request(size: int) -> bytes:
    """A request of an agent in Anthropic's protocol: a third tools of 1 KB, then a tool loop."""
    schema = {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "The file's absolute path."}},
        "required": ["path"],
    }
    tool = {"name": "read", "description": "Read a file. " * 60, "input_schema": schema}
    tools = [{**tool, "name": f"read_{n}"} for n in range(max(1, size // 3 // 1000))]
    messages: list[object] = [{"role": "user", "content": "Read the files."}]
    while len(json.dumps({"tools": tools, "messages": messages})) < size - 2500:
        n = len(messages)
        call = {"type": "tool_use", "id": f"toolu_{n}", "name": "read_0", "input": {"path": "a"}}
        content = "a line of a file\n" * 150
        result = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": content}
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": "Reading."}, call]},
            {"role": "user", "content": [result]},
        ]
    body = {"model": "m", "max_tokens": 99, "stream": True, "messages": messages, "tools": tools}
    return json.dumps(body).encode()


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median microseconds of one run."""
    times = []
    gc.collect()
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return median(times) * 1e6


def per_chunk(context: TranslationContext, provider: bytes) -> float:
    events = provider.replace(b"\r\n", b"\n").split(b"\n\n")
    pieces = [piece + b"\n\n" for piece in events if piece]

    def play() -> None:
        answer = ResponseTranslator(context, status=200, content_type="text/event-stream")
        for piece in pieces:
            answer.feed(piece)
        answer.end(complete=True)

    return best(play, 20) / len(pieces)


def chunk_streams() -> dict[str, bytes]:
    words = [f"word {n} " for n in range(PIECES)]
    return {
        "openai_chat": chat_stream(*({"content": word} for word in words), usage=CHAT_USAGE),
        "anthropic": message_stream(*({"type": "text", "text": word} for word in words)),
        "openai_responses": response_stream(*map(message_item, words)),
        "gemini": generate_stream(*([{"text": word}] for word in words), usage=GEMINI_USAGE),
    }


def measure(source: str, target: str, provider: bytes) -> tuple[float, float, float, float]:
    """The microseconds of a small request, a large one, a chunk and an error of this pair."""
    small, large = (
        translate_request("anthropic", source, request(size), model="m").body
        for size in (1 << 10, 200 << 10)
    )
    context = translate_request(source, target, small, model="gpt-6").context
    return (
        best(lambda: translate_request(source, target, small, model="gpt-6")),
        best(lambda: translate_request(source, target, large, model="gpt-6")),
        per_chunk(context, provider),
        best(lambda: translate_error(context, 429, b'{"error":{}}')),
    )


def main() -> int:
    missed = False
    streams = chunk_streams()
    print(f"{'pair':32}{'1 KiB':>10}{'200 KiB':>10}{'chunk':>10}{'error':>10}  µs")
    for source in FORMATS:
        for target, provider in streams.items():
            if source == target:
                continue
            small, large, chunk, error = measure(source, target, provider)
            pair = f"{source} → {target}"
            print(f"{pair:32}{small:10.1f}{large:10.1f}{chunk:10.1f}{error:10.1f}")
            missed |= small > SMALL_GOAL_MICROSECONDS or large > LARGE_GOAL_MICROSECONDS
            missed |= chunk > CHUNK_GOAL_MICROSECONDS
    count = best(lambda: estimate_tokens("anthropic", request(1 << 10)))
    print(f"an estimate of count_tokens for 1 KiB: {count:.1f} µs")
    return int(missed and "--check" in sys.argv)


if __name__ == "__main__":
    raise SystemExit(main())
