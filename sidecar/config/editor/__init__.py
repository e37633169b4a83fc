"""Changes the configuration file in place: every byte that an edit does not mean stays as it is.

    bytes ─ document ─▶ marks ─ splices ─▶ new bytes ─ read again: exactly the intended difference?

Knows YAML and nothing of keys or groups; whether the result is a good configuration is asked by
who calls.
"""

from sidecar.config.editor.draft import Draft, all_written, written
from sidecar.config.editor.expected import FieldPath
from sidecar.config.yaml.writer import Value
from sidecar.files import replace_file

__all__ = [
    "Draft",
    "FieldPath",
    "Value",
    "all_written",
    "replace_file",
    "written",
]
