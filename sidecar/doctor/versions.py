"""Check installed packages against the advisories that this release knows."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import msgspec

from sidecar.doctor.results import CheckResult, Level

DISTRIBUTION = "sidecar-llm"
_FILE = Path(__file__).with_name("advisories.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


class Advisory(msgspec.Struct, frozen=True):
    """A published weakness of a package in all versions before `fixed`."""

    package: str
    fixed: str
    id: str
    what: str


def installed_versions() -> dict[str, str]:
    """Return the versions of Sidecar, Python, the system and each installed dependency."""
    found = {
        DISTRIBUTION: version(DISTRIBUTION),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for requirement in requires(DISTRIBUTION) or ():
        match = _NAME.match(requirement)
        if match is not None:
            try:
                found[match[0].lower()] = version(match[0])
            except PackageNotFoundError:  # an extra
                continue
    return found


def check_versions(versions: Mapping[str, str]) -> Iterator[CheckResult]:
    """Find installed packages with a known weakness."""
    known = msgspec.json.decode(_FILE.read_bytes(), type=list[Advisory])
    affected = [each for each in known if _is_before(versions.get(each.package, ""), each.fixed)]
    for each in affected:
        what = f"{each.package} {versions[each.package]} has {each.id}: {each.what}"
        repair = f"pip install '{each.package}>={each.fixed}'"
        yield CheckResult("versions", Level.FAIL, what, repair)
    if not affected:
        what = (
            f"no installed package has one of the {len(known)} advisories that this release knows"
        )
        yield CheckResult("versions", Level.PASS, what)


def _is_before(installed: str, fixed: str) -> bool:
    numbers = _NUMBERS.match(installed)
    if numbers is None:
        return False
    return _parts(numbers[0]) < _parts(fixed)


def _parts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
