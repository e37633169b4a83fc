"""The number of examples of slow property tests, and of random messages."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

EXAMPLES = 60
"""Of each property test in `make test`, unless it names its own number."""
MAX_EXAMPLES = 200
"""Of each property test in `make explore`."""


def examples(count: int, **options: Any) -> settings:
    """Return settings with `count` examples, and with `MAX_EXAMPLES` in `make explore`.

    The rest, such as the deadline, is that of the profile (tests/conftest.py).
    """
    return settings(max_examples=MAX_EXAMPLES if _explores() else count, **options)


def messages(few: int, many: int) -> int:
    """Return `few`, and `many` in `make explore`, which runs the tests marked `hypothesis`."""
    return many if _explores() else few


def _explores() -> bool:
    return settings.get_current_profile_name() == "explore"
