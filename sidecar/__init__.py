"""Sidecar: a small proxy beside a developer's agents on localhost.

This module is the public door for plugins: everything a vendor needs is importable from here.
"""

from __future__ import annotations

__version__ = "0.1.0"
