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


def test_the_state_is_made_for_its_user_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        prepare(tmp_path / "state")
        with lock(tmp_path / "state"):
            assert mode(tmp_path / "state") == 0o700
            assert mode(tmp_path / "state/lock") == 0o600
    finally:
        os.umask(old)


def test_a_state_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    prepare(tmp_path / "state")
    assert mode(tmp_path / "state") == 0o700


def test_a_directory_for_everybody_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    prepare(tmp_path)
    assert mode(tmp_path) == 0o1777


def test_a_second_process_is_refused_and_told_the_first_ones_id(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        match = f"in use by process {holder.pid};"
        with pytest.raises(StateInUse, match=match) as refused, lock(tmp_path):
            pass
        assert refused.value.pid == holder.pid
        holder.communicate("")
    with lock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with lock(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_where_nothing_can_be_written_the_process_runs_unlocked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = False
    with lock(tmp_path / "file/state"):
        ran = True
    assert ran
    assert "cannot be locked" in caplog.text
