"""A whole number as the file writes it, typed behind an option: `500`, `120k`, `1.5M`."""

from __future__ import annotations

import click

from sidecar.loading.words import Misread, count


class Count(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """Not negative."""

    name = "count"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number that was typed."""
        try:
            return count(value)
        except Misread as wrong:
            self.fail(str(wrong), param, ctx)


COUNT = Count()
