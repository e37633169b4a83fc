"""The configurations that were in force: kept, few, private, and found again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sidecar.config.history import KEPT_VERSIONS, Versions


def keep(versions: Versions, *texts: str) -> None:
    for at, text in enumerate(texts):
        versions.keep(text.encode(), float(at), (f"now {text}",))


def test_history_is_read_again_by_the_next_start(tmp_path: Path) -> None:
    keep(Versions(tmp_path / "versions"), "one", "two")
    again = Versions(tmp_path / "versions")
    newest, oldest = again.listed()
    assert (newest.number, newest.at, newest.difference) == (2, 1.0, ("now two",))
    assert newest.digest == hashlib.sha256(b"two").hexdigest()
    assert again.newest() == b"two"
    assert again.text(oldest.number) == b"one"
    assert again.with_digest(oldest.digest) == b"one"
    assert again.with_digest("none") is None


def test_history_is_separate_for_each_file_of_a_state(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    files = [tmp_path / "routes.yaml", tmp_path / "other.yaml", tmp_path / "two" / "routes.yaml"]
    for file in files:
        Versions.of(tmp_path, file).keep(str(file).encode(), 1.0, ())
    for file in files:
        found = Versions.of(tmp_path, file)
        assert (found.newest(), len(found.listed())) == (str(file).encode(), 1)


def test_history_is_found_by_a_relative_path_and_through_a_linked_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    Versions.of(tmp_path, tmp_path / "real" / "routes.yaml").keep(b"one", 1.0, ())
    monkeypatch.chdir(tmp_path / "real")
    for path in (Path("routes.yaml"), tmp_path / "linked" / "routes.yaml"):
        assert Versions.of(tmp_path, path).newest() == b"one"


def test_history_of_a_swapped_link_belongs_to_the_path_of_the_link(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
        file.unlink(missing_ok=True)
        file.symlink_to(name)
        Versions.of(tmp_path, file).keep(name.encode(), 1.0, ())
    assert len(Versions.of(tmp_path, file).listed()) == 2


def test_history_is_empty_before_the_first_accepted_file(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    assert (versions.listed(), versions.newest(), versions.text(1)) == ([], None, None)


def test_history_keeps_the_newest_20_versions(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    keep(versions, *map(str, range(KEPT_VERSIONS + 5)))
    for each in (versions, Versions(tmp_path / "versions")):
        assert [version.number for version in each.listed()] == list(
            range(KEPT_VERSIONS + 5, 5, -1)
        )
    assert len(list((tmp_path / "versions").iterdir())) == 2 * KEPT_VERSIONS


def test_history_has_no_new_version_for_the_same_text(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    versions.keep(b"one", 1.0, ())
    Versions(tmp_path / "versions").keep(b"one", 2.0, ())
    assert [version.at for version in Versions(tmp_path / "versions").listed()] == [1.0]
    versions.keep(b"two", 3.0, ())
    versions.keep(b"one", 4.0, ("went back",))
    assert [version.number for version in versions.listed()] == [3, 2, 1]


def test_history_files_are_private(tmp_path: Path) -> None:
    keep(Versions(tmp_path / "versions"), "one")
    for path in (tmp_path / "versions", *(tmp_path / "versions").iterdir()):
        assert path.stat().st_mode & 0o077 == 0


def test_history_version_without_its_metadata_is_listed(tmp_path: Path) -> None:
    keep(Versions(tmp_path / "versions"), "one", "two")
    (tmp_path / "versions" / "000001.json").write_text("{torn")
    (tmp_path / "versions" / "000002.json").unlink()
    newest, oldest = Versions(tmp_path / "versions").listed()
    assert newest.digest == hashlib.sha256(b"two").hexdigest()
    assert oldest.digest == hashlib.sha256(b"one").hexdigest()


def test_history_stays_unchanged_when_the_disk_refuses(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    keep(versions, "one")
    (tmp_path / "versions" / "000002.json").mkdir()
    with pytest.raises(OSError, match=r"000002\.json"):
        versions.keep(b"two", 2.0, ())
    assert versions.newest() == b"one"
