"""Discovery of plugins, errors in plugins, and the checks of the contract."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest
from project_paths import ROOT
from recorded_answers import RECORDED, Recorded

from sidecar import (
    CallRecord,
    Classification,
    Endpoint,
    ErrorClass,
    Field,
    LocalReply,
    LocalServer,
    Located,
    ModelEntry,
    Quota,
    QuotaKind,
    Serving,
    SseMeter,
    SubscriptionWindow,
    Usage,
    Vendor,
    classify_by_status,
)
from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.manager import Registry, discover
from sidecar.records import Outcome, UsageState
from sidecar.testing import cut_problems, problems

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


def test_example_loads_from_its_path_and_keeps_the_contract() -> None:
    registry = discover([EXAMPLE])
    assert registry.sources["acme"] == str(EXAMPLE)
    assert problems(registry) == []


def test_first_example_of_the_documentation_keeps_the_contract(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    registry = with_file(tmp_path, page.partition("```python\n")[2].partition("```")[0])
    assert "acme" in registry.vendors
    assert problems(registry) == []


def test_example_loads_from_an_entry_point(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "sidecar_acme.py")
    info = tmp_path / "sidecar_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sidecar-acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sidecar]\nacme = sidecar_acme\n")
    code = (
        "from sidecar.plugin_api.manager import discover; r = discover(); "
        "print(r.sources['acme'], r.problems)"
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
        (HOOK + "def sidecar_vendors(): return [1]", "returned a int"),
        (HOOK + "def sidecar_vendors(): 1/0", "sidecar_vendors raised ZeroDivisionError"),
        (HOOK + "def sidecar_vendors(): return None", "sidecar_vendors raised TypeError"),
        (HOOK + "def sidecar_vendors(): raise SystemExit(3)", "SystemExit"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("from sidecar import Vendor\n" + HOOK + "def sidecar_vendors(): return [Vendor()]",
         "returned a Vendor without a name"),
    ],
)  # fmt: skip
def test_broken_plugin_is_named_and_skipped(tmp_path: Path, code: str, complaint: str) -> None:
    registry = with_file(tmp_path, code)
    assert len(registry.problems) == 1
    assert str(tmp_path / "extra.py") in registry.problems[0]
    assert complaint in registry.problems[0]
    assert "openai" in registry.vendors


def test_broken_file_leaves_no_module_in_sys_modules(tmp_path: Path) -> None:
    with_file(tmp_path, "1/0", "half.py")
    assert "sidecar_local_half" not in sys.modules


def test_file_named_twice_is_loaded_once() -> None:
    registry = discover([EXAMPLE, EXAMPLE])
    assert registry.problems == (f"{EXAMPLE} is named twice",)
    assert "acme" in registry.vendors


def test_files_with_one_name_in_two_folders_are_both_loaded(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        path = tmp_path / name / "mine.py"
        path.parent.mkdir()
        path.write_text(VENDOR.format(name=name, dialect="openai"))
        files.append(path)
    registry = discover(files)
    assert registry.problems == ()
    assert {"one", "two"} <= registry.vendors.keys()


def test_missing_file_is_named(tmp_path: Path) -> None:
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


def test_vendor_name_used_twice_names_both_sources(tmp_path: Path) -> None:
    registry = with_file(tmp_path, VENDOR.format(name="openai", dialect="openai"))
    assert "extra.py" in registry.problems[0]
    assert "sidecar_vendors.openai" in registry.problems[0]
    assert "sidecar_vendors.openai" in registry.sources["openai"]


def test_vendor_with_an_unknown_dialect_is_skipped(tmp_path: Path) -> None:
    registry = with_file(tmp_path, VENDOR.format(name="new", dialect="klingon"))
    assert "klingon" in registry.problems[0]
    assert "new" not in registry.vendors


def test_observer_error_is_counted_and_not_raised(tmp_path: Path) -> None:
    code = (
        "from sidecar import hookimpl\nseen = []\n"
        "@hookimpl\ndef sidecar_call_finished(record):\n    seen.append(record); 1/0\n"
    )
    registry = with_file(tmp_path, code, "watcher.py")
    registry.finished(record())
    registry.finished(record())
    assert registry.failures == {str(tmp_path / "watcher.py"): 2}
    assert len(sys.modules["sidecar_local_watcher"].seen) == 2


def test_hook_may_omit_its_argument(tmp_path: Path) -> None:
    code = (
        "from sidecar import hookimpl\n"
        "@hookimpl\ndef sidecar_check_config():\n    return ['not on a Friday']\n"
    )
    registry = with_file(tmp_path, code)
    assert registry.check(None) == [f"{tmp_path / 'extra.py'}: not on a Friday"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gives", "vetoes"), [("None", []), ("[]", []), ("'no'", ["no"]), ("('a', 'b')", ["a", "b"])]
)
def test_check_config_accepts_text_and_iterables(
    tmp_path: Path, gives: str, vetoes: list[str]
) -> None:
    registry = with_file(tmp_path, HOOK + f"def sidecar_check_config(snapshot): return {gives}")
    assert registry.check(None) == [f"{tmp_path / 'extra.py'}: {veto}" for veto in vetoes]  # type: ignore[arg-type]


def test_check_config_error_is_counted_and_rejects_nothing(tmp_path: Path) -> None:
    registry = with_file(tmp_path, HOOK + "def sidecar_check_config(snapshot): 1/0")
    assert registry.check(None) == []  # type: ignore[arg-type]
    assert registry.failures == {str(tmp_path / "extra.py"): 1}


class Leaky(Vendor):
    """Breaks the contract of addresses, classes and estimates."""

    name = title = "leaky"
    base_url = "ftp://v.example"
    dialects = {"openai": Serving()}

    def prepare(self, ask):  # type: ignore[no-untyped-def]
        from sidecar import Prepared

        return Prepared(f"https://elsewhere.example/?key={ask.secret.reveal()}")

    def classify(self, answer):  # type: ignore[no-untyped-def]
        from sidecar import Classification, ErrorClass

        return Classification(ErrorClass.QUOTA_EXHAUSTED)

    def estimate(self, body_bytes, max_output):  # type: ignore[no-untyped-def]
        return -1, 5


class Unsure(Leaky):
    """Breaks the contract of dialects, fields and quotas."""

    name = title = "unsure"
    dialects = {}
    serves = ("opnai",)
    fields = (
        Field("zone", ("a", "b"), "", default="c"),
        Field("zone", int, "how many", default="1"),
        Field("good", bool, "whether", default=True),
    )

    def read_quota(self, headers, now):  # type: ignore[no-untyped-def]
        return int(headers["x"])


class Deaf(SseMeter):
    """Sees whole events only, and never an error."""

    def feed(self, data: bytes) -> None:
        if data.endswith(b"\n\n"):
            self._usage = Usage(1, 1)


class Mumbling(type(discover().dialects["openai"])):  # type: ignore[misc]
    name = "mumbling"

    def meter(self, endpoint, content_type):  # type: ignore[no-untyped-def]
        return Deaf()

    def error(self, refusal, call_id):  # type: ignore[no-untyped-def]
        return 200, b"{}"

    def locate(self, method, path):  # type: ignore[no-untyped-def]
        return Located(Endpoint("x"), "x", "m", (0, 99))


def test_contract_check_reports_every_breach() -> None:
    found = discover()
    vendors = {"leaky": Leaky(), "unsure": Unsure()}
    bad = Registry({**found.dialects, "mumbling": Mumbling()}, vendors, {}, ("not loaded",))
    report = "\n".join(problems(bad))
    for breach in (
        "not loaded", "base_url ftp://v.example is no HTTP address",
        "puts the credential into the URL for openai; put it into a header",
        "prepare sends no credential", "another host; begin the URL", "prepare changes the query",
        "classify returns QUOTA_EXHAUSTED for a plain 100; return OK", "raised KeyError",
        "dialects is empty", "estimate returns (-1, 5) for 0 bytes without a bound",
        "mumbling: error(BAD_REQUEST) returns the status 200", "omits the message",
        "does not report error_event(INTERNAL) as an error",
        "in pieces of 1 bytes, but", "returns the path 'x'", "a model_span outside its path",
    ):  # fmt: skip
        assert breach in report, report


class Meddling(type(discover().dialects["openai"])):  # type: ignore[misc]
    name = "meddling"

    def read(self, endpoint, body):  # type: ignore[no-untyped-def]
        return json.loads(body)

    def inject_usage_option(self, endpoint, body):  # type: ignore[no-untyped-def]
        if b"stream_options" in body:
            return body
        return b'{"stream_options":{}}' if body.startswith(b'{"m') else None

    def strip_injected_usage(self, endpoint, event):  # type: ignore[no-untyped-def]
        return event.strip() if b"choices" in event else None

    def error_event(self, endpoint, reply, call_id):  # type: ignore[no-untyped-def]
        return b""

    def has_failed_end(self, endpoint):  # type: ignore[no-untyped-def]
        return True


def test_contract_check_covers_the_usage_option() -> None:
    dialects = {**discover().dialects, "meddling": Meddling()}
    report = "\n".join(problems(Registry(dialects, {}, {}, ())))
    for breach in (
        "meddling: read returns dict for", "; return Facts",
        "meddling: read raised JSONDecodeError", "(decoder.py:", "; catch it",
        "meddling: inject_usage_option returns", "change only stream_options",
        "which has the option; return None",
        "meddling: strip_injected_usage returns NoneType for", "keep the blank line at its end",
        "meddling: has_failed_end is true without error_event(INTERNAL)",
    ):  # fmt: skip
        assert breach in report, report


def test_contract_check_calls_every_method_of_a_plugin() -> None:
    tried: set[str] = set()
    found = discover()

    def watched(kind: type) -> type:
        def look(self: object, name: str) -> object:
            tried.add(f"{kind.__name__}.{name}")
            return object.__getattribute__(self, name)

        return type(kind.__name__, (kind,), {"__getattribute__": look})

    dialect = watched(type(found.dialects["openai"]))()
    vendor = watched(type(found.vendors["openai"]))()
    assert problems(Registry({"openai": dialect}, {"openai": vendor}, {}, ())) == []
    for kind, one in ((Dialect, dialect), (Vendor, vendor)):
        own = {name for name, each in vars(kind).items() if inspect.isfunction(each)}
        assert {f"{type(one).__name__}.{name}" for name in own} <= tried


class Guessing(Vendor):
    """Returns impossible classes, quotas, families and estimates."""

    name = title = "guessing"
    base_url = "https://v.example"
    dialects = {"openai": Serving()}

    def classify(self, answer):  # type: ignore[no-untyped-def]
        if answer.status < 400:
            return classify_by_status(answer)
        if answer.status == 401:
            return None
        if answer.status == 402:
            return Classification(ErrorClass.OK)
        wait = float(answer.headers.get("retry-after") or 0)
        return Classification(ErrorClass.RATE_LIMITED, answer.body.decode(errors="replace"), wait)

    def classify_event(self, error):  # type: ignore[no-untyped-def]
        return "overloaded"

    def family(self, model):  # type: ignore[no-untyped-def]
        return model + "+" if model else None

    def rate_limited_tokens(self, usage):  # type: ignore[no-untyped-def]
        return (usage.input_tokens or 0) - (usage.cache_read_tokens or 0), 7

    def estimate(self, body_bytes, max_output):  # type: ignore[no-untyped-def]
        return body_bytes, None

    def read_quota(self, headers, now):  # type: ignore[no-untyped-def]
        value = headers.get("my-own-header", "")
        if value in {"0", "-1", "nan"}:
            figure = float(value)
            quota = Quota(QuotaKind.TOKENS, int(value) if value != "nan" else 5, 9, figure, 60.0)
            return quota, quota
        return {"many": [], "h": (1,)}.get(value, ())


def test_contract_check_covers_classes_and_quotas() -> None:
    vendors = {"guessing": Guessing()}
    report = "\n".join(problems(Registry(discover().dialects, vendors, {}, ())))
    for breach in (
        "classify returns None; return a Classification", "classify returns OK for a 402",
        "classify returns the error's message", "classify raised ValueError",
        "classify_event('') returns 'overloaded'; return an ErrorClass",
        "family('') returns None", "family('m+') differs from family('m')",
        "rate_limited_tokens returns -4 of 5 reported", "rate_limited_tokens returns 7 of 0",
        "estimate returns (1, None) for 1 bytes with the bound 1", "read_quota returns the limit 0",
        "read_quota returns the limit -1", "read_quota returns 9 of 5 remaining",
        "a reset of nan s", "two quotas of one kind", "read_quota returns list; return a tuple",
        "read_quota returns 1 in its tuple",
    ):  # fmt: skip
        assert breach in report, report


def test_contract_check_covers_fields_and_names() -> None:
    class Odd(Unsure):
        price_list = "acme-prices"
        dialects = {"openai": Serving()}
        base_url = "https://v.example"
        prepare, estimate, classify, read_quota = (  # type: ignore[assignment]
            Vendor.prepare,
            Vendor.estimate,
            Vendor.classify,
            Vendor.read_quota,
        )

    assert problems(Registry(discover().dialects, {"unsure": Odd()}, {}, ())) == [
        'vendor unsure: serves "opnai", which is no vendor; correct the name',
        'vendor unsure: price_list "acme-prices" is not in the price list; use an id of it',
        "vendor unsure: field zone has no help; describe its value",
        "vendor unsure: field zone exists twice; remove one",
        "vendor unsure: field zone has a default of another type; use one of its type",
    ]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.name)
def test_cut_problems_finds_none_in_recorded_responses(recorded: Recorded) -> None:
    dialect = discover().dialects[recorded.dialect]
    endpoint = Endpoint(recorded.endpoint, counts=True)
    assert cut_problems(lambda: dialect.meter(endpoint, recorded.content_type), recorded.body) == []


@pytest.mark.parametrize(
    "kind",
    [
        Endpoint, Field, LocalReply, LocalServer, Located, ModelEntry, Quota, Serving,
        SubscriptionWindow,
    ],
)  # fmt: skip
def test_value_that_plugins_know_as_a_dataclass_stays_one(kind: type) -> None:
    """They may copy it with `dataclasses.replace`."""
    assert is_dataclass(kind)
