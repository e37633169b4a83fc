"""Check what points clients elsewhere: base URLs in the environment and in files, and proxies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from sidecar.doctor.results import CheckResult, Installation, Level
from sidecar.files import read_start

MAX_FILE_BYTES = 1 << 20
_VARIABLE = re.compile(
    r"(?:OPENAI|ANTHROPIC|GOOGLE_GEMINI|GEMINI|GROQ|MISTRAL|DEEPSEEK|OPENROUTER|XAI|TOGETHER"
    r"|FIREWORKS|MOONSHOT|ZAI|CODE_ASSIST)_(?:BASE_URL|API_BASE|ENDPOINT)"
)
_FIELD = re.compile(r"(?i)(?:openai_|anthropic_)?(?:base_?url|api_?base)")
_SETTING = re.compile(
    r"""(?<!\w)(?P<name>[A-Za-z_]\w{0,63}+)["']?(?:\s*+[:=]\s*+|\s++)["']?"""
    r"""(?P<url>https?://(?:\[[\da-fA-F:.]+\])?[^\s"',;}\])]*)"""
)
"""A setting in a line, which may be long: each character is tried once."""
_COMMENT = re.compile(r"\s*(?:#|//)")
_PROFILES = (
    ".profile", ".bash_profile", ".bashrc", ".zshenv", ".zprofile", ".zshrc",
    ".config/fish/config.fish",
)  # fmt: skip
_PROJECT_FILES = (
    ".env", ".claude/settings.json", ".claude/settings.local.json", "opencode.json",
)  # fmt: skip
"""What agents read in the folder in which they start."""
_AGENT_FILES = (
    ".claude/settings.json", ".claude/settings.local.json", ".claude.json",
    ".config/opencode/opencode.json", ".config/opencode/opencode.jsonc",
    ".config/opencode/config.json", ".gemini/settings.json", ".gemini/.env",
    ".qwen/settings.json", ".qwen/.env", ".continue/config.yaml", ".continue/config.json",
    ".aider.conf.yml", ".config/crush/crush.json", ".config/goose/config.yaml",
)  # fmt: skip
_LOCAL_NAMES = ("127.0.0.1", "localhost")
_PROXIES = ("http_proxy", "all_proxy")
"""The variables that apply to `http://` addresses, as those of Sidecar are."""


def check_base_urls(at: Installation) -> Iterator[CheckResult]:
    """Find every place that sets a base URL, and where it leads."""
    found = list(_settings(at))
    for place, name, url in found:
        yield _base_url(at, place, name, url)
    if not found:
        what = "no variable, shell profile or agent's configuration sets a base URL"
        yield CheckResult("base URLs", Level.PASS, what)


def _base_url(at: Installation, place: str, name: str, url: str) -> CheckResult:
    repair = "remove it, or write the address that `sidecar env AGENT` prints"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return CheckResult("base URLs", Level.WARN, f"{place}: {name} is no URL", repair)
    bare = f"{parts.scheme}://{host}:{port}"
    if at.is_ours(host, port):
        return CheckResult("base URLs", Level.PASS, f"{place}: {name} leads to this Sidecar")
    what = f"{place}: {name} leads to {bare}, past this Sidecar"
    return CheckResult("base URLs", Level.WARN, what, repair)


def _settings(at: Installation) -> Iterator[tuple[str, str, str]]:
    """Yield place, name and URL of each setting."""
    for name, value in sorted(at.environ.items()):
        if _VARIABLE.fullmatch(name) and value:
            yield "environment", name, value
    for name in _PROFILES:
        yield from _in_file(_below_home(at, name), variables_only=True)
    codex = Path(at.environ.get("CODEX_HOME") or at.home / ".codex")
    agents = (*(_below_home(at, name) for name in _AGENT_FILES), codex / "config.toml")
    project = (at.folder / name for name in _PROJECT_FILES)
    for path in dict.fromkeys((*agents, *project)):
        yield from _in_file(path, variables_only=False)


def _below_home(at: Installation, name: str) -> Path:
    """Return a path below the home directory; what begins with `.config/`, where XDG has it."""
    xdg = at.environ.get("XDG_CONFIG_HOME")
    below = name.removeprefix(".config/")
    return Path(xdg) / below if xdg and below != name else at.home / name


def _in_file(path: Path, *, variables_only: bool) -> Iterator[tuple[str, str, str]]:
    text = read_start(str(path), MAX_FILE_BYTES).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        if _COMMENT.match(line):
            continue
        for match in _SETTING.finditer(line):
            name = match["name"]
            if _VARIABLE.fullmatch(name) or (not variables_only and _FIELD.fullmatch(name)):
                yield f"{path}:{number}", name, match["url"]


def check_proxies(at: Installation) -> Iterator[CheckResult]:
    """Find a proxy that clients would use for loopback addresses, and one that no provider uses."""
    values = _proxy_variables(at.environ)
    names = [name for name in _PROXIES if values.get(name)]
    hosts = [host for host in _LOCAL_NAMES
             if not proxy_bypass_environment(host, {"no": values.get("no_proxy", "")})]  # fmt: skip
    if names and hosts:
        what = f"{names[0].upper()} is set, and NO_PROXY leaves out {' and '.join(hosts)}: clients "
        what += "send what is for Sidecar to that proxy"
        yield CheckResult("proxy", Level.FAIL, what, "export NO_PROXY=127.0.0.1,localhost")
    else:
        what = "no proxy of the environment applies to this machine's own addresses"
        yield CheckResult("proxy", Level.PASS, what)
    direct = at.snapshot is not None and all(
        each.proxy is None for each in at.snapshot.providers.values()
    )
    if (values.get("https_proxy") or values.get("all_proxy")) and direct:
        what = "HTTPS_PROXY is set, but no provider uses it"
        yield CheckResult("proxy", Level.WARN, what, "write proxy: env on providers that need it")


def _proxy_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of proxies by their names in lower case, which has precedence."""
    wanted = {*_PROXIES, "https_proxy", "no_proxy"}
    found = {name.lower(): value for name, value in environ.items() if name.lower() in wanted}
    return found | {name: value for name, value in environ.items() if name in wanted}
