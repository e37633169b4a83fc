"""Replacing the configuration file: whole or not at all, and never over another's edit."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from sidecar.errors import EditRefused
from sidecar.files import (
    NotRegularFile,
    create_private,
    read_regular,
    replace_file,
    write_private,
)


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


def test_replaced_file_has_the_new_content_mode_and_nothing_beside_it(file: Path) -> None:
    file.chmod(0o640)
    replace_file(file, b"old", b"new")
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o640
    assert alone(file)


def test_replace_of_a_file_that_changed_meanwhile_is_refused(file: Path) -> None:
    with pytest.raises(EditRefused, match="changed in the meantime"):
        replace_file(file, b"older", b"new")
    assert file.read_bytes() == b"old"
    assert alone(file)


def test_replaced_file_that_is_new_is_private(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    replace_file(path, b"", b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600
    assert alone(path)


def test_replace_of_a_removed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    with pytest.raises(EditRefused, match="changed in the meantime"):
        replace_file(path, b"old", b"new")
    assert list(tmp_path.iterdir()) == []


def test_replace_through_a_link_changes_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "file.yaml", tmp_path / "routes.yaml"
    target.write_bytes(b"old")
    link.symlink_to("real/file.yaml")
    replace_file(link, b"old", b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_replace_of_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    os.mkfifo(path)
    with pytest.raises(EditRefused, match="not a regular file"):
        replace_file(path, b"", b"new")
    assert alone(path)


def test_replace_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").mkdir()
    with pytest.raises(EditRefused):
        replace_file(tmp_path / "routes.yaml", b"", b"new")


def test_replace_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EditRefused, match="was not changed: No such file"):
        replace_file(tmp_path / "nowhere" / "routes.yaml", b"", b"new")


def test_replace_of_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.symlink_to(path)
    with pytest.raises(EditRefused):
        replace_file(path, b"", b"new")


def test_concurrent_replaces_lose_no_edit(file: Path) -> None:
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
def test_replaced_file_keeps_its_owner(file: Path) -> None:
    os.chown(file, 1234, 1234)
    replace_file(file, b"old", b"new")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1234)


# ── Reads and private files ──────────────────────────────────────────────────────────────────────


def test_read_of_a_pipe_or_a_directory_raises_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(NotRegularFile, match="not a regular file"):
            read_regular(path)


def test_read_of_a_file_stops_at_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "file", 4) == b"0123"
    assert read_regular(tmp_path / "file") == b"0123456789"


@pytest.mark.parametrize("durable", [True, False])
def test_private_file_is_replaced_whole_and_readable_by_its_owner_alone(
    tmp_path: Path, durable: bool
) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"untouched")
    path.symlink_to(other)
    for content in (b"one", b"2"):
        write_private(path, content, durable=durable)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (content, 0o600)
    assert (path.is_symlink(), other.read_bytes()) == (False, b"untouched")
    assert sorted(tmp_path.iterdir()) == [path, other]


def test_private_file_that_exists_is_not_created_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_private(path, b"one")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o600)
    with pytest.raises(FileExistsError):
        create_private(path, b"two")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "link", b"two")


def test_private_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "file", b"one")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]
