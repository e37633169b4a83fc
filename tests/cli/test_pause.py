"""`sidecar pause`, `resume`, `explain` and `status`, as a person types them."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import msgspec
import pytest
from cli_runner import Cli
from project_paths import ROOT

from sidecar.admin.api_types.live import Explanation
from sidecar.cli.render.explain import explanation_lines

FILE = """\
limits: {concurrency: 50}
groups:
  demo:  {vendor: echo, limits: {rpm: 60, models: {echo*: {tpm: 200k}}}, budget: $10/day}
  first: {vendor: echo}
keys:
  first:   {group: demo}
  nightly: {group: demo, urgency: background}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, text=FILE)


def test_pause_while_the_shared_server_is_gone_names_when_the_others_follow(tmp_path: Path) -> None:
    cli = Cli(tmp_path, text=f"state: {{shared: 'redis://127.0.0.1:1', namespace: n}}\n{FILE}")
    with cli.serving():
        done = cli.run("pause", "nightly")
    here = 'paused: key "nightly" here; the other processes follow once the server of shared state'
    assert here in done.err


def test_paused_call_waits_until_it_is_resumed(cli: Cli) -> None:
    key = cli.create("k")

    async def scene() -> None:
        with cli.serving() as served:
            paused = await asyncio.to_thread(cli.spawn, "pause", "k")
            assert (paused.status, paused.out) == (0, "")
            assert paused.err == 'paused: key "k" (sidecar resume --key k)\n'
            call = asyncio.create_task(asyncio.to_thread(served.call, key))
            while not (status := await asyncio.to_thread(cli.run, "status", "--json")).json[
                "waiting"
            ]:
                assert not call.done()
            assert status.json["in_flight"] == 1
            told = await asyncio.to_thread(cli.run, "status")
            assert "calls     1 in flight, 1 of them waiting\n" in told.out
            assert (
                'paused    key "k", just now by the command line, 1 call waiting '
                "(sidecar resume --key k)" in told.out
            )
            resumed = await asyncio.to_thread(cli.spawn, "resume", "k")
            assert (resumed.status, resumed.err) == (0, 'resumed: key "k"\n')
            assert await call == 200
            assert 'paused: key "k"' in served.log.read_text().replace("\\", "")

    asyncio.run(scene())


def test_pause_without_a_process_is_stored_for_the_next(cli: Cli) -> None:
    paused = cli.run("pause", "nightly")
    assert paused.status == 0
    assert 'paused: key "nightly"' in paused.err
    assert "no process runs: it applies when the next one starts" in paused.err
    kept = cli.state / "holds.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(cli.state.stat().st_mode) == 0o700
    assert cli.run("explain", "--key", "nightly", "--model", "echo", "--json").json["now"][
        "outcome"
    ] == "waits"  # fmt: skip
    with cli.serving() as served:
        (hold,) = cli.run("status", "--json").json["holds"]
        assert (hold["kind"], hold["name"]) == ("key", "nightly")
        assert "is still paused (sidecar resume --key nightly)" in served.log.read_text().replace(
            "\\", ""
        )
        assert "already" in cli.run("pause", "nightly").err
    assert cli.run("resume", "all").status == 0
    with cli.serving():
        assert cli.run("status", "--json").json["holds"] == []


def test_pause_waits_for_a_process_that_starts_meanwhile(cli: Cli) -> None:
    """The state is taken while it is written, and so is not overwritten by a stale copy."""
    with cli.serving():
        (cli.state / "admin.sock").unlink()
        done = cli.run("pause", "nightly")
        assert done.status == 2
        assert "in use by process" in done.err
    assert not (cli.state / "holds.json").exists()


def test_pause_with_a_name_of_key_and_group_exits_2_and_suggests_the_option(cli: Cli) -> None:
    done = cli.run("pause", "first")
    assert done.status == 2
    assert done.err == (
        'sidecar: "first" is a key and a group; say which one with --key or --group\n'
    )
    assert cli.run("pause", "--group", "first").status == 0
    assert cli.run("resume", "first").status == 0, "only one of them is paused"
    unknown = cli.run("pause", "nightl")
    assert (unknown.status, 'did you mean "nightly"?' in unknown.err) == (2, True)
    for words in ((), ("first", "--key", "first"), ("--key", "a", "--group", "b")):
        assert cli.run("pause", *words).status == 2
    with cli.serving():
        live = cli.run("pause", "first")
        assert (live.status, live.err) == (2, done.err)


def test_pause_refuses_a_secret_in_place_of_a_name(cli: Cli) -> None:
    key = cli.create("k")
    done = cli.run("pause", key)
    assert (done.status, key in done.err + done.out) == (2, False)


def test_keys_list_and_show_report_a_pause(cli: Cli) -> None:
    def paused() -> dict[str, bool]:
        rows = cli.run("keys", "list", "--json").json
        return {row["name"]: row["paused"] for row in rows}

    assert paused() == {"first": False, "nightly": False}
    cli.run("pause", "--key", "first")
    assert paused() == {"first": True, "nightly": False}
    with cli.serving():
        cli.run("pause", "demo")
        assert paused() == {"first": True, "nightly": True}
        assert "no secret yet, paused" in cli.run("keys", "list").out
        assert 'group "demo"' in cli.run("keys", "show", "nightly").out
        resumed = cli.run("resume", "--key", "first")
        assert resumed.err == (
            'resumed: key "first"; but group "demo" is still paused (sidecar resume --group demo)\n'
        )
        cli.run("resume", "all")
        assert paused() == {"first": False, "nightly": False}
        assert cli.run("resume", "nightly").err == 'key "nightly" is not paused\n'
        assert cli.run("resume", "all").err == "nothing is paused\n"


def test_pause_json_reports_the_result(cli: Cli) -> None:
    fields = {"kind", "name", "scope", "resume", "news", "running", "waiting", "kept", "shared"}
    fields.add("live")
    alone = cli.run("pause", "nightly", "--json").json
    assert (set(alone), alone["live"]) == (fields, False)
    with cli.serving():
        live = cli.run("resume", "nightly", "--json").json
        assert (set(live), live["live"]) == (fields | {"still"}, True)


def test_pause_without_a_writable_state_exits_2(cli: Cli) -> None:
    (cli.state / "holds.json").mkdir(parents=True)
    done = cli.run("pause", "nightly")
    assert (done.status, "nothing was changed" in done.err) == (2, True)


def test_explain_prints_candidates_and_limits_as_text(cli: Cli) -> None:
    """Figures stand under one another, each limit with the line that set it."""
    words = ("explain", "--key", "nightly", "--model", "echo-1", "--size", "40k")
    by_file = cli.run(*words).out.splitlines()
    assert (
        by_file[0]
        == 'key "nightly" of group "demo" (background, waits up to 2 min) asks for echo-1'
    )
    assert (
        by_file[2] == "It would go to echo, if there is room: no process runs that could be asked."
    )
    assert by_file[-4:] == [
        "   group demo           60 rpm                 routes.yaml:3",
        "   group demo           200,000 tpm for echo*  routes.yaml:3",
        "   group demo           $10.00 a day           routes.yaml:3",
        "   everything together  50 concurrency         routes.yaml:1",
    ]
    with cli.serving():
        live = cli.run(*words).out.splitlines()
        assert live[2] == "It would go to echo now."
        assert live[3].startswith("It would reserve 10,000 input tokens, and 4,096 output tokens")
        assert live[-5:] == [
            "1. echo (routes.yaml:3): open",
            "   group demo               0 of  60 rpm                      60 left  routes.yaml:3",
            "   group demo               0 of  200,000 tpm for echo*  200,000 left  routes.yaml:3",
            "   group demo           $0.00 of  $10.00 a day            $10.00 left  routes.yaml:3",
            "   everything together      0 of  50 concurrency              50 left  routes.yaml:1",
        ]


def test_explain_json_has_the_documented_fields(cli: Cli) -> None:
    page = (ROOT / "docs/cli.md").read_text()
    section = page.partition("## `sidecar explain`")[2].partition("\n## ")[0]
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| ")]
    words = {word for row in rows for cell in row for word in _code(cell)}
    for found in (cli.run("explain", "--key", "first", "--model", "m", "--json").json,):
        assert set(found) <= words
        assert set(found["now"]) <= words
        (way,) = found["candidates"]
        assert set(way) <= words
        assert set(way["reserves"]) <= words


def _code(text: str) -> list[str]:
    return text.split("`")[1::2]


def test_explain_refuses_a_size_that_is_no_number(cli: Cli) -> None:
    done = cli.run("explain", "--key", "first", "--model", "m", "--size", "big")
    assert (done.status, "big" in done.err) == (2, True)


TWO_WAYS = """\
providers:
  near: {plugin: vllm, base_url: "http://127.0.0.1:1/v1", credential: none, limits: {rpm: 5}}
  far:  {plugin: vllm, base_url: "http://127.0.0.1:2/v1", credential: none}
  gone: {plugin: vllm, base_url: "http://127.0.0.1:3/v1", credential: none}
groups:
  demo: {vendor: openai, limits: {rpm: 9}, routes: [near, far: {as: big}, gone: {enabled: false}]}
keys:
  k: {group: demo}
"""


def test_explain_prints_shared_limits_before_two_candidates(cli: Cli) -> None:
    cli.config.write_text(TWO_WAYS)
    done = cli.run("explain", "--key", "k", "--model", "m")
    lines = done.out.splitlines()
    assert lines[lines.index("on every candidate") + 1 :] == [
        "   group demo  9 rpm  routes.yaml:6",
        "",
        "1. near (routes.yaml:6)",
        "   provider near  5 rpm  routes.yaml:2",
        "",
        "2. far as big (routes.yaml:6)",
        "",
        "skipped",
        "   gone: switched off (routes.yaml:6)",
    ]


def test_explain_prints_a_shared_limit_once(cli: Cli) -> None:
    """Also where its figures were read a moment later for one way than for the other."""
    cli.config.write_text(TWO_WAYS)
    found = cli.run("explain", "--key", "k", "--model", "m", "--json").json
    for number, way in enumerate(found["candidates"]):
        for limiter in way["gates"]:
            limiter.update(used=1, left=8, reset=12.0 + number / 1000)
    lines = list(explanation_lines(msgspec.convert(found, Explanation)))
    assert [line.split()[:2] for line in lines if "9 rpm" in line] == [["group", "demo"]]
