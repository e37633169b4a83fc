"""The declaration of the file: every section and field, once, with its kind, meaning and default.

The loader, the JSON Schema and the documentation are all made from this table. It holds no rule
that looks at two fields at once.
"""

from __future__ import annotations

from sidecar.config.model import LimitKind
from sidecar.config.schema import addresses, parsers
from sidecar.config.schema.credential_refs import Credential, Credentials
from sidecar.config.schema.routes import As, RouteList
from sidecar.config.schema.types import Block, Choice, Many, Option, Raw, Table, Word
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
_LIMITS = tuple(Option(kind.value, count, meaning) for kind, meaning in _LIMIT_HELP.items())
MODEL_LIMITS = Block("limits of a model", _LIMITS)
LIMITS = Block(
    "limits",
    (
        *_LIMITS,
        Option(
            "models",
            Table("limits", MODEL_LIMITS, parsers.pattern),
            "Limits that count in addition for the models of a pattern; the first that matches.",
        ),
    ),
)
HEADROOM = Block(
    "headroom",
    (
        Option("background", percent, "Kept free of `background` calls.", "0%"),
        Option("normal", percent, "Kept free of `normal` and `background` calls.", "0%"),
    ),
)
TIMEOUTS = Block(
    "timeouts",
    (
        Option("connect", patience, "To connect to the provider.", "10s"),
        Option("first_byte", patience, "Until an answer begins.", "10m"),
        Option("idle", patience, "Between two pieces of an answer.", "5m"),
    ),
)
_limits = Option("limits", LIMITS, "Ceilings on requests, tokens and calls at one time.", "none")
_budget = Option(
    "budget", budgets, "A ceiling in US dollars per calendar day, week or month.", "none"
)
_headroom = Option(
    "headroom",
    HEADROOM,
    "The part of each limit here that is kept free for more urgent calls, while there are any.",
    "that of `defaults`",
)
_PRICED_AS = "The model whose price its calls have: what an alias or a deployment really is."
_max_wait = Option("max_wait", duration, "How long a call may wait for room, in all.", "2m")
_sticky_wait = Option(
    "sticky_wait", duration, "How long a session waits for its own provider first.", "5s"
)

HEADERS = Block(
    "headers",
    (
        Option("set", header_set, "Headers set on every request to this provider."),
        Option("remove", Many(name), "Headers of the client that are not passed on."),
    ),
)
PROVIDER = Block(
    "a provider",
    (
        Option("plugin", name, "The vendor's plugin that drives it.", "the provider's own name"),
        Option(
            "base_url",
            Word(addresses.base_url, "a URL such as https://api.example.com/v1", STRING),
            "What the vendor's own SDK takes as its base URL.",
            "the vendor's",
        ),
        Option(
            "credential",
            Credentials(),
            "Where the real credential is, never the credential itself; several share the calls.",
            "the vendor's usual environment variable",
        ),
        _limits,
        _budget,
        _headroom,
        Option("price", Choice({"free": True}), "`free`: its cost is zero and known.", "by list"),
        Option("priced_as", name, _PRICED_AS, "the served model"),
        Option(
            "proxy",
            Word(addresses.proxy, "a URL or env", STRING),
            "An HTTP proxy on the way to it; `env` takes HTTPS_PROXY and NO_PROXY.",
            "none",
        ),
        Option("ca_file", text, "A PEM file of authorities to trust besides the usual ones."),
        Option("headers", HEADERS, "Headers to set or to remove on the way to it."),
        Option("timeouts", TIMEOUTS, "How long it may take.", "those of `defaults`"),
        Option(
            "allow_http",
            switch,
            "Permit an unencrypted base_url beyond this machine and private networks.",
            "false",
        ),
    ),
)
ROUTE = Block(
    "a route",
    (
        Option("enabled", switch, "Whether it may be used.", "true"),
        Option("models", models, "The models that it may be used for.", "all"),
        Option("as", As(), "The name that the provider knows the model by.", "the asked one"),
        _limits,
        Option("max_input", count, "The largest request, in estimated input tokens."),
        Option("priced_as", name, _PRICED_AS, "that of the provider"),
        Option("retry", retry, "`at-least-once` repeats what may have been served.", "if-unserved"),
        Option("priority", integer, "Lower goes first; on every entry or none.", "the order"),
        Option("weight", count, "The part of calls among equal priorities.", "1"),
    ),
)
_routes = RouteList(ROUTE)
GROUP = Block(
    "a group",
    (
        Option("vendor", name, "Whose API the group's agents speak.", required=True),
        Option("description", text, "For people."),
        Option("multiplier", number, "The group's rate: times the list price.", "1"),
        _limits,
        _budget,
        _headroom,
        Option("routes", _routes, "The providers to try, in order.", "the vendor's own provider"),
        Option(
            "urgency", urgency, "Who goes first; for keys that do not say.", "that of `defaults`"
        ),
        Option("models", models, "The models that its keys may use.", "all"),
        Option(
            "usage",
            Choice({"ask": True, "as-is": False}),
            "`ask` makes clients' streams report usage where they did not ask for it.",
            "as-is",
        ),
    ),
)
PREVIOUS = Block(
    "previous",
    (
        Option("hash", key_hash, "The hash of the older text.", required=True),
        Option("until", moment, "When the older text ends.", required=True),
    ),
)
KEY = Block(
    "a key",
    (
        Option("group", name, "The group that it belongs to.", required=True),
        Option("description", text, "For people: which agent holds it."),
        Option("hash", key_hash, "The hash of the key's text, written by `sidecar keys`."),
        Option("previous", PREVIOUS, "The text before a rotation, while it is still accepted."),
        Option("created", moment, "When it was made."),
        Option("expires", moment, "When it ends; a date ends as it begins.", "never"),
        Option("enabled", switch, "Whether it may be used.", "true"),
        Option("urgency", urgency, "Who goes first when calls must wait.", "the group's"),
        Option("models", models, "Narrows what the group and the routes allow.", "the group's"),
        _limits,
        _budget,
        _headroom,
        Option("routes", _routes, "Replaces the group's list of routes.", "the group's"),
        Option("share", weight, "Its part among keys of equal urgency that wait.", "1"),
        _max_wait,
        _sticky_wait,
    ),
)
DEFAULTS = Block(
    "defaults",
    (
        Option("urgency", urgency, "Of keys whose group does not say either.", "normal"),
        _max_wait,
        _sticky_wait,
        Option("timeouts", TIMEOUTS, "Of every provider, where it does not say."),
        Option("headroom", HEADROOM, "Of providers, groups and the file's own limits.", "none"),
    ),
)
SERVER = Block(
    "server",
    (
        Option(
            "listen",
            Many(Word(addresses.listen, "HOST:PORT or a port", NUMERIC)),
            "Where agents connect.",
            "127.0.0.1:8787 and [::1]:8787",
        ),
        Option(
            "admin",
            Word(addresses.one_address, "HOST:PORT or a port", NUMERIC),
            "Where the console and the metrics are.",
            "127.0.0.1:8788",
        ),
        Option(
            "allow_hosts",
            Many(Word(addresses.host, "a host's name", STRING)),
            "Further names that requests may use for this server.",
            "localhost and loopback addresses",
        ),
        Option(
            "allow_origins",
            Many(Word(addresses.origin, "an origin such as https://app.example.com", STRING)),
            "Web pages that may call this server.",
            "none",
        ),
        Option("allow_remote", switch, "Permit listening beyond this machine.", "false"),
        Option("drain", duration, "How long running calls may take after a stop.", "60s"),
        Option("max_body", size, "The largest request body that must be read to route.", "64MiB"),
        Option("body_memory", size, "Memory for all bodies together.", "a quarter, at most 1GiB"),
        Option(
            "metrics_token", Credential(), "A bearer token that /metrics then asks for.", "none"
        ),
        Option("callers", switch, "Keep with each call which local process made it.", "true"),
    ),
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
PRICE = Block("a price", tuple(Option(n, money, _PRICE_HELP[n]) for n in (*PER_MILLION, *EACH)))
RETENTION = Block(
    "retention",
    (
        Option("days", days, "How long finished calls are kept; sums by day stay for 400.", "90d"),
        Option("size", size, "How much room they may take.", "1GiB"),
    ),
)
FILE = Block(
    "the file",
    (
        Option(
            "providers",
            Table("providers", Raw("the fields of a provider")),
            "Places that serve a vendor's API.",
            "one for each vendor that is used",
        ),
        Option("groups", Table("groups", GROUP), "Rate tiers, each of one vendor."),
        Option("keys", Table("keys", KEY), "What agents present, each in one group."),
        Option("plugins", Many(text), "Python files with more vendors or dialects.", "none"),
        Option("server", SERVER, "How this process listens; a change needs a restart."),
        Option("defaults", DEFAULTS, "What holds where nothing else is said."),
        Option("prices", Table("prices", PRICE, parsers.pattern), "Prices in place of the list's."),
        Option("budget", budgets, "A ceiling in US dollars for everything together.", "none"),
        Option("limits", LIMITS, "Ceilings for everything together.", "none"),
        Option(
            "timezone",
            Word(parsers.timezone, "a time zone such as Europe/Berlin", STRING),
            "Whose days and months budgets and daily limits follow.",
            "this machine's",
        ),
        Option(
            "unpriced",
            Choice({"allow": False, "refuse": True}),
            "What to do with calls whose price is unknown.",
            "allow",
        ),
        Option("retention", RETENTION, "How long the books are kept."),
    ),
    ignored="x-",
)
