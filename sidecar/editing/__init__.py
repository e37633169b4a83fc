"""Changes the configuration file in place: every byte that an edit does not mean stays as it is.

    bytes ─ document ─▶ marks ─ splices ─▶ new bytes ─ read again: exactly the intended difference?

Knows YAML and nothing of keys or groups; whether the result is a good configuration is asked by
who calls.
"""

from sidecar.editing.drafts import Draft
from sidecar.editing.meaning import Path
from sidecar.editing.reading import all_written, written
from sidecar.editing.replacing import replace_file
from sidecar.writing import Value

__all__ = [
    "Draft",
    "Path",
    "Value",
    "all_written",
    "replace_file",
    "written",
]
