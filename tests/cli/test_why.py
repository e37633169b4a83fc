"""`sidecar why`: the story of one call, as the books have it."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Cli
from ledger_checks import call

from sidecar.errors import ErrorKind
from sidecar.ledger.database import open_database
from sidecar.ledger.model import Batch, Keep
from sidecar.records import (
    AttemptRecord,
    AttemptUsage,
    Caller,
    CallRecord,
    Cost,
    Outcome,
    Usage,
    UsageState,
    Wait,
)

FAILED_OVER = call(
    started=time.time() - 180,
    attempts=(
        AttemptRecord("acme", "env:ACME_KEY", "m-1", "rate_limited", 429, "429 rate_limit", 0.0403),
        AttemptRecord("other", "", "m-1", "unreachable", None, "connection refused", 12.0),
        AttemptRecord("acme", "env:ACME_2", "m-1", "ok", 200, "", 1.5),
    ),
    waits=(Wait("tpm 200k of group G (routes.yaml:7)", 0.25), Wait("a pause of everything", 90)),
)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def write(cli: Cli, *records: CallRecord) -> None:
    database = open_database(cli.state, time.time())
    database.write(Batch(steps=list(records)), Keep())
    database.close()


def story(cli: Cli, *records: CallRecord) -> dict[str, list[str]]:
    """The lines about the last of these calls, by their first word."""
    write(cli, *records)
    done = cli.run("why", records[-1].call_id)
    assert (done.status, done.err) == (0, "")
    lines: dict[str, list[str]] = {}
    for line in done.out.splitlines():
        lines.setdefault(line[:9].strip(), []).append(line[10:])
    return lines


def test_why_prints_a_call_from_caller_to_cost(cli: Cli) -> None:
    lines = story(cli, FAILED_OVER)
    assert lines.pop("call")[0].startswith("call_1, began 20")
    assert lines == {
        "who": ['key "nightly" of group G, background, codex/1.0, session s-1'],
        "": ["codex, process 4711, in /home/me/app, repository app, branch main"],
        "asked": ["openai chat, m-1, streaming"],
        "waited": [
            "250 ms: tpm 200k of group G (routes.yaml:7)",
            "90 s: a pause of everything",
        ],
        "tried": [
            "1. acme with env:ACME_KEY, m-1, status 429, 40 ms: rate limited (429 rate_limit)",
            "2. other with no credential, m-1, no answer, 12 s: unreachable (connection refused)",
            "3. acme with env:ACME_2, m-1, status 200, 1.5 s: ok",
        ],
        "answered": ["by acme, m-1-2026, status 200, ok"],
        "took": ["1.75 s, first byte after 750 ms"],
        "used": [
            "100 input, 20 from the cache, 5 into the cache, 50 output, 10 reasoning, 1 images, "
            "tier default"
        ],
        "cost": ["$0.00125 by list 2026-11-01 × 0.9 = $0.001125"],
    }


REFUSED = call(
    call_id="call_2", provider="", attempts=(), waits=(), wait=0.0, status=429, caller=Caller(),
    outcome=Outcome.REFUSED, refusal=ErrorKind.BUDGET_SPENT, reason='key "nightly" has spent $2',
    usage=None, usage_state=UsageState.NONE, cost=None, first_byte=None, duration=0.0002,
    model_served=None, session=None, program="",
)  # fmt: skip


def test_why_prints_who_rejected_a_call_and_the_reason(cli: Cli) -> None:
    lines = story(cli, FAILED_OVER, REFUSED)
    assert lines["answered"] == ["by Sidecar itself, status 429, refused, budget_spent"]
    assert lines["because"] == ['key "nightly" has spent $2']
    assert lines["who"] == ['key "nightly" of group G, background']
    assert lines[""] == ["an unknown process"]
    assert (lines["waited"], lines["tried"]) == (["not at all"], ["no provider"])
    assert (lines["used"], lines["cost"]) == (["nothing"], ["nothing"])
    assert lines["took"] == ["under 1 ms"]


@pytest.mark.parametrize(
    ("changes", "used", "cost"),
    [
        ({"usage": None, "usage_state": UsageState.UNKNOWN, "cost": None, "streaming": False},
         "unknown: the vendor did not report it", "unknown: the usage is unknown"),
        ({"usage": None, "usage_state": UsageState.UNKNOWN, "cost": None, "streaming": True},
         "unknown: the vendor did not report it; `usage: ask` on the group asks chat streams for "
         "it",
         "unknown: the usage is unknown"),
        ({"cost": None, "usage": Usage(5)}, "5 input, unknown output",
         "unknown: no price is known for it"),
        ({"usage_state": UsageState.PARTIAL, "usage": Usage(5, 6), "cost": Cost(7, 7, "p")},
         "5 input, 6 output, a lower bound", "$0.000000007 by p"),
        ({"usage": Usage(0, 0), "cost": Cost(0, 0, "free")}, "0 input, 0 output",
         "nothing: the provider's price is free"),
        ({"usage": Usage(5, 6), "usage_state": UsageState.UNKNOWN, "cost": Cost(7, 7, "p", False)},
         "5 input, 6 output, attempts of unknown usage not included",
         "$0.000000007 by p, parts of unknown cost not included"),
    ],
    ids=["unknown", "unknown stream", "unpriced", "partial", "free", "partly unknown"],
)  # fmt: skip
def test_why_tells_unknown_from_nothing(
    cli: Cli, changes: dict[str, Any], used: str, cost: str
) -> None:
    lines = story(cli, call(started=time.time(), **changes))
    assert (lines["used"], lines["cost"]) == ([used], [cost])


SPENT = call(
    attempts=(
        AttemptRecord(
            "acme", "", "m-1", "failed", None, "in its stream: server_error", 0.04,
            AttemptUsage(UsageState.PARTIAL, Usage(7, 1, units=(("images", 1),)), Cost(9, 8, "p")),
        ),
        AttemptRecord(
            "acme", "", "m-1", "failed", None, "it closed without an answer", 0.04,
            AttemptUsage(UsageState.UNKNOWN),
        ),
        AttemptRecord("other", "", "m-1", "ok", 200, "", 1.5),
    ),
)  # fmt: skip


def test_why_prints_the_usage_of_a_failed_attempt(cli: Cli) -> None:
    assert story(cli, SPENT)["tried"] == [
        "1. acme with no credential, m-1, no answer, 40 ms: failed (in its stream: server_error); "
        "used 7 input, 1 output, 1 images, a lower bound, $0.000000008",
        "2. acme with no credential, m-1, no answer, 40 ms: failed (it closed without an answer); "
        "its usage is unknown",
        "3. other with no credential, m-1, status 200, 1.5 s: ok",
    ]
    found = json.loads(cli.run("why", "call_1", "--json").out, parse_float=Decimal)
    told, unknown, nothing = (each["spent"] for each in found["attempts"])
    assert (told["usage_state"], told["usage"]["input_tokens"]) == ("partial", 7)
    assert told["usage"]["units"] == {"images": 1}
    assert told["cost"]["charged_usd"] == Decimal("0.000000008")
    assert unknown == {"usage_state": "unknown", "usage": None, "cost": None}
    assert nothing is None


def test_why_json_contains_every_field(cli: Cli) -> None:
    write(cli, FAILED_OVER)
    found = json.loads(cli.run("why", "call_1", "--json").out, parse_float=Decimal)
    assert found["waits"][0] == {
        "behind": "tpm 200k of group G (routes.yaml:7)", "seconds": Decimal("0.25")
    }  # fmt: skip
    assert [each["verdict"] for each in found["attempts"]] == ["rate_limited", "unreachable", "ok"]
    assert found["usage"] == {
        "input_tokens": 100, "output_tokens": 50, "cache_read_tokens": 20,
        "cache_write_tokens": 5, "cache_write_1h_tokens": 2, "reasoning_tokens": 10,
        "units": {"images": 1}, "service_tier": "default", "parts": [],
    }  # fmt: skip
    assert found["cost"] == {
        "listed_usd": Decimal("0.00125"), "charged_usd": Decimal("0.001125"),
        "price": "list 2026-11-01", "whole": True,
    }  # fmt: skip
    assert found["caller"] == {
        "program": "codex", "pid": 4711, "directory": "/home/me/app", "repo": "app",
        "branch": "main",
    }  # fmt: skip
    write(cli, call(call_id="call_2", caller=None, cost=None))
    found = json.loads(cli.run("why", "call_2", "--json").out)
    assert found["caller"] is found["cost"] is None


def test_why_without_an_id_lists_the_latest_calls(cli: Cli) -> None:
    now = time.time()
    write(
        cli,
        *(call(call_id=f"call_{n}", started=now - n, model_asked=f"m\x1b{n}") for n in range(30)),
    )
    idle = {"usage": None, "usage_state": UsageState.NONE, "cost": None, "model_asked": None}
    write(cli, call(call_id="call_idle", started=now - 0.5, **idle))
    done = cli.run("why")
    title, *lines = done.out.splitlines()
    assert title.split() == [
        "call", "began", "key", "model", "provider", "status", "outcome", "tokens", "cost",
    ]  # fmt: skip
    names = ["call_0", "call_idle", *(f"call_{number}" for number in range(1, 19))]
    assert [line.split()[0] for line in lines] == names
    assert lines[1].split()[3:] == ["nightly", "-", "acme", "200", "ok", "-", "-"]
    assert lines[0].split()[3:] == ["nightly", "m\\x1b0", "acme", "200", "ok", "100", "+", "50",
                                    "$0.001125"]  # fmt: skip
    found = json.loads(cli.run("why", "--json").out, parse_float=Decimal)
    assert found[0]["call_id"] == "call_0"
    assert found[0]["cost_usd"] == Decimal("0.001125")


def test_why_names_the_transforms_of_a_call(cli: Cli) -> None:
    told = story(cli, call(transform="redact, translate"))
    assert told["changed"] == ["by redact, translate"]
    assert told["answered"][0].startswith("by acme")


def test_why_of_an_estimate_names_no_provider(cli: Cli) -> None:
    nothing = {"usage": None, "usage_state": UsageState.NONE, "cost": None, "attempts": ()}
    told = story(cli, call(transform="count_tokens", provider="", model_served=None, **nothing))
    assert "changed" not in told
    assert told["answered"] == ["by Sidecar itself, with count_tokens, status 200, ok"]
    assert (told["used"], told["cost"]) == (["nothing"], ["nothing"])


def test_why_of_an_unknown_call_exits_2(cli: Cli) -> None:
    write(cli, FAILED_OVER)
    done = cli.run("why", "call_\x1b9")
    assert (done.status, done.out) == (2, "")
    assert "not in the ledger" in done.err
    assert "\x1b" not in done.err


def test_why_accepts_the_id_of_the_header(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with cli.serving() as served:
        key = cli.create("codex")
        assert served.call(key) == 200
        call_id = json.loads(cli.run("why", "--json").out)[0]["call_id"]
        assert call_id == served.call_ids[-1]
        told = cli.spawn("why", call_id)
        assert told.status == 0
        assert 'key "codex" of group demo' in told.out
        assert "tried     1. echo with no credential, echo, status 200" in told.out
