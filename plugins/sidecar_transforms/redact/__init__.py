"""Redact: secrets in the text of a request become placeholders, and come back in the answer."""

from sidecar_transforms.redact.transform import sidecar_transforms

__all__ = ["sidecar_transforms"]
