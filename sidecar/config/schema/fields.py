"""Every section and field of the file, with its type, help text and default.

The loader, the JSON Schema and the documentation are made from this table. Rules between two fields
are the loader's.
"""

from __future__ import annotations

from dataclasses import replace

from sidecar.config.model import LimitKind
from sidecar.config.schema import addresses, foreign_fields, parsers
from sidecar.config.schema.credential_refs import Credential, Credentials
from sidecar.config.schema.routes import As, RouteList
from sidecar.config.schema.types import Block, Choice, Many, OptionField, Raw, Table, Word
from sidecar.config.schema.values import (
    NUMERIC,
    STRING,
    budgets,
    count,
    days,
    duration,
    header_set,
    integer,
    key_hash,
    models,
    moment,
    money,
    name,
    number,
    patience,
    percent,
    retry,
    size,
    switch,
    text,
    urgency,
    weight,
)

_LIMIT_HELP = {
    LimitKind.RPM: "Requests per minute, over a sliding window of 60 seconds.",
    LimitKind.RPD: "Requests per calendar day.",
    LimitKind.TPM: "Tokens per minute, input and output together.",
    LimitKind.ITPM: "Input tokens per minute.",
    LimitKind.OTPM: "Output tokens per minute.",
    LimitKind.TPD: "Tokens per calendar day.",
    LimitKind.CONCURRENCY: "Calls at one time.",
}
_LIMITS = tuple(OptionField(kind.value, count, meaning) for kind, meaning in _LIMIT_HELP.items())
MODEL_LIMITS = Block("limits of a model", _LIMITS, foreign=foreign_fields.OF_LIMITS)
LIMITS = Block(
    "limits",
    (
        *_LIMITS,
        OptionField(
            "models",
            Table("limits", MODEL_LIMITS, parsers.pattern),
            "Limits that count in addition for the models of a pattern; the first that matches.",
        ),
    ),
    foreign=foreign_fields.OF_LIMITS,
)
HEADROOM = Block(
    "headroom",
    (
        OptionField("background", percent, "Kept free of `background` calls.", "0%"),
        OptionField("normal", percent, "Kept free of `normal` and `background` calls.", "0%"),
    ),
)
TIMEOUTS = Block(
    "timeouts",
    (
        OptionField("connect", patience, "To connect to the provider.", "10s"),
        OptionField("first_byte", patience, "Until an answer begins.", "10m"),
        OptionField("idle", patience, "Between two pieces of an answer.", "5m"),
    ),
)
_limits = OptionField(
    "limits", LIMITS, "Ceilings on requests, tokens and calls at one time.", "none"
)
_budget = OptionField(
    "budget", budgets, "A ceiling in US dollars per calendar day, week or month.", "none"
)
_headroom = OptionField(
    "headroom",
    HEADROOM,
    "The part of each limit here that is kept free for more urgent calls, while there are any.",
    "that of `defaults`",
)
_PRICED_AS = "The model whose price its calls have: what an alias or a deployment really is."
_max_wait = OptionField("max_wait", duration, "How long a call may wait for room, in all.", "2m")
_sticky_wait = OptionField(
    "sticky_wait", duration, "How long a session waits for its own provider first.", "5s"
)

HEADERS = Block(
    "headers",
    (
        OptionField("set", header_set, "Headers set on every request to this provider."),
        OptionField("remove", Many(name), "Headers of the client that are not passed on."),
    ),
)
PROVIDER = Block(
    "a provider",
    (
        OptionField(
            "plugin", name, "The vendor's plugin that drives it.", "the provider's own name"
        ),
        OptionField(
            "base_url",
            Word(addresses.base_url, "a URL such as https://api.example.com/v1", STRING),
            "What the vendor's own SDK takes as its base URL.",
            "the vendor's",
        ),
        OptionField(
            "credential",
            Credentials(),
            "Where the real credential is, never the credential itself; several share the calls.",
            "the vendor's usual environment variable",
        ),
        _limits,
        _budget,
        _headroom,
        OptionField(
            "price", Choice({"free": True}), "`free`: its cost is zero and known.", "by list"
        ),
        OptionField("priced_as", name, _PRICED_AS, "the served model"),
        OptionField(
            "proxy",
            Word(addresses.proxy, "a URL or env", STRING),
            "An HTTP proxy on the way to it; `env` takes HTTPS_PROXY and NO_PROXY.",
            "none",
        ),
        OptionField("ca_file", text, "A PEM file of authorities to trust besides the usual ones."),
        OptionField("headers", HEADERS, "Headers to set or to remove on the way to it."),
        OptionField("timeouts", TIMEOUTS, "How long it may take.", "those of `defaults`"),
        OptionField(
            "allow_http",
            switch,
            "Permit an unencrypted base_url beyond this machine and private networks.",
            "false",
        ),
    ),
    foreign=foreign_fields.OF_PROVIDER,
)
ROUTE = Block(
    "a route",
    (
        OptionField("enabled", switch, "Whether it may be used.", "true"),
        OptionField("models", models, "The models that it may be used for.", "all"),
        OptionField("as", As(), "The name that the provider knows the model by.", "the asked one"),
        _limits,
        OptionField("max_input", count, "The largest request, in estimated input tokens."),
        OptionField("priced_as", name, _PRICED_AS, "that of the provider"),
        OptionField(
            "retry", retry, "`at-least-once` repeats what may have been served.", "if-unserved"
        ),
        OptionField("priority", integer, "Lower goes first; on every entry or none.", "the order"),
        OptionField("weight", count, "The part of calls among equal priorities.", "1"),
    ),
    foreign=foreign_fields.OF_ROUTE,
)
_routes = RouteList(ROUTE)
_one_vendor = replace(
    name,
    instead_of_list=(
        "a group speaks the API of one vendor",
        "write one group for each vendor; providers of several vendors can be its routes",
    ),
)
_one_group = replace(
    name,
    instead_of_list=(
        "a key belongs to one group",
        "write one key for each group; several providers are several routes of one group",
    ),
)
GROUP = Block(
    "a group",
    (
        OptionField("vendor", _one_vendor, "Whose API the group's agents speak.", required=True),
        OptionField("description", text, "For people."),
        OptionField("multiplier", number, "The group's rate: times the list price.", "1"),
        _limits,
        _budget,
        _headroom,
        OptionField(
            "routes", _routes, "The providers to try, in order.", "the vendor's own provider"
        ),
        OptionField(
            "urgency", urgency, "Who goes first; for keys that do not say.", "that of `defaults`"
        ),
        OptionField("models", models, "The models that its keys may use.", "all"),
        OptionField(
            "usage",
            Choice({"ask": True, "as-is": False}),
            "`ask` makes clients' streams report usage where they did not ask for it.",
            "as-is",
        ),
    ),
    foreign=foreign_fields.OF_GROUP,
)
PREVIOUS = Block(
    "previous",
    (
        OptionField("hash", key_hash, "The hash of the older text.", required=True),
        OptionField("until", moment, "When the older text ends.", required=True),
    ),
)
KEY = Block(
    "a key",
    (
        OptionField("group", _one_group, "The group that it belongs to.", required=True),
        OptionField("description", text, "For people: which agent holds it."),
        OptionField("hash", key_hash, "The hash of the key's text, written by `sidecar keys`."),
        OptionField(
            "previous", PREVIOUS, "The text before a rotation, while it is still accepted."
        ),
        OptionField("created", moment, "When it was made."),
        OptionField("expires", moment, "When it ends; a date ends as it begins.", "never"),
        OptionField("enabled", switch, "Whether it may be used.", "true"),
        OptionField("urgency", urgency, "Who goes first when calls must wait.", "the group's"),
        OptionField(
            "models", models, "Narrows what the group and the routes allow.", "the group's"
        ),
        _limits,
        _budget,
        _headroom,
        OptionField("routes", _routes, "Replaces the group's list of routes.", "the group's"),
        OptionField("share", weight, "Its part among keys of equal urgency that wait.", "1"),
        _max_wait,
        _sticky_wait,
    ),
    foreign=foreign_fields.OF_KEY,
)
DEFAULTS = Block(
    "defaults",
    (
        OptionField("urgency", urgency, "Of keys whose group does not say either.", "normal"),
        _max_wait,
        _sticky_wait,
        OptionField("timeouts", TIMEOUTS, "Of every provider, where it does not say."),
        OptionField(
            "headroom", HEADROOM, "Of providers, groups and the file's own limits.", "none"
        ),
    ),
    foreign=foreign_fields.OF_DEFAULTS,
)
SERVER = Block(
    "server",
    (
        OptionField(
            "listen",
            Many(Word(addresses.listen, "HOST:PORT or a port", NUMERIC)),
            "Where agents connect.",
            "127.0.0.1:8787 and [::1]:8787",
        ),
        OptionField(
            "admin",
            Word(addresses.one_address, "HOST:PORT or a port", NUMERIC),
            "Where the console and the metrics are.",
            "127.0.0.1:8788",
        ),
        OptionField(
            "allow_hosts",
            Many(Word(addresses.host, "a host's name", STRING)),
            "Further names that requests may use for this server.",
            "localhost and loopback addresses",
        ),
        OptionField(
            "allow_origins",
            Many(Word(addresses.origin, "an origin such as https://app.example.com", STRING)),
            "Web pages that may call this server.",
            "none",
        ),
        OptionField("allow_remote", switch, "Permit listening beyond this machine.", "false"),
        OptionField("drain", duration, "How long running calls may take after a stop.", "60s"),
        OptionField(
            "max_body", size, "The largest request body that must be read to route.", "64MiB"
        ),
        OptionField(
            "body_memory", size, "Memory for all bodies together.", "a quarter, at most 1GiB"
        ),
        OptionField(
            "metrics_token", Credential(), "A bearer token that /metrics then asks for.", "none"
        ),
        OptionField("callers", switch, "Keep with each call which local process made it.", "true"),
    ),
    foreign=foreign_fields.OF_SERVER,
)
PER_MILLION = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
EACH = ("request", "image", "minute", "web_search")
_PRICE_HELP = {
    "input": "A million input tokens.",
    "output": "A million output tokens.",
    "cache_read": "A million input tokens read from a cache.",
    "cache_write": "A million input tokens written to a cache.",
    "cache_write_1h": "A million input tokens written to a cache that keeps them for an hour.",
    "request": "One request.",
    "image": "One image.",
    "minute": "One minute of audio.",
    "web_search": "One search that the vendor made.",
}
PRICE = Block(
    "a price", tuple(OptionField(n, money, _PRICE_HELP[n]) for n in (*PER_MILLION, *EACH))
)
RETENTION = Block(
    "retention",
    (
        OptionField(
            "days", days, "How long finished calls are kept; sums by day stay for 400.", "90d"
        ),
        OptionField("size", size, "How much room they may take.", "1GiB"),
    ),
)
FILE = Block(
    "the file",
    (
        OptionField(
            "providers",
            Table("providers", Raw("the fields of a provider")),
            "Places that serve a vendor's API.",
            "one for each vendor that is used",
        ),
        OptionField("groups", Table("groups", GROUP), "Rate tiers, each of one vendor."),
        OptionField("keys", Table("keys", KEY), "What agents present, each in one group."),
        OptionField("plugins", Many(text), "Python files with more vendors or dialects.", "none"),
        OptionField("server", SERVER, "How this process listens; a change needs a restart."),
        OptionField("defaults", DEFAULTS, "What holds where nothing else is said."),
        OptionField(
            "prices", Table("prices", PRICE, parsers.pattern), "Prices in place of the list's."
        ),
        OptionField("budget", budgets, "A ceiling in US dollars for everything together.", "none"),
        OptionField("limits", LIMITS, "Ceilings for everything together.", "none"),
        OptionField(
            "timezone",
            Word(parsers.timezone, "a time zone such as Europe/Berlin", STRING),
            "Whose days and months budgets and daily limits follow.",
            "this machine's",
        ),
        OptionField(
            "unpriced",
            Choice({"allow": False, "refuse": True}),
            "What to do with calls whose price is unknown.",
            "allow",
        ),
        OptionField("retention", RETENTION, "How long the books are kept."),
    ),
    ignored="x-",
    foreign=foreign_fields.OF_FILE,
)
