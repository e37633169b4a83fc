"""Measure the CPU time that a translation adds to a call, beside the same native call.

Run: `python bench/translated_calls.py`. Each figure is of the whole process of the gateway: the
translation, and what the core does for it. Every call is streamed; the chunks of its stream are a
figure of their own, and not in those of the request.
"""

from __future__ import annotations

import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

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
PIECES = (20, 220)
"""The chunks of the two streams whose difference is what a chunk takes."""
ROUNDS = 3


def streams(pieces: int) -> dict[str, bytes]:
    """Return the stream of each path, with so many deltas of text."""
    words = [f"word {n} " for n in range(pieces)]
    items = [
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": word, "annotations": [], "logprobs": []}]}
        for word in words[: pieces // 6]  # six events each
    ]  # fmt: skip
    blocks = ({"type": "text", "text": word} for word in words[: pieces // 4])
    return {
        "/v1/messages": message_stream(*blocks),
        "/v1/chat/completions": chat_stream(*({"content": w} for w in words), usage=CHAT_USAGE),
        "/v1/responses": response_stream(*items),
        "gemini": generate_stream(*([{"text": word}] for word in words), usage=GEMINI_USAGE),
    }


class Vendor(BaseHTTPRequestHandler):
    """Answers with the stream of the path, one event a chunk."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pieces: dict[str, list[bytes]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in self.pieces.get(path) or self.pieces["gemini"]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        return


def play(pieces: int) -> dict[str, int]:
    """Have the vendor answer with streams of so many events; return how many each has."""
    found = {path: whole.replace(b"\r\n", b"\n") for path, whole in streams(pieces).items()}
    Vendor.pieces = {
        path: [each + b"\n\n" for each in whole.split(b"\n\n") if each]
        for path, whole in found.items()
    }
    return {path: len(each) for path, each in Vendor.pieces.items()}


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
        if answer.status != 200 or b"message_stop" not in text:
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


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    small, large = (
        translate_request("anthropic", "anthropic", request(size), model="m").body
        for size in (1 << 10, 200 << 10)
    )
    paths = ("/v1/messages", "/v1/chat/completions", "/v1/responses", "gemini", "/v1/messages")
    with Rig("asyncio") as rig:
        keys = {name: mint() for name in GROUPS}
        gateway = rig.sidecar(config=config_of(rig, url, keys))
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in GROUPS}
        for _ in range(ROUNDS):
            for name, path in zip(GROUPS, paths, strict=True):
                few = play(PIECES[0])[path]
                at_small = per_call(gateway, keys[name], small, 200)
                at_large = per_call(gateway, keys[name], large, 60)
                many = play(PIECES[1])[path]
                long = per_call(gateway, keys[name], small, 30)
                chunk = (long - at_small) / (many - few)
                stream = chunk * few
                found[name].append((at_small - stream, at_large - stream, chunk))
    print(f"{'CPU µs of a streamed call':32}{'1 KiB':>10}{'200 KiB':>10}{'chunk':>10}")
    native = [median(column) for column in zip(*found["native"], strict=True)]
    for name in GROUPS:
        figures = [median(column) for column in zip(*found[name], strict=True)]
        added = [a - b for a, b in zip(figures, native, strict=True)]
        label = name if name in {"native", "redact"} else f"anthropic → {name}"
        label += "" if name == "native" else ", added"
        shown = figures if name == "native" else added
        print(f"{label:32}" + "".join(f"{each:10.1f}" for each in shown))


if __name__ == "__main__":
    main()
