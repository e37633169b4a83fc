"""Read the configuration of a LiteLLM proxy: `model_list` and its settings.

Source: docs.litellm.ai/docs/proxy/configs and /docs/routing, the fields as of 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.yaml.secret_forms import shown
from sidecar.config.yaml.writer import Value
from sidecar.importing.draft import Deployment, ImportDraft, UpstreamDraft
from sidecar.importing.items import ForeignValue, decimal, milliseconds, use_all, whole_number
from sidecar.importing.vendors import VendorFinder, base_url_for
from sidecar.plugin_api.vendor import Vendor

_VARIABLE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_LIMITS = {"rpm": "rpm", "tpm": "tpm", "max_parallel_requests": "concurrency"}
_PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
}
_PERIODS = {"1d": "day", "24h": "day", "7d": "week", "30d": "month", "1mo": "month"}
_FALLBACK_RANK = 1


@dataclass(slots=True)
class LiteLLMReader:
    """Read one file into a draft. `environ` has the variables that stand for base URLs."""

    root: ForeignValue
    draft: ImportDraft
    finder: VendorFinder
    environ: Mapping[str, str]

    def read(self) -> None:
        """Fill the draft."""
        models = self.root.take("model_list")
        for entry in models.items if models else ():
            self._deployment(entry)
        settings = [
            found
            for name in ("router_settings", "litellm_settings", "general_settings")
            if (found := self.root.take(name)) is not None
        ]
        for section in settings:
            self._aliases(section)
        for section in settings:
            self._fallbacks(section)
            self._whole(section)

    def _deployment(self, entry: ForeignValue) -> None:
        parameters = entry.take("litellm_params") or ForeignValue(entry.line)
        information = entry.take("model_info") or ForeignValue(entry.line)
        information.used.add("id")
        asked, written = entry.word("model_name"), parameters.word("model")
        prefix, slash, rest = written.partition("/")
        named = parameters.word("custom_llm_provider")
        vendor, served = self.finder.by_name(named or prefix), written
        if vendor is not None and slash and prefix in self.finder.names.vendors:
            served = rest
        elif vendor is None and not slash:
            vendor = self.finder.by_model(written)
        if vendor is None or not asked:
            what = f"model {shown(asked)} is left out: "
            what += "no vendor of Sidecar has its provider" if asked else "it has no model_name"
            self.draft.note(entry.line, what, "the vendors there are: sidecar plugins")
            use_all(entry)
            return
        upstream = self._upstream(parameters, vendor)
        if upstream is None:
            use_all(entry)
            return
        limits = {
            ours: amount
            for theirs, ours in _LIMITS.items()
            if (amount := whole_number(parameters, theirs)) is not None
        }
        order = whole_number(parameters, "order") or 0
        added = self.draft.add(
            Deployment(
                upstream, asked, served, entry.line,
                rank=(0, int("*" in asked), order),
                weight=float(decimal(parameters, "weight") or 1),
                limits=limits,
                priced_as=information.word("base_model").rpartition("/")[2],
            )
        )  # fmt: skip
        if added:
            self._price(parameters, information, served)

    def _upstream(self, parameters: ForeignValue, vendor: Vendor) -> UpstreamDraft | None:
        place = parameters.take("api_base") or parameters.take("base_url")
        url = "" if place is None else self._expanded(place)
        if url is None or (not url and vendor.base_url is None):
            line = parameters.line if place is None else place.line
            what = "this model is left out: its base URL is not known here"
            self.draft.note(line, what, "set the variable that it names and import again"
                            if url is None else "write api_base: in litellm_params")  # fmt: skip
            return None
        vendor = (self.finder.by_address(url) if url else None) or vendor
        base_url = None
        if url:
            try:
                local = vendor.base_url is not None and vendor.credential is None
                base_url = base_url_for(vendor, url, add_version=local)
            except InvalidValue as error:
                what = f"this model is left out: {error.what}"
                self.draft.note(parameters.line, what, error.next)
                return None
        version = parameters.word("api_version")
        has_version = any(each.name == "api_version" for each in vendor.fields)
        if version and not has_version:
            parameters.used.discard("api_version")
        return UpstreamDraft(
            vendor, vendor.name, base_url, self._credentials(parameters),
            (("api_version", version),) if version and has_version else (),
            milliseconds(parameters, "timeout"),
        )  # fmt: skip

    def _credentials(self, parameters: ForeignValue) -> tuple[str, ...]:
        found = parameters.take("api_key")
        if found is None:
            return ()
        return (self.draft.credential(found.text.strip(), found.line, _VARIABLE),)

    def _expanded(self, item: ForeignValue) -> str | None:
        """Return a text, or that of the variable it names; None when that is not set."""
        text = item.text.strip()
        variable = _VARIABLE.fullmatch(text)
        return self.environ.get(variable[1]) or None if variable else text

    def _price(self, parameters: ForeignValue, information: ForeignValue, served: str) -> None:
        price: dict[str, Value] = {}
        for theirs, ours in _PRICES.items():
            for where in (parameters, information):
                cost = decimal(where, theirs)
                if cost is not None:
                    price.setdefault(ours, f"{round(cost * 1_000_000, 9).normalize():f}")
        if not price:
            return
        prices = self.draft.top.setdefault("prices", {})
        assert isinstance(prices, dict)  # noqa: S101 - made here
        if prices.setdefault(served, price) != price:
            what = "this price has no counterpart: another entry gives the model another one"
            self.draft.note(parameters.line, what)

    def _aliases(self, section: ForeignValue) -> None:
        table = section.take("model_group_alias")
        served: dict[str, list[Deployment]] = {}
        for each in self.draft.deployments:
            served.setdefault(each.asked, []).append(each)
        for alias, target in table.every() if table else ():
            name = target.word("model") or target.text.strip()
            target.used.add("hidden")
            same = list(served.get(name, ()))
            if not same:
                self.draft.note(target.line, f"alias {shown(alias)} names no model of model_list")
            for each in same:
                if each.limits:
                    what = f"calls for {shown(alias)} count against no limits of {shown(name)}"
                    self.draft.note(target.line, what)
                if self.draft.add(replace(each, asked=alias, line=target.line, limits={})):
                    served.setdefault(alias, []).append(self.draft.deployments[-1])

    def _fallbacks(self, section: ForeignValue) -> None:
        own: dict[str, list[Deployment]] = {}
        for each in self.draft.deployments:
            if each.rank[0] == 0:
                own.setdefault(each.asked, []).append(each)
        found = section.take("fallbacks")
        for entry in found.items if found else ():
            for asked, targets in entry.every():
                self._fall_back(own, asked, targets)
        found = section.take("default_fallbacks")
        if found is not None:
            for asked in dict.fromkeys(each.asked for each in self.draft.deployments):
                self._fall_back(own, asked, found, _FALLBACK_RANK + 100)

    def _fall_back(
        self, own: Mapping[str, list[Deployment]], asked: str, targets: ForeignValue,
        rank: int = _FALLBACK_RANK,
    ) -> None:  # fmt: skip
        for number, target in enumerate(targets.items):
            name = target.text.strip()
            same = own.get(name, [])
            if name != asked and not same:
                self.draft.note(target.line, f"fallback {shown(name)} names no model of model_list")
            for each in same:
                if name != asked:
                    new = replace(
                        each, asked=asked, rank=(rank + number, *each.rank[1:]), limits={}
                    )
                    self.draft.add(new)

    def _whole(self, section: ForeignValue) -> None:
        """Take over what holds for all models together."""
        top = self.draft.top
        if section.word("routing_strategy") not in {"", "simple-shuffle"}:
            section.used.discard("routing_strategy")
        calls = whole_number(section, "global_max_parallel_requests")
        if calls is not None:
            top["limits"] = {"concurrency": calls}
        timeout = milliseconds(section, "request_timeout") or milliseconds(section, "timeout")
        if timeout:
            top["defaults"] = {"timeouts": {"first_byte": timeout}}
        amount, period = decimal(section, "max_budget"), section.word("budget_duration")
        if amount is not None and period in _PERIODS:
            top["budget"] = f"${round(amount, 6).normalize():f}/{_PERIODS[period]}"
        elif amount is not None:
            section.used -= {"max_budget", "budget_duration"}


def is_litellm(root: ForeignValue) -> bool:
    """Return whether this is the configuration of a LiteLLM proxy."""
    return "model_list" in root.fields
