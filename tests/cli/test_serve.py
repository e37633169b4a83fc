"""The commands around a process: init, serve, status, check, edit, explain, models, env, demo."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import FILE, PATIENCE, SIDECAR, Cli, Served
from project_paths import ROOT

from sidecar.api_keys import find_keys, mint

BAD = FILE.replace("vendor: echo", "vendor: eccho", 1)
EXAMPLE = ROOT / "config" / "routes.example.yaml"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_commands_without_a_file_exit_2_and_name_init(tmp_path: Path) -> None:
    cli = Cli(tmp_path, text="")
    for words in (
        ("serve",), ("check",), ("edit",), ("keys", "list"),
        ("keys", "create", "x", "--group", "g"), ("explain", "--key", "x", "--model", "m"),
        ("models",), ("groups", "list"), ("providers", "list"),
    ):  # fmt: skip
        done = cli.run(*words)
        assert done.status == 2, words
        assert "sidecar init" in done.err
        assert str(cli.config) in done.err


def test_service_starts_without_what_its_first_answer_does_not_need(cli: Cli) -> None:
    words = ("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    loaded = set()
    with subprocess.Popen(
        [SIDECAR[0], "-X", "importtime", *SIDECAR[1:], *words], env=cli.env, text=True,
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "serving agents on" in line:
                break
            loaded.add(line.rpartition("|")[2].strip())
        process.terminate()
    assert "sidecar.app" in loaded
    assert not loaded & {
        "aiohttp",
        "difflib",
        "rich",
        "sidecar_transforms.translation",
        "sidecar_vendors.echo.server",
        "statistics",
        "urllib.request",
    }


def test_default_configuration_is_never_in_the_working_directory(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    done = cli.run("check", SIDECAR_CONFIG="", XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    assert done.status == 2
    assert str(tmp_path / "xdg" / "sidecar" / "routes.yaml") in done.err.replace("\n", "")


def test_config_option_precedes_the_variable(cli: Cli) -> None:
    other = cli.folder / "other.yaml"
    other.write_text("groups:\n  g: {vendor: echo}\n")
    assert "0 keys, 1 group, 1 provider\n" in cli.run("check", "--config", other).err


def test_init_writes_a_private_file_that_is_good_and_prints_each_key_once(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "new" / "sidecar", text="")
    cli.environ = {"OPENAI_API_KEY": "sk-real-1", "ANTHROPIC_API_KEY": "sk-real-2"}
    (tmp_path / "new").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "init", "--yes"], env=cli.env, cwd=tmp_path,
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    keys = list(find_keys(done.stdout.encode()))
    assert len(keys) == len(set(keys)) >= 2
    assert "export ANTHROPIC_BASE_URL=http://127.0.0.1:8787 ANTHROPIC_API_KEY=sk-" in done.stdout
    assert "export OPENAI_BASE_URL=http://127.0.0.1:8787/v1 OPENAI_API_KEY=sk-" in done.stdout
    text = cli.config.read_text()
    assert (mode(cli.config), mode(cli.config.parent)) == (0o600, 0o700)
    for secret in (*keys, "sk-real-1", "sk-real-2"):
        assert secret not in text
        assert secret not in done.stderr
    assert "sk-real" not in done.stdout
    for vendor in ("vendor: openai", "vendor: anthropic"):
        assert vendor in text


def test_init_finds_a_local_model_server_but_not_just_any_server(tmp_path: Path) -> None:
    from aiohttp import web

    from sidecar.cli.commands.init import answers

    async def serve(body: str) -> bool:
        app = web.Application()

        async def models(_: web.Request) -> web.Response:
            return web.Response(text=body)

        app.router.add_get("/v1/models", models)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        found = await asyncio.to_thread(answers, f"http://127.0.0.1:{port}/v1")
        await runner.cleanup()
        return found

    assert asyncio.run(serve('{"object":"list","data":[{"id":"qwen3"}]}'))
    assert not asyncio.run(serve("<html>a web page</html>"))
    assert not answers("http://127.0.0.1:1/v1")
    assert not answers("http://192.0.2.1/v1")


def test_init_on_a_terminal_asks_and_takes_no_for_an_answer(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"OPENAI_API_KEY": "sk-real"}, text="")
    done = cli.typed("n\n" * 9, "init")
    assert done.status == 0
    assert "OPENAI_API_KEY" in done.err
    assert "such as OPENAI_API_KEY, and run: sidecar init" in done.err
    assert "vendor: openai" not in cli.config.read_text()
    assert "vendor: echo" in cli.config.read_text()


def test_init_on_a_terminal_offers_other_agents_by_translation(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"OPENAI_API_KEY": "sk-real"}, text="")
    done = cli.typed("y\ny\nn\n", "init")
    assert (done.status, "agents such as Claude Code on OpenAI by translation" in done.err) == (
        0,
        True,
    )
    text = cli.config.read_text()
    group = "Anthropic on OpenAI"
    assert f"  {group}: {{vendor: anthropic, routes: [{{openai: {{translate: true}}}}]}}" in text
    assert "vendor: gemini" not in text
    assert cli.run("keys", "show", "anthropic", "--json").json["group"] == group
    assert "ANTHROPIC_BASE_URL" in done.out


def test_init_without_questions_translates_nothing(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"OPENAI_API_KEY": "sk-real"}, text="")
    assert cli.run("init", "--yes").status == 0
    assert "translate" not in cli.config.read_text()


def test_init_ignores_a_local_key_in_a_credential_variable(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"OPENAI_API_KEY": mint(), "ANTHROPIC_API_KEY": "sk-real"}, text="")
    assert cli.run("init", "--yes").status == 0
    assert "vendor: anthropic" in cli.config.read_text()
    assert "vendor: openai" not in cli.config.read_text()


def test_init_with_a_file_adds_the_vendors_without_a_group(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"OPENAI_API_KEY": "sk-real"})
    done = cli.spawn("init")
    assert done.status == 0, done.err
    assert len(list(find_keys(done.out.encode()))) == 1
    assert "sk-real" not in done.out + done.err + cli.config.read_text()
    text = cli.config.read_text()
    assert "  OpenAI: {vendor: openai}" in text
    assert [line for line in FILE.splitlines() if line not in text.splitlines()] == []
    assert cli.run("keys", "show", "openai", "--json").json["group"] == "OpenAI"
    again = cli.run("init", "--yes")
    assert (again.status, "there is no vendor to add" in again.err) == (0, True)
    assert cli.config.read_text() == text


@pytest.mark.parametrize(
    ("url", "repair"),
    [("", "SHARED is not set; set it to the server's URL"), ("a:6379", "write redis://:PASSWORD@")],
)
def test_serve_without_a_usable_url_of_shared_state_has_status_2_and_the_repair(
    tmp_path: Path, url: str, repair: str
) -> None:
    cli = Cli(tmp_path, text=f"state: {{shared: env:SHARED, namespace: n}}\n{FILE}")
    done = cli.spawn("serve", SHARED=url)
    assert done.status == 2
    assert repair in done.err


def test_init_beside_a_process_without_the_new_variable_names_the_restart(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with cli.serving():
        done = cli.run("init", OPENAI_API_KEY="sk-real")
    assert done.status == 0, done.err
    assert "was started without OPENAI_API_KEY, which this shell has; end it with" in done.err


def test_init_never_changes_a_file_without_a_new_vendor_or_with_a_mistake(cli: Cli) -> None:
    assert cli.run("init", "--yes").status == 0
    assert cli.config.read_text() == FILE
    cli.config.write_text(BAD)
    assert cli.run("init", "--yes").status == 2
    assert cli.config.read_text() == BAD


def test_init_names_the_file_that_was_typed_in_its_next_step(tmp_path: Path) -> None:
    cli = Cli(tmp_path, text="")
    typed = cli.run("init", "--yes", "--config", "other file.yaml")
    assert "serve it with: sidecar serve --config 'other file.yaml'\n" in typed.err
    assert "serve it with: sidecar serve\n" in cli.run("init", "--yes").err


def test_file_of_init_begins_with_the_line_of_a_schema_that_exists(tmp_path: Path) -> None:
    cli = Cli(tmp_path, text="")
    assert cli.run("init", "--yes").status == 0
    first = cli.config.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=file://{cli.state}/schema.json"
    written = json.loads((cli.state / "schema.json").read_text())
    assert written == cli.run("schema").json
    (cli.state / "schema.json").unlink()
    assert cli.run("schema", "--write").out == f"{first}\n"
    assert mode(cli.state / "schema.json") == 0o600


@pytest.mark.parametrize(("listen", "remote"), [("0.0.0.0:8787", True), ("9000", False)])
def test_init_lets_other_machines_in_only_where_asked(
    tmp_path: Path, listen: str, remote: bool
) -> None:
    cli = Cli(tmp_path, text="")
    assert cli.run("init", "--yes", "--listen", listen).status == 0
    assert ("allow_remote: true" in cli.config.read_text()) is remote
    assert cli.run("check").status == 0
    wrong = cli.run("init", "--yes", "--listen", "here")
    assert (wrong.status, "--listen: this is not an address" in wrong.err) == (2, True)


def test_check_names_every_problem_with_its_place(cli: Cli) -> None:
    assert cli.run("check").status == 0
    cli.config.write_text(BAD.replace("group: demo", "group: dmo"))
    done = cli.run("check")
    assert done.status == 2
    assert f"{cli.config}:3:" in done.err
    assert f"{cli.config}:7:" in done.err
    assert 'did you mean "echo"?' in done.err


def test_check_strict_counts_warnings_and_full_prints_a_file_that_means_the_same(cli: Cli) -> None:
    cli.config.write_text(FILE.replace("other:  { vendor: echo ", "other:  { vendor: openai "))
    lenient, strict = cli.run("check"), cli.run("check", "--strict")
    assert (lenient.status, strict.status) == (0, 2)
    assert "provider openai is unavailable" in lenient.err
    assert "OPENAI_API_KEY" in lenient.err
    full = cli.run("check", "--full")
    again = cli.folder / "full.yaml"
    again.write_text(full.out)
    assert cli.run("check", again).status == 0


def test_log_has_the_chosen_level_and_format(cli: Cli) -> None:
    cli.config.write_text(FILE.replace("vendor: echo ", "vendor: openai "))
    address = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with cli.serving("serve", *address, "--log-format", "human") as served:
        assert served.call(cli.create("k")) == 200
    text = served.log.read_text()
    assert re.search(r"^\d\d:\d\d:\d\d 200  k  chat echo  via echo", text, re.MULTILINE)
    assert re.search(r" warning: 1 provider cannot be used: openai \(the environment", text)
    assert not re.search(r"^\{", text, re.MULTILINE)


def test_log_of_warnings_alone_has_no_line_of_a_call(cli: Cli) -> None:
    cli.config.write_text(FILE.replace("vendor: echo ", "vendor: openai "))
    key = cli.create("k")
    words = ("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warning")
    log = cli.folder / "quiet.log"
    with log.open("w") as stderr:
        process = subprocess.Popen([*SIDECAR, *words], cwd=cli.folder, env=cli.env, stderr=stderr)
    try:
        while (status := cli.run("status", "--json")).status == 3:  # it prints no line of its start
            assert process.poll() is None
        served = Served(status.json["listen"][0], log, log, process)
        assert served.call(key) == 200
    finally:
        process.terminate()
        ended = process.wait(PATIENCE)
    assert ended == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["level"] for line in lines} == {"warning"}
    assert "openai (the environment variable OPENAI_API_KEY is not set)" in lines[-1]["message"]


def test_plugin_veto_prevents_a_change(cli: Cli) -> None:
    (cli.folder / "mine.py").write_text(
        "from sidecar import hookimpl\n\n"
        "@hookimpl\ndef sidecar_check_config(snapshot):\n"
        "    return ['too many keys'] if len(snapshot.keys) > 1 else []\n"
    )
    text = FILE + "plugins: [./mine.py]\n"
    cli.config.write_text(text)
    assert cli.run("check").status == 0
    done = cli.run("keys", "create", "x", "--group", "demo")
    assert (done.status, done.out) == (2, "")
    assert "too many keys" in done.err
    assert cli.config.read_text() == text


def test_status_reports_the_process_and_the_file(cli: Cli) -> None:
    alone = cli.run("status")
    assert alone.status == 3
    assert "sidecar serve" in alone.err
    with cli.serving() as served:
        good = cli.run("status")
        assert good.status == 0
        assert served.url in good.out
        assert f"{cli.config}, the file of 20" in good.out
        assert re.search(r"^prices    genai-prices [\d.]+, taken 20\d\d-\d\d-\d\d$", good.out, re.M)
        cli.config.write_text(BAD)
        while (bad := cli.run("status")).status == 0:
            assert served.process.poll() is None
        assert bad.status == 1
        assert "REFUSED" in bad.out
        assert 'did you mean "echo"?' in bad.out
        cli.config.write_text(FILE)
        while cli.run("status").status != 0:
            assert served.process.poll() is None
        assert cli.run("status", "--json").json["config"]["error"] is None


def test_stale_socket_is_no_running_process(cli: Cli) -> None:
    with cli.serving() as served:
        served.process.kill()
        served.process.wait()
        assert (cli.state / "admin.sock").exists()
        assert cli.run("status").status == 3
        assert cli.run("keys", "create", "x", "--group", "demo").status == 0
        served.process.returncode = 0


def test_process_with_a_long_state_path_is_asked_elsewhere_and_says_where(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    state = tmp_path / ("too-long-for-a-socket" * 6)
    cli.environ = {"SIDECAR_STATE": str(state)}
    assert "no process runs" in cli.run("status").err
    with cli.serving() as served:
        place = Path((state / "admin.socket-path").read_text().strip())
        assert str(place) in served.log.read_text()
        assert (place.stat().st_mode & 0o077, place.parent.stat().st_mode & 0o077) == (0, 0)
        assert cli.run("status").status == 0
        created = cli.run("keys", "create", "x", "--group", "demo")
        assert created.status == 0, created.err
        assert served.call(created.out.strip()) == 200
    assert not place.parent.exists()
    assert not (state / "admin.socket-path").exists()
    assert "no process runs" in cli.run("status").err


def test_socket_elsewhere_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    state = tmp_path / ("too-long-for-a-socket" * 6)
    cli.environ = {"SIDECAR_STATE": str(state)}
    with cli.serving() as served:
        old = Path((state / "admin.socket-path").read_text().strip())
        served.process.kill()
        served.process.wait()
        assert cli.run("status").status == 3
        with cli.serving():
            assert cli.run("status").status == 0
            assert not old.parent.exists()
        served.process.returncode = 0


def test_process_that_cannot_be_asked_is_an_error(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    state = tmp_path / ("too-long-for-a-socket" * 6)
    cli.environ = {"SIDECAR_STATE": str(state)}
    with cli.serving():
        (state / "admin.socket-path").rename(state / "aside")
        status, created = cli.run("status"), cli.run("keys", "create", "x", "--group", "demo")
        (state / "aside").rename(state / "admin.socket-path")
    assert (status.status, created.status) == (3, 1)
    for done in (status, created):
        assert "cannot be asked: the location of its socket is unknown" in done.err
    assert len(list(find_keys(created.out.encode()))) == 1


def test_serve_says_when_an_address_is_taken(cli: Cli) -> None:
    with cli.serving() as served:
        address = served.url.removeprefix("http://")
        other = cli.folder / "state2"
        done = cli.spawn("serve", "--listen", address, "--admin", "127.0.0.1:0", "--state", other)
    assert done.status == 2
    assert "is another Sidecar running?" in done.err


def editor(cli: Cli, script: str) -> dict[str, str]:
    """An editor that does what `script` says with the file at `path`, and adds to `log`."""
    program = cli.folder / "editor.py"
    log = cli.folder / "edited.log"
    program.write_text(
        "import os, stat, sys, pathlib\n"
        f"path, log = pathlib.Path(sys.argv[1]), pathlib.Path({str(log)!r})\n"
        f"config = pathlib.Path({str(cli.config)!r})\n"
        "old = log.read_text() if log.exists() else ''\n"
        "log.write_text(old + oct(stat.S_IMODE(path.stat().st_mode)) + f' {path.parent}\\n')\n"
        f"text = path.read_text()\n{script}\n"
    )
    return {"VISUAL": shlex.join([sys.executable, str(program)])}


def leftovers(cli: Cli) -> list[Path]:
    return list(cli.folder.glob(".routes.yaml*"))


def test_edit_checks_shows_the_difference_and_puts_the_copy_in_place(cli: Cli) -> None:
    new = editor(cli, "path.write_text(text.replace('group: demo', 'group: other'))")
    done = cli.spawn("edit", **new)
    assert done.status == 0, done.err
    assert 'key "first"' in done.err or "key first" in done.err
    assert cli.config.read_text() == FILE.replace("group: demo", "group: other")
    assert mode(cli.config) == 0o600
    assert (cli.folder / "edited.log").read_text() == f"0o600 {cli.folder}\n"
    assert leftovers(cli) == []


def test_edit_is_confirmed_by_the_running_process(cli: Cli) -> None:
    key = cli.create("k")
    off = editor(cli, "path.write_text(text.replace('  k:', '  k:\\n    enabled: false'))")
    with cli.serving() as served:
        assert cli.spawn("edit", **off).status == 0
        assert "enabled: false" in cli.config.read_text()
        assert served.call(key) == 403


def test_edit_that_is_invalid_is_refused_or_edited_again(cli: Cli) -> None:
    twice = editor(
        cli,
        "wrong = 'eccho' in text\n"
        "path.write_text(text.replace('eccho', 'echo').replace('offline', 'off-line')"
        " if wrong else text.replace('vendor: echo', 'vendor: eccho', 1))",
    )
    refused = cli.spawn("edit", **twice)
    assert refused.status == 2
    assert 'did you mean "echo"?' in refused.err
    assert cli.config.read_text() == FILE
    (kept,) = leftovers(cli)
    assert f"your edit is in {kept}" in refused.err
    assert kept.read_text() == FILE.replace("vendor: echo", "vendor: eccho", 1)
    kept.unlink()
    again = cli.typed("y\n", "edit", **twice)
    assert again.status == 0, again.err
    assert cli.config.read_text() == FILE.replace("offline", "off-line")


def test_edit_of_a_file_that_changed_meanwhile_is_refused_and_kept(cli: Cli) -> None:
    late = editor(
        cli, "config.write_text(text + '# theirs\\n')\npath.write_text(text + '# mine\\n')"
    )
    done = cli.spawn("edit", **late)
    assert done.status == 2
    assert "was changed in the meantime" in done.err
    assert cli.config.read_text() == FILE + "# theirs\n"
    (kept,) = leftovers(cli)
    assert str(kept) in done.err
    assert kept.read_text() == FILE + "# mine\n"


@pytest.mark.parametrize("command", ["false", "/nonexistent"])
def test_edit_with_a_failing_editor_changes_nothing(cli: Cli, command: str) -> None:
    done = cli.spawn("edit", EDITOR=command)
    assert (done.status, "nothing was changed" in done.err) == (2, True)
    assert cli.config.read_text() == FILE
    assert leftovers(cli) == []


def test_edit_without_a_change_changes_nothing(cli: Cli) -> None:
    before = cli.config.stat().st_mtime_ns
    done = cli.spawn("edit", **editor(cli, ""))
    assert (done.status, "nothing was changed" in done.err) == (0, True)
    assert cli.config.stat().st_mtime_ns == before


def test_explain_and_models_ask_the_process_or_go_by_the_file(cli: Cli) -> None:
    cli.create("k", "--models", "echo,echo-*")
    words = ("explain", "--key", "k", "--model", "echo")
    by_file, wrong = cli.run(*words), cli.run(*words[:-1], "gpt-5")
    assert by_file.status == 0
    assert "no process runs" in by_file.err
    assert "echo" in by_file.out
    assert 'not offered to key "k"' in wrong.out
    assert [row["id"] for row in cli.run("models", "--key", "k", "--json").json] == [
        "echo", "echo-*",
    ]  # fmt: skip
    with cli.serving():
        live = cli.run(*words)
        assert (live.status, "It would go to echo now." in live.out) == (0, True)
        assert "no process runs" not in live.out + live.err
        models = cli.run("models", "--json").json
        assert {"id": "echo", "keys": ["first", "k"]} in models
        unknown = cli.run("explain", "--key", "nobody", "--model", "echo")
        assert unknown.status == 2
        assert 'there is no key "nobody"; there is: first, k' in unknown.err


def test_env_lines_run_in_a_shell_and_hold_no_key(cli: Cli) -> None:
    from sidecar.agents.table import AGENTS

    helped = cli.run("env", "--help").out
    for agent in AGENTS:
        assert agent in helped
    for agent in ("claude-code", "codex", "openai", "gemini-cli"):
        lines = cli.run("env", agent).out
        shell = subprocess.run(
            ["/bin/sh", "-euc", f"{lines}\nenv"], capture_output=True, text=True, check=True,
            env={"PATH": cli.env["PATH"], "SIDECAR_KEY": "the-key"},
        )  # fmt: skip
        assert "=the-key" in shell.stdout
        assert "http://127.0.0.1:8787" in lines
    with cli.serving() as served:
        assert served.url in cli.run("env", "claude-code").out


def test_schema_is_json_and_plugins_are_listed(cli: Cli) -> None:
    assert "properties" in cli.run("schema").json
    listed = cli.run("plugins").out
    for name in ("openai", "anthropic", "gemini", "echo", "azure", "redact", "translate"):
        assert f"\n{name} " in listed
    assert "option find (a list): what is a secret: keys" in cli.run("plugins", "redact").out
    azure = cli.run("plugins", "azure").out
    assert "AZURE_OPENAI_API_KEY" in azure
    assert "api_version" in azure
    unknown = cli.run("plugins", "azur")
    assert unknown.status == 2
    assert cli.run("plugins", "check").status == 0


def test_completion_is_a_script_of_the_shell(cli: Cli) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = cli.run("completion", shell)
        assert script.status == 0
        assert "_SIDECAR_COMPLETE" in script.out


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


def paste(line: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


@needs_curl
def test_demo_answers_its_curl_lines_and_keeps_its_key(
    tmp_path: Path,
) -> None:
    cli = Cli(tmp_path, {"OPENAI_API_KEY": "sk-real"}, text="")
    example = cli.folder / "example.yaml"
    example.write_text("# A tour.\ngroups:\n  demo: {vendor: echo}   # offline\n")
    words = (
        "demo", "--directory", ".sidecar", "--example", "example.yaml",
        "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
    )  # fmt: skip
    printed = []
    for _ in range(2):
        with cli.serving(*words) as served:
            while "Ctrl-C" not in served.log.read_text():
                assert served.process.poll() is None
            lines = served.out.read_text().splitlines()
            openai, anthropic, gemini = (line for line in lines if line.startswith("curl "))
            assert json.loads(paste(openai))["choices"][0]["message"]["content"]
            assert "event: message_stop" in paste(anthropic)
            assert anthropic.startswith("curl -sN ")
            assert json.loads(paste(gemini))["candidates"]
            there = next(line for line in lines if line.startswith("export PATH="))
            assert f"process {served.process.pid}" in paste(f"{there}; sidecar status")
            hint = served.log.read_text().split("link to the console: ")[1].split('"')[0]
            assert "/#code=" in paste(f"{there}; unset SIDECAR_STATE; {hint} --print")
            assert "sk-real" not in served.out.read_text() + served.log.read_text()
            printed.append(sorted(set(find_keys(served.out.read_text().encode()))))
    home = cli.folder / ".sidecar"
    kept = sorted(path.read_text().strip() for path in home.glob("*-key"))
    assert printed[0] == printed[1] == kept
    assert len(kept) == 2
    for path in (home / "routes.yaml", *home.glob("*-key")):
        assert mode(path) == 0o600
    assert mode(home) == 0o700
    assert "# A tour." in (home / "routes.yaml").read_text()


@needs_curl
def test_demo_serves_the_example_of_this_repository(tmp_path: Path) -> None:
    cli = Cli(tmp_path, text="")
    words = ("demo", "--example", str(EXAMPLE), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with cli.serving(*words) as served:
        while "Ctrl-C" not in served.log.read_text():
            assert served.process.poll() is None
        first = next(x for x in served.out.read_text().splitlines() if x.startswith("curl "))
        assert "Hello, Sidecar!" in paste(first)
