"""Usage of OpenAI's shape, and answers with it: the usual form is read as any other."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sidecar_vendors.openai.usage import AnswerMeter, TokensMeter, _read_any, read_usage

COUNT = st.integers(0, 2000)
ODD = st.sampled_from((None, 0, True, False, 7.0, 2.5, -3, 10**12, "9", [], {}, [1], {"a": 1}))
INPUT = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens",
         "cached_tokens_details", "text_tokens")  # fmt: skip
OUTPUT = ("reasoning_tokens", "audio_tokens", "image_tokens", "accepted_prediction_tokens")
NAMES = (
    ("prompt_tokens", "input_tokens"),
    ("completion_tokens", "output_tokens"),
    ("prompt_tokens_details", "input_tokens_details", "prompt_token_details",
     "input_token_details"),
    ("completion_tokens_details", "output_tokens_details", "output_token_details"),
)  # fmt: skip
OTHERS = ("total_tokens", "queue_time", "prompt_cache_hit_tokens", "cached_tokens",
          "num_cached_tokens", "seconds", "cost", "num_search_queries", "context_details",
          "server_tool_use", "cost_in_usd_ticks")  # fmt: skip


def mostly(usual: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(usual, usual, usual, ODD)


def details(names: tuple[str, ...]) -> st.SearchStrategy[object]:
    return mostly(st.dictionaries(st.sampled_from(names), mostly(COUNT)))


def named(names: tuple[str, ...], values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    one = st.builds(lambda name, value: {name: value}, st.sampled_from(names[:2]), values)
    return st.one_of(one, one, one, st.dictionaries(st.sampled_from(names), values))


FIELDS = st.tuples(
    named(NAMES[0], mostly(COUNT)),
    named(NAMES[1], mostly(COUNT)),
    named(NAMES[2], details(INPUT)),
    named(NAMES[3], details(OUTPUT)),
    st.just({}) | st.dictionaries(st.sampled_from(OTHERS), mostly(COUNT), max_size=2),
)


def together(fields: tuple[dict[str, object], ...]) -> dict[str, object]:
    usage: dict[str, object] = {}
    for each in fields:
        usage |= each
    return usage


USAGE = FIELDS.map(together)
ANSWER = st.fixed_dictionaries(
    {},
    optional={
        "model": mostly(st.sampled_from(("", "gpt-5"))),
        "id": mostly(st.sampled_from(("", "resp_1"))),
        "usage": st.one_of(USAGE, USAGE, USAGE, ODD),
        "service_tier": mostly(st.just("flex")),
        "tool_usage": st.none() | st.just({"web_search": {"num_requests": 2}}),
        "error": st.none() | st.sampled_from((False, {"code": "busy"})),
        "status": mostly(st.sampled_from(("completed", "in_progress", "failed"))),
        "choices": st.just([{"message": {"usage": {"prompt_tokens": 7}}}]),
    },
)


@given(USAGE, st.none() | st.just({"web_search": {"num_requests": 2}}), st.none() | st.just("flex"))
def test_usage_of_the_usual_form_is_read_as_any_other(
    usage: dict[str, object], tools: object, tier: object
) -> None:
    usage = msgspec.json.decode(msgspec.json.encode(usage))
    assert read_usage(usage, tools, tier) == (_read_any(usage, tools, tier) if usage else None)


def told(meter: AnswerMeter) -> tuple[object, ...]:
    read = meter.usage(), meter.created(), meter.model
    return *read, meter.error, meter.pending, meter.unfinished, meter.unread


@given(ANSWER, st.integers(0, 400), st.sampled_from((b"", b"\xef\xbb\xbf", b"}")))
def test_answer_of_the_usual_form_is_read_as_any_other(
    answer: dict[str, object], cut: int, around: bytes
) -> None:
    body = msgspec.json.encode(answer)
    body = body + around if around == b"}" else around + body
    usual, general = TokensMeter(), AnswerMeter()
    for piece in (body[:cut], body[cut:]):
        usual.feed(piece)
        general.feed(piece)
        assert told(usual) == told(general)
