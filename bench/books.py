"""What the books cost: to write, to keep and to read, over a million calls of three months.

Prints the time of a batch, the growth of the file, and how long each report takes, over the books
by day and over the calls themselves. Run: `python bench/books.py [--calls 1000000]`.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from ledger_checks import call

from sidecar.ledger.database import DAY_SECONDS, open_database
from sidecar.ledger.model import Batch, Keep
from sidecar.ledger.reader import open_to_read
from sidecar.ledger.reports.activity import recent, today
from sidecar.ledger.reports.trace import latest, trace_of
from sidecar.ledger.reports.usage import Days, Dimension, TimeRange, UsageQuery, usage
from sidecar.records import Caller, CallRecord, Cost, Usage

NOW = 1_800_000_000.0
SPAN = 90 * DAY_SECONDS
KEYS, MODELS, REPOS, SESSIONS = 12, 8, 10, 60
"""Of a busy laptop, all of them every day; the sessions are others each day."""


BESIDES = {Dimension.SESSION, Dimension.NODE}
"""What the sums of a day do not tell apart."""


def calls(number: int, draw: random.Random) -> Iterator[CallRecord]:
    """So many calls in the order of time, of the sizes that agents make."""
    for each in range(number):
        began = NOW - SPAN + SPAN * each / number
        key = draw.randrange(KEYS)
        session = f"{int(began // DAY_SECONDS)}-{draw.randrange(SESSIONS)}-0199c2f4-7d1e-4b1f-9a53"
        yield call(
            call_id=f"call_{draw.getrandbits(60):x}", started=began, key=f"key {key}",
            group=f"group {key % 3}", model_asked=f"model-{draw.randrange(MODELS)}",
            usage=Usage(draw.randrange(200_000), draw.randrange(4_000), 50_000, 1_000, 0, 300),
            cost=Cost(draw.randrange(10**9), draw.randrange(10**9), "a list of prices 2026-11-01"),
            session=session, program=f"claude-cli/2.1.{int(began // DAY_SECONDS) % 40}",
            caller=Caller("node", 4711, "/home/me/src/app", f"app {key % REPOS}", "main"),
        )  # fmt: skip


def fill(state: Path, number: int, size: int) -> list[float]:
    """Write the calls in batches of `size`; seconds for each."""
    draw = random.Random(1)
    database = open_database(state, NOW)
    taken, batch = [], Batch()
    for record in calls(number, draw):
        batch.steps.append(record)
        if len(batch.steps) == size:
            began = time.perf_counter()
            database.write(batch, Keep())
            taken.append(time.perf_counter() - began)
            batch = Batch()
    database.close()
    return taken


def best(work: Callable[[], object], rounds: int = 3) -> float:
    """The shortest of a few rounds, in milliseconds."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return min(found)


def reports(state: Path) -> Iterator[tuple[str, float]]:
    """Each report and how long it takes."""
    with open_to_read(state) as books:
        day = today(books, NOW)
        whole, last_day = Days(), TimeRange(NOW - DAY_SECONDS)
        call_id = latest(books, 1)[0]["call_id"]
        for title, work in (
            ("--by key", lambda: usage(books, UsageQuery((Dimension.KEY,), whole))),
            ("--by day,model", lambda: usage(
                books, UsageQuery((Dimension.DAY, Dimension.MODEL), whole))),
            ("all that days know", lambda: usage(
                books,
                UsageQuery(tuple(d for d in Dimension if d not in BESIDES), whole))),
            ("--by session", lambda: usage(books, UsageQuery((Dimension.SESSION,), whole))),
            ("--by session --since 24h", lambda: usage(
                books, UsageQuery((Dimension.SESSION,), last_day))),
            ("keys list", lambda: recent(books, day)),
            ("why", lambda: trace_of(books, call_id)),
        ):  # fmt: skip
            yield title, best(work)


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    number = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        for size in (25, 500):
            taken = fill(Path(folder) / str(size), min(number, 50_000), size)
            print(f"a batch of {size} calls       {median(taken) * 1000:8.1f} ms")
        state = Path(folder) / "books"
        fill(state, number, 1000)
        grown = (state / "sidecar.db").stat().st_size
        print(f"{number:,} calls on file   {grown / 1e6:8.1f} MB, {grown / number:.0f} bytes each")
        with open_to_read(state) as books:
            count = books.execute("SELECT count(*) FROM days").fetchone()[0]
            print(f"lines in the books by day {count:8,}")
        for title, milliseconds in reports(state):
            print(f"{title:25} {milliseconds:8.1f} ms")


if __name__ == "__main__":
    main()
