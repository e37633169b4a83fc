"""What an agent is started with: its arguments, its environment, its file for one run."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from sidecar.agents.agent import Agent, filled
from sidecar.agents.files import AgentFile, dumped, laid_over, read_content, with_values
from sidecar.agents.table import FOREIGN_VARIABLES, KEY_VARIABLE
from sidecar.api_keys import find_keys
from sidecar.files import create_private

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_LOOPBACK = "127.0.0.1,localhost,::1"


class AgentTarget(Struct, frozen=True):
    """Where an agent is pointed: the base URL, the secret of its key, the model if one is named.
    `takes_login` is True where a provider of the key takes the agent's own login."""

    base: str
    key: str
    model: str | None = None
    takes_login: bool = False

    @property
    def values(self) -> dict[str, str]:
        """The values of the names in the table's texts."""
        return {"base": self.base, "key": self.key, "model": self.model or ""}


class Launch(Struct, frozen=True):
    """The arguments, with the program, and the whole environment of an agent."""

    argv: list[str]
    environ: dict[str, str]


def launch(
    agent: Agent, words: Sequence[str], target: AgentTarget, environ: Mapping[str, str],
    credentials: Collection[str], folder: Path,
) -> Launch:  # fmt: skip
    """Return how to start an agent. The key is in the environment or in a private file, never in
    an argument.

    Args:
        words: The program and the user's own arguments.
        environ: The user's environment.
        credentials: The variables that hold credentials of vendors.
        folder: A private folder for the agent's file, which lasts as long as the run.
    """
    login = agent.login if target.takes_login else None
    removed = FOREIGN_VARIABLES.union(credentials).difference(login.kept if login else ())
    found = {k: v for k, v in environ.items() if k not in removed and not _holds_key(v)}
    found |= _filled((login or agent).environment, target) | {KEY_VARIABLE: target.key}
    flags = list((login or agent).flags)
    if target.model is not None:
        found |= _filled(agent.model_environment, target)
        flags += agent.model_flags
    if agent.extra is not None:
        variables, more = _extra(agent.extra, target, environ, folder)
        found |= variables
        flags += more
    found |= _past_proxies(found)
    arguments = [filled(each, base=target.base, model=target.model or "") for each in flags]
    return Launch([words[0], *arguments, *words[1:]], found)


def _filled(variables: Mapping[str, str], target: AgentTarget) -> dict[str, str]:
    return {name: filled(text, **target.values) for name, text in variables.items()}


def _holds_key(value: str) -> bool:
    return any(find_keys(value.encode("utf-8", "surrogateescape")))


def _extra(
    extra: AgentFile, target: AgentTarget, environ: Mapping[str, str], folder: Path
) -> tuple[dict[str, str], list[str]]:
    """Return the variables and the arguments that hand a file to the agent; write it."""
    content = with_values(extra.content, target.values)
    under, place = _beside(extra, environ), folder / extra.path
    text = dumped(laid_over(read_content(under, extra.format), content), extra.format)
    place.parent.mkdir(mode=0o700, exist_ok=True)
    create_private(place, text.encode())
    if extra.links:
        _link_others(under, place.parent)
    if extra.flag:
        return {}, [extra.flag, str(place)]
    return {extra.variable: str(folder if extra.links else place)}, []


def _beside(extra: AgentFile, environ: Mapping[str, str]) -> Path:
    """Return the user's own file."""
    own = environ.get(extra.variable) if extra.variable else None
    if own and extra.links:
        return Path(own) / extra.path
    return Path(own or extra.beside.replace("~", environ.get("HOME", "~"), 1)).expanduser()


def _link_others(under: Path, folder: Path) -> None:
    """Link what is beside the user's file."""
    if under.parent.is_dir():
        for each in under.parent.iterdir():
            if each.name != under.name:
                (folder / each.name).symlink_to(each)


def keep_new_files(agent: Agent, environ: Mapping[str, str], folder: Path) -> None:
    """Move what the agent wrote beside its file for one run into the user's folder."""
    extra = agent.extra
    if extra is None or not extra.links:
        return
    under = _beside(extra, environ)
    for each in (folder / extra.path).parent.iterdir():
        own = under.parent / each.name
        if each.name != under.name and not each.is_symlink() and not own.is_dir():
            under.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(each, own)


def _past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep calls to this machine from a proxy, where one is set."""
    names = {name for proxy in _PROXIES for name in (proxy, proxy.lower())}
    if not names & environ.keys():
        return {}
    return {
        name: f"{environ[name]},{_LOOPBACK}" if environ.get(name) else _LOOPBACK
        for name in ("NO_PROXY", "no_proxy")
    }
