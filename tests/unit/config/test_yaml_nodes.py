"""Pausing the garbage collector: it always comes back."""

from __future__ import annotations

import gc
import threading

import pytest

from sidecar.config.yaml.nodes import gc_paused


def test_gc_is_paused_and_on_again() -> None:
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_gc_is_on_again_after_an_error() -> None:
    def fail() -> None:
        raise RuntimeError("work failed")

    with pytest.raises(RuntimeError), gc_paused():
        fail()
    assert gc.isenabled()


def test_gc_is_on_again_after_overlapping_blocks_in_threads() -> None:
    inside, leave = threading.Event(), threading.Event()

    @gc_paused()
    def work() -> None:
        inside.set()
        leave.wait(10)

    other = threading.Thread(target=work)
    with gc_paused():
        other.start()
        inside.wait(10)
    leave.set()
    other.join()
    assert gc.isenabled()


def test_gc_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
