"""What can be seen of a file before it is understood, or although it is refused. Never raises."""

from __future__ import annotations

from sidecar.errors import ConfigError
from sidecar.loading import words
from sidecar.loading.kinds import Many, Word
from sidecar.loading.nodes import compose
from sidecar.loading.reader import Reader
from sidecar.loading.text import decode
from sidecar.loading.values import STRING

_PATHS = Many(Word(words.text, "a path", STRING))


def plugin_paths(text: bytes) -> tuple[str, ...]:
    """The local plugins that a file names, as they are written; () when that cannot be read."""
    reader = Reader("")
    try:
        root = compose(decode(text, ""), "")
    except ConfigError:
        return ()
    for name, _, value in reader.mapping(root, "") or ():
        if name == "plugins":
            found: tuple[str, ...] | None = _PATHS.read(reader, value)
            return found or ()
    return ()
