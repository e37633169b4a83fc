"""A text in the making: edited as often as it takes, and read once for each edit.

After each cut the text is read again, and the edit is refused unless it then means exactly what was
intended: a field that an anchor shares with other places is never changed behind their back.
"""

from __future__ import annotations

from sidecar.collector import paused
from sidecar.editing.document import Document
from sidecar.editing.meaning import Path, checked, renamed, with_value, without
from sidecar.editing.reading import written_in
from sidecar.editing.splices import with_field, with_name, without_field
from sidecar.errors import EditRefused
from sidecar.writing import Value


class Draft:
    """Changes one text. An edit that raises `EditRefused` has changed nothing."""

    @paused()
    def __init__(self, text: bytes) -> None:
        """Read the text. Raises `EditRefused` when it cannot be."""
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError:
            raise EditRefused("the file is not UTF-8 text; see: sidecar check") from None
        if decoded.startswith("\ufeff"):
            raise EditRefused("the file begins with a byte order mark; save it without one")
        self._document = Document(decoded)

    @property
    def text(self) -> bytes:
        """As it is by now."""
        return self._document.text.encode()

    def written(self, path: Path) -> Value | None:
        """The value of the field at `path`, as `editing.written` has it."""
        return written_in(self._document, path)

    @paused()
    def set_value(self, path: Path, value: Value) -> None:
        """Set the field at `path`; what is missing on the way is added at the end of the mapping it
        belongs to, in the style of its neighbours."""
        document = self._reach(path)
        wanted = with_value(document.tree, path, value)
        self._document = checked(with_field(document, path, value), wanted, path)

    @paused()
    def remove(self, path: Path) -> None:
        """Take the field at `path` away. Refused when there is none."""
        document = self._reach(path)
        wanted = without(document.tree, path)
        self._document = checked(without_field(document, path), wanted, path)

    @paused()
    def rename(self, path: Path, new_name: str) -> None:
        """Give the field at `path` another name, in its place. Refused when it is taken."""
        document = self._reach(path)
        new_text = with_name(document, path, new_name)
        self._document = checked(new_text, renamed(document.tree, path, new_name), path)

    def _reach(self, path: Path) -> Document:
        if not path:
            raise EditRefused("no field was named")
        return self._document
