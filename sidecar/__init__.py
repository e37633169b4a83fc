"""Sidecar: a small proxy beside a developer's agents on localhost.

This module is the public door for plugins: everything a vendor needs is imported from here.
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
)
from sidecar.errors import Kind, Refusal, Refused
from sidecar.hookspecs import hookimpl
from sidecar.meters import (
    BaseMeter,
    Glance,
    JsonMeter,
    NoMeter,
    SseMeter,
    as_cost,
    as_count,
    as_mapping,
    as_object,
    error_word,
)
from sidecar.peek import ABSENT, mapping, number, peek, text, truth
from sidecar.usage import CallRecord, Usage
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

__version__ = "0.1.0"

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
    "__version__",
    "as_cost",
    "as_count",
    "as_mapping",
    "as_object",
    "duration",
    "error_code",
    "error_object",
    "error_text",
    "error_word",
    "hookimpl",
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
    "text",
    "truth",
]
