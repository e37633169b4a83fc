"""The names behind the public door: what plugins import from `sidecar`, and nowhere else.

Apart from it because they take a while to load, and most commands need no plugin.
"""

from __future__ import annotations

from sidecar.errors import Kind, Refusal, Refused
from sidecar.plugin_api.dialect import (
    Dialect,
    Endpoint,
    Facts,
    Located,
    Meter,
    ModelAt,
    ModelEntry,
    is_pending,
)
from sidecar.plugin_api.error_class import (
    Answer,
    Judgement,
    Verdict,
    error_code,
    error_object,
    error_text,
    judge_by_status,
    judge_by_word,
)
from sidecar.plugin_api.hookspecs import hookimpl
from sidecar.plugin_api.json_body import (
    ABSENT,
    cut_null,
    mapping,
    number,
    peek,
    splice_field,
    text,
    truth,
)
from sidecar.plugin_api.retry_after import duration, retry_after, said_wait, seconds_until, sent_at
from sidecar.plugin_api.sse_meter import SseMeter
from sidecar.plugin_api.usage_meter import (
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
from sidecar.plugin_api.vendor import (
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
from sidecar.records import CallRecord, Part, Usage

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
