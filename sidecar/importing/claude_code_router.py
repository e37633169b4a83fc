"""Read the configuration of claude-code-router: `Providers` and `Router`.

Source: the README of musistudio/claude-code-router, the fields as of 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sidecar.config.schema import addresses
from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.yaml.secret_forms import shown
from sidecar.importing.draft import Deployment, ImportDraft, UpstreamDraft
from sidecar.importing.items import ForeignValue, milliseconds, whole_number
from sidecar.importing.vendors import VendorFinder, base_url_for, split_url

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", re.ASCII)
_DEFAULT_THRESHOLD_TOKENS = 60_000
_BACKGROUND = "*haiku*"
"""The models that Claude Code asks for in the background."""
_EVERY_MODEL = "*"


@dataclass(slots=True)
class ClaudeCodeRouterReader:
    """Read one file into a draft."""

    root: ForeignValue
    draft: ImportDraft
    finder: VendorFinder
    _upstreams: dict[str, UpstreamDraft] = field(default_factory=dict)

    def read(self) -> None:
        """Fill the draft."""
        proxy = self._proxy()
        found = self.root.take("Providers") or self.root.take("providers")
        for entry in found.items if found else ():
            self._provider(entry, proxy)
        self._router(self.root.take("Router") or ForeignValue(1))
        timeout = milliseconds(self.root, "API_TIMEOUT_MS", factor=1)
        if timeout:
            self.draft.top["defaults"] = {"timeouts": {"first_byte": timeout}}

    def _proxy(self) -> str:
        url = self.root.word("PROXY_URL")
        try:
            return addresses.proxy(url) if url else ""
        except InvalidValue as error:
            self.draft.note(self.root.fields["PROXY_URL"].line, error.what, error.next)
            return ""

    def _provider(self, entry: ForeignValue, proxy: str) -> None:
        name, url = entry.word("name"), entry.word("api_base_url")
        shape = "messages" if split_url(url).path.endswith("/messages") else ""
        vendor = self.finder.by_address(url) or self.finder.by_name(shape)
        try:
            if vendor is None:
                raise InvalidValue("no vendor of Sidecar serves it", "see: sidecar plugins")
            base_url = base_url_for(vendor, url, add_version=False)
        except InvalidValue as error:
            what = f"provider {shown(name)} is left out: {error.what}"
            self.draft.note(entry.line, what, error.next)
            return
        fields = (("proxy", proxy),) if proxy else ()
        upstream = UpstreamDraft(vendor, name, base_url, self._credentials(entry), fields)
        self._upstreams[name] = upstream
        models = entry.take("models")
        for model in models.items if models else ():
            asked = model.text.strip()
            self.draft.add(Deployment(upstream, asked, asked, model.line, translate=True))

    def _credentials(self, entry: ForeignValue) -> tuple[str, ...]:
        found = entry.take("api_key")
        if found is None:
            return ()
        return (self.draft.credential(found.text.strip(), found.line, _VARIABLE),)

    def _router(self, router: ForeignValue) -> None:
        threshold = whole_number(router, "longContextThreshold") or _DEFAULT_THRESHOLD_TOKENS
        most = threshold if "longContext" in router.fields else None
        self._rule(router, "background", _BACKGROUND, (1,), None)
        self._rule(router, "default", _EVERY_MODEL, (2,), most)
        self._rule(router, "longContext", _EVERY_MODEL, (3,), None)

    def _rule(
        self, router: ForeignValue, rule: str, asked: str, rank: tuple[int, ...], most: int | None
    ) -> None:
        found = router.take(rule)
        if found is None:
            return
        name, _, model = found.text.strip().partition(",")
        upstream = self._upstreams.get(name.strip())
        if upstream is None or not model.strip():
            self.draft.note(found.line, f"Router.{rule} names no provider and model of this file")
        else:
            self.draft.add(
                Deployment(
                    upstream, asked, model.strip(), found.line, rank=rank, max_input=most,
                    translate=True,
                )
            )  # fmt: skip


def is_claude_code_router(root: ForeignValue) -> bool:
    """Return whether this is the configuration of claude-code-router."""
    found = root.fields.get("Providers") or root.fields.get("providers")
    if found is None:
        return False
    return "Router" in root.fields or any("api_base_url" in each.fields for each in found.items)
