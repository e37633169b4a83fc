"""The offline vendor of `make run`: a loopback server that answers in all three dialects."""

from sidecar_vendors.echo.vendor import sidecar_vendors

__all__ = ["sidecar_vendors"]
