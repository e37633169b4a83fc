"""Edit the configuration file in place; every byte outside the edit stays as it is.

    bytes ─ document ─▶ marks ─ splices ─▶ new bytes ─ parsed again: exactly the intended change?

Works on YAML without the meaning of keys or groups; the caller validates the result.
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
