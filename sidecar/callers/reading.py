"""Reads a little of a file that anybody may have put there, and makes names of what it says."""

from __future__ import annotations

import os
import stat


def read_start(path: str, most: int) -> bytes:
    """The first `most` bytes of a regular file; b"" when it is none or cannot be read."""
    try:
        # A pipe in its place must not hold us up.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(handle, most) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(handle)


def clean(text: str, longest: int) -> str:
    """One printable line, and not too long."""
    cut = text[:longest]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)
