"""The container recipe and the distribution. They are read here, not built: building needs a
container engine, and the wheel is built and run by the continuous integration."""

from __future__ import annotations

import re
import tomllib

import pytest
from project_paths import ROOT

RECIPE = (ROOT / "Dockerfile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with continued lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", RECIPE, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line) for line in text.splitlines() if line.strip()]


def test_dockerfile_has_instructions_only() -> None:
    known = {
        "FROM",
        "WORKDIR",
        "RUN",
        "COPY",
        "USER",
        "VOLUME",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "CMD",
    }
    assert {name for name, _ in instructions()} <= known


def test_dockerfile_builds_in_one_stage_and_runs_in_another() -> None:
    names = [name for name, _ in instructions()]
    assert names.count("FROM") == 2
    last = [line for _, line in instructions()][names.index("FROM", 1) :]
    assert not any("COPY . " in line for line in last)


def test_container_runs_without_root_and_has_a_health_check() -> None:
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("CMD")
    assert "USER root" not in RECIPE
    assert "/readyz" in next(line for name, line in instructions() if name == "HEALTHCHECK")


def test_container_mounts_directories_and_not_the_file() -> None:
    volume = next(line for name, line in instructions() if name == "VOLUME")
    assert volume == 'VOLUME ["/config", "/state"]'
    assert "SIDECAR_CONFIG=/config/routes.yaml" in RECIPE


@pytest.mark.parametrize("line", PYPROJECT["project"]["dependencies"])
def test_every_dependency_has_a_floor(line: str) -> None:
    assert ">=" in line


def test_floor_of_aiohttp_has_the_fixes_of_its_parser() -> None:
    assert "aiohttp>=3.14.4" in PYPROJECT["project"]["dependencies"]


def test_ci_script_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert "make test" in (ROOT / "README.md").read_text()


def test_license_is_apache_2_and_is_shipped() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
    project = PYPROJECT["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    shipped = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"/LICENSE", "/SECURITY.md"} <= set(shipped)
    assert all((ROOT / name.removeprefix("/")).exists() for name in shipped)
    assert " LICENSE " in next(line for _, line in instructions() if "README.md" in line)


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/security.md"])
def test_links_of_the_security_pages_have_a_target(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    assert links
    assert all(((ROOT / page).parent / link).exists() for link in links)
