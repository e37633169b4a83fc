"""Explain the errors of the YAML parser in plain words, with a fix.

Never repeats the line itself: it may hold a secret.
"""

from __future__ import annotations

import yaml

from sidecar.config.yaml.source import place_at
from sidecar.errors import Problem, SourceLocation

_QUOTE = 'put the whole word in quotes: "{}…"'
_STARTS = {
    "*": "a word that begins with * is an alias in YAML",
    "&": "a word that begins with & is an anchor in YAML",
    "!": "a word that begins with ! is a tag in YAML",
    "%": "a word may not begin with % in YAML",
    "@": "a word may not begin with @ in YAML",
    "`": "a word may not begin with ` in YAML",
}
_COLON = (
    'a ": " inside a value begins a new field',
    "put the value in quotes, or look for a wrong indentation or a missing colon just above",
)
_WORDS = (
    ("mapping values are not allowed", *_COLON),
    (
        "undefined alias",
        _STARTS["*"] + ", and nothing of this name was defined",
        _QUOTE.format("*"),
    ),
    ("maximum nesting depth", "the file is nested too deeply", "flatten it"),
    ("another document", "a second document begins here (---)", "keep one document in the file"),
    ("incompatible YAML", "this YAML version is not understood", "remove the %YAML line"),
    ("unknown escape", "this is no escape in a quoted text", "write \\\\ for a backslash"),
    ("block sequence entries", "a list item (-) cannot begin here", "put it on a line of its own"),
    (
        "sequence entries are not",
        "a list item (-) cannot begin here",
        "put it on a line of its own",
    ),
)
_UNCLOSED = {
    "quoted scalar": "this quote is not closed",
    "double-quoted scalar": "this quote is not closed",
    "flow mapping": "this { is not closed, or a comma is missing before {end}",
    "flow sequence": "this [ is not closed, or a comma is missing before {end}",
}


def explain(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """Return the problem behind a parser's error, at the place where it can be fixed."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(SourceLocation(file, 1), "the file cannot be read as YAML")
    at = min(error.problem_mark.index, len(text))
    problem, context = error.problem or "", error.context or ""
    if text[max(at - 1, 0) : at + 1] == "${":
        return expansion(place_at(text, at - 1, file))
    if "duplicate anchor" in context:
        return Problem(place_at(text, at, file), "this anchor (&) is defined twice", "rename one")
    if "cannot start any token" in problem or "alias" in context or "anchor" in context:
        return _bad_start(text, at, error, file)
    for mark, what, fix in _WORDS:
        if mark in problem:
            return Problem(place_at(text, at, file), what, fix)
    if error.context_mark is not None:
        return _inside(error, text, at, file)
    return Problem(place_at(text, at, file), "this cannot be read as YAML", _indentation())


def expansion(place: SourceLocation) -> Problem:
    """Return the problem that `${NAME}` is not expanded."""
    return Problem(
        place,
        "${…} is not expanded in this file",
        "a credential is named as env:NAME; any other text with ${ needs quotes",
    )


def _bad_start(text: str, at: int, error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.context_mark
    start = at if mark is None else min(mark.index, at)
    character = text[start : start + 1]
    place = place_at(text, start, file)
    if character in _STARTS:
        return Problem(place, _STARTS[character], _QUOTE.format(character))
    if character == "\t":
        return Problem(place, "a tab is in a place where YAML allows only spaces", "use spaces")
    return Problem(place, "a word may not begin with this character", "put it in quotes")


def _inside(error: yaml.MarkedYAMLError, text: str, at: int, file: str) -> Problem:
    assert error.context_mark is not None  # noqa: S101 - asked by the only caller
    where = min(error.context_mark.index, len(text))
    found = place_at(text, at, file)
    last = f"line {found.line}, column {found.column}"
    for name, what in _UNCLOSED.items():
        if (error.context or "").endswith(name):
            return Problem(place_at(text, where, file), what.replace("{end}", last), "close it")
    if text[at : at + 1] in ("}", "]", ","):
        return Problem(found, f"this {text[at]} has no place here", "remove it, or open it first")
    if text[:at].rstrip(" ")[-1:] in ("'", '"'):
        fix = "quote all of it, and double a quote of the same kind inside"
        return Problem(found, "text follows the end of a quoted text", fix)
    return Problem(found, "this line does not match the lines above it", _indentation())


def _indentation() -> str:
    return "check its indentation, and that a space follows each colon"
