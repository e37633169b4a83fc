"""Real clients from their registries, behind a real service, in front of a scripted vendor.

`make acceptance` runs these tests; `make test` does not, as they need npm and the network.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from answering_vendor import AnsweringVendor
from scripted_vendor import ScriptedVendor
from user_machine import FILE, UserMachine


@pytest.fixture
def answering(vendor: ScriptedVendor) -> AnsweringVendor:
    """The vendor's answers, in turns."""
    made = AnsweringVendor()
    vendor.play(made.script)
    return made


@pytest.fixture
async def machine(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[UserMachine]:
    """A machine on which nothing runs yet; the first `sidecar run` starts the service."""
    made = UserMachine(tmp_path, text=FILE.format(url=vendor.url))
    made.settle_in()
    yield made
    await made.type("sidecar stop")


@pytest.fixture(scope="session")
def clients() -> Iterator[Path]:
    """The folder that clients are installed into; it is thrown away, unless `SIDECAR_CLIENTS`
    names one that is kept."""
    kept = os.environ.get("SIDECAR_CLIENTS")
    if kept:
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="sidecar-clients-") as folder:
        yield Path(folder)
