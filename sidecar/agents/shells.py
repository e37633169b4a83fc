"""The lines that point an agent or an SDK at Sidecar, for each shell."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from enum import StrEnum

from sidecar.agents.agent import Agent, filled
from sidecar.agents.table import AGENTS

_NO_PROXY = "NO_PROXY=127.0.0.1,localhost"


class Shell(StrEnum):
    """A family of shells; `BASH` is every POSIX shell."""

    BASH = "bash"
    FISH = "fish"
    POWERSHELL = "powershell"


PROXY_NOTES = {
    Shell.BASH: f"# behind a corporate proxy also: export {_NO_PROXY}",
    Shell.FISH: "# behind a corporate proxy also: set -gx NO_PROXY 127.0.0.1,localhost",
    Shell.POWERSHELL: "# behind a corporate proxy also: $env:NO_PROXY = '127.0.0.1,localhost'",
}
PROXY_NOTE = PROXY_NOTES[Shell.BASH]


def key_variable(name: str) -> str:
    """Return a shell expression for the key in a variable. An unset variable stops the shell,
    because with half of the lines an agent would bypass Sidecar or have no key."""
    return f'"${{{name}:?{_missing()}}}"'


def agent_lines(agent: Agent, base: str, key: str) -> str:
    """Return the lines for a POSIX shell; `key` is a word of it."""
    words = [
        f"{name}={_joined(text, base, key, shlex.quote)}"
        for name, text in agent.environment.items()
    ]
    unset = [f"unset {' '.join(agent.removed)}"] if agent.removed else []
    lines = [*unset, f"export {' '.join(words)}", *_notes(agent, base)]
    if agent.flags:
        flags = " ".join(shlex.quote(filled(each, base=base)) for each in agent.flags)
        lines.append(f'{agent.program}() {{ command {agent.program} {flags} "$@"; }}')
    return "\n".join(lines)


def lines_for(shell: Shell, agent: Agent, base: str, variable: str) -> str:
    """Return the lines for a shell, with the key from the variable of this name."""
    render: dict[Shell, Callable[[Agent, str, str], str]] = {
        Shell.BASH: lambda agent, base, name: agent_lines(agent, base, key_variable(name)),
        Shell.FISH: _fish,
        Shell.POWERSHELL: _powershell,
    }
    return render[shell](agent, base, variable)


def line_for(dialect: str, base: str, key: str) -> str:
    """Return the line for the SDKs of a dialect, in a POSIX shell."""
    found = (each for each in AGENTS.values() if each.dialect == dialect)
    return agent_lines(next(found, next(iter(AGENTS.values()))), base, key)


def _fish(agent: Agent, base: str, variable: str) -> str:
    """Return lines for `sidecar env AGENT --shell fish | source`; without the key they set
    nothing."""
    lines = [f'if test -z "${variable}"', f"  echo '{variable}: {_missing()}' >&2", "else"]
    for name, text in agent.environment.items():
        value = _joined(text, base, f"${variable}", _fish_quoted)
        lines.append(f"  set -gx {name} {value}")
    lines += [f"  set -e {name}" for name in agent.removed]
    if agent.flags:
        flags = " ".join(_fish_quoted(filled(each, base=base)) for each in agent.flags)
        lines.append(f"  function {agent.program}; command {agent.program} {flags} $argv; end")
    return "\n".join([*lines, "end", *_notes(agent, base)])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(agent: Agent, base: str, variable: str) -> str:
    """Return lines for `sidecar env AGENT --shell powershell | Out-String | Invoke-Expression`."""
    lines = [f"if (-not $env:{variable}) {{ throw '{variable}: {_missing()}' }}"]
    for name, text in agent.environment.items():
        value = _joined(text, base, f"$env:{variable}", "'{}'".format, " + ")
        lines.append(f"$env:{name} = {value}")
    lines += [f"Remove-Item Env:{name} -ErrorAction Ignore" for name in agent.removed]
    if agent.flags:
        flags = " ".join(f"'{filled(each, base=base)}'" for each in agent.flags)
        program = f"(Get-Command {agent.program} -CommandType Application)[0]"
        lines.append(f"function {agent.program} {{ & {program} {flags} @args }}")
    return "\n".join([*lines, *_notes(agent, base)])


def _joined(text: str, base: str, key: str, quoted: Callable[[str], str], glue: str = "") -> str:
    """Return a value of the table as a shell's expression, with `key` in the place of the key."""
    parts = [quoted(each) if each else "" for each in filled(text, base=base).split("{key}")]
    pieces = [piece for part in parts for piece in (key, part)][1:]
    return glue.join(piece for piece in pieces if piece)


def _notes(agent: Agent, base: str) -> Iterator[str]:
    for note in agent.notes:
        yield f"# {filled(note, base=base)}"


def _missing() -> str:
    return "set it to a local key, from: sidecar keys create NAME --group GROUP"
