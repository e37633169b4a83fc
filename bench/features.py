"""What single features of Sidecar add to a call and to a chunk, as ratios to a plain key."""

from __future__ import annotations

import sys

from load import Load, Outcome
from rig import Rig

PLAIN = "plain"
FEATURES = {
    PLAIN: ("", ""),
    "limits": ("hash:", "limits: {rpm: 1M, tpm: 1000M, concurrency: 1000}, hash:"),
    "budget": ("hash:", "budget: $1000000/day, hash:"),
    "as": ("[to-openai]", "[to-openai: {as: gpt-5-nano}]"),
    "usage: ask": ("routes:", "usage: ask, routes:"),
    "redact, nothing found": ("hash:", "redact: [keys, email], hash:"),
    "redact": ("hash:", "redact: [keys, email, '/Go on/'], hash:"),
    "two routes": ("[to-openai]", "[to-openai, also-openai]"),
    "two routes by weight": (
        "[to-openai]", "[to-openai: {priority: 1}, also-openai: {priority: 1}]"
    ),
}  # fmt: skip
"""What stands in the file for a plain key, and what in its place."""
CALLS = Load(32, 1 << 10, seconds=0.3)
STREAMS = Load(32, 1 << 10, chunks=40, pace=20, exact=False, asks_usage=False)
"""Streams that do not ask for their usage, and events that may be others: `usage: ask` asks for it,
and takes out of the answer what came of that."""
WARM_TURNS, CALL_TURNS, STREAM_TURNS = 2, 5, 2


def config(rig: Rig, feature: str) -> str:
    """The file with one feature. A second provider stands in each."""
    text = rig.config()
    [provider] = [line for line in text.splitlines() if line.startswith("  to-openai:")]
    text = text.replace(provider, f"{provider}\n{provider.replace('to-', 'also-', 1)}")
    old, new = FEATURES[feature]
    return text.replace(old, new) if old else text


def measure(rig: Rig, number: int) -> dict[str, float]:
    """The CPU time of calls and chunks of a plain key, and ratios to it."""
    gateways = [
        rig.sidecar(f"feature-{number}-{index}", config=config(rig, feature))
        for index, feature in enumerate(FEATURES)
    ]
    rig.compare(gateways, CALLS, WARM_TURNS)
    calls = rig.compare(gateways, CALLS, CALL_TURNS)
    streams = rig.compare(gateways, STREAMS, STREAM_TURNS)
    costs = {}
    for feature, gateway, (used, called), (streaming, streamed) in zip(
        FEATURES, gateways, calls, streams, strict=True
    ):
        check(feature, called, streamed)
        # The vendor sends the same number of chunks for each stream.
        a_call, a_stream = used / of(called), streaming / of(streamed)
        costs[feature] = a_call, a_stream
        rig.stop(gateway)
    plain_call, plain_stream = costs.pop(PLAIN)
    chunks = sum(each.chunks for each in streams[0][1]) / of(streams[0][1])
    row = {
        f"{PLAIN}, CPU µs a call": plain_call * 1e6,
        f"{PLAIN}, CPU µs a chunk": plain_stream / chunks * 1e6,
    }
    for feature, (a_call, a_stream) in costs.items():
        row[f"{feature}, × a call"] = a_call / plain_call
        row[f"{feature}, × a chunk"] = a_stream / plain_stream
    return row


def of(outcomes: list[Outcome]) -> int:
    """How many requests these are."""
    return sum(outcome.requests for outcome in outcomes)


def check(feature: str, called: list[Outcome], streamed: list[Outcome]) -> None:
    """End the program when answers were not whole, or a stream has not the usage that is due: the
    client of `usage: ask` gets none."""
    bad = sum(each.bad + each.unmetered for each in called) + sum(each.bad for each in streamed)
    without = sum(each.unmetered for each in streamed)
    if bad or without != (of(streamed) if feature == "usage: ask" else 0):
        sys.exit(f"{feature}: {bad} answers were not whole, {without} streams without usage")
