"""Find what `redact` replaces: by named detectors, and by the patterns of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

DetectionCheck = Callable[[str], bool]
Hint = Callable[[str], object]


class Detector(NamedTuple):
    """A pattern of texts to redact. `label` stands in their placeholders.

    `hint` is false for a text without a match. It is a quick test: the pattern takes far longer.
    """

    label: str
    pattern: re.Pattern[str]
    accepts: DetectionCheck = bool
    hint: Hint = bool


class Detection(NamedTuple):
    """A text to redact, by its offsets."""

    start: int
    end: int
    label: str


def passes_luhn(text: str) -> bool:
    """Return whether the digits of a card number have the right check digit (ISO/IEC 7812)."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = (sum(divmod(2 * each, 10)) for each in digits[-2::-2])
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _any_of(*patterns: str) -> Hint:
    """Return a hint. Each pattern begins with one character, which `re` searches for by itself many
    times faster than for a set of characters or a boundary; what stands before it is looked up."""
    searches = [re.compile(each).search for each in patterns]
    return lambda text: any(search(text) for search in searches)


_DIGITS = bytes.maketrans(b"0123456789", b"0" * 10)


def _has_many_digits(text: str) -> bool:
    """Return whether a text has as many digits as a card, with spaces and hyphens between."""
    data = text.encode("utf-8", "surrogatepass")
    return b"0" * 13 in data.translate(_DIGITS, b" -")


NAMED = {
    "keys": Detector(
        "KEY",
        re.compile(
            r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?:[^-]|-(?!-)){0,16384}"
            r"-----END [A-Z ]{0,32}PRIVATE KEY-----"
            r"|\b(?:sk|rk|pk)[-_][A-Za-z0-9_-]{20,}"
            r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
            r"|\bAIza[A-Za-z0-9_-]{35}"
            r"|\bgsk_[A-Za-z0-9]{20,}"
            r"|\bsidecar_[A-Za-z0-9_-]{20,}",
            re.DOTALL,
        ),
        hint=_any_of(
            r"B(?<=-----B)EGIN ",
            r"k[-_](?:(?<=\b[srp]k.)|(?<=\bgsk.))[A-Za-z0-9_-]{20}",
            r"A(?:[KS]IA[A-Z0-9]{16}|Iza[A-Za-z0-9_-]{35})",
            r"_(?<=sidecar_)[A-Za-z0-9_-]{20}",
        ),
    ),
    "tokens": Detector(
        "TOKEN",
        re.compile(
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
            r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|npm_|pypi-)[A-Za-z0-9_-]{16,}"
            r"|(?<=[Bb]earer )[A-Za-z0-9._~+/-]{20,}=*"
        ),
        hint=_any_of(
            r"J(?<=eyJ)[A-Za-z0-9_-]{8}",
            r"g(?:h[pousr]_|ithub_pat_|lpat-)[A-Za-z0-9_-]{16}",
            r"x(?:ox[abprs]-)[A-Za-z0-9_-]{16}",
            r"p(?:ypi-|m_(?<=npm_))[A-Za-z0-9_-]{16}",
            r"B(?:earer )[A-Za-z0-9._~+/-]{20}",
            r"b(?:earer )[A-Za-z0-9._~+/-]{20}",
        ),
    ),
    "email": Detector(
        "EMAIL",
        re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
        hint=_any_of(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2}"),
    ),
    "cards": Detector(
        "CARD",
        re.compile(r"[0-9](?<![\w-][0-9])(?:[ -]?[0-9]){12,18}(?![\w-])"),
        passes_luhn,
        _has_many_digits,
    ),
}
"""The detectors that the file may name."""


_MAX_WAYS = 512
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:<?[=!]|:)|\(\?|\{[0-9]*,?[0-9]*\}[?+]?|[*+?][?+]?|.",
    re.DOTALL,
)
"""The parts of a regular expression: escapes, sets, beginnings of groups, repetitions, others."""
_BOUNDED = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")


def check_cost(pattern: str) -> None:
    """Check that a pattern of the file cannot take long on any text: it runs in the event loop.

    At each character of a text a match tries at most as many ways as the product of the lengths
    that its repetitions may have.

    Raises:
        ValueError: It repeats a group, repeats without a bound, or may match in too many ways.
    """
    ways, before = 1, ""
    for part in _TOKEN.findall(pattern):
        if part == "(?" or re.fullmatch(r"\\[1-9]", part):
            raise ValueError(
                "this pattern has a named group, a flag or a back reference: remove it"
            )
        if part[0] in "*+" or re.match(r"\{[0-9]*,\}", part):
            raise ValueError(f"this pattern repeats without a bound: write {{1,64}} for {part[:8]}")
        if part == "|" or part[0] == "?":
            ways *= 2
        elif found := _BOUNDED.match(part):
            if before == ")":
                raise ValueError("this pattern repeats a group: write the repetition out")
            least = int(found[1] or 0)
            ways *= int(found[3] or 0) - least + 1 if found[2] else 1
        before = part
    if not 0 < ways <= _MAX_WAYS:
        raise ValueError(
            f"this pattern may match in {ways} ways: lower its bounds to {_MAX_WAYS} in all"
        )


def detector_of(word: str) -> Detector:
    """Return the detector that a word of the file names: one of `NAMED`, or a /pattern/.

    Raises:
        ValueError: It is neither.
    """
    if word in NAMED:
        return NAMED[word]
    if len(word) < 3 or not word.startswith("/") or not word.endswith("/"):
        known = ", ".join(NAMED)
        raise ValueError(f"redact has no such detector; write one of {known}, or a /pattern/")
    check_cost(word[1:-1])
    try:
        pattern = re.compile(word[1:-1])
    except re.error as error:
        raise ValueError(f"this pattern is no regular expression: {error.msg}") from None
    if pattern.match(""):
        raise ValueError("this pattern matches an empty text; make it match what is secret")
    return Detector("TEXT", pattern)


def find(text: str, detectors: tuple[Detector, ...]) -> list[Detection]:
    """Return the texts to redact, in order. Of two that overlap, the first; the longer one of two
    that begin together."""
    every = sorted(_all(text, detectors), key=lambda each: (each.start, -each.end))
    kept: list[Detection] = []
    for each in every:
        if not kept or each.start >= kept[-1].end:
            kept.append(each)
    return kept


def _all(text: str, detectors: tuple[Detector, ...]) -> Iterator[Detection]:
    for detector in detectors:
        if not detector.hint(text):
            continue
        for match in detector.pattern.finditer(text):
            if detector.accepts(match[0]):
                yield Detection(match.start(), match.end(), detector.label)


def hinted(texts: list[str], detectors: tuple[Detector, ...]) -> tuple[Detector, ...]:
    """Return the detectors that may find something in one of the texts."""
    whole = "\0".join(texts)
    return tuple(each for each in detectors if each.hint(whole))
