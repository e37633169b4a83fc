"""The benchmark detects bad answers, missing usage and a gateway that is too slow."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from project_paths import ROOT

from sidecar.config.loader import load as load_config
from sidecar.plugin_api.manager import discover

BENCH = ROOT / "bench"
MODULES = [file.stem for file in BENCH.glob("*.py")]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the CPU time of processes")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of bench/, whose modules import each other by their plain names."""
    monkeypatch.syspath_prepend(str(BENCH))

    def load(name: str) -> ModuleType:
        return __import__(name)

    yield load
    for name in MODULES:
        sys.modules.pop(name, None)


needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="there is no C compiler here: apt-get install gcc libc6-dev"
)


@pytest.fixture(params=[pytest.param("c", marks=needs_compiler), "python"])
def rig(bench: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A rig with vendor and client of either kind."""
    with bench("rig").Rig("asyncio", python=request.param == "python") as rig:
        yield rig


def test_every_answer_of_a_gateway_is_counted_and_checked(bench: Any, rig: Any) -> None:
    load = bench("load").Load
    gateway = rig.sidecar()
    used, outcome = rig.measure(gateway, load(2, 1 << 10, seconds=0.2))
    assert used > 0
    assert outcome.requests > 2
    assert (outcome.bad, outcome.unmetered) == (0, 0)
    # Too large for one write to a socket; not for the tokens a minute that the vendor names.
    large = rig.play(gateway.port, load(3, 512 << 10, seconds=0.1))
    assert (large.requests >= 3, large.bad) == (True, 0)
    streamed = rig.play(gateway.port, load(3, 1 << 10, chunks=5, pace=2))
    assert (streamed.requests, streamed.chunks) == (3, 3 * (5 + 3))
    assert (streamed.bad, streamed.unmetered) == (0, 0)
    assert 0 < streamed.delay[0] < streamed.whole[1] * 10
    together = rig.play(gateway.port, load(3, 1 << 10, chunks=2, pace=2, together=True))
    assert (together.requests, together.bad) == (3, 0)


def test_wire_alone_passes_calls_on(bench: Any, rig: Any) -> None:
    load = bench("load").Load
    wire = rig.wire()
    outcome = rig.play(wire.port, load(2, 1 << 10, seconds=0.2))
    streamed = rig.play(wire.port, load(2, 1 << 10, chunks=5, pace=2))
    assert (outcome.bad, streamed.bad) == (0, 0)
    assert (streamed.requests, streamed.chunks) == (2, 2 * (5 + 3))


def test_scenarios_of_dialects_and_of_large_files_give_figures(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenarios = bench("scenarios")
    monkeypatch.setattr(scenarios, "KEYS", 20)
    monkeypatch.setattr(scenarios, "SCRAPED", (3, 2))
    features = bench("features")
    kept = {name: features.FEATURES[name] for name in (features.PLAIN, "usage: ask", "redact")}
    monkeypatch.setattr(features, "FEATURES", kept)
    with bench("rig").Rig("asyncio", scale=0.05) as rig:
        gateway = rig.sidecar(config=rig.config(tuple(rig.keys)))
        # A peer is whatever runs already; this one has another key, and events that may be others.
        peer = rig.peer("peer", gateway.port, gateway.pid, rig.key, ["x-any: 1"])
        rows = [scenario(rig, gateway) for scenario in scenarios.OF_DIALECTS.values()]
        rows.append(scenarios.streams(rig, peer, 2))
        rows += [scenario(rig, 0) for scenario in scenarios.OF_SIDECAR.values()]
    assert all(value > 0 for row in rows for name, value in row.items() if name != "CPU s")


def test_each_feature_changes_one_place_of_a_valid_file(bench: Any) -> None:
    features, rig = bench("features"), bench("rig").Rig()
    texts = {feature: features.config(rig, feature) for feature in features.FEATURES}
    assert len(set(texts.values())) == len(features.FEATURES)
    for text in texts.values():
        assert load_config(text.encode(), file="routes.yaml", registry=discover()).keys
        assert len(set(text.splitlines()) - set(texts[features.PLAIN].splitlines())) <= 1


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("paced32", {"32 streams"}),
        ("32 streams", {"32 streams", "32 streams, scraped"}),
        ("scrape", {"scrape"}),
        ("dialects", {"dialects, openai", "dialects, anthropic", "dialects, gemini"}),
        ("features", {"features"}),
        ("no such", set()),
    ],
)
def test_only_takes_short_names_and_parts_of_names(bench: Any, only: str, names: set[str]) -> None:
    of = bench("scenarios")
    known = {**of.SCENARIOS, **of.OF_DIALECTS, **of.OF_SIDECAR}
    assert {name for name in known if of.is_meant(only, name)} == names
    assert set(of.SHORT.values()) <= set(known)
    assert set(of.SCENARIOS) <= set(of.SHORT.values())


def test_options_name_peers_and_the_report_is_written_as_asked(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, file = bench("full"), tmp_path / "figures.jsonl"
    argv = ["full.py", "--only=scrape", "--rounds=2", "--scale=0.05", "--markdown"]
    monkeypatch.setattr(sys, "argv", [*argv, f"--jsonl={file}", "--peer=a=1:2", "--peer-key=a=k=1"])
    options = full.read_options()
    assert (options.peer, options.peer_key) == ([("a", (1, 2))], [("a", "k=1")])
    rows = {"scrape": lambda _, number: {"ms": 2.0 + number}}
    monkeypatch.setattr(full, "SCENARIOS", {})
    monkeypatch.setattr(full, "OF_SIDECAR", rows)
    monkeypatch.setattr(sys, "argv", [*argv, f"--jsonl={file}"])
    full.main()
    assert "| scrape | ms | – | 2.50 | – |" in capsys.readouterr().out
    assert [json.loads(line)["value"] for line in file.read_text().splitlines()] == [2.0, 3.0]


def test_report_has_every_figure_and_ratios_to_the_first_gateway(bench: Any) -> None:
    report = bench("report").Report(["bare", "sidecar", "peer"])
    for gateway, values in {"bare": (2.0, 2.0, 9.0), "sidecar": (4.0, 5.0, 6.0)}.items():
        for value in values:
            report.add("any", gateway, {"ms": value})
    report.add("alone", "sidecar", {"MiB": 1.0})
    assert report.as_markdown().splitlines()[2:] == [
        "| any | ms | 2.00 | 5.00 | – | 2.50 | – |",
        "| alone | MiB | – | 1.00 | – | – | – |",
    ]
    assert [line.split() for line in report.as_text().splitlines()][1] == [
        "any", "ms", "2.00", "5.00", "–", "2.50", "–"
    ]  # fmt: skip
    lines = [json.loads(line) for line in report.as_lines()]
    assert lines[2] == {
        "scenario": "any", "gateway": "bare", "round": 2, "figure": "ms", "value": 9.0
    }  # fmt: skip
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("script", "options", "last"),
    [("books.py", ["--calls=2000"], "why "), ("leases.py", ["--times=5"], "goal: ")],
)
def test_measures_of_parts_run(script: str, options: list[str], last: str) -> None:
    found = subprocess.run(
        [sys.executable, BENCH / script, *options],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert found.stdout.splitlines()[-1].startswith(last)


def test_warm_call_is_counted_by_module() -> None:
    found = subprocess.run(
        [sys.executable, BENCH / "warm_call.py", "--all"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    counts = [line.split(maxsplit=1) for line in found.stdout.splitlines()]
    by_module = {name: float(count) for count, name in counts}
    assert by_module["sidecar/proxy/handler.py"] > 5
    assert 100 < by_module["calls of own functions"] < 1000
    assert 10 < by_module["modules"] < by_module["switches between modules"]


@pytest.mark.parametrize(
    ("chunks", "extra", "fault"),
    [(0, "status=500", "bad"), (5, "status=500", "bad"), (5, "usage=0", "unmetered")],
)
def test_bad_answers_and_missing_usage_are_reported(
    bench: Any, rig: Any, chunks: int, extra: str, fault: str
) -> None:
    load = bench("load").Load
    outcome = rig.play(rig.vendor, load(2, 1 << 10, seconds=0.1, chunks=chunks, extra=extra))
    assert getattr(outcome, fault) >= 2


def event(text: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(text) + 8, text)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = event(b'" word@0000000000000001"')
OTHERS = event(b"{}") * 2
USAGE = event(b'{"total_tokens": 1}')
END = b"0\r\n\r\n"


JSON_ANSWERS = {
    "whole": (HEAD + b'Content-Length: 18\r\n\r\n{"total_tokens":1}', 0, 0),
    "cut short": (HEAD + b'content-length: 19\r\n\r\n{"total_tokens":1}', 1, 0),
    "too long": (HEAD + b'Content-Length: 17\r\n\r\n{"total_tokens":1}', 1, 0),
    "another status": (HEAD.replace(b"200", b"201") + b"Content-Length: 0\r\n\r\n", 1, 1),
    "none": (b"", 1, 0),
}
STREAMS = {
    "whole": (CHUNKED + PIECE * 2 + OTHERS + USAGE + END, 0, 0),
    "no end": (CHUNKED + PIECE * 2 + OTHERS + USAGE, 1, 0),
    "no last byte": (CHUNKED + PIECE * 2 + OTHERS + USAGE + END[:-1], 1, 0),
    "no usage": (CHUNKED + PIECE * 2 + OTHERS + END, 0, 1),
    "a piece less": (CHUNKED + PIECE + OTHERS + USAGE + END, 1, 0),
    "a piece more": (CHUNKED + PIECE * 3 + OTHERS + USAGE + END, 1, 0),
    "an event less": (CHUNKED + PIECE * 2 + event(b"{}") + USAGE + END, 1, 0),
    "another status": (CHUNKED.replace(b"200", b"500") + PIECE * 2 + OTHERS + USAGE + END, 1, 0),
}


@pytest.mark.parametrize("size", [1 << 20, 5], ids=["at once", "in parts"])
def test_client_checks_that_answers_are_whole(bench: Any, rig: Any, size: int) -> None:
    for chunks, answers in ((0, JSON_ANSWERS), (2, STREAMS)):
        load = bench("load").Load(1, 1 << 10, chunks=chunks)
        found = {}
        for name, (answer, *_) in answers.items():
            with answering(answer, size) as port:
                outcome = rig.play(port, load)
            found[name] = (answer, outcome.bad, outcome.unmetered)
        assert found == answers


def test_client_wants_every_piece_of_text_where_events_may_be_others(bench: Any, rig: Any) -> None:
    load = bench("load").Load(1, 1 << 10, chunks=2, exact=False)
    bad = {}
    for name in ("whole", "an event less", "a piece less", "a piece more"):
        with answering(STREAMS[name][0], 1 << 20) as port:
            bad[name] = rig.play(port, load).bad
    assert bad == {"whole": 0, "an event less": 0, "a piece less": 1, "a piece more": 1}


@contextmanager
def answering(answer: bytes, size: int) -> Iterator[int]:
    """A port where one request gets this answer, so many bytes at a time, and then the end."""

    def serve() -> None:
        with listener.accept()[0] as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not line.recv(1 << 16).endswith(b"}"):
                pass
            for start in range(0, len(answer), size):
                line.sendall(answer[start : start + size])

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        yield listener.getsockname()[1]
        served.result()


@needs_compiler
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_vendor_in_c_answers_as_the_one_in_python(bench: Any, dialect: str) -> None:
    message, open_rig = bench("bodies").message, bench("rig").Rig
    with open_rig(python=True) as python, open_rig() as native:
        for asked in ("", "chunks=3&pace=1", "chunks=1&pace=0&usage=0", "status=404&chunks=1"):
            request = message(
                "k", 1 << 10, asked, streaming=True, model_first=False, dialect=dialect
            )
            expected = ask(bench, python.vendor, request, len(request))
            head, body = request.split(b"\r\n\r\n")
            unknown = re.sub(rb"Content-Length: .*", b"Transfer-Encoding: chunked", head)
            chunked = b"%b\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (unknown, len(body), body)
            forms = [request, chunked]
            if dialect == "openai" and asked.startswith("chunks"):  # `user` says the same
                forms.append(re.sub(rb"[?]\S*", b"", request, count=1))
            for form in forms:
                assert ask(bench, native.vendor, form, len(form)) == expected
                assert ask(bench, python.vendor, form, len(form)) == expected
            for form in forms[:2]:
                assert ask(bench, native.vendor, form, 1) == expected
                assert ask(bench, python.vendor, form, 1) == expected


def ask(bench: Any, port: int, request: bytes, size: int) -> bytes:
    """The answer to a request that is sent so many bytes at a time, without its time stamps."""
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), size):
            line.sendall(request[start : start + size])
        while bench("load").surplus_bytes(answer) is None:
            received = line.recv(1 << 16)
            assert received
            answer += received
    return re.sub(rb"@\d{16}", b"@", answer)


@needs_compiler
def test_rig_takes_the_programs_in_c_where_it_can(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kinds(*tls: object, python: bool = False) -> list[str]:
        found = bench("native").programs(tmp_path, 1, tls, python=python)
        return [Path(str(command[0])).name for command in (found.vendor, found.client)]

    interpreter = Path(sys.executable).name
    assert kinds() == ["vendor", "client"]
    assert kinds(2, "certificate.pem") == [interpreter, "client"]
    assert kinds(python=True) == [interpreter] * 2
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kinds() == [interpreter] * 2


@pytest.mark.parametrize(("most", "status"), [("1000", 0), ("0", 1)], ids=["in time", "too slow"])
def test_time_of_a_scrape_is_reported_and_gated(most: str, status: int) -> None:
    argv = [sys.executable, BENCH / "metrics_render.py", "--keys=3", "--models=2", "--scrapes=2"]
    done = subprocess.run([*argv, "--most", most], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")
    assert re.search(r"^loop time of one scrape after 6 calls: best \d", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("size", [1 << 10, 200 << 10])
@pytest.mark.parametrize("first", [True, False])
def test_bodies_have_the_size_asked_for_and_the_model_where_asked(
    bench: Any, size: int, first: bool
) -> None:
    body = bench("bodies").agent_body(size, streaming=True, model_first=first)
    assert len(body) == size
    assert (body.index(b'"model"') < 100) is first
    assert (body.index(b'"model"') > len(body) - 100) is not first


@pytest.mark.parametrize(
    ("gate", "cost", "ours", "passes"),
    [
        ("goal", False, [201, 201, 10], True),
        ("goal", False, [199, 199, 900], False),
        ("goal", True, [199, 199, 900], True),
        ("goal", True, [201, 201, 10], False),
        ("reached", False, [241, 241, 10], True),
        ("reached", False, [239, 239, 900], False),
        ("reached", True, [374, 374, 900], True),
        ("reached", True, [376, 376, 10], False),
    ],
)
def test_gate_compares_the_median_ratio_with_the_goal_or_with_what_was_reached(
    bench: Any, gate: str, cost: bool, ours: list[float], passes: bool
) -> None:
    smoke = bench("smoke")
    scenario = smoke.Scenario("any", 1, 1, goal=2.0, reached=3.0, cost=cost)
    result = smoke.Result(scenario, [100, 100, 100], ours)
    assert result.passes(gate) is passes
    assert smoke.Report("sidecar", [result]).passes(gate) is passes
    assert not smoke.Report("sidecar", [result], bad=1).passes(gate)
