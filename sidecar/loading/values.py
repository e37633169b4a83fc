"""The kinds of single values: each a function of a word, the words that say it, and its schema."""

from __future__ import annotations

from sidecar.config import Urgency
from sidecar.loading import words
from sidecar.loading.kinds import TEXT, Choice, Many, Placed, Table, Word

NUMERIC = {"type": ["number", "string"]}
STRING = {"type": "string"}

text = Word(words.text, "a text", TEXT)
name = Word(words.name, "a name", TEXT)
switch = Word(words.switch, "true or false", {"enum": [True, False, "yes", "no", "on", "off"]})
count = Word(
    words.count,
    "a number such as 500, 200k or 1.5M",
    {**NUMERIC, "minimum": 0, "pattern": r"^[0-9_]+(\.[0-9]+)?[kMG]?$"},
)
integer = Word(words.integer, "a whole number", {**NUMERIC, "pattern": r"^-?[0-9_]+[kMG]?$"})
number = Word(
    words.number,
    "a number such as 0.9",
    {**NUMERIC, "minimum": 0, "pattern": r"^[0-9]+(\.[0-9]+)?$"},
)
weight = Word(words.share, "a number above 0", number.json)
_DURATION = {**NUMERIC, "minimum": 0, "pattern": r"^[0-9.]+(ms|s|m|h|d|w)?$"}
duration = Word(words.duration, "a duration such as 90s, 5m or 2h", _DURATION)
patience = Word(words.positive_duration, "a duration such as 90s, 5m or 2h", _DURATION)
days = Word(words.days, "a number of days such as 90d", _DURATION)
size = Word(
    words.size,
    "a size such as 64MiB",
    {**NUMERIC, "minimum": 1, "pattern": r"^[0-9.]+ ?([kKMGT]i?)?B?$"},
)
percent = Word(words.percent, "a percentage such as 30%", {**STRING, "pattern": r"^[0-9.]+ ?%$"})
money = Word(
    words.money,
    "US dollars such as $2.50",
    {**NUMERIC, "minimum": 0, "pattern": r"^\$?[0-9]+(\.[0-9]+)?$"},
)
budgets = Many(
    Placed(
        lambda word, place, _: (*words.budget(word), place),
        "US dollars a day, week or month such as $10/day",
        {**STRING, "pattern": r"^\$[0-9]+(\.[0-9]+)? ?/ ?(day|week|month)$"},
    )
)
moment = Placed(
    lambda word, _, reader: words.moment(word, reader.zone),
    "a date or time such as 2026-12-31 or 2026-12-31T18:00Z",
    {**STRING, "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"},
)
urgency = Choice({each.name.lower(): each for each in Urgency})
retry = Choice({"if-unserved": False, "at-least-once": True})
models = Many(Word(words.pattern, "a model's name or a pattern such as gpt-5*", TEXT))
key_hash = Word(
    words.key_hash, "sha256: and 64 digits", {**STRING, "pattern": "^sha256:[0-9a-fA-F]{64}$"}
)
header_set = Table("headers' values", text)
