"""The paths of the project's files, for tests in any folder."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
STATIC = ROOT / "sidecar/admin/console/static"

CORE_MODULES = sorted(ROOT.glob("sidecar/**/*.py"))
PLUGIN_MODULES = sorted(ROOT.glob("plugins/**/*.py"))
MODULES = [*CORE_MODULES, *PLUGIN_MODULES]
TEST_MODULES = sorted(TESTS.glob("**/test_*.py"))
TEST_HELPERS = sorted([*TESTS.glob("support/*.py"), TESTS / "conftest.py"])
CONSOLE_MODULES = sorted(STATIC.glob("**/*.js"))
DOCUMENTS = sorted(
    {*ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"} - {ROOT / "docs/glossary.md"}
)
"""The glossary names the words that the others must not use."""


def below_root(path: Path) -> str:
    """Return the path as it is named in reports and in the ids of tests."""
    return str(path.relative_to(ROOT))
