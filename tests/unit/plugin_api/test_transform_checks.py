"""The checks of transforms find each breach of the contract, and none in the bundled ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from project_paths import ROOT

from sidecar import Transform, TransformCall, TransformedRequest, TransformRefused, TransformTarget
from sidecar.plugin_api.manager import discover
from sidecar.testing import problems

REGISTRY = discover()


def found_in(transform: Transform) -> list[str]:
    """Check this transform, with one vendor: the others have tests of their own."""
    vendors = {"openai": REGISTRY.vendors["openai"]}
    alone = replace(REGISTRY, vendors=vendors, transforms={transform.name: transform})
    return [each for each in problems(alone) if each.startswith("transform sample:")]


class Sample(Transform):
    name = "sample"
    title = "Changes nothing"

    def request(self, call: TransformCall) -> TransformedRequest | None:
        return TransformedRequest(call.body)


def sample(**members: Callable[..., Any]) -> Transform:
    return type("Broken", (Sample,), members)()  # type: ignore[no-any-return]


def feeding(feed: Callable[[bytes], bytes]) -> Callable[..., Any]:
    def response(_: object, __: object, status: int, content_type: str) -> SimpleNamespace:
        return SimpleNamespace(
            status=status, content_type=content_type, feed=feed, end=lambda *, complete: b""
        )

    return response


def refusal(_: object, call: TransformCall) -> None:
    raise TransformRefused(call.body.decode("latin-1"))


def local(_: object, dialect: str, endpoint: str, __: object) -> TransformTarget:
    return TransformTarget(dialect, endpoint, local=True)


@pytest.mark.parametrize(
    ("transform", "complaint"),
    [
        (sample(configured=lambda *_: None), "configured({}) returns no Transform"),
        (sample(target=lambda *_: ("openai", "chat")), "returns tuple; return a TransformTarget"),
        (sample(target=lambda *_: TransformTarget("nothing", "chat")), "does not exist"),
        (sample(target=lambda *_: TransformTarget("openai", "chat", local=True)), "is local and"),
        (sample(request=lambda _, call: call.body), "request returns bytes"),
        (sample(request=lambda _, call: json.loads(call.body)), "request raised JSONDecodeError"),
        (sample(request=refusal), "quotes the call"),
        (sample(request=lambda _, call: TransformedRequest("text")), "a body of str"),  # type: ignore[arg-type]
        (
            sample(request=lambda _, call: TransformedRequest(b"", notes=(repr(call.body),))),
            "notes go into logs",
        ),
        (sample(target=local, answer=lambda *_: "{}"), "answer returns str"),
        (sample(target=local, answer=lambda *_: b"{"), "answer returns no JSON"),
        (sample(response=feeding(lambda data: data.replace(b"data:", b"d:"))), "differs in pieces"),
        (sample(response=feeding(lambda data: data)), "returns part of an event"),
        (sample(error=lambda *_: (200, b"{}")), "error returns the status 200"),
        (sample(error=lambda *_: (400, b"<p>")), "error returns no JSON"),
    ],
)
def test_checks_find_a_breach_of_the_contract(transform: Transform, complaint: str) -> None:
    found = found_in(transform)
    assert any(complaint in each for each in found), found


def test_checks_find_nothing_in_a_transform_that_changes_requests_only() -> None:
    changing = sample(
        target=lambda _, dialect, endpoint, __: TransformTarget(dialect, endpoint),
        request=lambda _, call: TransformedRequest(call.body + b" "),
    )
    assert [each for each in found_in(changing) if "part of an event" not in each] == []


def test_transform_of_the_documentation_keeps_the_contract(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "plugins.md").read_text().partition("## Write a transform")[2]
    path = tmp_path / "polite.py"
    path.write_text(page.partition("```python\n")[2].partition("```")[0])
    registry = discover([path])
    assert registry.transform_sources["polite"] == str(path)
    assert list(registry.transforms["polite"].options) == ["wish"]
    assert problems(registry) == []


def test_second_transform_of_a_name_is_named_with_both_sources(tmp_path: Path) -> None:
    path = tmp_path / "again.py"
    path.write_text(
        "from sidecar import Transform, hookimpl\n"
        "class Again(Transform):\n    name = 'redact'\n    title = 't'\n"
        "@hookimpl\ndef sidecar_transforms():\n    return [Again()]\n"
    )
    registry = discover([path])
    assert len(registry.problems) == 1
    assert "sidecar_transforms.redact" in registry.problems[0]
    assert msgspec.json.encode(registry.problems)
