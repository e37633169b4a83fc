"""Where attempts go: a vendor's plugin is asked again only for calls that ask something else."""

from __future__ import annotations

from pathlib import Path

from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer

PLUGIN = """
from sidecar import Prepared, Serving, Vendor, hookimpl

class Counting(Vendor):
    name = title = "counting"
    serves = ("openai",)
    dialects = {"openai": Serving()}
    asked = 0

    def prepare(self, ask):
        self.asked += 1
        path = f"{ask.path}/{ask.model}?{ask.query}"
        return Prepared(ask.base_url + path, (("X-Asked", str(self.asked)),))

@hookimpl
def sidecar_vendors():
    return [Counting()]
"""
YAML = """
plugins: [counting.py]
providers:
  counting: {{base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [counting]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""


async def test_prepare_is_called_again_only_if_a_call_asks_something_else(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(*[answer(b'{"model":"m"}')] * 6)
    (tmp_path / "counting.py").write_text(PLUGIN)
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), ("gpt",)) as proxy:
        for path, model in (
            ("chat/completions?a=1", "m"), ("chat/completions?a=1", "m"),
            ("chat/completions?a=2", "m"), ("completions?a=2", "m"),
            ("chat/completions?a=1", "m"), ("chat/completions?a=1", "n"),
        ):  # fmt: skip
            asked = await proxy.ask(f"/v1/{path}", b'{"model":"%s"}' % model.encode())
            assert asked.status == 200
    assert [(each.path, each.get("x-asked")) for each in vendor.requests] == [
        ("/v1/chat/completions/m?a=1", ["1"]), ("/v1/chat/completions/m?a=1", ["1"]),
        ("/v1/chat/completions/m?a=2", ["2"]), ("/v1/completions/m?a=2", ["3"]),
        ("/v1/chat/completions/m?a=1", ["4"]), ("/v1/chat/completions/n?a=1", ["5"]),
    ]  # fmt: skip
