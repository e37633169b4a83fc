"""The order of the calls that wait at one limiter."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from queues import Person

from sidecar.config.model import Urgency
from sidecar.scheduling.fair_queue import AGING_AFTER_SECONDS, OLDEST_EVERY_N, FairQueue

INTERACTIVE, NORMAL, BACKGROUND = Urgency


def in_order(queue: FairQueue, now: float = 0.0, amount: int = 1) -> list[int]:
    """Return the order of service, each call taking the same amount."""
    served = []
    while (head := queue.head(now)) is not None:
        assert isinstance(head, Person)
        queue.charge(head, amount, now)
        queue.remove(head)
        served.append(head.seq)
    return served


def of(calls: list[Person]) -> FairQueue:
    queue = FairQueue()
    for call in calls:
        queue.add(call)
    return queue


def test_queue_of_several_urgencies_is_ordered_by_urgency_then_arrival() -> None:
    urgencies = [BACKGROUND, NORMAL, INTERACTIVE, NORMAL, BACKGROUND]
    queue = of([Person(n, urgency=u) for n, u in enumerate(urgencies)])
    assert in_order(queue) == [2, 1, 3, 0, 4]


def test_keys_of_equal_share_alternate() -> None:
    queue = of([Person(n, "a") for n in range(4)] + [Person(n, "b") for n in range(4, 8)])
    assert in_order(queue) == [0, 4, 1, 5, 2, 6, 3, 7]


def test_key_of_twice_the_share_is_served_twice_as_often() -> None:
    calls = [Person(n, "a", share=2.0) for n in range(20)]
    calls += [Person(n, "b") for n in range(20, 40)]
    order = in_order(of(calls))
    first = Counter("a" if seq < 20 else "b" for seq in order[:15])
    assert first == {"a": 10, "b": 5}


def test_keys_share_in_the_unit_of_the_limiter() -> None:
    """A key with large calls is served less often, so that both get equal tokens."""
    queue = of(
        [Person(n, "large") for n in range(10)] + [Person(n, "small") for n in range(10, 40)]
    )
    received: Counter[str] = Counter()
    for _ in range(16):
        head = queue.head(0.0)
        assert isinstance(head, Person)
        amount = 300 if head.key == "large" else 100
        queue.charge(head, amount, 0.0)
        queue.remove(head)
        received[head.key] += amount
    assert abs(received["large"] - received["small"]) <= 300


def test_key_that_arrives_late_gets_no_credit_for_its_absence() -> None:
    """What others received before does not count."""
    queue = of([Person(n, "a") for n in range(6)])
    for _ in range(3):
        head = queue.head(0.0)
        assert head is not None
        queue.charge(head, 1, 0.0)
        queue.remove(head)
    for n in range(6, 9):
        queue.add(Person(n, "b"))
    assert in_order(queue) == [6, 3, 7, 4, 8, 5]


def test_newcomer_may_pass_only_calls_that_it_goes_before() -> None:
    queue = of([Person(0, "a", urgency=NORMAL)])
    assert queue.may_pass(Person(1, "b", urgency=INTERACTIVE), 0.0)
    assert not queue.may_pass(Person(1, "b", urgency=NORMAL), 0.0)
    assert not queue.may_pass(Person(1, "a", urgency=BACKGROUND), 0.0)
    assert queue.may_pass(Person(-1, "b", urgency=NORMAL), 0.0)


def test_aging_admits_the_oldest_call_as_one_in_ten() -> None:
    """However many urgent calls arrive; and no more often than that."""
    old = [Person(n, "old", urgency=BACKGROUND) for n in range(3)]
    queue = of(old)
    order = []
    for n in range(3, 60):
        queue.add(Person(n, f"k{n}", urgency=INTERACTIVE, since=AGING_AFTER_SECONDS))
        head = queue.head(AGING_AFTER_SECONDS)
        assert isinstance(head, Person)
        queue.charge(head, 1, AGING_AFTER_SECONDS)
        queue.remove(head)
        order.append(head.seq)
    places = [place for place, seq in enumerate(order) if seq < 3]
    assert places == [OLDEST_EVERY_N - 1, 2 * OLDEST_EVERY_N - 1, 3 * OLDEST_EVERY_N - 1]
    assert [order[place] for place in places] == [0, 1, 2]


def test_aging_admits_no_call_before_its_age() -> None:
    queue = of([Person(0, urgency=BACKGROUND)])
    for n in range(1, 40):
        call = Person(n, urgency=INTERACTIVE, since=1.0)
        assert queue.may_pass(call, AGING_AFTER_SECONDS - 1)
        queue.charge(call, 1, AGING_AFTER_SECONDS - 1)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["come", "go", "leave", "pass"]),
        st.integers(0, 3),
        st.sampled_from(list(Urgency)),
        st.integers(1, 50),
    ),
    max_size=80,
)


@given(EVENTS)
def test_queue_loses_no_call_and_inverts_no_urgency(
    events: list[tuple[str, int, Urgency, int]],
) -> None:
    queue, present = FairQueue(), dict[int, Person]()
    for number, (kind, key, urgency, amount) in enumerate(events):
        if kind == "come":
            present[number] = Person(number, f"k{key}", urgency=urgency)
            queue.add(present[number])
        elif kind == "pass":
            newcomer = Person(number, f"k{key}", urgency=urgency)
            most = min((p.urgency for p in present.values()), default=BACKGROUND + 1)
            assert queue.may_pass(newcomer, 0.0) or urgency >= most
            if queue.may_pass(newcomer, 0.0):
                assert urgency <= most
                queue.charge(newcomer, amount, 0.0)
        elif present:
            head = queue.head(0.0)
            assert isinstance(head, Person)
            assert head.urgency == min(p.urgency for p in present.values())
            same = [
                p.seq for p in present.values() if (p.urgency, p.key) == (head.urgency, head.key)
            ]
            assert head.seq == min(same)
            leaving = head if kind == "go" else present[sorted(present)[key % len(present)]]
            if kind == "go":
                queue.charge(head, amount, 0.0)
            queue.remove(leaving)
            del present[leaving.seq]
        assert len(queue) == len(present)
        assert all(call in queue for call in present.values())
    assert sorted(in_order(queue)) == sorted(present)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=1, max_size=120))
def test_waiting_keys_differ_by_one_call_of_each_at_most(calls: list[tuple[int, int]]) -> None:
    """The bound of start-time fair queueing."""
    rows_by_key = {
        key: [(n, size) for n, (k, size) in enumerate(calls) if k == key] for key in range(3)
    }
    queue, sizes = FairQueue(), dict(enumerate(size for _, size in calls))
    for n, (key, _) in enumerate(calls):
        queue.add(Person(n, f"k{key}"))
    received, left = Counter[str](), Counter(f"k{key}" for key, _ in calls)
    largest = {f"k{key}": max((s for _, s in rows), default=0) for key, rows in rows_by_key.items()}
    while (head := queue.head(0.0)) is not None:
        assert isinstance(head, Person)
        queue.charge(head, sizes[head.seq], 0.0)
        queue.remove(head)
        received[head.key] += sizes[head.seq]
        left[head.key] -= 1
        waiting = [key for key in left if left[key]]
        for one in waiting:
            for other in waiting:
                assert abs(received[one] - received[other]) <= largest[one] + largest[other]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["come", "go", "leave", "pass"]), st.integers(0, 2),
            st.sampled_from(list(Urgency)), st.integers(1, 50), st.sampled_from([0.0, 20.0, 40.0]),
        ),
        max_size=60,
    ),
    st.integers(-1, 70), st.integers(0, 2), st.sampled_from(list(Urgency)), st.floats(0, 100),
    st.integers(0, 2 * OLDEST_EVERY_N),
)  # fmt: skip
def test_newcomer_may_pass_exactly_if_it_would_be_the_head(
    events: list[tuple[str, int, Urgency, int, float]],
    seq: int, key: int, urgency: Urgency, since: float, passed: int,
) -> None:  # fmt: skip
    """Otherwise a call that enters the queue would leave it at once and have to return: for ever,
    if it waits at another limiter as well."""
    now, queue, present = 60.0, FairQueue(), []
    queue._admitted = passed
    for number, (kind, one, urgent, amount, came) in enumerate(events):
        call = Person(2 * number, f"k{one}", urgency=urgent, since=came)
        if kind == "come":
            present.append(call)
            queue.add(call)
        elif kind == "pass" and queue.may_pass(call, now):
            queue.charge(call, amount, now)
        elif present:
            leaving = queue.head(now) if kind == "go" else present[amount % len(present)]
            assert isinstance(leaving, Person)
            if kind == "go":
                queue.charge(leaving, amount, now)
            queue.remove(leaving)
            present.remove(leaving)
    newcomer = Person(2 * seq + 1, f"k{key}", urgency=urgency, since=since)
    aged, may_pass = queue.is_aged_head(newcomer, now), queue.may_pass(newcomer, now)
    queue.add(newcomer)
    assert (queue.head(now) is newcomer) is may_pass is queue.may_pass(newcomer, now)
    assert queue.is_aged_head(newcomer, now) is aged
    queue.remove(newcomer)
    assert queue.is_aged_head(newcomer, now) is aged
