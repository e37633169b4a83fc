"""The configurations that were in force: kept, few, private, and found again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sidecar.versions import KEPT, Versions


def keep(versions: Versions, *texts: str) -> None:
    for at, text in enumerate(texts):
        versions.keep(text.encode(), float(at), (f"now {text}",))


def test_what_was_kept_is_found_again_by_another_start(tmp_path: Path) -> None:
    keep(Versions(tmp_path / "versions"), "one", "two")
    again = Versions(tmp_path / "versions")
    newest, oldest = again.listed()
    assert (newest.number, newest.at, newest.difference) == (2, 1.0, ("now two",))
    assert newest.digest == hashlib.sha256(b"two").hexdigest()
    assert again.newest() == b"two"
    assert again.text(oldest.number) == b"one"
    assert again.with_digest(oldest.digest) == b"one"
    assert again.with_digest("none") is None


def test_nothing_is_there_before_the_first(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    assert (versions.listed(), versions.newest(), versions.text(1)) == ([], None, None)


def test_the_oldest_go(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    keep(versions, *map(str, range(KEPT + 5)))
    for each in (versions, Versions(tmp_path / "versions")):
        assert [version.number for version in each.listed()] == list(range(KEPT + 5, 5, -1))
    assert len(list((tmp_path / "versions").iterdir())) == 2 * KEPT


def test_a_start_with_the_same_text_is_no_new_version(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    versions.keep(b"one", 1.0, ())
    Versions(tmp_path / "versions").keep(b"one", 2.0, ())
    assert [version.at for version in Versions(tmp_path / "versions").listed()] == [1.0]
    versions.keep(b"two", 3.0, ())
    versions.keep(b"one", 4.0, ("went back",))
    assert [version.number for version in versions.listed()] == [3, 2, 1]


def test_only_its_user_can_read_them(tmp_path: Path) -> None:
    keep(Versions(tmp_path / "versions"), "one")
    for path in (tmp_path / "versions", *(tmp_path / "versions").iterdir()):
        assert path.stat().st_mode & 0o077 == 0


def test_a_version_without_its_note_still_serves(tmp_path: Path) -> None:
    keep(Versions(tmp_path / "versions"), "one", "two")
    (tmp_path / "versions" / "000001.json").write_text("{torn")
    (tmp_path / "versions" / "000002.json").unlink()
    newest, oldest = Versions(tmp_path / "versions").listed()
    assert newest.digest == hashlib.sha256(b"two").hexdigest()
    assert oldest.digest == hashlib.sha256(b"one").hexdigest()


def test_what_was_kept_stays_when_the_disk_refuses(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    keep(versions, "one")
    (tmp_path / "versions" / "000002.new").mkdir()
    with pytest.raises(OSError, match=r"000002\.new"):
        versions.keep(b"two", 2.0, ())
    assert versions.newest() == b"one"
