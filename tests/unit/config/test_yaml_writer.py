"""Values written as YAML read back as the same values, and a described file means the same."""

from __future__ import annotations

from typing import Any

import yaml
from fake_vendors import bare, read
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.loader import describe, difference
from sidecar.config.model import LimitKind
from sidecar.config.yaml.writer import Value, block, entry, flow, scalar

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["no", "a b", "12:30", "- a", "a: b", "a #b", "gpt-5*", "?", "[x", "=", "~", "---", "%a", "é"]
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def parse(text: str) -> Any:
    return yaml.load(text, yaml.CBaseLoader)


@given(TEXTS)
def test_writer_text_reads_back_in_flow_and_block_style(text: str) -> None:
    word = scalar(text)
    assert "\n" not in word
    assert parse(f"[{word}]") == [text]
    assert parse(f"{{{word}: {word}}}") == {text: text}
    assert parse(f"{word}: {word}  # comment\n") == {text: text}


@given(VALUES)
def test_writer_value_reads_back(value: Value) -> None:
    assert parse(f"a: {flow(value)}\n") == {"a": value}
    assert parse(f"- {entry(value)}\n") == [value]


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), st.integers(0, 3))
def test_writer_block_reads_back(value: dict[str, Value], levels: int) -> None:
    assert parse("\n".join(block(value, "  ", open_levels=levels))) == value


def test_writer_quotes_words_that_other_parsers_read_as_other_types() -> None:
    assert [scalar(word) for word in ("no", "Yes", "null", "~", "")] == [
        '"no"', '"Yes"', '"null"', '"~"', '""',
    ]  # fmt: skip
    assert [scalar(value) for value in (True, False, 5)] == ["true", "false", "5"]
    for word in ("gpt-5*", "2026-12-31", "$10/day", "env:KEY", "127.0.0.1:80", "200k", "a b"):
        assert scalar(word) == word


# ── Random configurations ────────────────────────────────────────────────────────────────────────

COUNTS = st.sampled_from(["0", "7", "1k", "1.5M", "999_999", "2G"])
DURATIONS = st.sampled_from(["1ms", "0.1s", "90", "1.5m", "2h", "30d", "7.333333s"])
PATTERNS = st.sampled_from(["*", "a*", "ab?", "b", "[x]*", "v/m:1"])


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


LIMIT = {kind.value: COUNTS for kind in LimitKind}
LIMITS = maybe(**LIMIT, models=maybe(**{"a*": maybe(**LIMIT), "ab?": maybe(**LIMIT)}))
BUDGETS = st.sampled_from(["$0.1/day", ["$10/week"], ["$3.25/month", "$1/day"]])
HEADROOM = maybe(background=st.sampled_from(["5%", "33.3%"]), normal=st.sampled_from(["0%", "10%"]))
SCOPE = {"limits": LIMITS, "budget": BUDGETS, "headroom": HEADROOM}
MODELS = st.lists(PATTERNS, min_size=1, max_size=3)
RENAMES = st.sampled_from(["m", "v/*", {"*": "x"}, {"a*": "y/*"}, {"a*": "x", "*": "y/*"}])
TIMEOUTS = maybe(connect=DURATIONS, first_byte=DURATIONS, idle=DURATIONS)
OPTIONS = {
    "enabled": st.booleans(),
    "models": MODELS,
    "as": RENAMES,
    "limits": LIMITS,
    "max_input": COUNTS,
    "priced_as": st.just("a-model"),
    "retry": st.sampled_from(["if-unserved", "at-least-once"]),
    "weight": COUNTS,
}
PRICE = maybe(input=st.just("$1.5"), image=st.just("0.04"))
URGENCY = st.sampled_from(["interactive", "normal", "background"])


@st.composite
def routes(draw: st.DrawFn) -> list[Any]:
    names = draw(st.lists(st.sampled_from(["alpha", "local", "mine"]), min_size=1, max_size=3))
    plain, numbered = maybe(**OPTIONS), maybe(**OPTIONS, priority=st.integers(-2, 2).map(str))
    if draw(st.booleans()):
        return [{name: {"priority": "1", **draw(numbered)}} for name in names]
    return [draw(st.sampled_from([name, {name: draw(plain)}])) for name in names]


PROVIDER = maybe(
    **SCOPE,
    credential=st.sampled_from(["none", "env:A", "file:k", ["env:A", "keyring:s/u"]]),
    price=st.just("free"),
    priced_as=st.just("a-model"),
    proxy=st.sampled_from(["env", "http://p:1"]),
    timeouts=TIMEOUTS,
    headers=maybe(
        set=st.sampled_from([{"X-A": "v w"}, {"X-A": "v", "X-B": "w"}]),
        remove=st.just(["X-C"]),
    ),
)
GROUP = maybe(
    **SCOPE,
    multiplier=st.sampled_from(["0", "0.9", "2"]),
    urgency=URGENCY,
    usage=st.sampled_from(["ask", "as-is"]),
    routes=routes(),
    description=TEXTS.filter(bool),
)
OF_ALPHA = GROUP.map(lambda each: {"vendor": "alpha", **each})
KEY = maybe(
    **SCOPE,
    description=TEXTS.filter(bool),
    urgency=URGENCY,
    enabled=st.booleans(),
    expires=st.sampled_from(["2026-12-31", "2026-12-31T18:00:00.25+05:30"]),
    models=MODELS,
    routes=routes(),
    share=st.sampled_from(["0.5", "3"]),
    max_wait=DURATIONS,
    sticky_wait=DURATIONS,
)
FILES = st.fixed_dictionaries(
    {
        "providers": st.fixed_dictionaries(
            {"mine": PROVIDER.map(lambda each: {**each, "plugin": "alpha"})}
        ),
        "groups": st.fixed_dictionaries(
            {"G": OF_ALPHA}, optional={"no": OF_ALPHA, "a b": OF_ALPHA}
        ),
    },
    optional={
        "defaults": maybe(
            urgency=URGENCY, headroom=HEADROOM, timeouts=TIMEOUTS, max_wait=DURATIONS
        ),
        "limits": LIMITS,
        "budget": BUDGETS,
        "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
        "unpriced": st.sampled_from(["refuse", "allow"]),
        "prices": maybe(**{"a*": PRICE, "*": PRICE, "b": PRICE}),
        "retention": maybe(days=st.just("30d"), size=st.sampled_from(["1GiB", "500MB"])),
    },
)


@given(FILES, st.data())
def test_dump_of_any_file_loads_to_an_equal_snapshot(
    file: dict[str, Any], data: st.DataObject
) -> None:
    groups = st.sampled_from(list(file["groups"]))
    keys = data.draw(st.lists(KEY, max_size=3))
    file["keys"] = {
        f"k{n}": {"group": data.draw(groups), "hash": f"sha256:{n:064x}", **key}
        for n, key in enumerate(keys)
    }
    snapshot = read(flow(file))
    full = describe(snapshot)
    again = read(full)
    assert bare(again) == bare(snapshot)
    assert difference(snapshot, again) == []
