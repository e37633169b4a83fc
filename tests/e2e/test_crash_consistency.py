"""Nothing is lost and nothing invented: thousands of mixed calls, a kill -9 in the middle, and the
vendor's own books beside ours, to the token and the nano-dollar.

Each call has a name, by which the vendor writes down what it sent, the client what it got, and the
ledger what it read. What the ledger says must lie between the two: at least what reached the
client, at most what left the vendor. For who stayed to the end both are the same, so that there is
one right answer. A row may be missing, or say no more than that the call ran, only if it ran when
the process was killed, or had ended within the second before (and what this machine was late by).
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from crash_run import MULTIPLIER, UNREADABLE, Figures, Form, Plan, book_vendor, plans
from ledger_checks import assert_in_step
from ledger_checks import rows as read_rows
from running_sidecar import CANARY, parse, request, talk

from sidecar.api_keys import digest, mint
from sidecar.proxy.in_flight import KILLED

YAML = """
server: {{listen: ["127.0.0.1:0"]}}
defaults: {{max_wait: 60s}}
prices: {{"*": {{input: 2, output: 8, cache_read: 0.2, cache_write: 2.5}}}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  ob: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ao: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  gf: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
x-again: &again {{retry: at-least-once}}
groups:
  GPT: {{vendor: openai, routes: [oa: *again, ob: *again]}}
  Asking: {{vendor: openai, multiplier: 0.9, usage: ask, routes: [ob: *again, oa: *again]}}
  Claude: {{vendor: anthropic, multiplier: 0.9, routes: [an: *again, ao: *again]}}
  Gemini: {{vendor: gemini, multiplier: 0.5, routes: [ge: *again, gf: *again]}}
keys:
  gpt: {{group: GPT, hash: "{gpt}"}}
  asking: {{group: Asking, hash: "{asking}"}}
  claude: {{group: Claude, hash: "{claude}"}}
  gemini: {{group: Gemini, hash: "{gemini}"}}
"""
KEYS = ("gpt", "asking", "claude", "gemini")
COLUMNS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
           "reasoning_tokens")  # fmt: skip
AT_ONCE = 24
LOOK = " look "
"""The session of a GET by id, after that of the call that created the object."""
SECOND = 1.0
LISTENING = re.compile(rb"on http://.*:(\d+), admin on http://.*:(\d+)\b")


@dataclass
class Play:
    """A run: its calls, the process of the moment, and how late this machine was."""

    folder: Path
    planned: dict[str, Plan]
    texts: dict[str, str]
    port: int = 0
    admin: int = 0
    life: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    killed_at: float = 0.0
    late: float = 0.0
    done: int = 0
    edits: int = 0

    async def watch_lateness(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            if not self.killed_at:
                self.late = max(self.late, time.monotonic() - before - 0.01)


@asynccontextmanager
async def life(play: Play) -> AsyncIterator[asyncio.subprocess.Process]:
    """`sidecar serve`, until it is killed or the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "serve", "--config", str(play.folder / "routes.yaml"),
        "--state", str(play.folder / "state"), "--listen", "127.0.0.1:0",
        "--admin", "127.0.0.1:0", stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "UPSTREAM_KEY": CANARY},
    )  # fmt: skip
    assert process.stderr is not None
    log = b""
    try:
        async with asyncio.timeout(30):
            while not (found := LISTENING.search(log)):
                line = await process.stderr.readline()
                assert line, log.decode()
                log += line
        draining = asyncio.create_task(process.stderr.read())
        play.port, play.admin = int(found[1]), int(found[2])
        play.life += 1
        play.up.set()
        yield process
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log += await draining
        assert b"Traceback" not in log, log.decode()[-4000:]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def make(play: Play, plan: Plan) -> None:
    """One call, with the manners of its client."""
    await play.up.wait()
    form = plan.form
    plan.life, plan.began = play.life, time.monotonic()
    body = json.dumps({**form.asked, "nonce": plan.name}).encode()
    headers = {"session-id": plan.name, "Content-Type": "application/json"}
    text = play.texts[form.key]
    headers |= {
        "claude": {"x-api-key": text}, "gemini": {"x-goog-api-key": text},
    }.get(form.key, {"Authorization": f"Bearer {text}"})  # fmt: skip
    raw = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", play.port)
        writer.write(request("POST", form.path, headers, body))
        raw = await _listen(plan, reader)
        writer.close()
    except ConnectionError:
        plan.killed = True
    for number, look in enumerate(form.looks):
        if not plan.killed and plan.life == play.life and play.up.is_set():
            await look_at(play, plan, number, *look)
    plan.ended = time.monotonic()
    if plan.life != play.life or not play.up.is_set():
        plan.killed = True
    if b"\r\n\r\n" in raw:
        got = parse(raw)
        plan.status, plan.body, plan.whole = got.status, got.body, got.ended


async def look_at(play: Play, plan: Plan, number: int, method: str, path: str) -> None:
    """Ask what became of what a call made."""
    headers = {"session-id": f"{plan.name}{LOOK}{number}", "Content-Type": "application/json"}
    headers["Authorization"] = f"Bearer {play.texts[plan.form.key]}"
    body = b"{}" if method == "POST" else b""
    try:
        async with asyncio.timeout(60):
            raw = await talk(play.port, request(method, path, headers, body))
        plan.killed = b"usage" not in raw
    except (ConnectionError, asyncio.IncompleteReadError):
        plan.killed = True


async def _listen(plan: Plan, reader: asyncio.StreamReader) -> bytes:
    raw = b""
    while plan.leaves is None or len(raw) < plan.leaves:
        if not (piece := await reader.read(4096)):
            break
        raw += piece
        if plan.early and plan.form.mark in raw:
            break
    if plan.stuck:
        while not plan.served and not plan.killed:
            # It leaves while the vendor thinks; another process has no event for that.
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    if not await reader.read(4096):
                        break
    return raw


async def work(
    play: Play, waiting: list[Plan], process: asyncio.subprocess.Process, kill: int
) -> None:
    """Take calls, until there are none, or enough of them to kill the process."""
    total = len(play.planned)
    while waiting and (not kill or play.done < kill):
        await make(play, waiting.pop())
        play.done += 1
        if play.done % (total // 10) == 0:
            play.edits += 1
            file = play.folder / "routes.yaml"
            file.write_text(
                re.sub(r"max_wait: \d+s", f"max_wait: {60 + play.edits}s", file.read_text())
            )
    if kill and play.up.is_set():
        play.up.clear()
        play.killed_at = time.monotonic()
        process.send_signal(signal.SIGKILL)


async def scrape(play: Play) -> str:
    """The metrics, once no call runs any more."""
    async with asyncio.timeout(30):
        while True:
            text = parse(await talk(play.admin, request("GET", "/metrics", {}))).body.decode()
            if not re.search(r"^sidecar_calls_in_flight\{.*\} [1-9]", text, re.MULTILINE):
                return text
            await asyncio.sleep(0.05)


def allowed(plan: Plan) -> set[tuple[str, Figures | None]]:
    """Return the usage that the ledger may have for a call, failed attempts included."""
    found = answered(plan)
    left = plan.leaves is not None or plan.early or plan.killed
    for told in plan.wasted:
        # Who left may have done so before that try was heard of, and while it was made.
        perhaps = found | {("unknown", figures) for _, figures in found} if left else set()
        found = perhaps | {wasted(state, figures, told, plan) for state, figures in found}
    return found


def wasted(
    state: str, figures: Figures | None, told: Figures | None, plan: Plan
) -> tuple[str, Figures | None]:
    """Return the expected usage of an answer after a failed attempt."""
    if told is None:
        return ("unknown" if plan.form.counts else state), figures
    pairs = zip(figures or (None,) * 5, told, strict=True)
    both = tuple(one if two is None else (one or 0) + two for one, two in pairs)
    return ("reported" if state == "none" else state), both  # type: ignore[return-value]


def answered(plan: Plan) -> set[tuple[str, Figures | None]]:
    """Return the usage that the ledger may have for its answer."""
    form = plan.form
    if not form.counts or plan.bad:
        return {("none", None)}
    left = plan.leaves is not None or plan.early or plan.killed
    if not plan.served:
        return {("none", None), ("unknown", None)}
    if not form.streams and plan.cut is not None:
        return {("unknown", None)}
    least, most = _surely_read(plan), _perhaps_read(plan)
    if not left:
        least = most
    found = set()
    for number in range(least, most + 1):
        stage = form.stages[number] if number >= 0 else None
        if stage is None or stage.told is None:
            found.add(("unknown", None))
        elif stage.finished:
            found |= {(state, stage.told) for state in _finished_states(form)}
        else:
            whole = number == len(form.stages) - 1
            if left or not whole:
                found.add(("partial", stage.told))
            if whole:
                found.add(("reported", stage.told))
    # One that was cut before its first event was tried again elsewhere, and cut there.
    return {(state, times(figures, plan.served)) for state, figures in found}


def _finished_states(form: Form) -> set[str]:
    """Which unreadable events may have held figures is a matter of the dialect's own tests."""
    unreadable = any(stage.data in UNREADABLE for stage in form.stages)
    return {"reported", "partial"} if unreadable else {"reported"}


def never_began(plan: Plan) -> bool:
    """Return whether the stream was cut inside its first event: both providers are then tried."""
    first = plan.form.stages[0].data
    return plan.form.streams and plan.cut is not None and plan.cut < len(first)


def times(figures: Figures | None, number: int) -> Figures | None:
    if figures is None:
        return None
    return tuple(one if one is None else one * number for one in figures)  # type: ignore[return-value]


def _surely_read(plan: Plan) -> int:
    """The last stage that reached the client."""
    got, end = -1, 0
    for number, stage in enumerate(plan.form.stages):
        end += len(stage.shown)
        if stage.shown and plan.status == 200 and end <= len(plan.body):
            got = number
    return got


def _perhaps_read(plan: Plan) -> int:
    """The last stage that left the vendor; its blank line adds nothing."""
    got, end = -1, 0
    for number, stage in enumerate(plan.form.stages):
        if end + stage.needed <= plan.sent:
            got = number
        end += len(stage.data)
    return got


def price(plan: Plan, told: Figures) -> int:
    """Nano-dollars, in whole numbers."""
    read, out, cached, written, _ = (figure or 0 for figure in told)
    listed = (read - cached - written) * 2000 + cached * 200 + written * 2500 + out * 8000
    return listed * MULTIPLIER[plan.form.group] // 10


def told_by(row: dict[str, Any]) -> Figures | None:
    found = tuple(row[name] for name in COLUMNS)
    return None if not any(each is not None for each in found) else found  # type: ignore[return-value]


@dataclass
class Verdict:
    """The result of the comparison."""

    mismatches: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    noted: int = 0
    last_second: int = 0
    unseen: int = 0


def compare(play: Play, books: list[dict[str, Any]]) -> Verdict:
    """Every call of the vendor's and the clients' books beside its row."""
    verdict = Verdict()
    by_name = defaultdict(list)
    verdict.mismatches += [wrong for row in books for wrong in looked_wrongly(row)]
    for row in without_looks(books):
        by_name[row["session"]].append(row)
    for plan in play.planned.values():
        found = by_name.pop(plan.name, [])
        lost = plan.life == 1 and (plan.killed or play.killed_at - plan.ended <= SECOND + play.late)
        if len(found) == 1 and found[0]["reason"] == KILLED:
            verdict.noted += 1
            verdict.mismatches += noted_wrongly(plan, found[0], lost=lost)
        elif len(found) == 1:
            verdict.states[found[0]["usage_state"]] += 1
            verdict.mismatches += differences(plan, found[0], lost=lost)
        elif found:
            verdict.mismatches.append(f"{plan.name} is {len(found)} times in the ledger")
        elif lost and plan.killed:
            verdict.in_flight += 1
        elif lost:
            verdict.last_second += 1
        elif plan.leaves is not None and not plan.arrived:
            verdict.unseen += 1  # it left before its request was read
        else:
            ago = play.killed_at - plan.ended
            verdict.mismatches.append(f"{plan} is missing, {ago:.3f} s before the kill")
        if plan.served > (2 if never_began(plan) else 1):
            verdict.mismatches.append(f"{plan.name} was billed {plan.served} times")
    verdict.mismatches += [f"{name} was never called" for name in by_name]
    return verdict


def looked_wrongly(row: dict[str, Any]) -> list[str]:
    """A look at what was made uses nothing, however often it tells what that used."""
    right = (row["usage_state"], told_by(row), row["cost_charged"]) == ("none", None, None)
    return [] if right or LOOK not in row["session"] else [f"a look was booked: {row}"]


def without_looks(books: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in books if LOOK not in row["session"]]


def noted_wrongly(plan: Plan, row: dict[str, Any], *, lost: bool) -> list[str]:
    """A call of which nothing was heard but that it ran: only the kill may have lost its end."""
    state = "unknown" if plan.form.counts else "none"
    right = lost and (row["usage_state"], told_by(row), row["cost_charged"]) == (state, None, None)
    return [] if right else [f"{plan} was noted as killed: {row}"]


def differences(plan: Plan, row: dict[str, Any], *, lost: bool) -> list[str]:
    told = told_by(row)
    found = []
    right = allowed(plan)
    if plan.form.late is not None and plan.told:
        # What was told last before the kill may be lost with it, and then none of it is booked.
        right = {("reported", plan.form.late)} | (right if lost else set())
    if (row["usage_state"], told) not in right:
        found.append(f"{plan}: {row['usage_state']} {told}, not one of {right}")
    charged = None if told is None else price(plan, told)
    if row["cost_charged"] != charged:
        found.append(f"{plan}: {row['cost_charged']} nano-dollars, not {charged}")
    shown = b"".join(stage.shown for stage in plan.form.stages)
    stayed = plan.leaves is None and not plan.early and not plan.killed
    served = stayed and plan.cut is None and not plan.bad
    if served and (plan.status, plan.body) != (200, shown):
        found.append(f"{plan}: the client did not get what the vendor sent")
    if stayed and plan.cut is not None and plan.whole and plan.status == 200:
        told_end = plan.form.stages[_perhaps_read(plan)].finished if plan.sent else False
        if not told_end:
            found.append(f"{plan}: a cut answer looked whole")
    return found


def life_of(planned: dict[str, Plan], row: dict[str, Any]) -> int:
    return planned[row["session"].partition(LOOK)[0]].life


def sums(books: list[dict[str, Any]]) -> dict[str, int]:
    names = (*COLUMNS, "cost_charged")
    return {name: sum(row[name] or 0 for row in books) for name in names}


def check_metrics(text: str, books: list[dict[str, Any]], planned: dict[str, Plan]) -> None:
    """The metrics of one life beside its rows."""
    counted: Counter[tuple[str, str]] = Counter()
    for labels, value in re.findall(r"^sidecar_tokens_total\{(.*)\} (\S+)$", text, re.MULTILINE):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        counted[named["key"], named["kind"]] += int(float(value))
    expected: Counter[tuple[str, str]] = Counter()
    for row in books:
        read, out, cached, written, thought = (row[name] or 0 for name in COLUMNS)
        for kind, count in (
            ("input", read - cached - written), ("cache_read", cached), ("cache_write", written),
            ("output", out - thought), ("reasoning", thought),
        ):  # fmt: skip
            expected[row["key"], kind] += count
    assert +counted == +expected
    dollars = re.findall(r"^sidecar_cost_dollars_total\{.*\} (\S+)$", text, re.MULTILINE)
    assert sum(round(Decimal(each) * 10**9) for each in dollars) == sums(books)["cost_charged"]
    outcomes = re.findall(r'^sidecar_calls_total\{.*outcome="(\w+)".*\} (\S+)$', text, re.MULTILINE)
    ended: Counter[str] = Counter()
    for outcome, value in outcomes:
        ended[outcome] += int(float(value))
    assert ended == Counter(row["outcome"] for row in books)
    unknown = re.findall(r"^sidecar_usage_unknown_total\{.*\} (\S+)$", text, re.MULTILINE)
    # What is told later counts as unknown until then, and a counter never goes down.
    late = sum(planned[row["session"]].told > 0 for row in without_looks(books))
    state = Counter(row["usage_state"] for row in books)
    assert sum(map(float, unknown)) == state["unknown"] + late


async def report(play: Play, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "usage", "--config", str(play.folder / "routes.yaml"),
        "--state", str(play.folder / "state"), *words,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "UPSTREAM_KEY": CANARY},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def check_reports(play: Play, books: list[dict[str, Any]]) -> None:
    """`sidecar usage`, call by call and in sum, as JSON and as CSV."""
    listed = json.loads(await report(play, "--by", "session", "--json"), parse_float=Decimal)
    by_name = {row["session"]: row for row in books}
    assert {line["session"] for line in listed} == set(by_name)
    for line in listed:
        row = by_name[line["session"]]
        assert line["calls"] == 1
        assert line["unknown_calls"] == (row["usage_state"] == "unknown")
        # What used nothing is known to have used nothing.
        none = 0 if row["usage_state"] == "none" else None
        expected = {name: none if row[name] is None else row[name] for name in COLUMNS}
        assert {name: line[name] for name in COLUMNS} == expected
        cost = none if row["cost_charged"] is None else row["cost_charged"]
        assert line["cost_usd"] == (None if cost is None else Decimal(cost).scaleb(-9))
    sheet = list(csv.DictReader(io.StringIO(await report(play, "--by", "key,model", "--csv"))))
    totals = {name: sum(int(line[name] or 0) for line in sheet) for name in COLUMNS}
    totals["cost_charged"] = sum(int(Decimal(line["cost_usd"] or 0).scaleb(9)) for line in sheet)
    assert totals == sums(books)


@pytest.mark.timeout(900)
async def test_ledger_of_thousands_of_calls_agrees_with_the_vendor_after_kill_9(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    calls = request.config.getoption("calls")
    planned = {plan.name: plan for plan in plans(calls, seed=20261124)}
    play = Play(tmp_path, planned, {name: mint() for name in KEYS})
    began = time.monotonic()
    watching = asyncio.create_task(play.watch_lateness())
    async with book_vendor(planned) as vendor:
        hashes = {name: f"sha256:{digest(text).hex()}" for name, text in play.texts.items()}
        file = tmp_path / "routes.yaml"
        file.write_text(YAML.format(url=f"http://127.0.0.1:{vendor.port}", **hashes))
        file.chmod(0o600)
        waiting = list(planned.values())[::-1]
        async with life(play) as process:
            kill = calls // 2
            await asyncio.gather(*(work(play, waiting, process, kill) for _ in range(AT_ONCE)))
            assert await process.wait() == -signal.SIGKILL
        async with life(play) as process:
            await asyncio.gather(*(work(play, waiting, process, 0) for _ in range(AT_ONCE)))
            text = await scrape(play)
            for plan in planned.values():
                if plan.form.looks and plan.life == 1 and not plan.killed:
                    await look_at(play, plan, len(plan.form.looks), *plan.form.looks[0])
    watching.cancel()
    took = time.monotonic() - began
    books = read_rows(tmp_path / "state")
    verdict = compare(play, books)
    print(  # noqa: T201 - for who runs it by hand
        f"\n{calls} calls in {took:.1f} s, {play.edits} edits, {len(books)} rows: "
        f"{dict(verdict.states)}; in flight at the kill {verdict.in_flight}, "
        f"noted that they were {verdict.noted}, in its last second "
        f"{verdict.last_second}, left before it was read {verdict.unseen}; late by {play.late:.3f} "
        f"s; {len(verdict.mismatches)} mismatches; {sums(books)}"
    )
    assert not verdict.mismatches, "\n".join(verdict.mismatches[:20])
    made = len(without_looks(books))
    assert made < len(books)
    assert made + verdict.in_flight + verdict.last_second + verdict.unseen == calls
    assert min(verdict.states[state] for state in ("reported", "partial", "unknown", "none")) > 0
    assert_in_step(tmp_path / "state")
    second = [row for row in books if life_of(planned, row) == 2]
    check_metrics(text, second, planned)
    await check_reports(play, books)
