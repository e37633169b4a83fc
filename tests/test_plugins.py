"""Discovery: three ways in, one contract, and a broken plugin that breaks nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import CallRecord, Serving, Vendor
from sidecar.plugins import Registry, discover
from sidecar.testing import problems
from sidecar.usage import Outcome, UsageState

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "my_vendor.py"


def with_file(tmp_path: Path, code: str, name: str = "extra.py") -> Registry:
    path = tmp_path / name
    path.write_text(code)
    return discover([path])


def record() -> CallRecord:
    return CallRecord(
        "c", 0.0, "k", "g", "v", "d", "e", "POST", "m", False, "p", "", "m", 200, Outcome.OK, "",
        (), 0.0, None, 1.0, None, UsageState.UNKNOWN, None, "",
    )  # fmt: skip


def test_the_example_is_loaded_from_its_path_and_keeps_the_contract() -> None:
    registry = discover([EXAMPLE])
    assert registry.sources["acme"] == str(EXAMPLE)
    assert problems(registry) == []


def test_the_example_is_loaded_from_an_entry_point(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "sidecar_acme.py")
    info = tmp_path / "sidecar_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sidecar-acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sidecar]\nacme = sidecar_acme\n")
    code = (
        "from sidecar.plugins import discover; r = discover(); print(r.sources['acme'], r.problems)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "sidecar-acme: sidecar_acme ()\n"


HOOK = "from sidecar import hookimpl\n@hookimpl\n"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("1/0", "ZeroDivisionError"),
        ("this is no python", "SyntaxError"),
        (HOOK + "def sidecar_vendor(): return []", "unknown hook"),
        (HOOK + "def sidecar_vendors(x): return []", "x"),
        (HOOK + "def sidecar_vendors(): return [1]", "gave a int"),
        (HOOK + "def sidecar_vendors(): 1/0", "sidecar_vendors failed"),
        (HOOK + "def sidecar_vendors(): return None", "sidecar_vendors failed"),
        (HOOK + "def sidecar_vendors(): raise SystemExit(3)", "SystemExit"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("from sidecar import Vendor\n" + HOOK + "def sidecar_vendors(): return [Vendor()]",
         "gave a Vendor without a name"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_named_and_left_out(tmp_path: Path, code: str, complaint: str) -> None:
    registry = with_file(tmp_path, code)
    assert len(registry.problems) == 1
    assert str(tmp_path / "extra.py") in registry.problems[0]
    assert complaint in registry.problems[0]
    assert "openai" in registry.vendors


def test_a_broken_file_leaves_no_half_of_a_module_behind(tmp_path: Path) -> None:
    with_file(tmp_path, "1/0", "half.py")
    assert "sidecar_local_half" not in sys.modules


def test_a_file_that_is_named_twice_counts_once() -> None:
    registry = discover([EXAMPLE, EXAMPLE])
    assert registry.problems == (f"{EXAMPLE} is named twice",)
    assert "acme" in registry.vendors


def test_two_files_of_one_name_in_two_folders_both_count(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        path = tmp_path / name / "mine.py"
        path.parent.mkdir()
        path.write_text(VENDOR.format(name=name, dialect="openai"))
        files.append(path)
    registry = discover(files)
    assert registry.problems == ()
    assert {"one", "two"} <= registry.vendors.keys()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    registry = discover([tmp_path / "none.py"])
    assert "none.py" in registry.problems[0]


VENDOR = """
from sidecar import Serving, Vendor, hookimpl
class V(Vendor):
    name = title = {name!r}
    base_url = "https://v.example"
    dialects = {{{dialect!r}: Serving()}}
@hookimpl
def sidecar_vendors(): return [V()]
"""


def test_two_vendors_of_one_name_name_both_sources(tmp_path: Path) -> None:
    registry = with_file(tmp_path, VENDOR.format(name="openai", dialect="openai"))
    assert "extra.py" in registry.problems[0]
    assert "sidecar_vendors.openai" in registry.problems[0]
    assert "sidecar_vendors.openai" in registry.sources["openai"]


def test_a_dialect_that_nobody_knows_is_a_problem(tmp_path: Path) -> None:
    registry = with_file(tmp_path, VENDOR.format(name="new", dialect="klingon"))
    assert "klingon" in registry.problems[0]
    assert "new" not in registry.vendors


def test_an_observers_error_is_counted_and_never_raised(tmp_path: Path) -> None:
    code = (
        "from sidecar import hookimpl\nseen = []\n"
        "@hookimpl\ndef sidecar_call_finished(record):\n    seen.append(record); 1/0\n"
    )
    registry = with_file(tmp_path, code, "watcher.py")
    registry.finished(record())
    registry.finished(record())
    assert registry.failures == {str(tmp_path / "watcher.py"): 2}
    assert len(sys.modules["sidecar_local_watcher"].seen) == 2


def test_a_hook_may_leave_its_argument_out(tmp_path: Path) -> None:
    code = (
        "from sidecar import hookimpl\n"
        "@hookimpl\ndef sidecar_check_config():\n    return ['not on a Friday']\n"
    )
    registry = with_file(tmp_path, code)
    assert registry.check(None) == [f"{tmp_path / 'extra.py'}: not on a Friday"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gives", "vetoes"), [("None", []), ("[]", []), ("'no'", ["no"]), ("('a', 'b')", ["a", "b"])]
)
def test_a_veto_is_any_text(tmp_path: Path, gives: str, vetoes: list[str]) -> None:
    registry = with_file(tmp_path, HOOK + f"def sidecar_check_config(snapshot): return {gives}")
    assert registry.check(None) == [f"{tmp_path / 'extra.py'}: {veto}" for veto in vetoes]  # type: ignore[arg-type]


def test_an_error_in_a_check_is_counted_and_no_veto(tmp_path: Path) -> None:
    registry = with_file(tmp_path, HOOK + "def sidecar_check_config(snapshot): 1/0")
    assert registry.check(None) == []  # type: ignore[arg-type]
    assert registry.failures == {str(tmp_path / "extra.py"): 1}


class Leaky(Vendor):
    """Breaks the contract in every way that can be seen from outside."""

    name = title = "leaky"
    base_url = "ftp://v.example"
    dialects = {"openai": Serving()}

    def prepare(self, ask):  # type: ignore[no-untyped-def]
        from sidecar import Prepared

        return Prepared(f"https://elsewhere.example/?key={ask.secret.reveal()}")

    def judge(self, answer):  # type: ignore[no-untyped-def]
        from sidecar import Judgement, Verdict

        return Judgement(Verdict.SPENT)

    def read_quota(self, headers, now):  # type: ignore[no-untyped-def]
        return int(headers["x"])


def test_the_contract_suite_finds_every_breach() -> None:
    found = discover()
    bad = Registry(found.dialects, {"leaky": Leaky()}, {}, ())
    report = "\n".join(problems(bad))
    for breach in (
        "no http address", "into the address", "sends no credential", "not the provider's host",
        "changes the query", "judges a plain 100", "raised KeyError",
    ):  # fmt: skip
        assert breach in report, report
