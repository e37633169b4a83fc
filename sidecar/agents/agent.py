"""An agent or SDK, and how it is pointed at Sidecar.

In texts, `{base}` stands for `http://host:port`, `{key}` for the key and `{model}` for a model.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, structs

from sidecar.agents.files import AgentFile


class Login(Struct, frozen=True, kw_only=True):
    """The way for an agent to send its own login at the vendor, and the local key beside it.

    Attributes:
        environment: In place of that of the agent.
        flags: In place of those of the agent.
        kept: Variables that hold the login.
        removed: Variables that the agent would prefer to the login.
    """

    environment: Mapping[str, str]
    flags: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Agent(Struct, frozen=True, kw_only=True):
    """One agent, or an SDK, which has no `program`.

    Attributes:
        dialect: The dialect that it speaks; also the vendor whose groups it takes first.
        environment: Variables for every start.
        removed: Variables that must not be set; a run removes every foreign one.
        model_environment: Further ones where a model is named.
        flags: Arguments before the user's own.
        model_flags: Further ones where a model is named.
        needs_model: Whether it cannot start without a named model.
        login: How it uses a login of its own; None if it can send no key beside one.
        extra: A file for one run, laid over the agent's own configuration.
        own: The files of the agent's own configuration, and what `setup` writes into it.
        notes: What `env` adds as comments.
        to_set: What the user must set besides, where `setup` wrote the agent's own configuration.
        switched_off: What an address of another maker switches off, and what brings it back.
    """

    name: str
    dialect: str
    program: str = ""
    aliases: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    removed: tuple[str, ...] = ()
    model_environment: Mapping[str, str] = {}
    flags: tuple[str, ...] = ()
    model_flags: tuple[str, ...] = ()
    needs_model: bool = False
    login: Login | None = None
    extra: AgentFile | None = None
    own: tuple[AgentFile, ...] = ()
    notes: tuple[str, ...] = ()
    to_set: str = ""
    switched_off: tuple[str, ...] = ()

    def with_login(self, login: Login) -> Agent:
        """Return the agent as it uses a login of its own."""
        return structs.replace(
            self, environment=login.environment, removed=login.removed, flags=login.flags, notes=()
        )

    @property
    def takes_model(self) -> bool:
        """True if a run can name its model."""
        return bool(self.model_environment or self.model_flags or self.needs_model)


def filled(text: str, **values: str) -> str:
    """Return a text of the table with the values in place of their names in braces."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
