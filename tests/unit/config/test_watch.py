"""The watch of the folder of the file, in its own thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sidecar.config.manager import _watch_folder

SOON = 10.0


def test_watch_waits_for_its_folder_goes_on_after_an_error_and_ends_when_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.config.manager.POLL_SECONDS", 0.01)
    folder, stop, told = tmp_path / "later", threading.Event(), threading.Semaphore(0)
    errors = iter([OSError("no more watches"), RuntimeError("the loop is closed")])

    def noticed() -> None:
        told.release()
        if error := next(errors, None):
            raise error

    thread = threading.Thread(target=_watch_folder, args=(folder, noticed, stop))
    thread.start()
    try:
        folder.mkdir()
        for _ in range(3):  # the folder is watched from some moment on
            attempts = iter(range(200))
            while not told.acquire(timeout=0.05):
                (folder / "a file").write_text(str(next(attempts)))
    finally:
        stop.set()
        thread.join(SOON)
    assert not thread.is_alive()
