"""The translation is imported with a file that uses it, not with a call, and not without need."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from sidecar.config.loader import load
from sidecar.plugin_api.manager import discover
text = '''
providers: {oa: {plugin: openai, credential: none}}
groups: {G: {vendor: openai, ROUTES}}
'''
load(text.encode(), file="routes.yaml", registry=discover())
print("sidecar_transforms.translation" in sys.modules)
"""


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ("routes: [oa]", "False"),
        ("routes: [{oa: {translate: true}}]", "True"),
        ("routes: [oa], count_tokens: estimate", "True"),
    ],
)
def test_file_that_translates_imports_the_translation(routes: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("ROUTES", routes)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == expected, done.stderr
