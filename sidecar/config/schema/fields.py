"""Every section and field of the file, with its type, help text and default.

The loader, the JSON Schema and the documentation are made from this table. Rules between two fields
are the loader's.
"""

from __future__ import annotations

from sidecar.config.model import LimitKind
from sidecar.config.schema import addresses, foreign_fields, parsers
from sidecar.config.schema.credential_refs import Credential, Credentials
from sidecar.config.schema.routes import As, RouteList
from sidecar.config.schema.state import STATE
from sidecar.config.schema.types import Block, Choice, Many, OptionField, Raw, Table, Word
from sidecar.config.schema.values import (
    NUMERIC,
    STRING,
    budgets,
    count,
    counting,
    days,
    duration,
    header_set,
    integer,
    key_hash,
    models,
    money,
    name,
    number,
    one_group,
    one_vendor,
    percent,
    positive_duration,
    redactions,
    retry,
    size,
    switch,
    text,
    timestamp,
    transforms,
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
    LimitKind.CONCURRENCY: "Concurrent calls.",
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
            "Additional limits for the models of a pattern; the first match applies.",
        ),
    ),
    foreign=foreign_fields.OF_LIMITS,
)
HEADROOM = Block(
    "headroom",
    (
        OptionField(
            "background", percent, "What `background` calls may not use of each limit.", "0%"
        ),
        OptionField(
            "normal", percent, "The part that `normal` and `background` calls may not use.", "0%"
        ),
    ),
)
TIMEOUTS = Block(
    "timeouts",
    (
        OptionField(
            "connect", positive_duration, "The longest time to connect to the provider.", "10s"
        ),
        OptionField(
            "first_byte", positive_duration, "The longest time until a response begins.", "10m"
        ),
        OptionField(
            "idle", positive_duration, "The longest time between two pieces of a response.", "5m"
        ),
    ),
)
_limits = OptionField(
    "limits", LIMITS, "Ceilings on requests, tokens and concurrent calls.", "none"
)
_budget = OptionField(
    "budget", budgets, "A ceiling in US dollars per calendar day, week or month.", "none"
)
_headroom = OptionField(
    "headroom",
    HEADROOM,
    "The part of each limit here that is kept for more urgent calls, while there are any.",
    "that of `defaults`",
)
_PRICED_AS = "The model whose price its calls have, where the name is an alias or a deployment."
_max_wait = OptionField(
    "max_wait", duration, "The longest time a call waits for limits, in all.", "2m"
)
_sticky_wait = OptionField(
    "sticky_wait",
    duration,
    "The longest time a session waits for its own provider before it moves.",
    "5s",
)
_redact = OptionField(
    "redact", redactions, "What is replaced in the text of requests, and put back in answers."
)
_transforms = OptionField("transforms", transforms, "Further transforms of its calls, by name.")

HEADERS = Block(
    "headers",
    (
        OptionField("set", header_set, "Headers set on every request to this provider."),
        OptionField("remove", Many(name), "Headers of the client that are removed."),
    ),
)
PROVIDER = Block(
    "a provider",
    (
        OptionField(
            "plugin", name, "The vendor plugin of the provider.", "the provider's own name"
        ),
        OptionField(
            "base_url",
            Word(addresses.base_url, "a URL such as https://api.example.com/v1", STRING),
            "The base URL, as the vendor's own SDK takes it.",
            "the vendor's",
        ),
        OptionField(
            "credential",
            Credentials(),
            "References to real credentials, never the credential itself; several share the calls.",
            "the vendor's usual environment variable",
        ),
        _limits,
        _budget,
        _headroom,
        OptionField("price", Choice({"free": True}), "`free`: calls cost zero.", "by list"),
        OptionField("priced_as", name, _PRICED_AS, "the served model"),
        OptionField(
            "proxy",
            Word(addresses.proxy, "a URL or env", STRING),
            "An HTTP proxy to connect through; `env` uses HTTPS_PROXY and NO_PROXY.",
            "none",
        ),
        OptionField(
            "ca_file",
            text,
            "A PEM file of certificate authorities to trust besides the usual ones.",
        ),
        OptionField("headers", HEADERS, "Request headers to set or to remove."),
        OptionField("timeouts", TIMEOUTS, "The timeouts of its calls.", "those of `defaults`"),
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
        OptionField("enabled", switch, "False switches it off.", "true"),
        OptionField("models", models, "The models that it serves.", "all"),
        OptionField("as", As(), "The model name that is sent to the provider.", "the asked one"),
        _limits,
        OptionField("max_input", count, "The largest request, in estimated input tokens."),
        OptionField("priced_as", name, _PRICED_AS, "that of the provider"),
        OptionField(
            "retry",
            retry,
            "`at-least-once` repeats a request that may have been served.",
            "if-unserved",
        ),
        OptionField(
            "priority",
            integer,
            "The position in the order, lower first; on every entry or none.",
            "the order",
        ),
        OptionField("translate", switch, "Translate to an API that the provider has.", "false"),
        _redact,
        _transforms,
        OptionField("weight", count, "The share of calls among equal priorities.", "1"),
    ),
    foreign=foreign_fields.OF_ROUTE,
)
_routes = RouteList(ROUTE)
GROUP = Block(
    "a group",
    (
        OptionField("vendor", one_vendor, "The vendor whose API the agents use.", required=True),
        OptionField("description", text, "A note for people."),
        OptionField("multiplier", number, "The group's rate, multiplied with the list price.", "1"),
        _limits,
        _budget,
        _headroom,
        OptionField(
            "routes", _routes, "The providers to try, in order.", "the vendor's own provider"
        ),
        OptionField(
            "urgency",
            urgency,
            "The priority of waiting calls, for keys without one.",
            "that of `defaults`",
        ),
        OptionField("models", models, "The models that its keys may use.", "all"),
        OptionField(
            "usage",
            Choice({"ask": True, "as-is": False}),
            "`ask` requests usage in streams whose client did not request it.",
            "as-is",
        ),
        OptionField("count_tokens", counting, "`estimate` where a provider has no count.", "as-is"),
    ),
    foreign=foreign_fields.OF_GROUP,
)
PREVIOUS = Block(
    "previous",
    (
        OptionField("hash", key_hash, "The hash of the older secret.", required=True),
        OptionField("until", timestamp, "The end of the older secret.", required=True),
    ),
)
KEY = Block(
    "a key",
    (
        OptionField("group", one_group, "The group of the key.", required=True),
        OptionField("description", text, "A note for people, such as the agent that uses it."),
        OptionField("hash", key_hash, "The hash of the key's secret, written by `sidecar keys`."),
        OptionField("previous", PREVIOUS, "The secret before a rotation, while it is accepted."),
        OptionField("created", timestamp, "The time of its creation."),
        OptionField(
            "expires", timestamp, "The end of the key; a date means its first second.", "never"
        ),
        OptionField("enabled", switch, "False switches it off.", "true"),
        OptionField("urgency", urgency, "The priority of its waiting calls.", "the group's"),
        OptionField(
            "models",
            models,
            "The models that it may use, within those of the group and the routes.",
            "the group's",
        ),
        _limits,
        _budget,
        _headroom,
        OptionField(
            "routes",
            _routes,
            "The providers to try, in order, in place of the group's.",
            "the group's",
        ),
        OptionField("share", weight, "Its weight among waiting keys of equal urgency.", "1"),
        _redact,
        _transforms,
        _max_wait,
        _sticky_wait,
    ),
    foreign=foreign_fields.OF_KEY,
)
DEFAULTS = Block(
    "defaults",
    (
        OptionField("urgency", urgency, "For keys and groups without one.", "normal"),
        _max_wait,
        _sticky_wait,
        OptionField("timeouts", TIMEOUTS, "For providers without them."),
        OptionField(
            "headroom", HEADROOM, "For providers, groups and the file's own limits.", "none"
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
            "The addresses that agents connect to.",
            "127.0.0.1:8787 and [::1]:8787",
        ),
        OptionField(
            "admin",
            Word(addresses.one_address, "HOST:PORT or a port", NUMERIC),
            "The address of the console and the metrics.",
            "127.0.0.1:8788",
        ),
        OptionField(
            "allow_hosts",
            Many(Word(addresses.host, "a host's name", STRING)),
            "Additional host names that requests may use for this server.",
            "localhost and loopback addresses",
        ),
        OptionField(
            "allow_origins",
            Many(Word(addresses.origin, "an origin such as https://app.example.com", STRING)),
            "Web origins that may call this server.",
            "none",
        ),
        OptionField("allow_remote", switch, "Permit listening beyond this machine.", "false"),
        OptionField("drain", duration, "The longest time for running calls after a stop.", "60s"),
        OptionField(
            "max_body", size, "The largest request body that must be read to route.", "64MiB"
        ),
        OptionField(
            "body_memory",
            size,
            "The memory for all request bodies together.",
            "a quarter, at most 1GiB",
        ),
        OptionField(
            "metrics_token",
            Credential(),
            "A bearer token that requests to /metrics must have.",
            "none",
        ),
        OptionField("callers", switch, "Record which local process made each call.", "true"),
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
    "web_search": "One web search by the vendor.",
}
PRICE = Block(
    "a price", tuple(OptionField(n, money, _PRICE_HELP[n]) for n in (*PER_MILLION, *EACH))
)
RETENTION = Block(
    "retention",
    (
        OptionField(
            "days", days, "The days that calls are kept; daily sums are kept for 400.", "90d"
        ),
        OptionField("size", size, "The disk space that they may take.", "1GiB"),
    ),
)
FILE = Block(
    "the file",
    (
        OptionField(
            "providers",
            Table("providers", Raw("the fields of a provider")),
            "The servers of vendors' APIs.",
            "one for each vendor that is used",
        ),
        OptionField("groups", Table("groups", GROUP), "Rate tiers, each of one vendor."),
        OptionField("keys", Table("keys", KEY), "The local keys of agents, each in one group."),
        OptionField(
            "plugins", Many(text), "Python files with additional vendors or dialects.", "none"
        ),
        OptionField("server", SERVER, "The listeners of this process; a change needs a restart."),
        OptionField("state", STATE, "What several processes share; a change needs a restart."),
        OptionField("defaults", DEFAULTS, "The values of entries that set none."),
        OptionField(
            "prices",
            Table("prices", PRICE, parsers.pattern),
            "Prices that replace those of the list.",
        ),
        OptionField("budget", budgets, "A ceiling in US dollars for everything together.", "none"),
        OptionField("limits", LIMITS, "Ceilings for everything together.", "none"),
        OptionField(
            "timezone",
            Word(parsers.timezone, "a time zone such as Europe/Berlin", STRING),
            "The time zone of days and months in budgets and daily limits.",
            "this machine's",
        ),
        OptionField(
            "unpriced",
            Choice({"allow": False, "refuse": True}),
            "`refuse` rejects calls whose price is unknown.",
            "allow",
        ),
        OptionField("retention", RETENTION, "How long finished calls are kept in the ledger."),
    ),
    ignored="x-",
    foreign=foreign_fields.OF_FILE,
)
