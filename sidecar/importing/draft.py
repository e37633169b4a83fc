"""Collect what another gateway serves, and write it as a configuration file.

A deployment of the other gateway becomes a provider and a route. Deployments that differ in their
routes only share a provider.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sidecar.config.patterns import Pattern
from sidecar.config.schema import parsers
from sidecar.config.schema.addresses import is_clear_public
from sidecar.config.schema.parsers import MAX_NAME_CHARS, InvalidValue
from sidecar.config.yaml.secret_forms import has_known_form, looks_secret, shown
from sidecar.config.yaml.writer import Value, block
from sidecar.errors import ConfigError, Problem, SourceLocation
from sidecar.plugin_api.vendor import Vendor

MAX_DEPLOYMENTS = 50_000
"""The most routes of one file; a list of fallbacks makes one for each pair of models."""
_LITERAL = "literal:"
_VARIABLE = re.compile(r"[^A-Z0-9]+")
_PLACEHOLDERS = frozenset({"none", "empty", "dummy", "no-key", "not-needed"})


@dataclass(frozen=True, slots=True)
class UpstreamDraft:
    """The place that serves a deployment. Equal ones share a provider.

    `name` is the name that it should have; `base_url` is None for the vendor's own.
    `credentials` are of `ImportDraft.credential`; empty for the vendor's usual variable.
    """

    vendor: Vendor
    name: str
    base_url: str | None = None
    credentials: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    first_byte: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that an upstream serves: `asked` by clients, `served` by the vendor.

    `rank` orders routes, lower first; equal ones share calls by `weight`. `limits` are those of
    the deployment. `translate` is whether clients of the other gateway's API get it by translation
    where its vendor does not serve that API.
    """

    upstream: UpstreamDraft
    asked: str
    served: str
    line: int
    group: str = ""
    rank: tuple[int, ...] = ()
    weight: float = 1.0
    enabled: bool = True
    limits: Mapping[str, int] = field(default_factory=dict)
    max_input: int | None = None
    priced_as: str = ""
    translate: bool = False


@dataclass(slots=True)
class ImportDraft:
    """A configuration in the making. `file` is the other gateway's; `api` its clients' vendor."""

    file: str
    api: str
    deployments: list[Deployment] = field(default_factory=list)
    top: dict[str, Value] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    exports: dict[str, int] = field(default_factory=dict)
    _lines: dict[str, int] = field(default_factory=dict)

    def credential(self, secret: str, line: int, variable: re.Pattern[str] | None = None) -> str:
        """Return a reference, or what stands for a credential that the other file holds itself.

        `variable` is how that file names an environment variable. The result has no part of a
        secret.
        """
        named = variable.fullmatch(secret) if variable is not None else None
        if named is not None and not looks_secret(named[1]):
            return f"env:{named[1]}"
        if secret.lower() in _PLACEHOLDERS:
            return "none"
        found = f"{_LITERAL}{hashlib.sha256(secret.encode()).hexdigest()}"
        self._lines.setdefault(found, line)
        return found

    def note(self, line: int, what: str, next_step: str = "") -> None:
        """Record what cannot be taken over as it is."""
        self.problems.append(Problem(SourceLocation(self.file, line), what, next_step))

    def add(self, deployment: Deployment) -> bool:
        """Add a deployment, or record why its names cannot be used; return whether it was added."""
        for name in (deployment.asked, deployment.served):
            if why_not := _why_unusable(name):
                self.note(deployment.line, f"this model is left out: {why_not}")
                return False
        stars = deployment.served.count("*")
        if stars > 1 or "?" in deployment.served or (stars and "*" not in deployment.asked):
            what = "this model is left out: its served name is a pattern that no name fills"
            self.note(deployment.line, what)
            return False
        if len(self.deployments) == MAX_DEPLOYMENTS:
            what = f"the file makes more than {MAX_DEPLOYMENTS:,} routes"
            problem = Problem(SourceLocation(self.file, deployment.line), what, "divide it")
            raise ConfigError((problem,))
        group = _valid_name(deployment.group) or ("default" if deployment.group else "")
        self.deployments.append(replace(deployment, group=group))
        return True

    def text(self) -> str:
        """Return the file's text; `exports` then has the variables to set, with their lines."""
        names = self._provider_names()
        providers = self._providers(names)
        sections: dict[str, Value] = {**self.top}
        if providers:
            sections["providers"] = providers
        sections["groups"] = self._groups(names)
        lines = [f"# Made from {_printable(self.file.rpartition('/')[2])} by sidecar import."]
        lines += ["# Keys are made with: sidecar keys create NAME --group GROUP"]
        for name, section in sections.items():
            lines += ["", *block({name: section}, open_levels=3)]
        return "\n".join(lines) + "\n"

    def group_names(self) -> list[str]:
        """Return the names of the groups that the file has."""
        return [name for name, _, _ in self._tiers()]

    # Providers

    def _provider_names(self) -> dict[UpstreamDraft, str]:
        names: dict[UpstreamDraft, str] = {}
        numbers: Counter[str] = Counter()
        taken: set[str] = set()
        vendors = {each.upstream.vendor.name for each in self.deployments}
        for upstream in dict.fromkeys(each.upstream for each in self.deployments):
            wish = _valid_name(upstream.name) or upstream.vendor.name
            foreign = wish in vendors and wish != upstream.vendor.name
            name = wish
            while name in taken or (foreign and name == wish):
                numbers[wish] += 1
                name = f"{wish}-{numbers[wish] + 1}"
            taken.add(name)
            names[upstream] = name
        return names

    def _providers(self, names: Mapping[UpstreamDraft, str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        used = {ref.removeprefix("env:") for each in names for ref in each.credentials}
        used |= {each.vendor.credential or "" for each in names if not each.credentials}
        variables = _Variables(used)
        served: defaultdict[UpstreamDraft, list[Deployment]] = defaultdict(list)
        for each in self.deployments:
            served[each.upstream].append(each)
        for upstream, name in names.items():
            entry = self._provider(upstream, name, variables, served[upstream])
            if entry or name != upstream.vendor.name:
                found[name] = entry
        self.exports = {
            name: self._lines[credential] for credential, name in variables.made.items()
        }
        return found

    def _provider(
        self, upstream: UpstreamDraft, name: str, variables: _Variables, served: list[Deployment]
    ) -> dict[str, Value]:
        entry: dict[str, Value] = {}
        if name != upstream.vendor.name:
            entry["plugin"] = upstream.vendor.name
        if upstream.base_url is not None:
            entry["base_url"] = upstream.base_url
            if is_clear_public(upstream.base_url):
                entry["allow_http"] = True
        usual = upstream.vendor.credential if name == upstream.vendor.name else None
        refs = [variables.reference(each, usual or name) for each in upstream.credentials]
        if refs and refs != [f"env:{upstream.vendor.credential}"]:
            entry["credential"] = refs[0] if len(refs) == 1 else refs
        elif not refs and _is_elsewhere(upstream):
            entry["credential"] = "none"
            what = f"no credential stands here, so provider {shown(name)} gets none"
            usual = f"write credential: env:{upstream.vendor.credential} if it needs one"
            self.note(served[0].line, what, usual)
        entry |= dict(upstream.fields)
        if upstream.first_byte:
            entry["timeouts"] = {"first_byte": upstream.first_byte}
        if limits := self._limits(served):
            entry["limits"] = {"models": limits}
        return entry

    def _limits(self, served: list[Deployment]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for each in served:
            if not each.limits:
                continue
            if found.setdefault(each.asked, dict(each.limits)) != dict(each.limits):
                self.note(each.line, "these limits have no counterpart: another deployment of the "
                          "same model and provider has others")  # fmt: skip
        return found

    # Groups

    def _tiers(self) -> Iterator[tuple[str, str, list[Deployment]]]:
        """Yield name, vendor and deployments of each group.

        There is one for each API that a group of the other gateway needs: first that of its
        clients, then that of each vendor with an API of its own.
        """
        groups: defaultdict[str, list[Deployment]] = defaultdict(list)
        for each in self.deployments:
            groups[each.group].append(each)
        for group, within in groups.items():
            own = [next(iter(each.upstream.vendor.dialects)) for each in within]
            for api in dict.fromkeys([self.api, *own]):
                served = [
                    each
                    for each in within
                    if _serves(each.upstream.vendor, api) or (each.translate and api == self.api)
                ]
                if served:
                    yield (f"{group} {api}" if group else api), api, served

    def _groups(self, names: Mapping[UpstreamDraft, str]) -> dict[str, Value]:
        return {
            name: {"vendor": api, "routes": _routes(served, names, api)}
            for name, api, served in self._tiers()
        }


class _Variables:
    """The environment variables of credentials that the other file holds itself: `made`."""

    def __init__(self, used: set[str]) -> None:
        self._used = used
        self._numbers: Counter[str] = Counter()
        self.made: dict[str, str] = {}

    def reference(self, credential: str, name: str) -> str:
        """Return the reference to write; `name` is a variable, or a name to make one of."""
        if not credential.startswith(_LITERAL):
            return credential
        if credential not in self.made:
            self.made[credential] = self._free(name)
        return f"env:{self.made[credential]}"

    def _free(self, name: str) -> str:
        base = _VARIABLE.sub("_", name.upper()).strip("_")
        if not base.endswith("_API_KEY"):
            base = f"{base}_API_KEY".lstrip("_")
        if base[0].isdigit() or looks_secret(base):
            base = "PROVIDER_API_KEY"
        found = base
        while found in self._used:
            self._numbers[base] += 1
            found = f"{base}_{self._numbers[base] + 1}"
        self._used.add(found)
        return found


def _routes(
    deployments: list[Deployment], names: Mapping[UpstreamDraft, str], api: str
) -> list[Value]:
    ranks = {rank: n for n, rank in enumerate(sorted({each.rank for each in deployments}), 1)}
    scale = 1 if all(each.weight == int(each.weight) for each in deployments) else 100
    ordered = sorted(deployments, key=lambda each: ranks[each.rank])
    merged: dict[tuple[object, ...], list[Deployment]] = {}
    turns: Counter[tuple[object, ...]] = Counter()
    for each in ordered:
        identity = (
            each.upstream, each.rank, each.weight, each.enabled, each.max_input, each.priced_as,
        )  # fmt: skip
        turn = turns[*identity, each.asked]
        turns[*identity, each.asked] += 1
        merged.setdefault((*identity, turn), []).append(each)
    shared = _shares_models(list(merged.values()))
    found: list[Value] = []
    for same in merged.values():
        first = same[0]
        options: dict[str, Value] = _models(same)
        if shared:
            options["priority"] = ranks[first.rank]
            if first.weight != 1 or scale != 1:
                options["weight"] = max(1, round(first.weight * scale))
        if not first.enabled:
            options["enabled"] = False
        if first.max_input is not None:
            options["max_input"] = first.max_input
        if first.priced_as:
            options["priced_as"] = first.priced_as
        if not _serves(first.upstream.vendor, api):
            options["translate"] = True
        name = names[first.upstream]
        found.append({name: options} if options else name)
    return found


def _models(same: list[Deployment]) -> dict[str, Value]:
    asked = list(dict.fromkeys(each.asked for each in same))
    served = {each.asked: each.served for each in same}
    if all(name == served[name] for name in asked):
        return {} if "*" in asked else {"models": asked[0] if len(asked) == 1 else asked}
    if len(asked) == 1:
        (name,) = asked
        rename = {name: served[name]} if "*" in served[name] else served[name]
        return {"models": name, "as": rename}
    return {"as": served}


def _shares_models(routes: list[list[Deployment]]) -> bool:
    """Return whether two routes may serve the same model, so that their order matters."""
    seen: set[str] = set()
    for route in routes:
        asked = {each.asked for each in route}
        if asked & seen or any(not Pattern(name).literal for name in asked):
            return len(routes) > 1
        seen |= asked
    return False


def _is_elsewhere(upstream: UpstreamDraft) -> bool:
    """Return whether a usual credential of the vendor would go to another host than its own."""
    vendor = upstream.vendor
    return None not in (upstream.base_url, vendor.base_url, vendor.credential)


def _serves(vendor: Vendor, api: str) -> bool:
    return api == vendor.name or api in vendor.serves


def _why_unusable(name: str) -> str:
    try:
        parsers.pattern(name)
    except InvalidValue as error:
        return error.what
    return "its name looks like a secret" if has_known_form(name) else ""


def _valid_name(name: str) -> str:
    """Return a name with what no name may have replaced; "" when nothing is left."""
    words = "".join(c if c.isprintable() else " " for c in name).split()
    text = " ".join(words)[: MAX_NAME_CHARS - 8].strip()
    return "" if looks_secret(text) else text


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
