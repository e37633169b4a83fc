"""A plugin that breaks its contract: its candidate fails, other calls pass."""

from __future__ import annotations

from pathlib import Path

from running_sidecar import CANARY
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer, stream

from sidecar.records import Outcome, UsageState

PLUGIN = """
from sidecar import Serving, Vendor, hookimpl

class Broken(Vendor):
    name = title = "broken"
    serves = ("openai",)
    dialects = {{"openai": Serving()}}

    def {method}:
        raise ValueError("{secret}")

@hookimpl
def sidecar_vendors():
    return [Broken()]
"""
YAML = """
plugins: [broken.py]
providers:
  broken: {{base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [{routes}]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
ASK = b'{"model":"m"}'
ANSWER = b'{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2}}'


def files(folder: Path, url: str, method: str, routes: str = "broken, oa") -> str:
    (folder / "broken.py").write_text(PLUGIN.format(method=method, secret=CANARY))
    return YAML.format(url=url, routes=routes)


async def test_prepare_that_raises_fails_over_to_the_next_candidate(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(ANSWER))
    yaml = files(tmp_path, vendor.url, "prepare(self, ask)")
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        assert (await proxy.ask("/v1/chat/completions", ASK)).body == ANSWER
        first, second = (await proxy.record()).attempts
        assert first.reason == "vendor plugin broken: prepare raised ValueError"
        assert second.provider == "oa"


async def test_prepare_that_raises_without_another_candidate_names_the_plugin(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    yaml = files(tmp_path, vendor.url, "prepare(self, ask)", "broken")
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        got = await proxy.ask("/v1/chat/completions", ASK)
        assert got.status == 502
        assert "vendor plugin broken: prepare raised ValueError" in got.message
        assert CANARY not in got.whole.decode()


async def test_classify_that_raises_is_replaced_by_the_status(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", "503 Busy"), answer(ANSWER))
    yaml = files(tmp_path, vendor.url, "classify(self, answer)")
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        assert (await proxy.ask("/v1/chat/completions", ASK)).body == ANSWER
        assert [each.verdict for each in (await proxy.record()).attempts] == ["overloaded", "take"]


async def test_normalize_that_raises_leaves_the_usage_unknown(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(ANSWER))
    yaml = files(tmp_path, vendor.url, "normalize(self, usage, endpoint)")
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        assert (await proxy.ask("/v1/chat/completions", ASK)).body == ANSWER
        record = await proxy.record()
        assert record.outcome is Outcome.OK
        assert record.usage_state is UsageState.UNKNOWN


async def test_stream_classified_as_a_client_error_is_passed_on(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    events = b'data: {"error":{"message":"x","code":"too_long"}}\n\n'
    vendor.play(stream(events))
    yaml = files(tmp_path, vendor.url, "classify_event(self, error)", "broken")
    plugin = (tmp_path / "broken.py").read_text().replace("Serving, ", "ErrorClass, Serving, ")
    plugin = plugin.replace("raise ValueError", "return ErrorClass.CLIENT_ERROR  #")
    (tmp_path / "broken.py").write_text(plugin)
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        got = await proxy.ask("/v1/chat/completions", b'{"model":"m","stream":true}')
        assert (got.status, got.body) == (200, events)
        record = await proxy.record()
        assert (record.outcome, record.reason) == ("upstream_error", "in its answer: too_long")


OBSERVER = """
from sidecar import hookimpl

@hookimpl
def sidecar_call_finished(record):
    raise ValueError(record.key)
"""


async def test_observer_that_raises_is_counted_in_the_metrics(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(ANSWER))
    (tmp_path / "watcher.py").write_text(OBSERVER)
    yaml = files(tmp_path, vendor.url, "estimate(self, body_bytes, max_output)")
    yaml = yaml.replace("[broken.py]", "[broken.py, watcher.py]")
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        for number in (1, 2):
            assert (await proxy.ask("/v1/chat/completions", ASK)).body == ANSWER
            await proxy.record(number)
        text = (await proxy.admin("/metrics")).body.decode()
        source = f'plugin="{tmp_path / "watcher.py"}"'
        assert f"sidecar_plugin_failures_total{{{source}}} 2" in text


async def test_read_quota_of_another_type_releases_the_slot(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """A result that was no list of quotas once kept the call's slot for good."""
    vendor.play(answer(ANSWER), answer(ANSWER))
    yaml = files(tmp_path, vendor.url, "read_quota(self, headers, wall)", "broken")
    plugin = (tmp_path / "broken.py").read_text().replace("raise ValueError", "return ")
    (tmp_path / "broken.py").write_text(plugin)
    yaml = yaml.replace("{group: GPT,", "{group: GPT, limits: {concurrency: 1}, max_wait: 0s,")
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        for _ in range(2):
            assert (await proxy.ask("/v1/chat/completions", ASK)).body == ANSWER


DIALECT = """
from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.openai.dialect import OpenAIDialect

class Meter:
    expects_end, at_boundary, model, error = False, True, None, None

    @property
    def finished(self):
        raise ValueError("broken")

    def feed(self, data):
        pass

    def usage(self):
        return None

    def created(self):
        return ()

class Odd(OpenAIDialect):
    name = "odd"

    def meter(self, endpoint, content_type):
        return Meter()

class Broken(Vendor):
    name = title = "broken"
    serves = ("broken",)
    dialects = {"odd": Serving()}

@hookimpl
def sidecar_dialects():
    return [Odd()]

@hookimpl
def sidecar_vendors():
    return [Broken()]
"""


async def test_meter_that_raises_at_the_end_releases_the_slot(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(ANSWER), answer(ANSWER))
    yaml = files(tmp_path, vendor.url, "", "broken").replace("vendor: openai", "vendor: broken")
    (tmp_path / "broken.py").write_text(DIALECT)
    yaml = yaml.replace("{group: GPT,", "{group: GPT, limits: {concurrency: 1}, max_wait: 0s,")
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
        for _ in range(2):
            assert (await proxy.ask("/v1/chat/completions", ASK)).body == ANSWER
        assert (await proxy.record()).usage_state is UsageState.UNKNOWN
