"""`docs/cli.md` and the help texts say what the commands really take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from project_paths import ROOT

from sidecar.agents.table import AGENTS
from sidecar.cli import SECTIONS as HEADINGS
from sidecar.cli import cli
from sidecar.cli.key_fields import row
from sidecar.config.loader import load
from sidecar.plugin_api.manager import discover
from sidecar.records import NEVER_USED

PAGE = (ROOT / "docs/cli.md").read_text()
SECTIONS = {
    part.partition("`")[0]: part.partition("\n")[2] for part in PAGE.split("\n## `sidecar ")[1:]
}
"""What the page says of each command."""
SHARED = {"--config", "--state", "--json"}
YAML = b"groups: {demo: {vendor: echo}}\nkeys: {first: {group: demo}}\n"


def leaves(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, *names, name)
        else:
            yield " ".join((*names, name)), command


COMMANDS = dict(leaves(cli))


def options_of(command: click.Command) -> set[str]:
    return {
        next(each for each in option.opts if each.startswith("--"))
        for option in command.params
        if isinstance(option, click.Option)
    }


def typed(text: str) -> list[str]:
    """The `sidecar …` lines of a text, also those inside `$(…)`; comments and redirections off."""
    found = []
    for line in text.splitlines():
        inner = re.search(r"\$\((sidecar [^)]*)\)", line)
        words = inner.group(1) if inner else line.strip()
        if re.match(r"(?:[A-Z]+=\S+ |[A-Z]+=\".*?\" )?sidecar ", words):
            found.append(re.split(r" > |   +", words)[0].partition("sidecar ")[2])
    return found


def parse(line: str) -> None:
    """Read a typed line as click does; nothing is run."""
    words = shlex.split(line, comments=True)
    names = [" ".join(words[:count]) for count in (2, 1)]
    name = next((each for each in names if each in COMMANDS), None)
    assert name is not None, f"no such command: sidecar {line}"
    try:
        COMMANDS[name].make_context(name, words[name.count(" ") + 1 :])
    except click.BadParameter as error:
        if "does not exist" not in str(error):  # an example's path is the reader's
            raise


def test_cli_page_has_one_section_for_each_command() -> None:
    assert sorted(SECTIONS) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_cli_page_section_has_the_options_of_its_command(name: str) -> None:
    section = SECTIONS[name]
    table = set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))
    also = re.search(r"^Also: (.*)\.$", section, re.MULTILINE)
    shared = set(re.findall(r"--[a-z-]+", also.group(1))) if also else set()
    assert shared <= SHARED
    assert table | shared == options_of(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_cli_page_section_has_valid_examples(name: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", SECTIONS[name], re.DOTALL)
    lines = [line for block in blocks for line in typed(block)]
    assert [line for line in lines if line.startswith(name)]
    for line in lines:
        parse(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_valid_examples(name: str) -> None:
    lines = typed(COMMANDS[name].help or "")
    assert [line for line in lines if line.startswith(name)]
    for line in lines:
        parse(line)


def test_help_lists_each_command_once_under_a_heading_in_one_whole_line() -> None:
    shown = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    for commands in HEADINGS.values():
        for name in commands:
            assert len(re.findall(rf"^  {name} +[A-Z].*\.$", shown, re.MULTILINE)) == 1, name
    assert all(f"\n{heading}:\n" in shown for heading in HEADINGS)
    assert "..." not in shown.partition("ARGS]...")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    silent = [p.name for p in COMMANDS[name].params if isinstance(p, click.Option) and not p.help]
    assert not silent


def test_cli_page_and_help_name_every_agent() -> None:
    listed = re.findall(r"`([a-z-]+)`", SECTIONS["env"].partition("Agents: ")[2])
    assert sorted(listed) == sorted(AGENTS)
    words = re.findall(r"[a-z-]+", (COMMANDS["env"].help or "").partition("Agents: ")[2])
    assert set(AGENTS) <= set(words)


def test_cli_page_has_the_fields_of_json() -> None:
    part = PAGE.partition("**JSON.**")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
    key = load(YAML, file="routes.yaml", registry=discover()).keys["first"]
    assert listed == list(row(key, NEVER_USED, "the text"))


def test_cli_page_links_have_targets() -> None:
    anchors = {f"sidecar-{name.replace(' ', '-')}" for name in COMMANDS}
    assert set(re.findall(r"\(#([a-z-]+)\)", PAGE)) == anchors
