"""Processes that are forked with their imports are like those that a user starts."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from cli_runner import Cli
from warm_starts import warm_start


@pytest.mark.parametrize("words", [("keys", "list"), ("keys", "show", "absent"), ("typo",)])
def test_forked_command_prints_and_ends_as_a_started_one(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    cli = Cli(tmp_path)
    warm, cold = cli.spawn(*words), cli.spawn_cold(*words)
    assert (warm.status, warm.out) == (cold.status, cold.out)
    assert warm.err == cold.err.replace("python -m sidecar", "sidecar")


def test_forked_process_reports_the_signal_that_ended_it(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    ours, theirs = os.pipe()
    with Path(os.devnull).open("w") as nothing:
        streams = [ours, nothing.fileno(), nothing.fileno()]
        process = warm_start(["credential", "set", "demo"], tmp_path, cli.env, streams)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0)
    process.kill()
    assert process.wait(20) == -signal.SIGKILL
    os.close(ours)
    os.close(theirs)


def test_forked_process_refuses_what_python_reads_at_its_start(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="cold start"):
        warm_start(["keys", "list"], tmp_path, {"PYTHONIOENCODING": "ascii"}, [0, 1, 2])
