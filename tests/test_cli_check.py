"""`sidecar check` beside a process that serves the file, and the schema of the file's plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_in_test import FILE, Cli

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


def test_check_says_that_a_process_serves_the_file(cli: Cli) -> None:
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


def test_the_schema_has_the_fields_of_the_plugins_that_the_file_names(cli: Cli) -> None:
    (cli.folder / "mine.py").write_text(PLUGIN)
    cli.config.write_text(FILE + "plugins: mine.py\n")
    assert "flavour" in cli.run("schema").json["$defs"]["mine"]["properties"]
    assert "mine" not in cli.run("schema", "--config", cli.folder / "none.yaml").json["$defs"]


def test_an_edit_of_just_now_is_in_the_status(cli: Cli) -> None:
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


def test_a_key_is_shown_with_its_limits_and_budgets(cli: Cli) -> None:
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
def test_a_login_in_place_of_an_anthropic_key_is_told_and_not_quoted(
    tmp_path: Path, text: str
) -> None:
    text_of = "groups: {Claude: {vendor: anthropic}}\nkeys: {claude: {group: Claude}}\n"
    cli = Cli(tmp_path, {"ANTHROPIC_API_KEY": text}, text_of)
    done = cli.run("check", "--strict")
    assert done.status == 2
    assert "provider anthropic is unavailable: env:ANTHROPIC_API_KEY is " in done.err + done.out
    assert text not in done.err + done.out
    kept = Cli(tmp_path, {"ANTHROPIC_API_KEY": "sk-ant-api03-abc"}, text_of)
    assert "unavailable" not in kept.run("check").err
