"""Replacing the configuration file: whole or not at all, and never over another's edit."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from sidecar.errors import EditRefused
from sidecar.files import replace_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def alone(path: Path) -> bool:
    """Whether nothing else lies in its directory."""
    return [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_bytes(b"old")
    return path


def test_the_new_content_takes_the_place_of_the_old(file: Path) -> None:
    file.chmod(0o640)
    replace_file(file, b"old", b"new")
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o640
    assert alone(file)


def test_a_file_that_was_changed_meanwhile_is_left_alone(file: Path) -> None:
    with pytest.raises(EditRefused, match="changed in the meantime"):
        replace_file(file, b"older", b"new")
    assert file.read_bytes() == b"old"
    assert alone(file)


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    replace_file(path, b"", b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600
    assert alone(path)


def test_a_file_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    with pytest.raises(EditRefused, match="changed in the meantime"):
        replace_file(path, b"old", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_link_keeps_pointing_to_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "file.yaml", tmp_path / "routes.yaml"
    target.write_bytes(b"old")
    link.symlink_to("real/file.yaml")
    replace_file(link, b"old", b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    os.mkfifo(path)
    with pytest.raises(EditRefused, match="not a regular file"):
        replace_file(path, b"", b"new")
    assert alone(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").mkdir()
    with pytest.raises(EditRefused):
        replace_file(tmp_path / "routes.yaml", b"", b"new")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EditRefused, match="was not changed: No such file"):
        replace_file(tmp_path / "nowhere" / "routes.yaml", b"", b"new")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.symlink_to(path)
    with pytest.raises(EditRefused):
        replace_file(path, b"", b"new")


def test_of_edits_at_one_time_none_is_lost(file: Path) -> None:
    """Eight writers add their letter, each again and again until it is in."""
    file.write_bytes(b"")

    def add(letter: bytes) -> None:
        while True:
            before = file.read_bytes()
            try:
                replace_file(file, before, before + letter)
            except EditRefused:
                continue
            return

    writers = [threading.Thread(target=add, args=(bytes([letter]),)) for letter in b"abcdefgh"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(file.read_bytes()) == list(b"abcdefgh")
    assert alone(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(file: Path) -> None:
    os.chown(file, 1234, 1234)
    replace_file(file, b"old", b"new")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1234)
