"""Measure the CPU time that a translation adds to a call, beside the same native call.

Run: `python bench/translated_calls.py`. Each figure is of the whole process of the gateway: the
translation, and what the core does for it. All groups take turns in each round, and a figure is the
least of the rounds: what else the machine does only adds to it.
"""

from __future__ import annotations

import http.client
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

import msgspec
from machine import cpu_seconds, settle
from responses_samples import response_stream
from rig import Gateway, Rig
from translation import request
from translation_samples import (
    CHAT_USAGE,
    GEMINI_USAGE,
    chat_stream,
    generate_stream,
    message_stream,
)

from sidecar.api_keys import digest, mint
from sidecar_transforms.translation import translate_request
from sidecar_transforms.translation.formats import FORMATS
from sidecar_transforms.translation.model import ModelAnswer, TextPart, TokenCounts

PROVIDERS = """\
providers:
  vendor: {{plugin: openai, base_url: "{rig}/v1", credential: env:BENCH_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:BENCH_KEY}}
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:BENCH_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:BENCH_KEY}}
"""
GROUPS = {
    "native": "an",
    "openai_chat": "oa: {transforms: {translate: {api: chat}}}",
    "openai_responses": "oa: {transforms: {translate: {api: responses}}}",
    "gemini": "ge: {as: gemini-3, translate: true}",
    "redact": "an: {redact: [keys, tokens, email, cards]}",
}
"""The route of each group whose calls are measured."""
PATHS = {
    "/v1/messages": "anthropic",
    "/v1/chat/completions": "openai_chat",
    "/v1/responses": "openai_responses",
}
"""The protocol of each path; of all others, it is Gemini's."""
ROUNDS = 5


class Exchange(NamedTuple):
    """A kind of call: the size of its request, the deltas of its answer (0: JSON), and how many are
    made in a round."""

    size: int
    pieces: int
    calls: int


SMALL, LARGE = Exchange(1 << 10, 0, 200), Exchange(200 << 10, 0, 60)
SHORT, LONG = Exchange(1 << 10, 20, 100), Exchange(1 << 10, 220, 20)
"""The two streams whose difference is what a chunk takes."""


def streams(pieces: int) -> dict[str, bytes]:
    """Return the stream of each protocol, with so many deltas of text."""
    words = [f"word {n} " for n in range(pieces)]
    items = [
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": word, "annotations": [], "logprobs": []}]}
        for word in words[: pieces // 6]  # six events each
    ]  # fmt: skip
    blocks = ({"type": "text", "text": word} for word in words[: pieces // 4])
    return {
        "anthropic": message_stream(*blocks),
        "openai_chat": chat_stream(*({"content": w} for w in words), usage=CHAT_USAGE),
        "openai_responses": response_stream(*items),
        "gemini": generate_stream(*([{"text": word}] for word in words), usage=GEMINI_USAGE),
    }


def answers(pieces: int) -> dict[str, list[bytes]]:
    """Return the answer of each protocol in the pieces that the vendor sends, each an event; a
    short JSON answer for no pieces."""
    if not pieces:
        short = ModelAnswer("1", "m", [TextPart("All files are read.")], TokenCounts(1200, 340))
        return {
            name: [msgspec.json.encode(each.write_answer(short))] for name, each in FORMATS.items()
        }
    found = {name: whole.replace(b"\r\n", b"\n") for name, whole in streams(pieces).items()}
    return {
        name: [each + b"\n\n" for each in whole.split(b"\n\n") if each]
        for name, whole in found.items()
    }


ANSWERS = {each: answers(each.pieces) for each in (SMALL, LARGE, SHORT, LONG)}


class Vendor(BaseHTTPRequestHandler):
    """Answers in the protocol of the path, one event a chunk."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    exchange = SMALL

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        pieces = ANSWERS[self.exchange][PATHS.get(self.path.partition("?")[0], "gemini")]
        kind = "text/event-stream" if self.exchange.pieces else "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        return


def body_of(exchange: Exchange) -> bytes:
    """Return the client's request."""
    asked = translate_request("anthropic", "anthropic", request(exchange.size), model="m").body
    return asked if exchange.pieces else asked.replace(b'"stream":true', b'"stream":false')


def per_call(gateway: Gateway, key: str, body: bytes, calls: int) -> float:
    """Return the gateway's CPU microseconds for each of so many calls."""
    line = http.client.HTTPConnection("127.0.0.1", gateway.port)
    headers = {"x-api-key": key, "Content-Type": "application/json", "anthropic-version": "x"}
    settle(gateway.pid)
    before = cpu_seconds(gateway.pid)
    for _ in range(calls):
        line.request("POST", "/v1/messages", body, headers)
        answer = line.getresponse()
        text = answer.read()
        if answer.status != 200 or b"end_turn" not in text:
            sys.exit(f"the gateway answered {answer.status}: {text[-300:]!r}")
    settle(gateway.pid)
    line.close()
    return (cpu_seconds(gateway.pid) - before) / calls * 1e6


def config_of(rig: Rig, url: str, keys: dict[str, str]) -> str:
    """Return the file: a group for each route, and a key for each group."""
    lines = [PROVIDERS.format(rig=f"http://127.0.0.1:{rig.vendor}", url=url) + "groups:"]
    lines.append("  bench: {vendor: openai, routes: [vendor]}")
    lines += [f"  {name}: {{vendor: anthropic, routes: [{each}]}}" for name, each in GROUPS.items()]
    lines.append("keys:")
    for name, key in {"bench": rig.key, **keys}.items():
        lines.append(f"  {name}: {{group: {name}, hash: sha256:{digest(key).hex()}}}")
    return "\n".join(lines) + "\n"


def measured(gateway: Gateway, keys: dict[str, str]) -> dict[tuple[str, Exchange], list[float]]:
    """Return the microseconds of a call in each round, by group and exchange."""
    bodies = {each: body_of(each) for each in ANSWERS}
    found: dict[tuple[str, Exchange], list[float]] = {each: [] for each in product(GROUPS, ANSWERS)}
    for _ in range(ROUNDS):
        for exchange, body in bodies.items():
            Vendor.exchange = exchange
            for name, key in keys.items():
                found[name, exchange].append(per_call(gateway, key, body, exchange.calls))
    return found


def figures(name: str, of: dict[Exchange, float]) -> tuple[float, ...]:
    """Return what a row shows of the microseconds of each exchange. A chunk is one event of the
    provider, and not in the figure of its stream."""
    protocol = name if name in FORMATS else "anthropic"
    few, many = (len(ANSWERS[each][protocol]) for each in (SHORT, LONG))
    chunk = (of[LONG] - of[SHORT]) / (many - few)
    return of[SMALL], of[SHORT] - chunk * few, of[LARGE], chunk


def rows(found: dict[tuple[str, Exchange], list[float]]) -> Iterator[str]:
    """Yield the table: native calls, then what each group adds, by the least and the median."""
    heads = ("1 KiB, JSON", "1 KiB, stream", "200 KiB, JSON", "a chunk")
    yield f"{'CPU µs, minimum (median)':32}" + "".join(f"{each:>18}" for each in heads)
    columns = []
    for name in GROUPS:
        least, middle = (
            figures(name, {each: pick(found[name, each]) for each in ANSWERS})
            for pick in (min, median)
        )
        columns.append((least, middle))
        added = ((0.0,) * len(heads),) * 2 if name == "native" else columns[0]
        cells = [
            f"{a - c:.1f} ({b - d:.1f})" for a, b, c, d in zip(least, middle, *added, strict=True)
        ]
        label = name if name in {"native", "redact"} else f"anthropic → {name}"
        label += "" if name == "native" else ", added"
        yield f"{label:32}" + "".join(f"{cell:>18}" for cell in cells)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with Rig("asyncio") as rig:
        keys = {name: mint() for name in GROUPS}
        gateway = rig.sidecar(config=config_of(rig, url, keys))
        found = measured(gateway, keys)
    print(*rows(found), sep="\n")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
