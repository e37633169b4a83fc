"""The order in which those who wait at one gate go."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from queues import Person

from sidecar.config.model import Urgency
from sidecar.scheduling.fair_queue import AGING_AFTER_SECONDS, OLDEST_EVERY_N, FairQueue

INTERACTIVE, NORMAL, BACKGROUND = Urgency


def in_order(line: FairQueue, now: float = 0.0, amount: int = 1) -> list[int]:
    """Who goes, until nobody is left, each taking the same."""
    gone = []
    while (front := line.head(now)) is not None:
        assert isinstance(front, Person)
        line.charge(front, amount, now)
        line.remove(front)
        gone.append(front.seq)
    return gone


def of(people: list[Person]) -> FairQueue:
    line = FairQueue()
    for person in people:
        line.add(person)
    return line


def test_the_more_urgent_go_first_and_equals_by_arrival() -> None:
    urgencies = [BACKGROUND, NORMAL, INTERACTIVE, NORMAL, BACKGROUND]
    line = of([Person(n, urgency=u) for n, u in enumerate(urgencies)])
    assert in_order(line) == [2, 1, 3, 0, 4]


def test_keys_take_turns() -> None:
    line = of([Person(n, "a") for n in range(4)] + [Person(n, "b") for n in range(4, 8)])
    assert in_order(line) == [0, 4, 1, 5, 2, 6, 3, 7]


def test_a_key_of_twice_the_share_goes_twice_as_often() -> None:
    people = [Person(n, "a", share=2.0) for n in range(20)]
    people += [Person(n, "b") for n in range(20, 40)]
    order = in_order(of(people))
    first = Counter("a" if seq < 20 else "b" for seq in order[:15])
    assert first == {"a": 10, "b": 5}


def test_turns_are_counted_in_what_the_gate_counts() -> None:
    """A key with large calls goes less often, so that both get as many tokens."""
    line = of([Person(n, "large") for n in range(10)] + [Person(n, "small") for n in range(10, 40)])
    had: Counter[str] = Counter()
    for _ in range(16):
        front = line.head(0.0)
        assert isinstance(front, Person)
        amount = 300 if front.key == "large" else 100
        line.charge(front, amount, 0.0)
        line.remove(front)
        had[front.key] += amount
    assert abs(had["large"] - had["small"]) <= 300


def test_who_was_away_is_owed_nothing() -> None:
    """A key that comes late shares from then on; what others had before does not count."""
    line = of([Person(n, "a") for n in range(6)])
    for _ in range(3):
        front = line.head(0.0)
        assert front is not None
        line.charge(front, 1, 0.0)
        line.remove(front)
    for n in range(6, 9):
        line.add(Person(n, "b"))
    assert in_order(line) == [6, 3, 7, 4, 8, 5]


def test_a_newcomer_passes_only_those_that_it_goes_before() -> None:
    line = of([Person(0, "a", urgency=NORMAL)])
    assert line.may_pass(Person(1, "b", urgency=INTERACTIVE), 0.0)
    assert not line.may_pass(Person(1, "b", urgency=NORMAL), 0.0)
    assert not line.may_pass(Person(1, "a", urgency=BACKGROUND), 0.0)
    assert line.may_pass(Person(-1, "b", urgency=NORMAL), 0.0)


def test_one_in_ten_is_the_oldest_once_it_has_waited_long() -> None:
    """Whatever more urgent calls come, somebody who waits gets there; and no more than so often."""
    old = [Person(n, "old", urgency=BACKGROUND) for n in range(3)]
    line = of(old)
    order = []
    for n in range(3, 60):
        line.add(Person(n, f"k{n}", urgency=INTERACTIVE, since=AGING_AFTER_SECONDS))
        front = line.head(AGING_AFTER_SECONDS)
        assert isinstance(front, Person)
        line.charge(front, 1, AGING_AFTER_SECONDS)
        line.remove(front)
        order.append(front.seq)
    places = [place for place, seq in enumerate(order) if seq < 3]
    assert places == [OLDEST_EVERY_N - 1, 2 * OLDEST_EVERY_N - 1, 3 * OLDEST_EVERY_N - 1]
    assert [order[place] for place in places] == [0, 1, 2]


def test_before_that_age_nobody_has_a_turn() -> None:
    line = of([Person(0, urgency=BACKGROUND)])
    for n in range(1, 40):
        person = Person(n, urgency=INTERACTIVE, since=1.0)
        assert line.may_pass(person, AGING_AFTER_SECONDS - 1)
        line.charge(person, 1, AGING_AFTER_SECONDS - 1)


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
def test_nobody_is_lost_and_no_urgency_is_inverted(
    events: list[tuple[str, int, Urgency, int]],
) -> None:
    line, present = FairQueue(), dict[int, Person]()
    for number, (kind, key, urgency, amount) in enumerate(events):
        if kind == "come":
            present[number] = Person(number, f"k{key}", urgency=urgency)
            line.add(present[number])
        elif kind == "pass":
            newcomer = Person(number, f"k{key}", urgency=urgency)
            most = min((p.urgency for p in present.values()), default=BACKGROUND + 1)
            assert line.may_pass(newcomer, 0.0) or urgency >= most
            if line.may_pass(newcomer, 0.0):
                assert urgency <= most
                line.charge(newcomer, amount, 0.0)
        elif present:
            front = line.head(0.0)
            assert isinstance(front, Person)
            assert front.urgency == min(p.urgency for p in present.values())
            same = [
                p.seq for p in present.values() if (p.urgency, p.key) == (front.urgency, front.key)
            ]
            assert front.seq == min(same)
            leaving = front if kind == "go" else present[sorted(present)[key % len(present)]]
            if kind == "go":
                line.charge(front, amount, 0.0)
            line.remove(leaving)
            del present[leaving.seq]
        assert len(line) == len(present)
        assert all(person in line for person in present.values())
    assert sorted(in_order(line)) == sorted(present)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=1, max_size=120))
def test_equal_keys_get_equal_parts_while_all_of_them_wait(calls: list[tuple[int, int]]) -> None:
    """What two waiting keys have had never differs by more than one call of each (SFQ's bound)."""
    queues = {key: [(n, size) for n, (k, size) in enumerate(calls) if k == key] for key in range(3)}
    line, sizes = FairQueue(), dict(enumerate(size for _, size in calls))
    for n, (key, _) in enumerate(calls):
        line.add(Person(n, f"k{key}"))
    had, left = Counter[str](), Counter(f"k{key}" for key, _ in calls)
    largest = {f"k{key}": max((s for _, s in rows), default=0) for key, rows in queues.items()}
    while (front := line.head(0.0)) is not None:
        assert isinstance(front, Person)
        line.charge(front, sizes[front.seq], 0.0)
        line.remove(front)
        had[front.key] += sizes[front.seq]
        left[front.key] -= 1
        waiting = [key for key in left if left[key]]
        for one in waiting:
            for other in waiting:
                assert abs(had[one] - had[other]) <= largest[one] + largest[other]


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
def test_a_line_lets_pass_whoever_would_be_its_first(
    events: list[tuple[str, int, Urgency, int, float]],
    seq: int, key: int, urgency: Urgency, since: float, passed: int,
) -> None:  # fmt: skip
    """Else somebody who comes to stand in it would leave it at once, and would have to come back:
    for ever, where he waits for something else as well."""
    now, line, present = 60.0, FairQueue(), []
    line._admitted = passed
    for number, (kind, one, urgent, amount, came) in enumerate(events):
        person = Person(2 * number, f"k{one}", urgency=urgent, since=came)
        if kind == "come":
            present.append(person)
            line.add(person)
        elif kind == "pass" and line.may_pass(person, now):
            line.charge(person, amount, now)
        elif present:
            leaving = line.head(now) if kind == "go" else present[amount % len(present)]
            assert isinstance(leaving, Person)
            if kind == "go":
                line.charge(leaving, amount, now)
            line.remove(leaving)
            present.remove(leaving)
    somebody = Person(2 * seq + 1, f"k{key}", urgency=urgency, since=since)
    turn, let_pass = line.is_aged_head(somebody, now), line.may_pass(somebody, now)
    line.add(somebody)
    assert (line.head(now) is somebody) is let_pass is line.may_pass(somebody, now)
    assert line.is_aged_head(somebody, now) is turn
    line.remove(somebody)
    assert line.is_aged_head(somebody, now) is turn
