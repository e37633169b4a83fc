"""Pins of conversations to upstreams in one process."""

from __future__ import annotations

from itertools import count

from sample_candidates import candidate

from sidecar.routing.affinity import Affinity, ConversationKey

TALK = ConversationKey("laptop", "session-4711", "gpt-5")
A, B = candidate("a"), candidate("b")


def test_pin_of_an_ended_call_holds_unless_a_later_call_has_pinned_its_conversation() -> None:
    times = count(100.0)
    affinity = Affinity(lambda: next(times))
    affinity.pin_ended(TALK, A, began=90.0, ended=95.0)
    assert affinity.prefer_pinned(TALK, [B, A]) == ([A, B], True)
    affinity.pin(TALK, B)  # of a call that began before 101, as time goes here
    affinity.pin_ended(TALK, A, began=96.0, ended=103.0)
    assert affinity.prefer_pinned(TALK, [A, B]) == ([B, A], True)
    affinity.pin_ended(TALK, A, began=104.0, ended=105.0)
    assert affinity.prefer_pinned(TALK, [B, A]) == ([A, B], True)
