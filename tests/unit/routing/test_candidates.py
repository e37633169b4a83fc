"""Where a call may go: order, patterns, and the reason for every provider left out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from sidecar.config.model import CredentialRef, Group, Key, Provider, Rename, Route, SecretSource
from sidecar.config.patterns import Pattern
from sidecar.errors import ErrorKind, ProxyError, SourceLocation
from sidecar.plugin_api.dialect import Dialect, Endpoint, ModelAt
from sidecar.plugin_api.vendor import Serving, Vendor
from sidecar.routing.candidates import Plan, in_order, may_use, plan_candidates, require_candidates

PLACE = SourceLocation("routes.yaml", 7)
CHAT = Endpoint("chat", ModelAt.BODY)
BATCHES = Endpoint("batches", starts_work=True)


class Whole(Vendor):
    name = "whole"
    title = "Whole"
    dialects = {"talk": Serving()}


class ChatOnly(Vendor):
    name = "partial"
    title = "Partial"
    dialects = {"talk": Serving(frozenset({"chat"}))}


class Talk(Dialect):
    name = "talk"
    locate = read = meter = error = error_event = models = list_models = None  # type: ignore[assignment]


DIALECT = Talk()


def provider(name: str, *credentials: str, vendor: type[Vendor] = Whole) -> Provider:
    refs = tuple(CredentialRef(SecretSource.ENV, each, PLACE, each) for each in credentials)
    return Provider(name, vendor(), "https://v.example", refs, PLACE)


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(map(Pattern, texts))


def key(*routes: Route, models: tuple[Pattern, ...] | None = None) -> Key:
    return Key("nightly", Group("G", Whole(), (), PLACE), routes, PLACE, models=models)


def planned(
    whose: Key, *models: str, endpoint: Endpoint = CHAT, away: Sequence[str] = (), size: int = 0
) -> Plan:
    def usable(which: Provider) -> tuple[tuple[CredentialRef, ...], str]:
        return ((), "its variable is not set") if which.name in away else (which.credentials, "")

    return plan_candidates(whose, DIALECT, endpoint, models, usable, lambda: 0.0, size)


def names(found: Plan) -> list[str]:
    return [each.provider.name for each in found.candidates]


def refusal(
    found: Plan, whose: Key, *models: str, endpoint: Endpoint = CHAT
) -> tuple[ErrorKind, str]:
    with pytest.raises(ProxyError) as caught:
        require_candidates(found, whose, endpoint, models)
    return caught.value.reply.kind, caught.value.reply.message


def test_routes_are_tried_in_order_and_each_credential_in_turn() -> None:
    whose = key(Route(provider("a", "ONE", "TWO"), PLACE), Route(provider("b"), PLACE, priority=1))
    found = planned(whose, "m")
    assert [(c.provider.name, c.credential_name) for c in found.candidates] == [
        ("a", "ONE"), ("a", "TWO"), ("b", ""),
    ]  # fmt: skip


def test_a_route_serves_only_the_models_it_names() -> None:
    whose = key(Route(provider("a"), PLACE, models=patterns("gpt-5*")), Route(provider("b"), PLACE))
    assert names(planned(whose, "gpt-5-mini")) == ["a", "b"]
    assert names(planned(whose, "o9")) == ["b"]


def test_models_on_the_key_narrow_every_route() -> None:
    whose = key(Route(provider("a"), PLACE), models=patterns("gpt-5-mini"))
    assert may_use(whose, "gpt-5-mini")
    assert not may_use(whose, "gpt-5")


def test_a_model_not_offered_says_what_is_and_what_was_probably_meant() -> None:
    whose = key(Route(provider("a"), PLACE), models=patterns("gpt-5-mini"))
    assert refusal(planned(whose, "gpt5-mini"), whose, "gpt5-mini") == (
        ErrorKind.MODEL_NOT_ALLOWED,
        'model "gpt5-mini" is not offered to key "nightly"; did you mean "gpt-5-mini"? '
        "It may use gpt-5-mini (routes.yaml:7)",
    )


def test_a_switched_off_route_is_skipped_and_says_so() -> None:
    whose = key(Route(provider("a"), PLACE, enabled=False), Route(provider("b"), PLACE))
    found = planned(whose, "m")
    assert names(found) == ["b"]
    assert found.skipped[0].why == "switched off (routes.yaml:7)"


def test_an_unavailable_provider_is_skipped_and_only_it() -> None:
    whose = key(Route(provider("a"), PLACE), Route(provider("b"), PLACE))
    assert names(planned(whose, "m", away=["a"])) == ["b"]


def test_when_all_are_unavailable_the_call_is_told_why() -> None:
    whose = key(Route(provider("a"), PLACE))
    kind, message = refusal(planned(whose, "m", away=["a"]), whose, "m")
    assert kind is ErrorKind.UNAVAILABLE
    assert "a: its variable is not set" in message


def test_a_provider_without_the_endpoint_is_skipped() -> None:
    whose = key(Route(provider("a", vendor=ChatOnly), PLACE))
    found = planned(whose, "m", endpoint=Endpoint("embeddings", ModelAt.BODY))
    assert refusal(found, whose, "m")[0] is ErrorKind.NOT_FOUND


def test_paid_work_without_a_model_needs_a_route_for_all_models() -> None:
    narrow = key(Route(provider("a"), PLACE, models=patterns("m")))
    assert refusal(planned(narrow, endpoint=BATCHES), narrow, endpoint=BATCHES)[0] is (
        ErrorKind.MODEL_NOT_ALLOWED
    )
    wide = key(Route(provider("a"), PLACE))
    assert names(planned(wide, endpoint=BATCHES)) == ["a"]


def test_a_batch_needs_every_one_of_its_models() -> None:
    whose = key(Route(provider("a"), PLACE, models=patterns("x", "y")))
    assert names(planned(whose, "x", "y")) == ["a"]
    assert names(planned(whose, "x", "z")) == []


def test_a_rename_serves_another_name_and_keeps_what_the_star_matched() -> None:
    rename = Rename(((Pattern("claude-*"), "anthropic/claude-*"),))
    whose = key(Route(provider("a"), PLACE, rename=rename))
    assert planned(whose, "claude-x-4").candidates[0].model == "anthropic/claude-x-4"


@pytest.mark.parametrize("models", [("x",), ("x", "y")])
def test_what_names_a_model_in_every_item_cannot_be_renamed(models: tuple[str, ...]) -> None:
    each = Endpoint("batches", ModelAt.EACH)
    rename = Rename(((Pattern("x"), "z"), (Pattern("*"), "*")))
    whose = key(Route(provider("a"), PLACE, rename=rename))
    assert "renames" in planned(whose, *models, endpoint=each).skipped[0].why
    assert names(planned(whose, "y", endpoint=each)) == ["a"]


def test_a_request_too_large_for_a_route_goes_to_the_next_or_is_told_so() -> None:
    small = Route(provider("small"), PLACE, max_input=1000)
    whose = key(small, Route(provider("big"), PLACE))
    assert names(planned(whose, "m", size=4000)) == ["small", "big"]
    found = planned(whose, "m", size=4004)
    assert names(found) == ["big"]
    assert "about 1,001 tokens are more than its max_input of 1,000" in found.skipped[0].why
    kind, message = refusal(planned(key(small), "m", size=4004), key(small), "m")
    assert kind is ErrorKind.TOO_LARGE
    assert "small: about 1,001 tokens" in message


def test_several_credentials_take_turns_in_being_first() -> None:
    whose = key(Route(provider("p", "A", "B", "C"), PLACE))
    firsts = set()
    for draw in (0.0, 0.4, 0.9):
        found = plan_candidates(
            whose, DIALECT, CHAT, ("m",), lambda p: (p.credentials, ""), lambda d=draw: d
        )  # type: ignore[misc]
        firsts.add(found.candidates[0].credential_name)
        assert len({each.credential_name for each in found.candidates}) == 3
    assert firsts == {"A", "B", "C"}


def test_equal_priorities_share_by_weight() -> None:
    light, heavy = Route(provider("l"), PLACE, weight=1), Route(provider("h"), PLACE, weight=3)
    draw = random.Random(5).random
    first = Counter(in_order([light, heavy], draw)[0].provider.name for _ in range(4000))
    assert 0.71 < first["h"] / 4000 < 0.79


def test_a_lower_priority_number_goes_first_whatever_the_weight() -> None:
    late = Route(provider("late"), PLACE, priority=2, weight=1000)
    early = Route(provider("early"), PLACE, priority=1)
    assert [r.provider.name for r in in_order([late, early], random.Random(1).random)] == [
        "early", "late",
    ]  # fmt: skip


def test_weight_zero_only_goes_last() -> None:
    never, always = Route(provider("n"), PLACE, weight=0), Route(provider("a"), PLACE, weight=1)
    draw = random.Random(2).random
    assert {in_order([never, always], draw)[0].provider.name for _ in range(100)} == {"a"}
