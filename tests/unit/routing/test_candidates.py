"""The candidates of a call: order, patterns, and the reason for each skipped route."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec import structs

from sidecar.config.credentials import Vault
from sidecar.config.model import (
    CredentialRef,
    Group,
    Key,
    Provider,
    Rename,
    Route,
    SecretSource,
)
from sidecar.config.patterns import Pattern
from sidecar.errors import ErrorKind, ProxyError, SourceLocation
from sidecar.plugin_api.dialect import Dialect, Endpoint, ModelAt
from sidecar.plugin_api.vendor import Serving, Vendor
from sidecar.routing.allowed_models import may_use
from sidecar.routing.caller_login import find_login
from sidecar.routing.candidates import (
    Plan,
    Plans,
    in_order,
    plan_candidates,
    require_candidates,
    with_login,
)

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
    key_: Key,
    *models: str,
    endpoint: Endpoint = CHAT,
    unavailable: Sequence[str] = (),
    size: int = 0,
) -> Plan:
    def usable(which: Provider) -> tuple[tuple[CredentialRef, ...], str]:
        return (
            ((), "its variable is not set")
            if which.name in unavailable
            else (which.credentials, "")
        )

    return plan_candidates(key_, DIALECT, endpoint, models, usable, lambda: 0.0, size)


def names(found: Plan) -> list[str]:
    return [each.provider.name for each in found.candidates]


def refusal(
    found: Plan, key_: Key, *models: str, endpoint: Endpoint = CHAT
) -> tuple[ErrorKind, str]:
    with pytest.raises(ProxyError) as caught:
        require_candidates(found, key_, endpoint, models)
    return caught.value.reply.kind, caught.value.reply.message


def test_candidates_follow_the_order_of_routes_and_credentials() -> None:
    key_ = key(Route(provider("a", "ONE", "TWO"), PLACE), Route(provider("b"), PLACE, priority=1))
    found = planned(key_, "m")
    assert [(c.provider.name, c.credential_name) for c in found.candidates] == [
        ("a", "ONE"), ("a", "TWO"), ("b", ""),
    ]  # fmt: skip


def test_route_serves_only_the_models_it_names() -> None:
    key_ = key(Route(provider("a"), PLACE, models=patterns("gpt-5*")), Route(provider("b"), PLACE))
    assert names(planned(key_, "gpt-5-mini")) == ["a", "b"]
    assert names(planned(key_, "o9")) == ["b"]


def test_models_on_the_key_narrow_every_route() -> None:
    key_ = key(Route(provider("a"), PLACE), models=patterns("gpt-5-mini"))
    assert may_use(key_, "gpt-5-mini")
    assert not may_use(key_, "gpt-5")


def test_error_of_a_refused_model_lists_the_offer_and_a_suggestion() -> None:
    key_ = key(Route(provider("a"), PLACE), models=patterns("gpt-5-mini"))
    assert refusal(planned(key_, "gpt5-mini"), key_, "gpt5-mini") == (
        ErrorKind.MODEL_NOT_ALLOWED,
        'model "gpt5-mini" is not offered to key "nightly"; did you mean "gpt-5-mini"? '
        "It may use gpt-5-mini (routes.yaml:7)",
    )


def test_disabled_route_is_skipped_with_its_line() -> None:
    key_ = key(Route(provider("a"), PLACE, enabled=False), Route(provider("b"), PLACE))
    found = planned(key_, "m")
    assert names(found) == ["b"]
    assert found.skipped[0].why == "switched off (routes.yaml:7)"


def test_unavailable_provider_alone_is_skipped() -> None:
    key_ = key(Route(provider("a"), PLACE), Route(provider("b"), PLACE))
    assert names(planned(key_, "m", unavailable=["a"])) == ["b"]


def test_error_without_an_available_provider_has_the_reasons() -> None:
    key_ = key(Route(provider("a"), PLACE))
    kind, message = refusal(planned(key_, "m", unavailable=["a"]), key_, "m")
    assert kind is ErrorKind.UNAVAILABLE
    assert "a: its variable is not set" in message


def test_provider_without_the_endpoint_is_skipped() -> None:
    key_ = key(Route(provider("a", vendor=ChatOnly), PLACE))
    found = planned(key_, "m", endpoint=Endpoint("embeddings", ModelAt.BODY))
    assert refusal(found, key_, "m")[0] is ErrorKind.NOT_FOUND


def test_paid_work_without_a_model_needs_a_route_for_all_models() -> None:
    narrow = key(Route(provider("a"), PLACE, models=patterns("m")))
    assert refusal(planned(narrow, endpoint=BATCHES), narrow, endpoint=BATCHES)[0] is (
        ErrorKind.MODEL_NOT_ALLOWED
    )
    wide = key(Route(provider("a"), PLACE))
    assert names(planned(wide, endpoint=BATCHES)) == ["a"]


def test_batch_needs_a_route_for_all_of_its_models() -> None:
    key_ = key(Route(provider("a"), PLACE, models=patterns("x", "y")))
    assert names(planned(key_, "x", "y")) == ["a"]
    assert names(planned(key_, "x", "z")) == []


def test_rename_keeps_what_the_star_matched() -> None:
    rename = Rename(((Pattern("claude-*"), "anthropic/claude-*"),))
    key_ = key(Route(provider("a"), PLACE, rename=rename))
    assert planned(key_, "claude-x-4").candidates[0].model == "anthropic/claude-x-4"


@pytest.mark.parametrize("models", [("x",), ("x", "y")])
def test_request_with_a_model_in_every_item_skips_routes_that_rename(
    models: tuple[str, ...],
) -> None:
    each = Endpoint("batches", ModelAt.EACH)
    rename = Rename(((Pattern("x"), "z"), (Pattern("*"), "*")))
    key_ = key(Route(provider("a"), PLACE, rename=rename))
    assert "renames" in planned(key_, *models, endpoint=each).skipped[0].why
    assert names(planned(key_, "y", endpoint=each)) == ["a"]


def test_request_too_large_for_a_route_uses_the_next_or_fails_with_413() -> None:
    small = Route(provider("small"), PLACE, max_input=1000)
    key_ = key(small, Route(provider("big"), PLACE))
    assert names(planned(key_, "m", size=4000)) == ["small", "big"]
    found = planned(key_, "m", size=4004)
    assert names(found) == ["big"]
    assert "about 1,001 tokens are more than its max_input of 1,000" in found.skipped[0].why
    kind, message = refusal(planned(key(small), "m", size=4004), key(small), "m")
    assert kind is ErrorKind.TOO_LARGE
    assert "small: about 1,001 tokens" in message


def test_credentials_alternate_in_being_first() -> None:
    key_ = key(Route(provider("p", "A", "B", "C"), PLACE))
    firsts = set()
    for draw in (0.0, 0.4, 0.9):
        found = plan_candidates(
            key_, DIALECT, CHAT, ("m",), lambda p: (p.credentials, ""), lambda d=draw: d
        )  # type: ignore[misc]
        firsts.add(found.candidates[0].credential_name)
        assert len({each.credential_name for each in found.candidates}) == 3
    assert firsts == {"A", "B", "C"}


def test_routes_of_equal_priority_share_by_weight() -> None:
    light, heavy = Route(provider("l"), PLACE, weight=1), Route(provider("h"), PLACE, weight=3)
    draw = random.Random(5).random
    first = Counter(in_order([light, heavy], draw)[0].provider.name for _ in range(4000))
    assert 0.71 < first["h"] / 4000 < 0.79


def test_route_of_a_lower_priority_number_goes_first_whatever_the_weight() -> None:
    late = Route(provider("late"), PLACE, priority=2, weight=1000)
    early = Route(provider("early"), PLACE, priority=1)
    assert [r.provider.name for r in in_order([late, early], random.Random(1).random)] == [
        "early", "late",
    ]  # fmt: skip


def test_route_of_weight_zero_goes_last() -> None:
    never, always = Route(provider("n"), PLACE, weight=0), Route(provider("a"), PLACE, weight=1)
    draw = random.Random(2).random
    assert {in_order([never, always], draw)[0].provider.name for _ in range(100)} == {"a"}


def test_plan_is_kept_while_the_configuration_and_the_credentials_stay() -> None:
    first, second = provider("a", "ONE"), provider("b", "TWO")
    key_ = key(Route(first, PLACE), Route(second, PLACE, priority=1))
    environ = {"ONE": "a", "TWO": "b"}
    vault = Vault(environ, lambda: 0.0)
    vault.renew([*first.credentials, *second.credentials])
    plans = Plans(vault, lambda: 0.0)

    def find(*models: str) -> Plan:
        return plans.find(key_, DIALECT, CHAT, models, 0)

    kept = find("m")
    assert (names(kept), find("m") is kept) == (["a", "b"], True)
    assert find("n") is not kept
    del environ["ONE"]
    vault.renew(first.credentials)
    assert names(find("m")) == ["b"]
    environ["ONE"] = "c"
    vault.renew(first.credentials)
    kept = find("m")
    assert (names(kept), find("m") is kept) == (["a", "b"], True)
    plans.clear()
    assert find("m") is not kept


def test_provider_that_two_routes_name_takes_a_login_once() -> None:
    credential = CredentialRef(SecretSource.CALLER, "caller", PLACE)
    taker = structs.replace(provider("a"), credentials=(credential,))
    kept = plan_candidates(
        key(Route(taker, PLACE), Route(taker, PLACE)), DIALECT, CHAT, ("m",),
        lambda _: ((credential,), ""), lambda: 0.0,
    )  # fmt: skip
    assert len(kept.candidates) == 2
    assert [each.provider for each in with_login(kept, None).skipped] == ["a"]


def test_logins_of_two_callers_have_addresses_of_their_own() -> None:
    credential = CredentialRef(SecretSource.CALLER, "caller", PLACE)
    taker = structs.replace(provider("a"), credentials=(credential,))
    kept = plan_candidates(
        key(Route(taker, PLACE)), DIALECT, CHAT, ("m",), lambda _: ((credential,), ""), lambda: 0.0
    )
    assert kept.login_takers == ("a",)
    logins = [
        find_login([(b"authorization", f"Bearer sk-ant-oat01-{each}".encode())]) for each in "xy"
    ]
    assert None not in logins
    kept.candidates[0].latest_address.asked = ("kept with the candidate",)
    mine, yours = (with_login(kept, each).candidates[0] for each in logins)
    (plain,) = kept.candidates
    addresses = [each.latest_address for each in (plain, mine, yours)]
    assert [each.login for each in (plain, mine, yours)] == [None, *logins]
    assert len(set(map(id, addresses))) == 3


def test_plan_that_chance_or_size_decides_is_made_for_each_call() -> None:
    equal = key(Route(provider("a"), PLACE), Route(provider("b"), PLACE))
    small = key(Route(provider("a"), PLACE, max_input=10))
    draws = iter([0.0, 0.99])
    plans = Plans(Vault({}, lambda: 0.0), lambda: next(draws))
    one, other = (plans.find(equal, DIALECT, CHAT, ("m",), 0) for _ in range(2))
    assert (names(one), names(other)) == (["a", "b"], ["b", "a"])
    assert one.candidates[0] is other.candidates[1]  # with its address
    sizes = [names(plans.find(small, DIALECT, CHAT, ("m",), size)) for size in (4, 4000)]
    assert sizes == [["a"], []]
