"""The names that plugins import from `sidecar`.

They are in a module of their own because they load slowly and most commands need no plugin.
"""

from __future__ import annotations

from sidecar.errors import ErrorKind, LocalReply, ProxyError
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
    Classification,
    ErrorClass,
    UpstreamResponse,
    classify_by_code,
    classify_by_status,
    error_code,
    error_object,
    error_text,
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
from sidecar.plugin_api.retry_after import (
    duration,
    retry_after,
    seconds_until,
    sent_at,
    wait_in_message,
)
from sidecar.plugin_api.sse import SseMeter
from sidecar.plugin_api.usage_meter import (
    BaseMeter,
    JsonMeter,
    NoMeter,
    ResponseFields,
    as_cost,
    as_count,
    as_mapping,
    as_object,
    error_code_of,
)
from sidecar.plugin_api.vendor import (
    Field,
    LocalServer,
    Prepared,
    Quota,
    QuotaKind,
    Secret,
    Serving,
    UpstreamRequest,
    Vendor,
    credential_headers,
)
from sidecar.records import CallRecord, Part, Usage

__all__ = [
    "ABSENT",
    "BaseMeter",
    "CallRecord",
    "Classification",
    "Dialect",
    "Endpoint",
    "ErrorClass",
    "ErrorKind",
    "Facts",
    "Field",
    "JsonMeter",
    "LocalReply",
    "LocalServer",
    "Located",
    "Meter",
    "ModelAt",
    "ModelEntry",
    "NoMeter",
    "Part",
    "Prepared",
    "ProxyError",
    "Quota",
    "QuotaKind",
    "ResponseFields",
    "Secret",
    "Serving",
    "SseMeter",
    "UpstreamRequest",
    "UpstreamResponse",
    "Usage",
    "Vendor",
    "as_cost",
    "as_count",
    "as_mapping",
    "as_object",
    "classify_by_code",
    "classify_by_status",
    "credential_headers",
    "cut_null",
    "duration",
    "error_code",
    "error_code_of",
    "error_object",
    "error_text",
    "hookimpl",
    "is_pending",
    "mapping",
    "number",
    "peek",
    "retry_after",
    "seconds_until",
    "sent_at",
    "splice_field",
    "text",
    "truth",
    "wait_in_message",
]
