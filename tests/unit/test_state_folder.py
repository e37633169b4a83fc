from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.files import StateInUse, lock, prepare

HOLD = """
import sys
from pathlib import Path
from sidecar.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def hold(state: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_state_folder_is_created_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        prepare(tmp_path / "state")
        with lock(tmp_path / "state"):
            assert mode(tmp_path / "state") == 0o700
            assert mode(tmp_path / "state/lock") == 0o600
    finally:
        os.umask(old)


def test_state_folder_that_others_may_enter_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    prepare(tmp_path / "state")
    assert mode(tmp_path / "state") == 0o700


def test_state_folder_with_the_sticky_bit_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    prepare(tmp_path)
    assert mode(tmp_path) == 0o1777


def test_state_lock_refuses_a_second_process_with_the_first_ones_id(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        match = f"in use by process {holder.pid};"
        with pytest.raises(StateInUse, match=match) as refused, lock(tmp_path):
            pass
        assert refused.value.pid == holder.pid
        holder.communicate("")
    with lock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_state_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with lock(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_state_lock_that_cannot_be_written_lets_the_process_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = False
    with lock(tmp_path / "file/state"):
        ran = True
    assert ran
    assert "cannot be locked" in caplog.text
