"""The names behind the public door: what plugins import from `sidecar`, and nowhere else.

Apart from it because they take a while to load, and most commands need no plugin.
"""

from __future__ import annotations

from sidecar.dialect import (
    Dialect,
    Endpoint,
    Facts,
    Located,
    Meter,
    ModelAt,
    ModelEntry,
    is_pending,
)
from sidecar.errors import Kind, Refusal, Refused
from sidecar.events import SseMeter
from sidecar.hookspecs import hookimpl
from sidecar.meters import (
    BaseMeter,
    Glance,
    JsonMeter,
    NoMeter,
    as_cost,
    as_count,
    as_mapping,
    as_object,
    error_word,
)
from sidecar.peeking import ABSENT, mapping, number, peek, text, truth
from sidecar.splice import cut_null, splice_field
from sidecar.usage import CallRecord, Part, Usage
from sidecar.vendor import (
    Ask,
    Field,
    LocalServer,
    Prepared,
    Quota,
    QuotaKind,
    Secret,
    Serving,
    Vendor,
    placed,
)
from sidecar.verdicts import (
    Answer,
    Judgement,
    Verdict,
    error_code,
    error_object,
    error_text,
    judge_by_status,
    judge_by_word,
)
from sidecar.waits import duration, retry_after, said_wait, seconds_until, sent_at

__all__ = [
    "ABSENT",
    "Answer",
    "Ask",
    "BaseMeter",
    "CallRecord",
    "Dialect",
    "Endpoint",
    "Facts",
    "Field",
    "Glance",
    "JsonMeter",
    "Judgement",
    "Kind",
    "LocalServer",
    "Located",
    "Meter",
    "ModelAt",
    "ModelEntry",
    "NoMeter",
    "Part",
    "Prepared",
    "Quota",
    "QuotaKind",
    "Refusal",
    "Refused",
    "Secret",
    "Serving",
    "SseMeter",
    "Usage",
    "Vendor",
    "Verdict",
    "as_cost",
    "as_count",
    "as_mapping",
    "as_object",
    "cut_null",
    "duration",
    "error_code",
    "error_object",
    "error_text",
    "error_word",
    "hookimpl",
    "is_pending",
    "judge_by_status",
    "judge_by_word",
    "mapping",
    "number",
    "peek",
    "placed",
    "retry_after",
    "said_wait",
    "seconds_until",
    "sent_at",
    "splice_field",
    "text",
    "truth",
]
