"""`sidecar check` beside a process that serves the file, and the schema of the file's plugins."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runner import FILE, Cli
from project_paths import TESTS

PLUGIN = '''\
"""A vendor with a field of its own."""
from sidecar import Field, Vendor, hookimpl


class Mine(Vendor):
    name = "mine"
    title = "Mine"
    base_url = "http://127.0.0.1:9/v1"
    fields = (Field("flavour", str, help="What it tastes of."),)


@hookimpl
def sidecar_vendors():
    return [Mine()]
'''


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_check_reports_the_process_that_serves_the_file(cli: Cli) -> None:
    with cli.serving() as served:
        done = cli.run("check")
        assert (done.status, f"process {served.process.pid} serves it" in done.err) == (0, True)


def test_check_says_what_stays_in_force_because_of_a_refused_edit(cli: Cli) -> None:
    with cli.serving() as served:
        cli.create("codex")
        refused = cli.config.read_text().replace("    hash:", "    enabled: false\n    hash:")
        cli.config.write_text(refused + "surprise: 1\n")
        done = cli.run("check")
        assert done.status == 2
        stays = next(line for line in done.err.splitlines() if line.startswith("REFUSED: "))
        assert 'key "codex" stays ENABLED' in stays
        assert stays in served.log.read_text().replace('\\"', '"')


def test_check_of_another_file_leaves_the_process_out_of_it(cli: Cli) -> None:
    other = cli.folder / "other.yaml"
    other.write_text(FILE + "surprise: 1\n")
    with cli.serving():
        done = cli.run("check", other)
        assert done.status == 2
        assert "REFUSED" not in done.err
        assert cli.run("status").status == 0


def test_schema_has_the_fields_of_the_files_plugins(cli: Cli) -> None:
    (cli.folder / "mine.py").write_text(PLUGIN)
    cli.config.write_text(FILE + "plugins: mine.py\n")
    assert "flavour" in cli.run("schema").json["$defs"]["mine"]["properties"]
    assert "mine" not in cli.run("schema", "--config", cli.folder / "none.yaml").json["$defs"]


def test_status_includes_an_edit_of_the_last_second(cli: Cli) -> None:
    with cli.serving():
        good = cli.config.read_text()
        cli.config.write_text(good + "surprise: 1\n")
        refused = cli.run("status")
        assert (refused.status, "REFUSED" in refused.out, "surprise" in refused.out) == (
            1,
            True,
            True,
        )
        cli.config.write_text(good)
        assert cli.run("status").status == 0


def test_keys_show_prints_limits_and_budgets(cli: Cli) -> None:
    limited = "group: demo, limits: {rpm: 20}, budget: $2/day"
    cli.config.write_text(FILE.replace("group: demo", limited))
    shown = cli.run("keys", "show", "first").out
    assert "rpm 20 (routes.yaml:7)" in shown
    assert "budget $2/day (routes.yaml:7)" in shown


def test_check_notes_that_others_can_read_the_file_and_how_to_close_it(cli: Cli) -> None:
    assert "chmod" not in cli.run("check").err
    cli.config.chmod(0o644)
    cli.config.write_text(FILE.partition("keys:")[0])
    done = cli.run("check", "--strict")
    assert (done.status, f"chmod 600 '{cli.config}'" in done.err) == (0, True)
    assert "chmod" not in cli.run("check", cli.config).err


@pytest.mark.parametrize("text", ["sk-ant-oat01-abc", "sk-ant-ort01-abc", "sk-ant-admin01-abc"])
def test_check_reports_an_anthropic_login_without_quoting_it(tmp_path: Path, text: str) -> None:
    text_of = "groups: {Claude: {vendor: anthropic}}\nkeys: {claude: {group: Claude}}\n"
    cli = Cli(tmp_path, {"ANTHROPIC_API_KEY": text}, text_of)
    done = cli.run("check", "--strict")
    assert done.status == 2
    assert "provider anthropic is unavailable: env:ANTHROPIC_API_KEY is " in done.err + done.out
    assert text not in done.err + done.out
    kept = Cli(tmp_path, {"ANTHROPIC_API_KEY": "sk-ant-api03-abc"}, text_of)
    assert "unavailable" not in kept.run("check").err


PRICES = """\
budget: $5/day
prices: {mine: {input: 1, output: 2}}
providers:
  azure: {base_url: "https://x.openai.azure.com", api_version: v1, credential: none}
  house: {plugin: vllm, base_url: "http://127.0.0.1:9/v1", credential: none, price: free}
  router: {plugin: openrouter, credential: none}
groups:
  GPT:
    vendor: openai
    routes:
      - azure: {as: {gpt-5-mini: my-deployment, mine: mine, gpt-5*: other}}
      - house: {models: whatever}
      - router: {models: new/model}
  Named:
    vendor: openai
    routes:
      - azure: {as: my-deployment, priced_as: gpt-5-mini}
      - azure: {as: my-deployment, priced_as: no-such-model}
  Plain: {vendor: openai}
keys:
  codex: {group: GPT, models: [gpt-5-new, whatever]}
  plain: {group: Plain, models: brand-new}
"""


def test_check_names_each_model_of_the_file_without_a_price_under_a_budget(cli: Cli) -> None:
    cli.config.write_text(PRICES)
    done = cli.run("check")
    assert done.status == 0
    told = [line for line in done.err.splitlines() if "no price is known" in line]
    assert [line.partition("routes.yaml:")[2].partition(" so its")[0] for line in told] == [
        '11:9: warning: no price is known for "my-deployment" at provider azure,',
        '11:9: warning: no price is known for "other" at provider azure,',
        '18:9: warning: no price is known for "no-such-model" at provider azure, as which its '
        "calls are priced; write one under prices:",
        '22:3: warning: no price is known for "brand-new" at provider openai,',
    ]
    assert cli.run("check", "--strict").status == 2


def test_check_without_a_budget_says_nothing_of_prices(cli: Cli) -> None:
    cli.config.write_text(PRICES.replace("budget: $5/day\n", "").replace("no-such-model", "gpt-5"))
    assert "no price is known" not in cli.run("check").err


CERTIFICATES = TESTS / "certificates"
WITH_CA = FILE + "providers: {oa: {plugin: openai, credential: none, ca_file: 'CA'}}\n"
UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "cannot be read: No such file or directory"),
    "directory": (lambda path: path.mkdir(), "is not a regular file"),
    "pipe": (os.mkfifo, "is not a regular file"),
    "empty": (lambda path: path.touch(), "holds no certificate in PEM form"),
    "text": (lambda path: path.write_text("none"), "holds no certificate in PEM form"),
}


def test_check_fails_on_an_unusable_ca_file_which_serve_only_warns_of(cli: Cli) -> None:
    text = FILE + "providers:\n"
    for name, (made, _) in UNUSABLE.items():
        made(cli.folder / name)
        text += f"  {name}: {{plugin: openai, credential: none, ca_file: '{name}'}}\n"
    cli.config.write_text(text)
    done = cli.run("check")
    assert (done.status, "good" in done.err) == (2, False)
    for line, (name, (_, why)) in enumerate(UNUSABLE.items(), text.count("\n") - 4):
        place = f"routes.yaml:{line}:3: provider {name}: ca_file {cli.folder / name}"
        assert f"{place} {why}; write" in done.err
    with cli.serving() as served:  # and a key can still be taken away
        assert cli.run("keys", "disable", "first").status == 0
        log = served.log.read_text()
    assert [name for name in UNUSABLE if f"provider {name}: ca_file" not in log] == []


def test_check_accepts_a_ca_file_with_certificates(cli: Cli) -> None:
    cli.config.write_text(WITH_CA.replace("CA", str(CERTIFICATES / "here.pem")))
    done = cli.run("check")
    assert (done.status, "here.pem" in done.err) == (0, False)


WITH_VARIABLE = FILE + "providers: {oa: {plugin: openai, credential: env:SOME_KEY}}\n"
MISSING = "provider oa is unavailable: the environment variable SOME_KEY is not set"


def test_check_counts_a_credential_of_the_running_process_as_there(cli: Cli) -> None:
    cli.config.write_text(WITH_VARIABLE)
    assert MISSING in cli.run("check").err
    cli.environ["SOME_KEY"] = "sk-of-the-process"
    with cli.serving():
        assert "SOME_KEY" not in cli.run("check", SOME_KEY="").err
        other = cli.folder / "new.yaml"
        other.write_text(cli.config.read_text())
        assert "SOME_KEY" not in cli.run("check", other, SOME_KEY="").err
        other.write_text(cli.config.read_text().replace("SOME_KEY", "ANOTHER_KEY"))
        assert "ANOTHER_KEY is not set" in cli.run("check", other, SOME_KEY="").err


def test_check_names_a_credential_that_only_this_shell_has(cli: Cli) -> None:
    cli.config.write_text(WITH_VARIABLE)
    with cli.serving():
        done = cli.run("check", SOME_KEY="sk-of-this-shell")
    assert MISSING.replace("able:", "able in the running process:") in done.err
    assert "SOME_KEY" not in cli.run("check", SOME_KEY="sk-of-this-shell").err


def test_check_reads_a_credential_file_of_another_configuration_itself(cli: Cli) -> None:
    cli.config.write_text(WITH_VARIABLE.replace("env:SOME_KEY", "file:cred.txt"))
    (cli.folder / "cred.txt").write_text("sk-here")
    (cli.folder / "elsewhere").mkdir()
    other = cli.folder / "elsewhere" / "routes.yaml"
    other.write_text(cli.config.read_text())
    with cli.serving():
        assert "cred.txt" not in cli.run("check").err
        assert "elsewhere/cred.txt cannot be read" in cli.run("check", other).err
