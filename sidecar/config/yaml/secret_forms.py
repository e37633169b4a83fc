"""Detect texts that look like a secret, so that no message repeats them."""

from __future__ import annotations

import re

_PREFIX = re.compile(
    r"(?i)(?:sk|pk|rk|gsk|xai|hf|pplx|fw|nvapi|r8|ghp|gho|ghs|glpat|xox[abpr])[-_][\w-]{6,}"
    r"|github_pat_\w{6,}|AIza[\w-]{10,}|AKIA[0-9A-Z]{8,}|eyJ[\w-]{10,}|\bBearer\s+\S{8,}"
)
_RUN = re.compile(r"[A-Za-z0-9+=]+")
_MAX_NAME_CHARS = 20
"""Runs of letters and digits up to this length may be names; longer mixed ones are secrets."""
_MAX_SHOWN_CHARS = 60


def has_known_form(text: str) -> bool:
    """Return whether `text` contains a credential of a well-known form."""
    return _PREFIX.search(text) is not None


def masked(text: str) -> str:
    """Return `text` with every credential of a well-known form masked."""
    return _PREFIX.sub("••••", text)


def masked_runs(text: str) -> str:
    """Return `text` with every long mixed run masked, whatever it is: also digests and ids."""
    return _RUN.sub(lambda run: "••••" if _is_random(run[0]) else run[0], text)


def looks_secret(text: str) -> bool:
    """Return whether `text` looks like a credential: a known form, or a long mixed run.

    A mixed run has letters and digits. Returns True in case of doubt.
    """
    return has_known_form(text) or any(map(_is_random, _RUN.findall(text)))


def shown(text: str) -> str:
    """Return `"text"` for a message, on one line and bounded; "this value" for a likely secret."""
    if looks_secret(text):
        return "this value (not shown: it looks like a secret)"
    line = "".join(c if c.isprintable() else "�" for c in text)
    return f'"{line[:_MAX_SHOWN_CHARS]}…"' if len(line) > _MAX_SHOWN_CHARS else f'"{line}"'


def _is_random(run: str) -> bool:
    if len(run) > 2 * _MAX_NAME_CHARS:
        return True
    return (
        len(run) >= _MAX_NAME_CHARS
        and any(c.isdigit() for c in run)
        and any(c.isalpha() for c in run)
    )
