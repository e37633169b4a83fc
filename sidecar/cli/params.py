"""Parameter types of the command line: names, counts and times, with shell completion."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from sidecar.cli.options import default_config, fail
from sidecar.errors import ConfigError, EditRefused

if TYPE_CHECKING:
    from sidecar.config.model import Snapshot


class Name(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A name from one of these sections of the file."""

    name = "name"

    def __init__(self, *sections: str) -> None:
        self.sections = sections

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name. A key's secret is refused, and not repeated."""
        from sidecar.api_keys import find_keys  # a slow import

        if any(find_keys(value.encode(errors="replace"))):
            self.fail(
                "this is a key's secret, not a name (see: sidecar keys list). It is now in your "
                "shell's history; replace it with: sidecar keys rotate NAME",
                param,
                ctx,
            )
        return value

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the names with this prefix; none when the file cannot be read."""
        try:
            snapshot = _read(ctx.params.get("config") or default_config())
        except (ConfigError, OSError):
            return []
        known = [name for section in self.sections for name in getattr(snapshot, section)]
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def _read(config: Path) -> Snapshot:
    from sidecar.cli.options import registry_for  # slow imports that few commands need
    from sidecar.config.loader import load
    from sidecar.config.manager import read_file

    text = read_file(config)
    return load(text, file=str(config), registry=registry_for(config, text))


KEY = Name("keys")
GROUP = Name("groups")
PROVIDER = Name("providers")
name_argument = click.argument("name", type=KEY)


class NonNegativeInt(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A number that is not negative, such as 120k."""

    name = "count"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number that was typed."""
        from sidecar.config.schema.parsers import InvalidValue, count

        try:
            return count(value)
        except InvalidValue as wrong:
            self.fail(str(wrong), param, ctx)


COUNT = NonNegativeInt()


class FieldText(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """The text of a field of the file, which `parser` of `schema.parsers` accepts, or "".

    With `many` several are separated by commas.
    """

    name = "text"

    def __init__(self, parser: str, *, many: bool = False) -> None:
        self._parser = parser
        self._many = many

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | list[str]:
        """Return the text as it was typed, or the list of several; a budget gets its `$`."""
        from sidecar.config.schema import parsers

        words = [word.strip() for word in value.split(",")] if self._many else [value.strip()]
        words = [word for word in words if word]
        if self._parser == "budget":  # a shell takes an unquoted $5 away
            words = [word if word.startswith("$") else f"${word}" for word in words]
        for word in words:
            try:
                getattr(parsers, self._parser)(word)
            except parsers.InvalidValue as wrong:
                self.fail(str(wrong), param, ctx)
        return words if len(words) > 1 else "".join(words)


def after(option: str, text: str) -> datetime:
    """Return the time that long from now."""
    from sidecar.config.schema import parsers

    try:
        return parsers.after(text, datetime.now(UTC))
    except EditRefused as error:
        fail(f"{option} {error}")


def until(option: str, text: str, zone: tzinfo | None) -> datetime:
    """Return a date or time, or the time that long from now."""
    from sidecar.config.schema import parsers

    try:
        return parsers.until(text, zone, datetime.now(UTC))
    except EditRefused as error:
        fail(f"{option} {error}")
