"""Detect a provider's base URL that does not look like its vendor's.

Such a URL is never refused: a proxy may serve a vendor's API below any path.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import urlsplit

from msgspec import structs

from sidecar.config.model import Provider
from sidecar.plugin_api.error_class import Classification
from sidecar.plugin_api.vendor import Vendor

_VERSION = re.compile(r"v\d+\w*")
_ENDPOINT = re.compile(r"/(?:(?:chat/)?completions|responses|messages|embeddings)$")


def base_url_slip(vendor: Vendor, base_url: str) -> str:
    """Return what to change at the end of `base_url`; "" when it looks right."""
    if vendor.base_url is None or vendor.local_server is not None:
        return ""
    path, usual = _path(base_url), _path(vendor.base_url)
    if path in {usual, *vendor.other_base_paths}:
        return ""
    better = _corrected(vendor, path, usual)
    if better == path:
        return ""
    if better.startswith(path):
        return f"write {better[len(path) :]} at its end"
    if path.startswith(better):
        return f"remove {path[len(better) :]} from its end"
    return f"let its path be {better}"


def with_reason(classification: Classification, status: int, provider: Provider) -> Classification:
    """Return the classification with a reason: the vendor plugin's, else the status.

    After a 404 the reason names the mistake in the base URL that may have caused it.
    """
    reason = classification.reason or f"status {status}"
    if status == HTTPStatus.NOT_FOUND and "model_not_found" not in reason:
        slip = base_url_slip(provider.vendor, provider.base_url)
        reason += f"; the provider's base_url looks wrong: {slip}" if slip else ""
    return structs.replace(classification, reason=reason)


def _corrected(vendor: Vendor, path: str, usual: str) -> str:
    path = _ENDPOINT.sub("", path)
    for serving in vendor.dialects.values():
        if serving.add:
            path = path.removesuffix(serving.add)
    if _ends_in_version(usual):
        return usual if path == "/api" or usual.startswith(f"{path}/") else path
    return path.rpartition("/")[0] if _ends_in_version(path) else path


def _path(url: str) -> str:
    return urlsplit(url).path.rstrip("/")


def _ends_in_version(path: str) -> bool:
    return _VERSION.fullmatch(path.rpartition("/")[2]) is not None
