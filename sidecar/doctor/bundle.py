"""Write the support file: what others need to help, and no credential.

Everything is masked twice: the configuration by its structure, where a credential could be, and
each text by every secret that is at hand here and by the forms of well-known ones.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sidecar.config.credentials import references
from sidecar.config.loader import dump
from sidecar.config.yaml.secret_forms import masked, masked_runs
from sidecar.config.yaml.writer import block
from sidecar.doctor.results import CheckResult, Installation
from sidecar.doctor.versions import installed_versions
from sidecar.files import write_private
from sidecar.humanize import printable
from sidecar.masking import CredentialMask

MASKED = "••••"
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|credential|auth")
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s\"']+@")
_PRIVATE_FIELDS = frozenset({"description", "hash", "set"})


class SecretMasks:
    """Masks every secret that is at hand: resolved credentials, and variables with such a name."""

    def __init__(self, at: Installation) -> None:
        secrets = {value for name, value in at.environ.items() if _SECRET_NAME.search(name)}
        for ref in () if at.snapshot is None else references(at.snapshot):
            secret = at.vault.secret(ref)
            if secret is not None:
                secrets.add(secret.reveal())
        lines = {line.strip() for secret in secrets for line in secret.splitlines()}
        self._masks = [CredentialMask(each) for each in lines if each.isascii()]

    def text(self, text: str) -> str:
        """Return `text` without secrets."""
        for mask in self._masks:
            text = mask.mask_text(text)
        return masked(_USER_OF_URL.sub(f"{MASKED}@", text))

    def finding(self, finding: CheckResult) -> CheckResult:
        """Return a finding without secrets, and without what a terminal obeys: files of a foreign
        project are quoted."""
        what, repair = (printable(self.text(text)) for text in (finding.what, finding.repair))
        return msgspec.structs.replace(finding, what=what, repair=repair)


def write_bundle(
    file: Path, at: Installation, findings: Sequence[CheckResult], masks: SecretMasks
) -> None:
    """Write the support file: a private tar.gz. Raises `OSError`."""
    parts = {
        "findings.json": _json(findings),
        "versions.json": _json(installed_versions()),
        "configuration.yaml": _configuration(at),
        "status.json": _json(_masked(msgspec.to_builtins(at.status))),
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in parts.items():
            data = masked_runs(masks.text(text)).encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"sidecar-support/{name}")
            entry.size, entry.mtime = len(data), int(at.wall())
            archive.addfile(entry, io.BytesIO(data))
    write_private(file, content.getvalue())


def _configuration(at: Installation) -> str:
    """Return the configuration with every default; of an invalid one nothing can be shown."""
    if at.snapshot is None:
        return "# The file is invalid and therefore left out; its problems are in findings.json.\n"
    return "\n".join(block(_masked(dump.file(at.snapshot)), open_levels=2)) + "\n"


def _masked(value: Any) -> Any:
    """Return a plain value with a mask in place of what may be secret: values of headers, notes,
    hashes, and the words of commands."""
    if isinstance(value, Mapping):
        return {_word(name): _field(name, item) for name, item in value.items()}
    if isinstance(value, str):
        return _word(value)
    if isinstance(value, Iterable):
        return [_masked(each) for each in value]
    return value


def _field(name: str, item: Any) -> Any:
    if name == "command":
        return [item[0], MASKED]
    if name not in _PRIVATE_FIELDS:
        return _masked(item)
    return dict.fromkeys(item, MASKED) if isinstance(item, Mapping) else MASKED


def _word(text: str) -> str:
    program, space, _ = text.partition(" ")
    return f"{program} {MASKED}" if space and text.startswith("command:") else text


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False) + "\n"
