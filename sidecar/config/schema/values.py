"""The types of scalar fields: a parser, a short text of what to write, and a JSON Schema."""

from __future__ import annotations

from msgspec import structs

from sidecar.config.model import Urgency
from sidecar.config.schema import parsers
from sidecar.config.schema.types import TEXT, Choice, Many, Placed, Table, Word

NUMERIC = {"type": ["number", "string"]}
STRING = {"type": "string"}

text = Word(parsers.text, "a text", TEXT)
name = Word(parsers.name, "a name", TEXT)
switch = Word(parsers.switch, "true or false", {"enum": [True, False, "yes", "no", "on", "off"]})
count = Word(
    parsers.count,
    "a number such as 500, 200k or 1.5M",
    {**NUMERIC, "minimum": 0, "pattern": r"^[0-9_]+(\.[0-9]+)?[kMG]?$"},
)
integer = Word(parsers.integer, "a whole number", {**NUMERIC, "pattern": r"^-?[0-9_]+[kMG]?$"})
number = Word(
    parsers.number,
    "a number such as 0.9",
    {**NUMERIC, "minimum": 0, "pattern": r"^[0-9]+(\.[0-9]+)?$"},
)
weight = Word(parsers.share, "a number above 0", number.json)
_DURATION = {**NUMERIC, "minimum": 0, "pattern": r"^[0-9.]+(ms|s|m|h|d|w)?$"}
duration = Word(parsers.duration, "a duration such as 90s, 5m or 2h", _DURATION)
positive_duration = Word(parsers.positive_duration, "a duration such as 90s, 5m or 2h", _DURATION)
days = Word(parsers.days, "a number of days such as 90d", _DURATION)
size = Word(
    parsers.size,
    "a size such as 64MiB",
    {**NUMERIC, "minimum": 1, "pattern": r"^[0-9.]+ ?([kKMGT]i?)?B?$"},
)
percent = Word(parsers.percent, "a percentage such as 30%", {**STRING, "pattern": r"^[0-9.]+ ?%$"})
money = Word(
    parsers.money,
    "US dollars such as $2.50",
    {**NUMERIC, "minimum": 0, "pattern": r"^\$?[0-9]+(\.[0-9]+)?$"},
)
budgets = Many(
    Placed(
        lambda word, place, _: (*parsers.budget(word), place),
        "US dollars a day, week or month such as $10/day",
        {**STRING, "pattern": r"^\$[0-9]+(\.[0-9]+)? ?/ ?(day|week|month)$"},
    )
)
timestamp = Placed(
    lambda word, _, reader: parsers.timestamp(word, reader.zone),
    "a date or time such as 2026-12-31 or 2026-12-31T18:00Z",
    {**STRING, "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"},
)
urgency = Choice({each.name.lower(): each for each in Urgency})
counting = Choice({"estimate": True, "as-is": False})
retry = Choice({"if-unserved": False, "at-least-once": True})
models = Many(Word(parsers.pattern, "a model's name or a pattern such as gpt-5*", TEXT))
key_hash = Word(
    parsers.key_hash, "sha256: and 64 digits", {**STRING, "pattern": "^sha256:[0-9a-fA-F]{64}$"}
)
transforms = Table("transforms", Table("options", Many(text)))
redactions = Many(Word(parsers.text, "a detector such as email, or a /pattern/", STRING))
header_set = Table("headers' values", text)
one_vendor = structs.replace(
    name,
    instead_of_list=(
        "a group speaks the API of one vendor",
        "write one group for each vendor; providers of several vendors can be its routes",
    ),
)
one_group = structs.replace(
    name,
    instead_of_list=(
        "a key belongs to one group",
        "write one key for each group; several providers are several routes of one group",
    ),
)
